"""A Procfile without a watch.toml -> the project, without the schema of watch.toml, which takes 100 ms to import.

Rule 1: what is understood here is what `load` makes of it; all else, and whatever is wrong, is left to `load`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from procwatch.config.env_file import read_env_file
from procwatch.config.environment import DEFAULT_ENV_FILE
from procwatch.config.procfile import RELEASE, Procfile, base_port, ports, read_procfile
from procwatch.config.witness import is_there
from procwatch.core.model import Build, Need, Project, Service
from procwatch.errors import ConfigError


def read_alone(path: Path, environ: Mapping[str, str]) -> tuple[Project, tuple[Path, ...]] | None:
    """The project of a Procfile, and the files that it depends on; None where something is wrong or unusual."""
    if "$" in path.name:  # what a watch.toml says of its Procfile may hold variables
        return None
    folder = path.parent
    env_file = folder / DEFAULT_ENV_FILE
    try:
        variables = read_env_file(env_file) if is_there(env_file) else {}
        procfile = read_procfile(path, path.name)
        port = base_port(variables["PORT"] if "PORT" in variables else environ.get("PORT"))
        if procfile.problems or port is None:
            return None
        return _project(folder, procfile, port), (path, env_file)
    except ConfigError:
        return None


def _project(folder: Path, procfile: Procfile, port: int) -> Project:
    """All that a Procfile does not say is as in a watch.toml that does not say it either."""
    release = procfile.release
    needs = (Need(f"build.{RELEASE}", restart=False),) if release else ()
    given = ports(procfile, {}, port)
    services = [
        Service(f"service.{process.name}", process.command, needs, given_port=given[process.name][0])
        for process in procfile.services
    ]
    return Project(
        name=folder.name or "project",
        folder=str(folder),
        builds={f"build.{RELEASE}": Build(f"build.{RELEASE}", release.command)} if release else {},
        services={service.name: service for service in services},
        env_files=(DEFAULT_ENV_FILE,),
        jobs=os.cpu_count() or 1,
    )
