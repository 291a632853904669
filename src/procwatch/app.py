"""Composition root of `procwatch start`: build the parts, join them, run until stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from procwatch.config.find import FOLDER
from procwatch.config.recall import Declared, Request, problem, remember
from procwatch.core import messages as msg
from procwatch.core import names
from procwatch.core.model import Project
from procwatch.core.planner import initial, taking_part
from procwatch.errors import ConfigError
from procwatch.options import Options
from procwatch.output.console import Console, Look
from procwatch.runtime import descriptors
from procwatch.runtime.assigned import Assigner
from procwatch.runtime.census import become_subreaper
from procwatch.runtime.effects import Surroundings
from procwatch.runtime.engine import Engine
from procwatch.runtime.gate import Gate
from procwatch.runtime.guardian import is_orphan
from procwatch.runtime.inputs import Inputs
from procwatch.runtime.journal import Journal
from procwatch.runtime.parts import Parts
from procwatch.runtime.store import Store
from procwatch.runtime.strays import end_strays
from procwatch.runtime.tree import Forest
from procwatch.runtime.watcher import Watcher

# What ends procwatch: Ctrl-C, `kill`, a closed terminal.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A signal that comes twice so soon was sent once to the group and once more by a parent that forwards it.
_SAME_SIGNAL_S = 0.2

# Remembers what was read, for the next start.
Keep = Callable[[], None]


def run(request: Request, known: Declared, options: Options) -> int:
    """Run the project until it is stopped; the exit status. ConfigError where its `isolation` is not possible here."""
    if known.project.isolation == "pidns":
        from procwatch.runtime import namespace  # noqa: PLC0415 - few need it

        try:
            namespace.enter()
        except namespace.IsolationError as error:
            raise ConfigError((problem(request, ("project", "isolation"), f"project: {error}"),)) from error
    return asyncio.run(_run(request, known, options))


async def _run(request: Request, known: Declared, options: Options) -> int:
    chosen = taking_part(known.project, names.to_start(known.project, options.names))
    project = known.project.only(chosen)
    loop = asyncio.get_running_loop()
    look = Look(options.as_json, options.verbosity, options.clear)
    folder = Path(project.folder)
    console = Console(project, look, os.environ, loop, folder / FOLDER / "logs")
    store = Store(folder, console.report)
    try:
        console.begin()
        store.open()
        for warning in known.warnings:
            console.report(f"warning: {warning}")
        keep = partial(remember, request, known)
        return await _supervise(project, known.files, options, store, console, keep)
    finally:
        store.close()
        console.close()
        _be_deaf(loop)


async def _supervise(
    project: Project, definitions: tuple[Path, ...], options: Options, store: Store, console: Console, keep: Keep
) -> int:
    become_subreaper()
    descriptors.make_room(len(project.units))
    journal = Journal(store.folder / "processes.jsonl", console.report)
    await end_strays(journal.earlier, console.report)
    # In a namespace nothing can be left, and the ids that the file tells of mean nothing.
    if store.is_kept and project.isolation == "tree":
        journal.begin()
    forest = Forest(console.report, Gate(console.screen, console.logs), journal)
    inputs = Inputs(project, definitions)
    surroundings = Surroundings(project, os.environ, Assigner(Path(project.folder), store), console.color)
    watching = options.watch and any(_is_watched(project))
    state = initial(project, project.units, store.remembered(), watching=watching)
    engine = Engine(state, Parts(surroundings, inputs, forest, store, console))
    _on_failures(engine)
    _on_signals(engine, forest)
    watch = asyncio.create_task(_watch(project, inputs, engine, console, keep, watching=watching))
    try:
        return await engine.run()
    finally:
        journal.close(left=any(tree.members for tree in forest.trees))
        watch.cancel()
        await asyncio.wait([watch])


def _is_watched(project: Project) -> list[bool]:
    """For each unit whether a file can make it due."""
    files = bool(project.env_files)
    return [bool(unit.watch or unit.env_files or files) for unit in project.units.values()]


async def _watch(
    project: Project, inputs: Inputs, engine: Engine, console: Console, keep: Keep, *, watching: bool
) -> None:
    """Arm first, then begin: what is edited from here on is not lost."""
    watcher: Watcher | None = None
    try:
        watcher = Watcher(project, inputs, report=console.report)
        if watching:
            await watcher.start()
        engine.tell(msg.Begun())
        await asyncio.to_thread(keep)
        for warning in await asyncio.to_thread(inputs.warnings):
            console.report(f"warning: {warning}")
        if watching:
            async for batch in watcher.batches():
                for path in sorted(batch.definitions):
                    console.report(f"{path} has changed; end procwatch and start it again to use that")
                engine.tell(batch)
    except Exception as error:
        console.report(f"watching has failed: {error}; procwatch stops")
        engine.tell(msg.StopAsked(1))
    finally:
        if watcher is not None:
            await watcher.stop()


def _on_failures(engine: Engine) -> None:
    """What fails in a callback of the loop or in a thread is told, and ends all, like the failure of an effect."""
    loop = asyncio.get_running_loop()

    def in_loop(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        engine.fail(context.get("exception") or RuntimeError(context["message"]))

    def in_thread(failure: threading.ExceptHookArgs) -> None:
        with suppress(RuntimeError):  # the loop has ended: so has all else
            loop.call_soon_threadsafe(engine.fail, failure.exc_value or failure.exc_type())

    loop.set_exception_handler(in_loop)
    threading.excepthook = in_thread


def _on_signals(engine: Engine, forest: Forest) -> None:
    """The first signal stops in order, a second one kills at once; ended children are reaped."""
    loop = asyncio.get_running_loop()
    since: list[float] = []

    def asked(number: int) -> None:
        now_s = loop.time()
        if not since:
            engine.stop(128 + number)
            since.append(now_s)
        if now_s - since[0] > _SAME_SIGNAL_S or is_orphan():
            engine.kill_soon()

    for number in _ENDING:
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup: it is to outlive its terminal
        loop.add_signal_handler(number, asked, number)
    loop.add_signal_handler(signal.SIGCHLD, forest.reap)
    # A flood of signals fills the pipe that wakes the loop. Python's warning about that is made inside the signal
    # handler and can block on a lock that the main thread holds: seen, with a procwatch that hung for ever.
    signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)


def _be_deaf(loop: asyncio.AbstractEventLoop) -> None:
    """All is done, and only the interpreter has to end: a Ctrl-C now would change the exit status."""
    for number in _ENDING:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
