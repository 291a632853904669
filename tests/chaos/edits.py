"""What happens to the project's files: as people, editors and version control do it, and worse.

Rule 1: an edit draws from the source of chance it is given, and from nothing else.
Rule 2: `calm` makes everything good again; a `Diary` holds what was done, and when.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.chaos import program
from tests.chaos.project import BAD, BUILDS, HOOKS, Project


class Diary:
    """What was done, by the clock; `listen` gets each entry as it is made."""

    def __init__(self, listen: Callable[[str], None] = lambda _line: None) -> None:
        self.entries: list[tuple[float, str]] = []
        self._listen = listen

    def note(self, text: str) -> None:
        """Something is being done now."""
        self.entries.append((time.time(), text))
        self._listen(text)


class Edits:
    """Edits of one project."""

    def __init__(self, project: Project, diary: Diary) -> None:
        self._project = project
        self._root = project.root
        self._diary = diary
        self._count = 0

    def fresh(self) -> str:
        """Text that was never there before."""
        self._count += 1
        return f"version {self._count}\n"

    def any(self, rng: random.Random) -> None:
        """One edit of the sources of one build."""
        self.by_name(rng.choice(_WEIGHTED), rng.choice(BUILDS), rng)

    def by_name(self, kind: str, name: str, rng: random.Random) -> None:
        """This edit of this build's sources; one that is impossible just now is left out."""
        self._diary.note(f"{kind} {name}")
        with suppress(FileNotFoundError, NotADirectoryError):
            _KINDS[kind](self, name, rng)

    def good(self, name: str, _rng: random.Random) -> None:
        _save(self._project.main(name), self.fresh())

    def broken(self, name: str, rng: random.Random) -> None:
        kinds = ["broken", "broken", "segv", "forks", "daemon", "loud"]
        bad = rng.choice([*kinds, "hang"] if name == "slow" else kinds)  # it alone has a timeout
        self._diary.note(f"  {bad}")
        _save(self._project.main(name), f"{bad} {self.fresh()}")

    def same(self, name: str, _rng: random.Random) -> None:
        main = self._project.main(name)
        main.write_text(main.read_text())

    def touch(self, name: str, _rng: random.Random) -> None:
        os.utime(self._project.main(name))

    def recreate(self, name: str, rng: random.Random) -> None:
        main = self._project.main(name)
        text = rng.choice([main.read_text(), self.fresh()])
        main.unlink()
        time.sleep(rng.choice([0, 0.01, 0.2]))
        _save(main, text)

    def rename_over(self, name: str, _rng: random.Random) -> None:
        draft = self._project.main(name).with_name(".main.txt.draft")
        _save(draft, self.fresh())
        draft.replace(self._project.main(name))

    def vim(self, name: str, rng: random.Random) -> None:
        main = self._project.main(name)
        probe, backup = main.with_name("4913"), main.with_name("main.txt~")
        _save(probe, "")
        probe.unlink()
        main.replace(backup)
        time.sleep(rng.choice([0, 0.02]))
        main.write_text(self.fresh())
        backup.unlink()

    def checkout(self, name: str, rng: random.Random) -> None:
        lock = self._root / ".git/index.lock"
        lock.write_text("")
        for number in range(40):
            _save(self._root / "src" / rng.choice([name, name, "base"]) / f"file{number}.txt", self.fresh())
            if rng.random() < 0.1:
                time.sleep(0.02)
        lock.unlink()

    def move_folder(self, name: str, rng: random.Random) -> None:
        folder, away = self._root / "src" / name, self._root / f"data/{name}.away"
        folder.rename(away)
        time.sleep(rng.choice([0, 0.05, 0.3]))
        away.rename(folder)

    def delete_folder(self, name: str, rng: random.Random) -> None:
        shutil.rmtree(self._root / "src" / name)
        time.sleep(rng.choice([0, 0.05, 0.3]))
        self.good(name, rng)

    def new_folder(self, name: str, _rng: random.Random) -> None:
        folder = self._root / f"src/{name}/sub{self._count}/deep"
        _save(folder / "more.txt", self.fresh())
        _save(folder / "yet.txt", self.fresh())

    def link(self, name: str, _rng: random.Random) -> None:
        target = self._root / f"data/{name}.{self._count}"
        _save(target, self.fresh())
        draft = self._root / f"src/{name}/link.draft"
        draft.unlink(missing_ok=True)
        draft.symlink_to(f"../../data/{target.name}")
        draft.replace(draft.with_name("link.txt"))

    def flicker(self, name: str, rng: random.Random) -> None:
        for _ in range(rng.randint(2, 8)):
            self.good(name, rng)
            time.sleep(rng.choice([0.005, 0.05, 0.2]))

    def revert(self, name: str, rng: random.Random) -> None:
        before = self._project.main(name).read_text()
        self.broken(name, rng)
        time.sleep(rng.choice([0, 0.05, 0.3]))
        self._project.main(name).write_text(before)

    def odd(self, name: str, rng: random.Random) -> None:
        """Unusual names and kinds of files; they come and go."""
        folder = self._root / "src" / name
        names = [b"line\nfeed.txt", b" [brackets] {a,b} *.txt", b"-rf.txt"]
        for odd in names if rng.random() < 0.9 else [b"not utf-8 \xff.txt"]:
            path = Path(os.fsdecode(os.fsencode(folder) + b"/" + odd))
            if path.exists():
                path.unlink()
            elif rng.random() < 0.5:
                _save(path, self.fresh())
        pipe = folder / "a pipe"
        if pipe.exists():
            pipe.unlink()
        else:
            os.mkfifo(pipe)

    def forbid(self, name: str, rng: random.Random) -> None:
        """Nobody may read the folder for a moment (which root may all the same)."""
        folder = self._root / "src" / name
        folder.chmod(0)
        try:
            time.sleep(rng.choice([0.05, 0.3]))
        finally:
            folder.chmod(0o755)

    # --- what is no source -------------------------------------------------------------------------------------------

    def env(self, rng: random.Random) -> None:
        """An env file is written, or is gone."""
        which = rng.choice(["left", "worker", "left", "worker", "project"])
        path = self._project.env_path(which)
        gone = which != "project" and rng.random() < 0.2
        self._diary.note(f"env file of {which} {'is gone' if gone else 'is written'}")
        if gone:
            path.unlink(missing_ok=True)
        else:
            path.write_text(f"{'GLOBAL' if which == 'project' else f'VALUE_{which}'}={self.fresh().split()[1]}\n")

    def config(self, rng: random.Random) -> None:
        """What a service watches itself says how it behaves."""
        which = rng.choice(["db", "web"])
        self.configure(which, rng.choice(["good", "good", "good", "crash", "ends", "mute", "touch", "loud", "loud"]))

    def configure(self, which: str, what: str) -> None:
        """This service's configuration makes it behave in this way, or is touched."""
        self._diary.note(f"configuration of {which}: {what}")
        path = self._root / program.CONFIG[which]
        if what == "touch":
            os.utime(path)
        else:
            path.write_text(f"# {what} {self.fresh()}")

    def hook(self, rng: random.Random) -> None:
        """A hook behaves otherwise from now on."""
        name, what = rng.choice(HOOKS), rng.choice(["ok", "fail", "slow", "hang", "ok"])
        self._diary.note(f"hook {name}: {what}")
        (self._root / "hooks" / name).write_text(what)

    # --- good again --------------------------------------------------------------------------------------------------

    def calm(self, *, new: bool) -> None:
        """Everything is good. `new`: with new content, else what is good stays and is touched."""
        self._diary.note(f"all is made good{', with new content' if new else ''}")
        (self._root / ".git/index.lock").unlink(missing_ok=True)
        for name in HOOKS:
            (self._root / "hooks" / name).write_text("ok")
        for which, variable in (("project", "GLOBAL"), ("left", "VALUE_left"), ("worker", "VALUE_worker")):
            path = self._project.env_path(which)
            if new or not path.exists():
                path.write_text(f"{variable}=1\n")
        for config in program.CONFIG.values():
            path = self._root / config
            if new or any(word in path.read_text() for word in BAD):
                path.write_text(f"# {self.fresh()}")
            os.utime(path)
        for name in BUILDS:
            self._calm_sources(name, new=new)

    def _calm_sources(self, name: str, *, new: bool) -> None:
        main = self._project.main(name)
        if new or not main.exists() or any(word in main.read_text() for word in BAD):
            _save(main, self.fresh())
        for path in map(self._root.joinpath, program.sources(self._root, name)):
            if path.exists() and path.read_text():
                os.utime(path)
            else:
                path.unlink()


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


_KINDS: dict[str, Callable[[Edits, str, random.Random], None]] = {
    "good": Edits.good, "broken": Edits.broken, "same": Edits.same, "touch": Edits.touch, "recreate": Edits.recreate,
    "rename_over": Edits.rename_over, "vim": Edits.vim, "checkout": Edits.checkout, "move_folder": Edits.move_folder,
    "delete_folder": Edits.delete_folder, "new_folder": Edits.new_folder, "link": Edits.link,
    "flicker": Edits.flicker, "revert": Edits.revert, "odd": Edits.odd, "forbid": Edits.forbid,
}  # fmt: skip
# What people do most is chosen most.
_WEIGHTED = ["good"] * 6 + ["broken"] * 4 + [kind for kind in _KINDS if kind not in ("good", "broken")]
