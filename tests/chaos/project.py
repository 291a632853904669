"""The project that chaos comes over: a diamond of builds with a lock, and services of all tempers.

Rule 1: what differs from seed to seed is chosen here once; what happens to the files later is the business of edits.py.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import program
from tests.rig.sample import is_free

BUILDS = tuple(program.GRAPH)
SERVICES = tuple(program.SERVES)
# The hooks of watch.toml, by what they run as.
HOOKS = (
    "post_base", "pre_left", "failed_left", "crashed_db", "pre_stop_cache", "post_stop_cache", "pre_start_web",
    "post_start_web",
)  # fmt: skip
# Words in a source or a configuration that keep it from being good.
BAD = ("broken", "segv", "hang", "forks", "crash", "ends", "mute", "deafening")
# Below the ports that the system gives to clients.
_PORTS = range(20_000, 30_000)
# Whose output is shown only when it fails.
QUIET = ("slow", *(f"hook.{name}" for name in HOOKS))

_TOML = """
[project]
name = "chaos"
env_file = [".env"]
jobs = {jobs}
[watch]
quiet = {quiet}
engine = "{engine}"
[defaults.service]
stop = {{ grace = "1s" }}
restart = {{ policy = "{policy}", min_delay = "50ms", max_delay = "1s", stable = "3s" }}

[build.base]
run = {build_base}
watch = ["src/base/**/*.txt"]
at_start = "{at_start_base}"
hooks = {{ post_build = {hook_post_base} }}
[build.left]
run = {build_left}
watch = ["src/left"]
needs = ["base"]
lock = "twins"
env_file = ["env/left.env"]
hooks = {{ pre_build = {hook_pre_left}, build_failed = {hook_failed_left} }}
[build.right]
run = {build_right}
watch = ["src/right/**/*.txt"]
needs = ["base"]
lock = "twins"
on_change = "finish"
at_start = "{at_start_right}"
[build.top]
run = {build_top}
watch = ["src/top/**/*.txt"]
needs = ["left", "right"]
at_start = "changed"
on_change = "{on_change}"
unchanged = "{unchanged}"
[build.migrate]
run = {build_migrate}
watch = ["src/migrate/**/*.txt"]
needs = ["service.db"]
at_start = "{at_start_migrate}"
[build.slow]
run = {build_slow}
watch = ["src/slow/**/*.txt"]
at_start = "changed"
timeout = "4s"
log = {{ terminal = "on-failure" }}

[service.db]
run = {service_db}
watch = ["config/db.toml"]
ready = {{ log = "db is up", deadline = "6s" }}
hooks = {{ crashed = {hook_crashed_db} }}
[service.cache]
run = {service_cache}
needs = ["build.right", {{ name = "service.db", restart = true }}]
ready = {{ log = "is up", deadline = "6s" }}
stop = {{ grace = "500ms" }}
hooks = {{ pre_stop = {hook_pre_stop_cache}, post_stop = {hook_post_stop_cache} }}
[service.worker]
run = {service_worker}
needs = ["top", "migrate"]
env_file = ["env/worker.env"]
ready = {{ delay = "300ms" }}
stop = {{ grace = "800ms", to = "{to}" }}
[service.web]
run = {service_web}
needs = ["top", "slow", {{ name = "service.cache", restart = {follows} }}]
watch = ["config/web.toml"]
port = {port}
ready = {{ tcp = true, deadline = "6s" }}
hooks = {{ pre_start = {hook_pre_start_web}, post_start = {hook_post_start_web} }}
[service.storm]
run = {service_storm}
needs = ["build.base"]
ready = {{ notify = true, deadline = "6s" }}
stop = {{ grace = "500ms" }}
"""


@dataclass(frozen=True, slots=True)
class Project:
    """Where it is, and what was chosen for it."""

    root: Path
    choices: dict[str, str]

    @classmethod
    def make(cls, root: Path, seed: int) -> Project:
        """A new project with good files in an empty folder."""
        rng = random.Random(f"{seed} project")
        for folder in ("config", "env", "hooks", "out", "record/started", ".git", "data"):
            (root / folder).mkdir(parents=True)
        shutil.copy(program.__file__, root / "program.py")
        (root / ".git/HEAD").write_text("ref: refs/heads/main\n")
        made = cls(root, _choose(rng))
        (root / "watch.toml").write_text(_TOML.format(**made.choices))
        delay_s = {name: rng.choice([0.02, 0.05, 0.2]) for name in BUILDS} | {"slow": 0.6}
        settings = {"delay_s": delay_s, "careless": rng.random() < 0.3, "jobs": made.choices["jobs"]}
        (root / "settings.json").write_text(json.dumps(settings))
        return made

    def main(self, name: str) -> Path:
        """The one source that a build always has."""
        return self.root / "src" / name / "main.txt"

    def env_path(self, which: str) -> Path:
        """The env file of a unit, or of the "project"."""
        return self.root / program.ENV_FILES.get(which, ".env")

    def runs_at_start(self, name: str) -> bool:
        """Whether a build may run at a start although nothing was edited."""
        always = self.choices.get(f"at_start_{name}", "changed" if name in ("top", "slow") else "always") == "always"
        return always or (name == "top" and self.choices["unchanged"] == "run")

    @property
    def web_follows_cache(self) -> bool:
        """Whether a switch of service.cache restarts service.web."""
        return self.choices["follows"] == "true"

    def needed_services(self, name: str) -> tuple[str, ...]:
        """The services that a unit (full name) needs."""
        needed = {"service.cache": ("service.db",), "service.web": ("service.cache",), "build.migrate": ("service.db",)}
        return needed.get(name, ())

    def needed_builds(self, name: str) -> tuple[str, ...]:
        """The builds that a unit (full name) needs directly, by full name."""
        kind, _, short = name.partition(".")
        return tuple(f"build.{need}" for need in (program.GRAPH if kind == "build" else program.SERVES)[short])

    def above(self, name: str) -> set[str]:
        """A unit and all that it needs, by full name."""
        found = {name}
        for need in (*self.needed_builds(name), *self.needed_services(name)):
            found |= self.above(need)
        return found


def _choose(rng: random.Random) -> dict[str, str]:
    """A value for every hole in the configuration."""
    pick = rng.choice
    found = {
        "jobs": pick("1234"),
        "quiet": pick(['"auto"', '"auto"', '"20ms"']),
        "engine": pick(["auto", "auto", "auto", "auto", "poll"]),
        "policy": pick(["on-failure", "always"]),
        "on_change": pick(["restart", "finish"]),
        "unchanged": pick(["skip", "skip", "skip", "run"]),
        "to": pick(["leader", "group"]),
        "follows": pick(["true", "false"]),
        "port": str(free_port(rng)),
    }
    for name in ("base", "right", "migrate"):
        found[f"at_start_{name}"] = pick(["changed", "changed", "always"])
    for kind, names in (("build", BUILDS), ("service", SERVICES)):
        found |= {f"{kind}_{name}": _command(kind, name, pick(["exec", "list", "shell", "status"])) for name in names}
    return found | {f"hook_{name}": _command("hook", name, "exec") for name in HOOKS}


def _command(kind: str, name: str, form: str) -> str:
    """How a program is started: without a shell, in its place, or below it."""
    words = [sys.executable, "-SE", "program.py", kind, name]
    line = " ".join(words)
    shown = {"list": words, "exec": f"exec {line}", "shell": line, "status": f"{line}; exit $?"}[form]
    return json.dumps(shown)


def free_port(rng: random.Random) -> int:
    """Not chosen by the seed alone: the machine is shared."""
    start = rng.randrange(len(_PORTS)) + os.getpid()
    candidates = (_PORTS[(start + more) % len(_PORTS)] for more in range(len(_PORTS)))
    return next(port for port in candidates if is_free(port))
