"""Start one process tree, hand on what it prints, and tell how it ended.

Rule 1: the end is noticed when the leader ends, never by the pipe, which a grandchild may hold for hours.
Rule 2: what the leader printed has been handed on before its end is told.
Rule 3: every descriptor is close-on-exec; it is closed when nobody can write to it any more, or by `close`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, Protocol

from procwatch.core.model import Command, Exit, StopPolicy
from procwatch.errors import ProcwatchError
from procwatch.frozen import field, frozen
from procwatch.runtime import descriptors, handover
from procwatch.runtime.census import HAS_PIDFD
from procwatch.runtime.gate import Gate
from procwatch.runtime.handover import Child
from procwatch.runtime.pipe import Feed, Pipe, open_pipe, open_stdin
from procwatch.runtime.program import check_folder, explain, find_program
from procwatch.runtime.sockets import Handed
from procwatch.runtime.terminal import Size, Terminal, open_terminal
from procwatch.runtime.tree import MARK, Forest, Identity, Tree
from procwatch.runtime.wrapper import becoming, wrapped

# What a shell ends with when its last command was killed by SIGKILL.
_SHELLS_SIGKILL = 128 + signal.SIGKILL


class Sink(Protocol):
    """Where the output of one process goes.

    What a run leaves running may still print after `finish`; `finish` is called again when that has ended too.
    """

    def feed(self, data: bytes, /) -> None:
        """Take a piece of output, cut anywhere."""

    def finish(self, failed: bool = False) -> None:
        """The leader has ended; `failed` shows what was kept back."""


@frozen
class Spec:
    """What to start: `env` is its whole environment, `cwd` is absolute, `stop` is how its tree ends at the last.

    `terminal`: it runs on a pseudo-terminal of this size, and `stdin` means nothing; None: on pipes. A number as
    `stdin` is a descriptor, which stays its owner's. `handed`: the sockets that it is given.
    """

    command: Command
    shell: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    stdin: Literal["null", "open"] | int = "null"
    stop: StopPolicy = field(default_factory=StopPolicy)
    terminal: Size | None = None
    handed: tuple[Handed, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments; a string is one argument of the shell."""
        return (*self.shell, self.command) if isinstance(self.command, str) else self.command


class SpawnError(ProcwatchError):
    """Nothing was started; `exit` is how a shell would have ended, and why in words."""

    def __init__(self, refusal: Exit) -> None:
        self.exit = refusal
        super().__init__(refusal.words)


def start(spec: Spec, feed: Feed, forest: Forest) -> Process:
    """Start a command in a session of its own; `feed` gets its standard output and error. Raises SpawnError.

    It is given `spec.env` and, besides, the mark by which its tree is known (PROCWATCH_TREE).
    """
    program = _find_program(spec)
    mark = forest.new_mark()
    with ExitStack() as ours, ExitStack() as childs:
        try:
            stdio = _on_pipes(spec, ours, childs) if spec.terminal is None else _on_terminal(spec, ours)
            with descriptors.handing_on():
                child = _spawn(spec, program, {**spec.env, MARK: mark}, stdio)
        except (OSError, ValueError) as error:
            raise SpawnError(explain(error, spec.argv[0], spec.cwd / program)) from error
        ours.pop_all()
    name = spec.env.get("PROCWATCH_NAME") or spec.argv[0]
    shell_argv = spec.argv if isinstance(spec.command, str) else ()
    tree = forest.plant(child.pid, Identity(name, mark, spec.stop, shell_argv, stdio.pipe_inode))
    return Process(child, tree, forest, stdio.reader(feed, forest.gate))


def exit_of(status: int, *, memory_ran_out: bool = False) -> Exit:
    """How a process ended, from the status that waitpid(2) gives.

    `memory_ran_out`: the kernel has killed something meanwhile, which may have been this, or what a shell waited for.
    """
    code = os.waitstatus_to_exitcode(status)
    doubt = " (out of memory?)" if memory_ran_out and code in (-signal.SIGKILL, _SHELLS_SIGKILL) else ""
    if code >= 0:
        return Exit(code, f"exit {code}{doubt}")
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name of its own
        name = f"signal {-code}"
    dumped = " (core dumped)" if os.WCOREDUMP(status) else ""
    return Exit(128 - code, f"killed by {name}{doubt}{dumped}")


class Process:
    """A leader that runs, and its tree. Whoever starts one ends it with `end`, `kill` or `release`."""

    def __init__(self, child: subprocess.Popen[bytes] | Child, tree: Tree, forest: Forest, pipe: Pipe) -> None:
        self.pid = child.pid
        self._child = child
        self._tree = tree
        self._forest = forest
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._pidfd: int | None = None
        self._watch_for_exit()

    @property
    def terminal(self) -> Terminal | None:
        """What it runs on, if that is a terminal."""
        return self._pipe if isinstance(self._pipe, Terminal) else None

    @property
    def exit(self) -> Exit | None:
        """How the leader ended; None while it runs."""
        return self._exit.result() if self._exit.done() else None

    async def wait(self) -> Exit:
        """How the leader ended, when it has; what it printed has been handed on. Others of its tree may live on."""
        return await asyncio.shield(self._exit)

    async def signal(self, name: str) -> bool:
        """Signal the program: the leader, or the shell's children where the leader is still the project's shell.

        False when it has ended, or may not be signalled.
        """
        return not self._exit.done() and await self._tree.signal_program(signal.Signals[name])

    async def end(self, policy: StopPolicy) -> bool:
        """Stop the whole tree: signal, grace, kill. Returns when nothing is left; False if something cannot be ended.

        Cancelled, it kills at once and then raises CancelledError.
        """
        try:
            return await self._tree.end(policy)
        finally:
            self.close()

    async def kill(self) -> bool:
        """Kill the whole tree. Returns when nothing is left; False if something cannot be ended."""
        try:
            return await self._tree.kill()
        finally:
            self.close()

    async def pids(self) -> tuple[int, ...]:
        """The processes of its tree that are alive now."""
        return tuple(member.pid for member in await self._tree.look())

    async def descendants_left(self) -> bool:
        """Whether anything but the leader is alive."""
        return bool(await self._tree.look() - {self._tree.leader})

    async def release(self, silent: Callable[[], None]) -> None:
        """Let what is left live on until the forest is ended; its output is handed on, and then `silent` is called.

        Where nothing is left that could print, `silent` is called at once.
        """
        self._pipe.close_stdin()
        if not await self._tree.look():
            self.close()
        self._pipe.when_silent(silent)

    def close(self) -> None:
        """Hand on what has been printed and stop reading. May be called again."""
        self._collect()
        self._pipe.close()

    def _did_memory_run_out(self) -> bool:
        """Whether the kernel has ended anything for that since the start."""
        return self._forest.oom_kills() > self._tree.oom_kills

    def _watch_for_exit(self) -> None:
        if HAS_PIDFD:
            try:
                self._pidfd = descriptors.lift(os.pidfd_open(self.pid))
            except OSError:  # an old kernel, a sandbox, or no descriptor is free: a thread waits instead
                self._pidfd = None
        if self._pidfd is None:
            threading.Thread(target=self._wait_in_thread, name=f"wait-{self.pid}", daemon=True).start()
        else:
            self._loop.add_reader(self._pidfd, self._collect)

    def _wait_in_thread(self) -> None:
        with suppress(ChildProcessError):  # `close` was faster
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with suppress(RuntimeError):  # the loop has ended: nobody asks any more
            self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        """Take the leader's exit status, if it has ended: drain its output, then tell."""
        if self._exit.done():
            return
        self._forest.write_down()
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # another part of the program took the status: better told than guessed
            pid, found = self.pid, Exit(1, "exit status unknown")
            self._child.returncode = found.code
        else:
            if pid == 0:
                return
            self._child.returncode = os.waitstatus_to_exitcode(status)
            found = exit_of(status, memory_ran_out=not self._tree.was_struck and self._did_memory_run_out())
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        try:
            self._pipe.drain()
        finally:  # whoever waits for the end must learn of it, even if the output finds no taker
            self._forest.collected(self._tree)
            self._exit.set_result(found)


def _find_program(spec: Spec) -> str:
    """The file to run, looked for as the child would. Raises SpawnError."""
    name = spec.argv[0] if spec.argv else ""
    try:
        if refusal := check_folder(spec.cwd):
            raise SpawnError(refusal)
        found = find_program(name, spec.cwd, spec.env.get("PATH", os.defpath))
    except ValueError as error:  # a null byte in a path
        raise SpawnError(explain(error, name, spec.cwd)) from error
    if isinstance(found, str):
        return found
    shell = " (project.shell)" if isinstance(spec.command, str) else ""
    raise SpawnError(Exit(found.code, found.words + shell))


@frozen
class _Stdio:
    """What a process is started with: its ends, and the name of the terminal that it is to acquire.

    `stdin` None: nothing to read. `reader` makes our side of them.
    """

    stdin: int | None
    output: int
    pipe_inode: int
    reader: Callable[[Feed, Gate | None], Pipe]
    terminal: str | None = None


def _spawn(spec: Spec, program: str, env: Mapping[str, str], stdio: _Stdio) -> subprocess.Popen[bytes] | Child:
    if spec.handed:
        command = (*spec.shell, becoming(spec.command)) if isinstance(spec.command, str) else spec.command
        argv = wrapped(command, env, terminal=stdio.terminal, listens_in=spec.cwd)
        return handover.spawn(argv, {**env, **handover.variables(spec.handed)}, stdio.stdin, stdio.output, spec.handed)
    argv = wrapped(spec.argv, env, terminal=stdio.terminal)
    return subprocess.Popen(
        argv,
        executable=program if argv is spec.argv else argv[0],
        cwd=spec.cwd,
        env=env,
        stdin=subprocess.DEVNULL if stdio.stdin is None else stdio.stdin,
        stdout=stdio.output,
        stderr=stdio.output,
        start_new_session=True,
    )


def _on_pipes(spec: Spec, ours: ExitStack, childs: ExitStack) -> _Stdio:
    output, childs_output = open_pipe(ours, childs)
    given = spec.stdin if isinstance(spec.stdin, int) else None
    stdin, childs_stdin = open_stdin(ours, childs) if spec.stdin == "open" else (None, given)
    inode = os.fstat(output).st_ino
    return _Stdio(childs_stdin, childs_output, inode, lambda feed, gate: Pipe(output, feed, stdin, gate))


def _on_terminal(spec: Spec, ours: ExitStack) -> _Stdio:
    """Our side holds the program's end open too. All terminals are one inode, which tells nothing."""
    assert spec.terminal is not None
    master, slave = open_terminal(spec.terminal, ours)
    return _Stdio(slave, slave, 0, lambda feed, gate: Terminal(master, slave, feed, gate), os.ttyname(slave))
