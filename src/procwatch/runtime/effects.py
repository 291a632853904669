"""What the commands of a unit are run with: folder, environment, variables, stop policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from procwatch.config.environment import compose, expand_command, read_own_env_files, read_project_env_files
from procwatch.core.model import (
    AskedProbe,
    Build,
    Command,
    HttpProbe,
    Probe,
    Project,
    Releases,
    Service,
    StopPolicy,
    TcpProbe,
)
from procwatch.errors import ProcwatchError
from procwatch.frozen import frozen
from procwatch.runtime.assigned import Assigner, Occasion
from procwatch.runtime.instance import Launch
from procwatch.runtime.releases import ReleaseStore
from procwatch.runtime.spawn import Spec
from procwatch.runtime.steps import Step

_Probe = TypeVar("_Probe", Probe, AskedProbe)

# "Builds and hooks: SIGTERM, 2s" (contract, stop).
HOOK_STOP = StopPolicy(grace_s=2.0)
# What a terminal is where procwatch itself has none: nearly all that there are understand this.
DEFAULT_TERM = "xterm-256color"


@frozen
class Surroundings:
    """Turns a unit and an occasion into specs. Raises ProcwatchError where an env file or a variable is missing.

    `inherited` is procwatch's own environment; `terminal` says whether output ends up on one with colours; `kept` knows
    where releases are.
    """

    project: Project
    inherited: Mapping[str, str]
    assigner: Assigner
    terminal: bool
    kept: ReleaseStore

    def build_steps(self, build: Build, run: int, changed: tuple[str, ...]) -> tuple[Step, ...]:
        """pre_build, run and post_build of one run."""
        assigned = self.assigner.command(Occasion(build.name, run, changed))
        commands = [("pre_build", command) for command in build.hooks.get("pre_build", ())]
        commands.append(("run", build.run))
        commands += [("post_build", command) for command in build.hooks.get("post_build", ())]
        steps = []
        for name, command in commands:
            event = {} if name == "run" else {"PROCWATCH_EVENT": name}
            steps.append(Step(name, self._spec(build, command, {**assigned, **event}, build.stop)))
        return tuple(steps)

    def hook_steps(
        self,
        unit: Build | Service,
        occasion: Occasion,
        releases: Releases = (),
        door: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[Step, ...]:
        """The commands of a hook; `occasion.event` is its name. `door`: variables that lead to one instance."""
        assigned = self.assigner.command(occasion)
        if isinstance(unit, Service):
            assigned = {**self._of_service(unit, occasion.run, releases), **assigned, **door}
        hook = occasion.event or ""
        commands = unit.hooks.get(hook, ())
        if hook == "verify" and isinstance(unit, Service) and unit.verify is not None:
            commands = (unit.verify,)
        return tuple(Step(hook, self._spec(unit, command, assigned, HOOK_STOP)) for command in commands)

    def launch(self, service: Service, instance: int, releases: Releases = (), port: int | None = None) -> Launch:
        """What starts an instance from these releases; of a build of which there is none among them, the current.

        `port`: one that it alone is given, behind a `proxy`.
        """
        assigned = self._of_service(service, instance, releases)
        if port is not None:
            assigned["PORT"] = str(port)
        spec = self._spec(service, service.run, assigned, service.stop)
        if service.tty and not spec.env.get("TERM"):
            spec = replace(spec, env={**spec.env, "TERM": DEFAULT_TERM})
        health = service.health and replace(service.health, probe=_asked_at(port, service.health.probe))
        return Launch(spec, _asked_at(port, service.ready), service.timing, service.port, health)

    def problems(self, services: Iterable[Service]) -> dict[str, str]:
        """Why some of these could not be started now: an env file has gone, or a command names what is not set."""
        folder = Path(self.project.folder)
        read_common = cache(lambda: read_project_env_files(folder, self.project.env_files))
        found: dict[str, str] = {}
        for service in services:
            try:
                if isinstance(service.run, str):  # nothing but files can be missing
                    read_common()
                    read_own_env_files(folder, service)
                else:
                    self.launch(service, 0, port=None if service.proxy is None else service.proxy.port)
            except ProcwatchError as error:
                found[service.name] = str(error)
        return found

    def _of_service(self, service: Service, instance: int, releases: Releases) -> dict[str, str]:
        names = tuple(need.name for need in service.build_needs)
        return self.assigner.service(service, instance, self.kept.folders(self.project, names, releases))

    def _spec(self, unit: Build | Service, command: Command, assigned: Mapping[str, str], stop: StopPolicy) -> Spec:
        env = compose(self.project, unit, self.inherited, assigned, terminal=self.terminal)
        stdin = unit.stdin if isinstance(unit, Service) and command is unit.run else "null"
        folder = Path(self.project.folder) / unit.dir
        return Spec(expand_command(command, env), self.project.shell, folder, env, stdin, stop)


def _asked_at(port: int | None, probe: _Probe) -> _Probe:
    """The probe, which asks the port of this instance where it is to."""
    if port is None or not isinstance(probe, TcpProbe | HttpProbe) or probe.port or probe.listener is not None:
        return probe
    return replace(probe, port=port)
