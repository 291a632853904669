"""The releases of builds with outputs: made, made current, removed, and found again at the next start.

    .procwatch/releases/api/7/           what `outputs` name, under the same paths
    .procwatch/releases/api/7.json       what its files hold
    .procwatch/releases/api/current      a symbolic link to the newest that counts
    .procwatch/releases/api/8.new/       one in the making

Rule 1: a release has its number when all of it has reached the disk, in this order: files, their folders from the
        inner ones out, 8.json, the name 8, the folder of the build. So what has a number is whole after a power cut.
Rule 2: it counts when the planner has said so, and `current` names it; at a start anything above that is removed.
Rule 3: copying and removing is done in threads.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from procwatch.core.messages import Failed, Succeeded
from procwatch.core.model import Build, Exit, Project, Release, Releases
from procwatch.core.state import Remembered
from procwatch.errors import printable
from procwatch.output.worker import NO_THREAD
from procwatch.runtime.copying import Copied, Held, OutputsError, copy_outputs, is_there, sync
from procwatch.runtime.places import Base
from procwatch.runtime.stopping import Stop

_CURRENT = "current"
_MAKING = ".new"
_VERSION = 1


class ReleaseStore:
    """All releases of a project. `kept_in`: its `.procwatch`; `report` is told what could not be removed."""

    def __init__(self, project_folder: Path, kept_in: Path, report: Callable[[str], None]) -> None:
        self._place = Base(os.path.realpath(project_folder))
        self._folder = kept_in / "releases"
        self._report = report
        self._current: dict[str, Release] = {}
        self._made: dict[str, Release] = {}
        self._last: dict[str, int] = {}

    # --- at the start ------------------------------------------------------------------------------------------------

    def complete(self, remembered: Mapping[str, Remembered], project: Project) -> dict[str, Remembered]:
        """What is remembered of builds, with the releases that are there; begin to remove what was left half done."""
        found = dict(remembered)
        for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            name = f"build.{folder.name}"
            releases = self._read(name, folder)
            found[name] = replace(found.get(name, Remembered(None, clean=False, run=0)), releases=releases)
        for name, build in project.builds.items():
            if name in found and build.outputs:
                found[name] = replace(found[name], is_whole=self._is_whole(build, found[name]))
        return found

    def _is_whole(self, build: Build, before: Remembered) -> bool:
        newest = before.releases[-1].number if before.releases else None
        return newest == before.release and all(is_there(self._place, output) for output in build.outputs)

    def _read(self, name: str, folder: Path) -> tuple[Release, ...]:
        """The releases of a build that count; the others are removed, and their numbers not used again."""
        numbers = {_number(entry.name) for entry in folder.iterdir()} - {0}
        current = _points_to(folder / _CURRENT)
        releases = [_read_release(folder, number) for number in sorted(numbers) if number <= current]
        good = tuple(release for release in releases if release is not None)
        self._last[name] = max(numbers, default=0)
        if good:
            self._current[name] = good[-1]
        kept = {str(release.number) for release in good}
        litter = [entry for entry in folder.iterdir() if _number(entry.name) and entry.name.split(".")[0] not in kept]
        litter += folder.glob(f"*{_MAKING}*")
        self._remove(litter)
        return good

    def forget_lost(self) -> tuple[str, ...]:
        """The builds whose current release has been removed from the disk: there is none until they run again."""
        lost = tuple(name for name, release in self._current.items() if not self._is_on_disk(name, release))
        for name in lost:
            del self._current[name]
        return lost

    def _is_on_disk(self, name: str, release: Release) -> bool:
        return (self._folder / name.partition(".")[2] / str(release.number)).is_dir()

    # --- one release -------------------------------------------------------------------------------------------------

    def folder_of(self, build: Build, number: int | None) -> Path:
        """Where the outputs of a release are, seen as from the file that declares the build; None: of the current."""
        return self._folder / build.short / (_CURRENT if number is None else str(number)) / build.home

    def folders(self, project: Project, names: tuple[str, ...], releases: Releases) -> dict[str, Path]:
        """Where the outputs of these builds (full names) are, as far as they have any, by their variables."""
        numbers = dict(releases)
        builds = (project.builds[name] for name in names)
        return {one.release_variable: self.folder_of(one, numbers.get(one.name)) for one in builds if one.outputs}

    async def make(self, build: Build) -> Succeeded | Failed:
        """Copy the outputs of a run that has succeeded. When cancelled, CancelledError comes when nothing is left."""
        stop = Stop()
        try:
            work = asyncio.ensure_future(asyncio.to_thread(self._make, build, stop))
        except RuntimeError:
            return _failed(NO_THREAD)
        try:
            self._made[build.name] = await asyncio.shield(work)
            return Succeeded(self._made[build.name])
        except asyncio.CancelledError:
            stop.set()
            while not work.done():
                with suppress(asyncio.CancelledError):  # told once more: all is to end at once
                    await asyncio.wait([work])
            self._forget_made(build, work)
            raise
        except OutputsError as error:
            return _failed(str(error))
        except OSError as error:
            where = f" ({self._place.relative(error.filename)})" if isinstance(error.filename, str) else ""
            return _failed(printable(f"{(error.strerror or str(error)).lower()}{where}"))

    def _forget_made(self, build: Build, work: asyncio.Future[Release]) -> None:
        """It was done before it could be stopped: nobody will hear of it."""
        if not work.cancelled() and work.exception() is None and work.result() != self._current.get(build.name):
            self.drop(build.name, (work.result().number,))

    def _make(self, build: Build, stop: Stop) -> Release:
        folder = self._folder / build.short
        self._make_folder(folder)
        before = self._current.get(build.name)
        number = max(self._last.get(build.name, 0), before.number if before else 0) + 1
        if before is not None and not self._is_on_disk(build.name, before):
            before = None
        making = folder / f"{number}{_MAKING}"
        try:
            making.mkdir()
            known = _read_files(folder, before.number) if before else {}
            old = folder / str(before.number) if before else None
            copied = copy_outputs(self._place, build.outputs, making, before=old, known=known, stop=stop)
            if before is not None and before.digests == copied.digests:
                return before
            _write(folder / f"{number}.json", copied)
            making.rename(folder / str(number))
            self._last[build.name] = number
            sync(folder)
            return Release(number, copied.digests)
        finally:
            _remove(making)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for above in (self._folder, self._folder.parent):
                sync(above)

    def take(self, name: str, number: int) -> None:
        """This release counts: from one moment to the next `current` leads to it."""
        folder = self._folder / name.partition(".")[2]
        if self._made[name].number == number:
            self._current[name] = self._made[name]
        draft = folder / f"{_CURRENT}{_MAKING}"
        try:
            draft.unlink(missing_ok=True)
            draft.symlink_to(str(number))
            draft.rename(folder / _CURRENT)
        except OSError as error:
            words = f"cannot be moved ({error.strerror}); the next start builds {name} again"
            self._report(f"{folder / _CURRENT} {words}")

    def drop(self, name: str, numbers: tuple[int, ...]) -> None:
        """Begin to remove these."""
        folder = self._folder / name.partition(".")[2]
        current = self._current.get(name)
        if current is not None and current.number in numbers:
            del self._current[name]
            self._remove([folder / _CURRENT])
        self._remove([folder / f"{number}{end}" for number in numbers for end in ("", ".json")])

    def _remove(self, paths: list[Path]) -> None:
        if not paths:
            return
        with suppress(RuntimeError):  # no thread: the next start removes them
            removal = asyncio.get_running_loop().run_in_executor(None, _remove_all, paths)
            removal.add_done_callback(self._removed)

    def _removed(self, removal: asyncio.Future[list[str]]) -> None:
        for words in () if removal.cancelled() else removal.result():
            self._report(words)


def _failed(words: str) -> Failed:
    return Failed(Exit(1, f"cannot be kept: {words}"), "outputs")


def _number(name: str) -> int:
    """The number of a release by the name of its folder, of what belongs to it or was to become it; 0: it is none."""
    first = name.partition(".")[0]
    return int(first) if first.isascii() and first.isdecimal() else 0


def _points_to(link: Path) -> int:
    try:
        return _number(os.readlink(link))  # noqa: PTH115 - text as it stands
    except OSError:
        return 0


# --- what its files hold ---------------------------------------------------------------------------------------------


def _write(path: Path, copied: Copied) -> None:
    """Whole or not at all, and on the disk."""
    files = {name: (held.size, held.mtime_ns, held.mode, held.digest) for name, held in copied.files.items()}
    draft = path.with_name(f"{path.name}{_MAKING}")
    draft.write_text(json.dumps({"version": _VERSION, "digests": copied.digests, "files": files}), encoding="ascii")
    sync(draft)
    draft.rename(path)


def _read_json(folder: Path, number: int) -> dict[str, Any]:
    """What was written of a release; nothing if it is not there, or damaged: then there is no such release."""
    try:
        content = json.loads((folder / f"{number}.json").read_text(encoding="ascii"))
    except (OSError, ValueError, RecursionError):
        return {}
    is_ours = isinstance(content, dict) and content.get("version") == _VERSION
    return content if is_ours and (folder / str(number)).is_dir() else {}


def _read_release(folder: Path, number: int) -> Release | None:
    digests = _read_json(folder, number).get("digests")
    return Release(number, digests) if isinstance(digests, dict) else None


def _read_files(folder: Path, number: int) -> dict[str, Held]:
    try:
        return {name: Held(*held) for name, held in _read_json(folder, number)["files"].items()}
    except (KeyError, TypeError, AttributeError):
        return {}


# --- removal ---------------------------------------------------------------------------------------------------------


def _remove_all(paths: list[Path]) -> list[str]:
    """What could not be removed, in words."""
    told: list[str] = []
    for path in paths:
        try:
            _remove(path)
        except OSError as error:
            told.append(f"{printable(str(path))} cannot be removed ({error.strerror})")
    return told


def _remove(path: Path) -> None:
    """A file, a link, or a folder with all that is in it, folders that nobody may write to too."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(path):
        with suppress(OSError):
            os.chmod(folder, stat.S_IRWXU)  # noqa: PTH101 - called for every folder
    import shutil  # noqa: PLC0415 - it takes longer to import than all else here, and a start removes nothing

    shutil.rmtree(path)
