"""What belongs to which process tree; ask a tree to end, and see to it that nothing of it is left.

Rule 1: what was once seen in a tree belongs to it until it ends, whoever its parent is by then.
Rule 2: a process belongs to one tree at most, and only what belongs to a tree is ever signalled.
Rule 3: nothing is waited for without a limit; what cannot be ended is told, with its id and its name.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import cached_property
from typing import Any

from procwatch.core.model import StopPolicy
from procwatch.frozen import frozen
from procwatch.runtime import census
from procwatch.runtime.gate import Gate
from procwatch.runtime.journal import Journal, Leader
from procwatch.runtime.oom import OomKills

# The variable that tells which tree a process comes from. It differs with every start, where PROCWATCH_NAME and
# PROCWATCH_RUN are the same for a service and its hooks.
MARK = "PROCWATCH_TREE"
# What nobody waits for is done so much later: a build's success has its service stopped and started meanwhile.
_MOMENT_S = 0.02
# A fork storm of 1,245 processes took 0.55 s to kill; what is still there after ten seconds hangs in the kernel.
KILL_LIMIT_S = 10.0


@frozen
class Identity:
    """What a tree is known by: its `name` in messages, the `mark` in its environment, how it ends at the last.

    `shell_argv` is what its leader was started as when that is the project's shell, else empty; `pipe` is the inode of
    the pipe that it prints into.
    """

    name: str
    mark: str
    stop: StopPolicy
    shell_argv: tuple[str, ...]
    pipe: int = 0


class Tree:
    """One leader, the process `pid`, and all that comes from it. `oom_kills`: how many there had been at its start."""

    def __init__(self, forest: Forest, pid: int, identity: Identity, oom_kills: int) -> None:
        self.pid = pid
        self.identity = identity
        self.oom_kills = oom_kills
        self.was_empty = False
        # Whether it has been sent SIGKILL from here.
        self.was_struck = False
        self._forest = forest

    @cached_property
    def leader(self) -> census.Member:
        """The leader as the system shows it; first asked for before it is waited for (`Forest.write_down`)."""
        with suppress(OSError):  # no descriptor is free: then it is only known by its id, and its group is killed
            if found := census.look_up(self.pid):
                return found
        return census.Member(self.pid, 0)

    @cached_property
    def members(self) -> frozenset[census.Member]:
        """What the last survey of the forest found alive."""
        return frozenset({self.leader})

    async def look(self) -> frozenset[census.Member]:
        """What is alive of it now; a process that was started during the look may be missing."""
        await self._forest.survey()
        return self.members

    async def look_surely(self) -> frozenset[census.Member]:
        """What is alive of it now; nothing only if two looks, one after the other, have found nothing."""
        return await self.look() or await self.look()

    async def end(self, policy: StopPolicy) -> bool:
        """Signal, grace, then kill what is left. Returns when nothing is; False, and told, if something cannot be.

        The leader (or the whole group) is told first, and whatever outlives the leader then gets the same signal. A
        cancellation ends the grace: all of it is killed at once, and then CancelledError is raised.
        """
        try:
            async with asyncio.timeout(policy.grace_s):
                await self._ask(policy)
                return True
        except TimeoutError:
            pass  # the grace is over: the kill follows
        except asyncio.CancelledError:
            await self.kill()
            raise
        return await self.kill()

    async def kill(self) -> bool:
        """SIGKILL, in rounds, until nothing is left. False, and told, if something cannot be killed."""
        self._strike()
        left = self.members
        try:
            async with asyncio.timeout(KILL_LIMIT_S):
                while left := await self.look_surely():
                    await census.all_gone(self._strike())
                    if not any(census.may_signal(member) for member in left):
                        break  # all of it is another user's: another round would change nothing
        except TimeoutError:
            left = await self.look()  # what hangs is told below
        for member in left:
            self._forest.tell(complaint(self.identity.name, member))
        return not left

    async def signal_program(self, number: int) -> bool:
        """Signal the leader, or the shell's own children where the leader is still the project's shell.

        A shell that has set a trap for it gets it itself. False when there was nobody to tell, or nobody who may be.
        """
        if not self._leader_is_shell() or census.catches(self.leader, number):
            return bool(census.send_all({self.leader}, number))
        children = {member for member in await self.look() if member.parent == self.pid}
        return bool(census.send_all(children, number))

    async def _ask(self, policy: StopPolicy) -> None:
        """Tell everybody who is to be told, each once, and return when all of them are gone."""
        number = signal.Signals[policy.signal]
        members = await self.look()
        if not members:
            return
        told = self._tell_first(policy, members, number)
        if self.leader in members:
            await census.gone(self.leader)
        while members := await self.look_surely():
            _tell(members - told, number)
            told |= members
            await census.all_gone(members)

    def _tell_first(
        self, policy: StopPolicy, members: frozenset[census.Member], number: int
    ) -> frozenset[census.Member]:
        """Tell the leader, or its whole group, or what it has left; gives who has been told."""
        if self.leader not in members:
            _tell(members, number)
            return members
        if policy.to == "leader" and not self._leader_is_shell():
            _tell({self.leader}, number)
            return frozenset({self.leader})
        # All at one moment: a shell that sees its child end first would go on to its next command.
        self._send_group(number)
        self._send_group(signal.SIGCONT)
        return frozenset(member for member in members if member.group == self.pid)

    def _leader_is_shell(self) -> bool:
        """Whether the leader is still the project's shell, which has not given way to the program by `exec`."""
        argv = self.identity.shell_argv
        return bool(argv) and self._forest.is_uncollected(self) and census.runs_as(self.pid, argv)

    def _strike(self) -> list[census.Member]:
        """SIGKILL to the group and to every known member; gives those that got it."""
        self.was_struck = True
        self._send_group(signal.SIGKILL)
        return census.send_all(self.members, signal.SIGKILL)

    def _send_group(self, number: int) -> None:
        """Signal the group as long as its id is surely its own, which it is until the leader has been waited for."""
        if self._forest.is_uncollected(self):
            # It may have ended or be another user's: what is alive then is tried, and told, one by one.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


def complaint(name: str, member: census.Member) -> str:
    """Why this process of a tree is still there after it was killed."""
    reason = "it hangs in the kernel" if census.may_signal(member) else "it belongs to another user"
    return f"{name}: process {member.pid} ({census.command_name(member.pid)}) cannot be ended: {reason}"


def _tell(members: Iterable[census.Member], number: int) -> None:
    """Signal each of them, and wake it: a stopped process would hear the signal only when it goes on."""
    census.send_all(census.send_all(members, number), signal.SIGCONT)


class Forest:
    """All trees of this process, and which process belongs to which of them.

    It waits for every child of this process that is not a leader: nothing else here may start children and wait for
    them. `tell` gets a line in words for each process that cannot be ended; `gate` says when their output may be read;
    `journal` keeps what is started for the next supervisor.
    """

    def __init__(self, tell: Callable[[str], None], gate: Gate | None = None, journal: Journal | None = None) -> None:
        self.tell = tell
        self.gate = gate
        self._journal = journal
        self._marks_made = 0
        self._token = journal.token if journal else os.urandom(8).hex()
        self.oom_kills: Callable[[], int] = OomKills()
        self._trees: list[Tree] = []
        # The newest tree of each leader's id, as long as the id is used by the leader, its group or its session.
        self._by_leader: dict[int, Tree] = {}
        self._uncollected: set[int] = set()
        self._known: dict[census.Member, Tree] = {}
        self._marks: dict[census.Member, str | None] = {}
        # Those whose leaders are still to be written down, and how often memory had run out before the first of them.
        self._new: list[Tree] = []
        self._oom_kills_before = 0
        self._queued: asyncio.Task[None] | None = None
        self._surveying = asyncio.Lock()
        self._soon: set[asyncio.Task[None]] = set()
        self._is_ending = asyncio.Event()

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The trees of which something may be alive, the oldest first."""
        return tuple(self._trees)

    def new_mark(self) -> str:
        """What a tree that is about to be started is to have in its environment (MARK)."""
        self._marks_made += 1
        return f"{self._token}-{self._marks_made}"

    def plant(self, pid: int, identity: Identity) -> Tree:
        """A new tree, whose leader has just been started and not been waited for."""
        if not self._new:
            self._oom_kills_before = self.oom_kills()
            asyncio.get_running_loop().call_soon(self.write_down)
        tree = Tree(self, pid, identity, self._oom_kills_before)
        self._trees.append(tree)
        self._by_leader[pid] = tree
        self._uncollected.add(pid)
        self._new.append(tree)
        return tree

    def write_down(self) -> None:
        """Look at the new leaders, all that one turn of the loop has started; to be called before one is waited for.

        Whoever looks at a process right after its start has to wait until its exec is over: 0.4 ms for each of them.
        """
        new, self._new = self._new, []
        leaders = [Leader(one.identity.name, one.leader, one.identity.mark, one.identity.pipe) for one in new]
        if self._journal is not None and leaders:
            self._journal.add(leaders)

    def is_uncollected(self, tree: Tree) -> bool:
        """Whether the leader has not been waited for, so that its id is surely its own."""
        return tree.pid in self._uncollected and self._by_leader.get(tree.pid) is tree

    def collected(self, tree: Tree) -> None:
        """The leader has ended and its parent has waited for it."""
        self._uncollected.discard(tree.pid)
        tree.members -= {tree.leader}
        self.reap()

    def reap(self) -> None:
        """Wait for adopted orphans that have ended; leaders are left to those who started them.

        Cheap: it may be called at every SIGCHLD. Without it a zombie stays until the next survey.
        """
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            while (ended := os.waitid(os.P_ALL, 0, options)) and ended.si_pid not in self._uncollected:
                os.waitpid(ended.si_pid, os.WNOHANG)
        except ChildProcessError:
            pass  # there are no children at all

    async def survey(self) -> None:
        """Bring `members` of every tree up to date, by a scan that begins after this call."""
        if self._queued is None:
            self._queued = asyncio.get_running_loop().create_task(self._survey())
        await asyncio.shield(self._queued)

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Have this done in a moment, when what follows from what is under way has been started; or before `end`."""
        task = asyncio.get_running_loop().create_task(self._in_a_moment(work))
        self._soon.add(task)
        task.add_done_callback(self._done)

    async def _in_a_moment(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MOMENT_S):
                    await self._is_ending.wait()
            await work
        finally:
            work.close()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._soon.discard(task)
        if not task.cancelled():
            task.result()  # what it has failed of is the loop's to tell

    async def end(self) -> None:
        """End all that is left of any tree, each with its own signal and grace."""
        self._is_ending.set()
        if self._soon:
            await asyncio.wait(self._soon)
        await asyncio.gather(*(tree.end(tree.identity.stop) for tree in self._trees))

    async def kill(self) -> None:
        """Kill all that is left of any tree, at once."""
        await asyncio.gather(*(tree.kill() for tree in self._trees))

    async def sweep(self) -> None:
        """Kill every orphan that this process has adopted: at the end nothing of what it started is anybody else's."""
        async with asyncio.timeout(KILL_LIMIT_S):
            while orphans := await self._orphans():
                await census.all_gone(census.send_all(orphans, signal.SIGKILL))

    async def _orphans(self) -> set[census.Member]:
        self.reap()
        here = os.getpid()
        adopted = {one for one in (await census.family()).values() if one.parent == here and not one.zombie}
        return {one for one in adopted if one.pid not in self._uncollected and census.may_signal(one)}

    async def _survey(self) -> None:
        async with self._surveying:  # one at a time: two that overlap could both miss the same process
            self._queued = None  # whoever asks from here on wants a later scan
            await self._look_around()

    async def _look_around(self) -> None:
        self.reap()
        asked_for = tuple(self._trees)  # what is planted during the scan may be missing in it
        seen = await census.family()
        await self._read_marks(seen)
        owners: dict[int, Tree | None] = {}
        for pid in seen:
            self._find_owner(pid, seen, owners)
        owned = {seen[pid]: tree for pid, tree in owners.items() if tree and pid in seen and not seen[pid].zombie}
        self._note(owned, asked_for)

    def _is_gone(self, tree: Tree) -> bool:
        """Whether a second look in a row has found nothing of it."""
        return tree.was_empty and not tree.members and not self.is_uncollected(tree)

    async def _read_marks(self, seen: census.Census) -> None:
        """The marks of adopted strays, read once each: a program may clear its environment later."""
        here = os.getpid()
        strays = {one for one in seen.values() if one.parent == here and not one.zombie}
        strays = {one for one in strays if one.pid not in self._uncollected and one not in self._known}
        known = {one: self._marks[one] for one in strays if one in self._marks}
        self._marks = known | {one: await census.variable_of(one.pid, MARK) for one in strays - known.keys()}

    def _find_owner(self, pid: int, seen: census.Census, owners: dict[int, Tree | None]) -> None:
        """Write down to which tree a process and its ancestors belong: the nearest one that tells decides."""
        line: list[int] = []
        owner: Tree | None = None
        while owner is None and pid in seen and pid not in owners:
            line.append(pid)
            owners[pid] = None
            owner = self._own_sign(seen[pid])
            pid = seen[pid].parent
        owner = owner or owners.get(pid)
        owners.update(dict.fromkeys(line, owner))

    def _own_sign(self, member: census.Member) -> Tree | None:
        """The tree that a process shows by itself: known from before, in its group or session, or by its mark."""
        if member.pid in self._uncollected:
            return self._by_leader[member.pid]
        if known := self._known.get(member):
            return known
        if kin := self._by_leader.get(member.group) or self._by_leader.get(member.session):
            return kin
        mark = self._marks.get(member)
        return next((tree for tree in self._trees if tree.identity.mark == mark), None) if mark else None

    def _note(self, owned: dict[census.Member, Tree], asked_for: tuple[Tree, ...]) -> None:
        """Hand its members to each tree; forget the trees that are empty, and the ids that are free again."""
        used = set(self._uncollected)
        for member in owned:
            used |= {member.group, member.session}
        for tree in asked_for:
            tree.members = frozenset(member for member, owner in owned.items() if owner is tree)
        self._known = owned
        gone = {tree for tree in self._trees if self._is_gone(tree)}
        self._trees = [tree for tree in self._trees if tree not in gone]
        if self._journal is not None:
            self._journal.forget(tree.identity.mark for tree in gone)
        for tree in asked_for:
            tree.was_empty = not tree.members
        self._by_leader = {pid: tree for pid, tree in self._by_leader.items() if pid in used}
