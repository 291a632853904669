"""What a supervisor starts, written down for the one after it: `.procwatch/processes.jsonl`.

Rule 1: the supervisor's own line is written before it starts anything, a leader's in the loop's turn after its start.
        What a kill between the two leaves is known by its environment, which holds the supervisor's token.
Rule 2: nothing here is needed to run. What cannot be written is told once; what cannot be understood is passed over.
Rule 3: it is not synced to the disk: what it tells of does not outlive the machine's memory either.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from procwatch.frozen import frozen
from procwatch.runtime import census

# Lines of trees that have ended are dropped when there are so many of them.
_OLD_LINES = 1000
# More than a thousand services and those old lines take; nobody else's file is read into memory.
_MAX_BYTES = 4 * 1024 * 1024


@frozen
class Leader:
    """The first process of a tree; `mark` is in the environment of all of it, `pipe` is the inode of its output."""

    name: str
    process: census.Member
    mark: str
    pipe: int


@frozen
class Supervisor:
    """One that wrote itself and its leaders down. `forks`: how many the machine had seen when it began."""

    process: census.Member
    token: str
    forks: int
    leaders: tuple[Leader, ...] = ()


class Journal:
    """The file of the supervisor that runs now; `earlier` is the one before it, if that was killed."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.token = os.urandom(8).hex()
        self.earlier = read(path)
        self._path = path
        self._report = report
        self._file: int | None = None
        self._lines = 0
        self._leaders: dict[str, Leader] = {}

    def begin(self) -> None:
        """Write down this supervisor, in place of the one before it."""
        if census.HAS_PROC:
            self._write_anew()

    def renew(self) -> None:
        """Write it again: the file has been removed."""
        if self._file is not None:
            self._write_anew()

    def add(self, leaders: Sequence[Leader]) -> None:
        """These have been started."""
        self._leaders |= {leader.mark: leader for leader in leaders}
        if self._file is None:
            return
        self._lines += len(leaders)
        if self._lines > _OLD_LINES + 2 * len(self._leaders):
            self._write_anew()
            return
        try:
            os.write(self._file, b"".join(map(_leader_line, leaders)))
        except OSError as error:
            self._give_up(error)

    def forget(self, marks: Iterable[str]) -> None:
        """Nothing is left of these trees."""
        for mark in marks:
            self._leaders.pop(mark, None)

    def close(self, *, left: bool) -> None:
        """Stop writing; the file stays only if something is `left` that could not be ended."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            if not left:
                with suppress(OSError):  # an old one only costs the next start a look
                    self._path.unlink(missing_ok=True)

    def _write_anew(self) -> None:
        """All at once, so that a kill in the midst of it leaves the old file or the new one."""
        draft = self._path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        old, self._file, self._lines = self._file, None, len(self._leaders)
        if old is not None:
            os.close(old)
        try:
            self._file = os.open(draft, flags, 0o600)
            os.write(self._file, self._own_line() + b"".join(map(_leader_line, self._leaders.values())))
            draft.replace(self._path)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._report(
            f"{self._path} cannot be written ({error.strerror}); what runs could not be found after a kill of procwatch"
        )

    def _own_line(self) -> bytes:
        own = census.look_up(os.getpid()) or census.Member(os.getpid(), 0)
        where = {"boot": _boot(), "space": _space(), "forks": forks()}
        return _line({"supervisor": [own.pid, own.started], "token": self.token, **where})


def read(path: Path) -> Supervisor | None:
    """The supervisor that the file tells of, if its process ids mean the same here and now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
                return None
            return parse(os.read(descriptor, _MAX_BYTES), _boot(), _space())
        finally:
            os.close(descriptor)
    except OSError:  # there is none, or it is nobody's business
        return None


def parse(content: bytes, boot: str, space: int) -> Supervisor | None:
    """What the lines say, if they are of this boot of the machine and this space of process ids."""
    first, *others = map(_entry, content.split(b"\n"))
    if not boot or first.get("boot") != boot or first.get("space") != space:
        return None
    process, token, forks_then = _process(first.get("supervisor")), first.get("token"), first.get("forks")
    if process is None or not isinstance(token, str) or not token or not isinstance(forks_then, int):
        return None
    leaders = (_leader(entry, token) for entry in others)
    return Supervisor(process, token, forks_then, tuple(leader for leader in leaders if leader))


def forks() -> int:
    """How many processes and threads the machine has started since it booted; -1 where that is not told."""
    try:
        lines = Path("/proc/stat").read_bytes().split(b"\n")
        return next((int(line.split()[1]) for line in lines if line.startswith(b"processes ")), -1)
    except (OSError, ValueError, IndexError):
        return -1


def _boot() -> str:
    """What differs with every boot; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().decode().strip()
    except (OSError, ValueError):
        return ""


def _space() -> int:
    """The namespace in which process ids are counted: the same id is another process in each."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode("ascii") + b"\n"


def _leader_line(leader: Leader) -> bytes:
    process = [leader.process.pid, leader.process.started]
    return _line({"leader": process, "name": leader.name, "mark": leader.mark, "pipe": leader.pipe})


def _entry(line: bytes) -> dict[str, Any]:
    """One line's content; none if it was cut, or is no line of ours."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _leader(entry: dict[str, Any], token: str) -> Leader | None:
    match entry:
        case {"leader": process, "name": str(name), "mark": str(mark), "pipe": int(pipe)}:
            known = _process(process)
            return Leader(name, known, mark, pipe) if known and mark.startswith(f"{token}-") else None
    return None


def _process(entry: object) -> census.Member | None:
    """An id and a start time, both of which must be known."""
    match entry:
        case [int(pid), int(started)] if pid > 1 and started > 0 and bool not in (type(pid), type(started)):
            return census.Member(pid, started)
    return None
