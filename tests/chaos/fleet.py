"""The project of the story of switching: two builds with releases, and services that have an address in each way.

Rule 1: what differs from seed to seed is chosen here once (`base`); what an edit of watch.toml changes is `now`.
Rule 2: versions only ever go up, whatever kind they are of.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.chaos import server
from tests.chaos.edits import Diary
from tests.chaos.project import free_port

BUILDS = ("app", "slow")
# Those with an address, and the builds that each needs.
SERVES = {"web": ("app",), "shop": ("app", "slow"), "desk": ("slow",)}
SERVICES = ("db", *SERVES)
# Where clients ask, and who answers there.
DOORS = {"web": "web", "web2": "web", "shop": "shop", "desk": "desk"}

_CHOICES: Mapping[str, tuple[object, ...]] = {
    "keep": (1, 2, 3),
    "web_replicas": (1, 1, 2),
    "shop_replicas": (1, 2),
    "web_verify": (True, True, False),
    "shop_verify": (True, False),
    "desk_verify": (True, False),
    "web_switch": ("overlap", "overlap", "overlap", "replace"),
    "shop_switch": ("overlap", "overlap", "overlap", "replace"),
    "second": (True, False),
    "at_start": ("always", "changed"),
    "follows": (True, False),
    "uses": (True, False),
}
# What only edits change, and what it is in the beginning: whether there is `desk`, whether it and `web` have each
# other's address, whether `shop` needs the slow build too, and whether app/extra is one of the outputs.
_ALWAYS: Mapping[str, bool] = {"there": True, "swapped": False, "shop_slow": True, "app_extra": True}
# How many of the edits of watch.toml break it.
_BROKEN = 0.07
# How often a version is of which kind.
_OFTEN = {"good": 8, "late": 2, "slow": 2, "rude": 2, "wrong": 2, "mute": 1, "dead": 1, "broken": 2}
_KINDS = tuple(kind for kind, times in _OFTEN.items() for _ in range(times))

_TOML = """
[project]
name = "fleet"
[watch]
quiet = "20ms"
[defaults.service]
stop = {{ grace = "3s" }}
restart = {{ policy = "always", min_delay = "50ms", max_delay = "1s", stable = "3s" }}
[defaults.build]
keep = {keep}
at_start = "{at_start}"

[build.app]
run = {build_app}
watch = ["src/app"]
outputs = ["out/app/version", "out/app/[0-9]"{extra}]
[build.slow]
run = {build_slow}
watch = ["src/slow"]
outputs = ["out/slow"]

[service.db]
run = {plain_db}
watch = ["config/db"]
ready = {{ log = "db is up" }}
[service.web]
run = {serve_web}
watch = ["config/web"]
listen = [{listen}]
replicas = {web_replicas}
switch = "{web_switch}"
needs = ["build.app"]
ready = {{ http = "/", deadline = "3s", timeout = "2s" }}
{web_verify}
[service.shop]
run = {serve_shop}
proxy = "127.0.0.1:{shop}"
replicas = {shop_replicas}
switch = "{shop_switch}"
needs = [{{ name = "build.app"{uses} }}, {shop_slow}{{ name = "service.db", restart = {follows} }}]
ready = {{ http = "/", deadline = "3s", timeout = "2s" }}
{shop_verify}
"""
_DESK = """
[service.desk]
run = {serve_desk}
listen = ["127.0.0.1:{desk}"]
switch = "replace"
needs = ["build.slow"]
ready = {{ http = "/", deadline = "3s", timeout = "2s" }}
{desk_verify}
"""


class Fleet:
    """Its files, and what is done to them. `saved`: the newest version of each build, as it stands in its source."""

    def __init__(self, root: Path, seed: int, diary: Diary) -> None:
        self.root = root
        rng = random.Random(f"{seed} fleet")
        self.base: dict[str, object] = {key: rng.choice(values) for key, values in _CHOICES.items()}
        self.base |= _ALWAYS
        self.now = dict(self.base)
        self.doors = {door: free_port(rng) for door in DOORS}
        self.saved: dict[str, str] = {}
        # When a key of watch.toml has got another value: (time, key, value).
        self.edits: list[tuple[float, str, object]] = [(0.0, key, value) for key, value in self.base.items()]
        self._diary = diary
        self._count = 0
        for folder in ("config", "record", *(f"src/{name}" for name in BUILDS)):
            (root / folder).mkdir(parents=True)
        shutil.copy(server.__file__, root / "server.py")
        for name in BUILDS:
            (root / f"src/{name}/extra").write_text("0")
            self.save(name, "good")
        for name in ("db", "web"):
            (root / f"config/{name}").write_text("0")
        self._write()

    # --- versions ----------------------------------------------------------------------------------------------------

    def save(self, name: str, kind: str) -> None:
        """A new version of this kind."""
        self._count += 1
        self._diary.note(f"version {self._count} of {name}: {kind}")
        self.saved[name] = f"{self._count} {kind}"
        path = self.root / f"src/{name}/version"
        path.with_suffix(".draft").write_text(self.saved[name])
        path.with_suffix(".draft").replace(path)

    def any(self, rng: random.Random) -> None:
        """A new version of any kind."""
        self.save(rng.choice(BUILDS), rng.choice(_KINDS))

    def series(self, rng: random.Random) -> None:
        """Quick ones, one after another."""
        name = rng.choice(BUILDS)
        for _ in range(rng.randint(2, 6)):
            self.save(name, rng.choice(_KINDS))
            time.sleep(rng.choice([0.01, 0.1, 0.3, 0.6]))

    def extra(self, rng: random.Random) -> None:
        """Other content of an output that not everybody uses, or of what a service watches itself."""
        self._count += 1
        path = rng.choice([*(f"src/{name}/extra" for name in BUILDS), "config/db", "config/web"])
        self._diary.note(f"{path} is written")
        (self.root / path).write_text(f"{self._count}")

    # --- watch.toml --------------------------------------------------------------------------------------------------

    def configure(self, rng: random.Random) -> None:
        """Another value, or for a moment a file that is wrong."""
        if rng.random() < _BROKEN:
            self._diary.note("watch.toml is broken")
            (self.root / "watch.toml").write_text(rng.choice(["[project", "[service.web]\nlisten = 7\n", ""]))
        else:
            self.change(rng)

    def change(self, rng: random.Random) -> None:
        """Another value."""
        key = rng.choice([*_CHOICES, *_ALWAYS])
        self.set(key, rng.choice(_CHOICES.get(key, (True, False))))

    def set(self, key: str, value: object) -> None:
        """This key, and the file is whole."""
        if self.now[key] != value:
            self.edits.append((time.time(), key, value))
        self._diary.note(f"watch.toml: {key} = {value}")
        self.now[key] = value
        self._write()

    def restore(self) -> None:
        """As it was in the beginning."""
        for key, value in self.base.items():
            if self.now[key] != value:
                self.set(key, value)
        self._write()

    def _write(self) -> None:
        now = self.now
        holes: dict[str, object] = {**now, **self.doors}
        web, holes["desk"] = (self.doors[name] for name in (("desk", "web") if now["swapped"] else ("web", "desk")))
        second = (self.doors["web2"],) if now["second"] else ()
        holes["listen"] = ", ".join(f'"127.0.0.1:{port}"' for port in (web, *second))
        holes["shop_slow"] = '"build.slow", ' if now["shop_slow"] else ""
        holes["extra"] = ', "out/app/extra"' if now["app_extra"] else ""
        holes["uses"] = ', uses = ["out/app/version"]' if now["uses"] else ""
        holes["follows"] = "true" if now["follows"] else "false"
        for name in SERVES:
            is_verified = now[f"{name}_verify"]
            holes[f"{name}_verify"] = f"verify = {json.dumps(_line('verify', name))}" if is_verified else ""
        commands = [("build", BUILDS), ("serve", tuple(SERVES)), ("plain", ("db",))]
        holes |= {f"{kind}_{name}": _words(kind, name) for kind, names in commands for name in names}
        draft = self.root / "watch.toml.draft"
        draft.write_text((_TOML + _DESK * bool(now["there"])).format(**holes))
        draft.replace(self.root / "watch.toml")

    def had(self, key: str, value: object, since_s: float, until_s: float) -> bool:
        """Whether a key of watch.toml had this value all that time."""
        before = [found for at_s, name, found in self.edits if name == key and at_s <= since_s][-1:]
        within = [found for at_s, name, found in self.edits if name == key and since_s < at_s <= until_s]
        return {*before, *within} == {value}

    # --- names -------------------------------------------------------------------------------------------------------

    def instances(self, name: str) -> tuple[str, ...]:
        """The full names of a service, one for each replica."""
        count = int(str(self.now.get(f"{name}_replicas", 1)))
        return (f"service.{name}",) if count == 1 else tuple(f"service.{name}.{each}" for each in range(1, count + 1))


def _line(kind: str, name: str) -> str:
    return f"exec {sys.executable} -SE server.py {kind} {name}"


def _words(kind: str, name: str) -> str:
    return json.dumps([sys.executable, "-SE", "server.py", kind, name])
