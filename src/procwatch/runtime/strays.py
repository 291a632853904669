"""Find and end what an earlier supervisor of this project has left: it and its guardian were killed at once.

Rule 1: an id counts only together with its start time, or where it cannot have been given out a second time.
Rule 2: nothing is ended while that supervisor lives, nor the tree in which this procwatch itself runs.
Rule 3: to be called with the project's lock, and before anything is started.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from procwatch.errors import printable
from procwatch.runtime import census
from procwatch.runtime.journal import Supervisor, forks
from procwatch.runtime.tree import KILL_LIMIT_S, MARK, complaint

# So many are named in the line that tells what was ended.
_NAMED = 5


async def end_strays(earlier: Supervisor | None, tell: Callable[[str], None]) -> None:
    """Kill in rounds what the supervisor before this one has left, until nothing is there; it is told in a line."""
    if earlier is None or not census.HAS_PROC or census.is_alive(earlier.process):
        return
    search = _Search(earlier)
    ended: dict[census.Member, str] = {}
    left: dict[census.Member, str] = {}
    try:
        async with asyncio.timeout(KILL_LIMIT_S):
            while left := await search.look():
                ended |= left
                await census.all_gone(census.send_all(left, signal.SIGKILL))
                if not any(census.may_signal(member) for member in left):
                    break  # all of it is another user's: another round would change nothing
    except TimeoutError:
        left = await search.look()
    for member, mark in left.items():
        tell(complaint(search.name_of(mark), member))
    if names := [f"{search.name_of(mark)} ({member.pid})" for member, mark in ended.items() if member not in left]:
        tell(f"ended {_some(names)} that an earlier procwatch had left")
    for name in sorted(search.spared):
        tell(f"{name} of an earlier procwatch is left as it is: this procwatch runs in it")


def _some(names: list[str]) -> str:
    """How many, and the first of them by name."""
    noun = "process" if len(names) == 1 else "processes"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} {noun} ({', '.join(names[:_NAMED])}{more})"


class _Search:
    """What is there of one supervisor's trees; `spared` has the names of those that must not be ended."""

    def __init__(self, earlier: Supervisor) -> None:
        self.spared: set[str] = set()
        self._earlier = earlier
        self._leaders = {leader.process: leader for leader in earlier.leaders}
        self._names = {leader.mark: leader.name for leader in earlier.leaders}
        self._pipes = {f"pipe:[{leader.pipe}]": leader.mark for leader in earlier.leaders}
        self._marks: dict[census.Member, str | None] = {}
        self._sessions: dict[int, str] = {}
        self._is_first_round = not _may_have_come_round(earlier.forks)

    def name_of(self, mark: str) -> str:
        """Whose tree it is; unknown if the supervisor was killed before it could write that down."""
        return printable(self._names.get(mark, "unknown"))

    async def look(self) -> dict[census.Member, str]:
        """All that is alive of them now, each with the mark of its tree."""
        seen = await census.scan()
        await self._read_marks(seen.values())
        self._learn_sessions(seen)
        owners = {pid: mark for pid, member in seen.items() if (mark := self._own_sign(member))}
        _add_descendants(owners, seen)
        spared = {owners[pid] for pid in _line_of(os.getpid(), seen) if pid in owners}
        self.spared |= {self.name_of(mark) for mark in spared}
        found = {seen[pid]: mark for pid, mark in owners.items() if mark not in spared and not seen[pid].zombie}
        # What they are doing between this look and the next one happens in their own sessions.
        self._sessions |= {one.pid: mark for one, mark in found.items() if one.pid == one.session}
        return found

    async def _read_marks(self, seen: Iterable[census.Member]) -> None:
        """The marks of all that has begun since that supervisor; threads of the kernel have no session."""
        since = self._earlier.process.started
        new = [one for one in seen if one.started >= since and one.session and not one.zombie]
        new = [one for one in new if one not in self._marks]
        marks = await asyncio.gather(*(census.variable_of(one.pid, MARK) for one in new))
        self._marks |= dict(zip(new, marks, strict=True))

    def _learn_sessions(self, seen: census.Census) -> None:
        """The sessions of leaders whose ids have surely not been given out again."""
        shown = {(one.session, mark) for one, mark in self._marks.items() if mark and seen.get(one.pid) == one}
        for leader in self._leaders.values():
            pid = leader.process.pid
            if seen.get(pid, leader.process) != leader.process:
                continue
            if pid in seen or self._is_first_round or (pid, leader.mark) in shown:
                self._sessions[pid] = leader.mark

    def _own_sign(self, member: census.Member) -> str | None:
        """The tree that a process shows by itself: its leader, its mark, its pipe, its session.

        A pipe tells only where the environment was cleared: a descriptor can be handed to a stranger.
        """
        if member in self._leaders:
            return self._leaders[member].mark
        mark = self._marks.get(member)
        if mark and mark.startswith(f"{self._earlier.token}-"):
            return mark
        if member not in self._marks:  # it is older, or a thread of the kernel
            return None
        if mark is None and (pipes := census.prints_into(member.pid) & self._pipes.keys()):
            return self._pipes[min(pipes)]
        return self._sessions.get(member.session)


def _add_descendants(owners: dict[int, str], seen: census.Census) -> None:
    """Whoever shows nothing by itself belongs where its nearest ancestor does that shows something."""
    while more := {pid: owners[one.parent] for pid, one in seen.items() if one.parent in owners and pid not in owners}:
        owners |= more


def _line_of(pid: int, seen: Mapping[int, census.Member]) -> list[int]:
    """A process and its ancestors."""
    line: list[int] = []
    while pid in seen and pid not in line:
        line.append(pid)
        pid = seen[pid].parent
    return line


def _may_have_come_round(forks_then: int) -> bool:
    """Whether an id that was free since then may be in use again: they are given out one after the other.

    Half of them as a margin, for those that are in use all the time and are passed over.
    """
    try:
        most = int(Path("/proc/sys/kernel/pid_max").read_bytes())
    except (OSError, ValueError):
        return True
    return forks_then < 0 or not 0 <= forks() - forks_then < most // 2
