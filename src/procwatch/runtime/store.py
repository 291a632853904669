"""The project's `.procwatch` folder: the lock, what builds last succeeded with, lists of changed paths.

Rule 1: one supervisor per project: the lock is held for life, and never inherited.
Rule 2: nothing here is needed to run. What cannot be written is told once, and the work goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from procwatch.config.find import FOLDER
from procwatch.control.place import make_runtime_folder, runtime_lock, socket_paths
from procwatch.core.messages import Remember, RememberService
from procwatch.core.model import Releases
from procwatch.core.state import Remembered, RememberedService
from procwatch.errors import RefusedError
from procwatch.runtime.guardian import front_pid

# What is known of the content of files, beside state.json: that is small, and read before anything starts.
FINGERPRINTS = "fingerprints"

_VERSION = 1


class Store:
    """What is kept on disk between the runs of procwatch, and for one run only."""

    def __init__(self, project_folder: Path, report: Callable[[str], None]) -> None:
        self.folder = project_folder / FOLDER
        self.lock_file = self.folder / "lock"
        self._report = report
        self._lock = -1
        self._scratch: Path | None = None
        self._state: dict[str, Any] = {}
        self._services: dict[str, Any] = {}
        self._is_old = False
        self._broken = False

    def open(self) -> None:
        """Make the folder and take the lock; a RefusedError says who holds it."""
        try:
            self._lock = self._make()
        except OSError as error:
            self._give_up(error)
            self._lock_elsewhere()
            return
        self._take_lock()
        self._drop_lists()
        self._read()

    def _make(self) -> int:
        """The folder, and the lock file, open."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        return os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def restore(self) -> bool:
        """Make folder and lock anew if somebody has removed them (`git clean -fdx`); whether that was so.

        Raises OSError if that is not possible now, as when the project itself has gone, and RefusedError if another
        procwatch has been started meanwhile.
        """
        if self._broken or self._lock < 0:
            return False
        held = os.fstat(self._lock)
        with suppress(FileNotFoundError):
            if os.path.samestat(held, self.lock_file.stat()):
                return False
        before, self._lock = self._lock, self._make()
        try:
            self._hold()
        except (OSError, RefusedError):
            self._broken = True
            raise
        finally:
            os.close(before)
        self._is_old = True
        self.write()
        return True

    @property
    def is_kept(self) -> bool:
        """Whether the folder could be written until now; that it cannot has been told."""
        return not self._broken

    def _take_lock(self) -> None:
        try:
            self._hold()
        except OSError as error:  # a file system without locks
            self._give_up(error)
            os.close(self._lock)
            self._lock_elsewhere()

    def _hold(self) -> None:
        """Take the open lock; a RefusedError says who holds it."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode("ascii", "replace").strip()
            os.close(self._lock)
            self._lock = -1
            who = f" (process {holder})" if holder else ""
            raise RefusedError(f"procwatch already runs for this project{who}; stop that one first") from None
        with suppress(OSError):  # a full disk: the id is only for the message of whoever is refused
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{front_pid()}\n".encode(), 0)

    def _lock_elsewhere(self) -> None:
        """A project whose folder cannot be written has its lock in the user's runtime folder."""
        self._lock = -1
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            make_runtime_folder()
            self._lock = os.open(runtime_lock(self.folder.parent), flags, 0o600)
            self._hold()
        except OSError as error:
            self._report(f"there can be no lock either ({error.strerror}): start procwatch only once in this folder")

    def socket_paths(self) -> tuple[Path, ...]:
        """Where the control socket can be, the best place first."""
        paths = tuple(socket_paths(self.folder.parent))
        return paths[-1:] if self._broken else paths

    def close(self) -> None:
        """Write what is still to be written, give the lock back, and remove what was for this run only."""
        self.write()
        if self._scratch is not None:
            import shutil  # noqa: PLC0415 - only where the project cannot be written

            shutil.rmtree(self._scratch, ignore_errors=True)
        if self._lock >= 0:
            self._drop_lists()
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1

    # --- what builds last succeeded with -----------------------------------------------------------------------------

    def _read(self) -> None:
        """Read state.json; one that is damaged counts as none: every build runs, nothing is lost but time."""
        try:
            content = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            self._report(f"{FOLDER}/state.json cannot be read ({error}); builds start as if for the first time")
            return
        if isinstance(content, dict) and content.get("version") == _VERSION and isinstance(content.get("builds"), dict):
            self._state = content["builds"]
            self._services = services if isinstance(services := content.get("services"), dict) else {}

    def remembered(self) -> dict[str, Remembered]:
        """Build -> what an earlier supervisor left of it."""
        found: dict[str, Remembered] = {}
        for name, entry in self._state.items():
            if isinstance(entry, dict) and isinstance(run := entry.get("run"), int):
                key, release = entry.get("key"), entry.get("release")
                known = key if isinstance(key, str) else None, entry.get("clean") is True, run
                found[name] = Remembered(*known, release if isinstance(release, int) else None)
        return found

    def remember(self, what: Remember) -> None:
        """Keep it: what is not clean at once, before its run begins, all else with the next `write`.

        If that does not come any more, the next start builds once too often.
        """
        self._state[what.name] = {"key": what.key, "clean": what.clean, "run": what.run, "release": what.release}
        self._is_old = True
        if not what.clean:
            self.write()

    def remembered_services(self) -> dict[str, RememberedService]:
        """Service -> what an earlier supervisor left of it."""
        found: dict[str, RememberedService] = {}
        for name, entry in self._services.items():
            with suppress(TypeError, ValueError, KeyError, AttributeError):  # damaged: nothing to go back to
                history = tuple(_releases(one) for one in entry["history"])
                found[name] = RememberedService(history, _releases(entry["pinned"]))
        return found

    def remember_service(self, what: RememberService) -> None:
        """The same for a service, with the next `write`; where there is nothing to go back to nothing is kept."""
        if what.history or what.pinned:
            self._services[what.name] = {"history": [dict(one) for one in what.history], "pinned": dict(what.pinned)}
        elif self._services.pop(what.name, None) is None:
            return
        self._is_old = True

    def write(self) -> None:
        """Write state.json anew, whole or not at all, if it does not hold all that is known."""
        if self._broken or not self._is_old:
            return
        self._is_old = False
        path = self.folder / "state.json"
        draft = path.with_suffix(".new")
        try:
            draft.write_bytes(self._whole().encode("ascii"))
            draft.replace(path)
        except FileNotFoundError:  # the project has been moved away, or the folder removed: until it is back
            self._is_old = True
        except OSError as error:
            self._give_up(error)

    def _whole(self) -> str:
        """What state.json is to hold, a unit on each line."""
        tables = (
            f'"{kind}": {{\n' + ",\n".join(f" {json.dumps(name)}: {json.dumps(of[name])}" for name in of) + "}"
            for kind, of in (("builds", self._state), ("services", self._services))
        )
        return f'{{"version": {_VERSION}, {", ".join(tables)}}}\n'

    def _give_up(self, error: OSError) -> None:
        if not self._broken:
            self._broken = True
            words = f"{self.folder} cannot be written ({error.strerror}); what builds succeeded with is not kept"
            self._report(words)

    # --- lists of changed paths --------------------------------------------------------------------------------------

    def changed_file(self, name: str, run: int, paths: tuple[str, ...], hook: str | None = None) -> Path | None:
        """A file with all the changed paths as a JSON list (PROCWATCH_CHANGED_JSON); None if it cannot be written."""
        content = json.dumps([path.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for path in paths])
        try:
            path = self._lists() / _list_name(name, run, hook)
            path.write_text(content)
        except FileNotFoundError:  # as in `write`
            return None
        except OSError as error:
            self._give_up(error)
            return None
        return path

    def drop_changed(self, name: str, run: int, hook: str | None = None) -> None:
        """Remove that file: what it was for has ended."""
        with suppress(OSError):  # it was never written, or somebody else has been faster
            ((self._scratch or self.folder) / _list_name(name, run, hook)).unlink()

    def _lists(self) -> Path:
        """Where they are: where the project cannot be written, in a folder that nobody else can write to."""
        if not self._broken:
            return self.folder
        if self._scratch is None:
            import tempfile  # noqa: PLC0415 - as above

            self._scratch = Path(tempfile.mkdtemp(prefix="procwatch-"))
        return self._scratch

    def _drop_lists(self) -> None:
        """Remove all of the project's, those of a procwatch that was killed too; only with the lock."""
        with suppress(OSError):  # the folder itself is gone, or cannot be written: nothing to remove
            for path in self.folder.glob("changed-*.json"):
                path.unlink(missing_ok=True)


def _releases(written: Mapping[str, int]) -> Releases:
    return tuple((str(name), int(number)) for name, number in written.items())


def _list_name(name: str, run: int, hook: str | None) -> str:
    return f"changed-{name}-{run}{f'-{hook}' if hook else ''}.json"
