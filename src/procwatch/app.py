"""Composition root of `procwatch start`, and of a `build` without it: build the parts, join them, run until stopped."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from procwatch.config.find import FOLDER
from procwatch.config.recall import Declared, Request, problem
from procwatch.core import messages as msg
from procwatch.core import names
from procwatch.core.model import Project
from procwatch.core.planner import initial, taking_part
from procwatch.errors import ConfigError
from procwatch.frozen import frozen
from procwatch.options import Options
from procwatch.output.console import OWN_LOG, Console, Look
from procwatch.runtime import descriptors, detach
from procwatch.runtime.assigned import Assigner
from procwatch.runtime.census import become_subreaper
from procwatch.runtime.chronicle import Chronicle
from procwatch.runtime.commands import Commands
from procwatch.runtime.configuration import Asked, Configuration, can_be_due
from procwatch.runtime.effects import Surroundings
from procwatch.runtime.engine import Engine
from procwatch.runtime.fronts import Fronts
from procwatch.runtime.gate import Gate
from procwatch.runtime.guardian import front_pid, is_orphan
from procwatch.runtime.inputs import Inputs
from procwatch.runtime.journal import Journal
from procwatch.runtime.keys import Keys
from procwatch.runtime.own_folder import OwnFolder
from procwatch.runtime.parts import Parts
from procwatch.runtime.public_ports import Opening
from procwatch.runtime.releases import ReleaseStore
from procwatch.runtime.server import Server
from procwatch.runtime.signals import Signals
from procwatch.runtime.sockets import Sockets, how_many
from procwatch.runtime.stopping import Stopped
from procwatch.runtime.store import FINGERPRINTS, Store
from procwatch.runtime.strays import end_strays
from procwatch.runtime.systemd import Notifier
from procwatch.runtime.terminal import Size
from procwatch.runtime.terminals import Terminals
from procwatch.runtime.tree import Forest

# What ends procwatch: Ctrl-C, `kill`, a closed terminal.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# From when all is watched: so long a start is spared the search for garbage, of which it makes little. It takes 6 of 90
# ms, 20 of 220 in a new folder, and 40 at once with 100,000 files.
_NO_GARBAGE_S = 1.0
# What patterns take in is told a moment later than the first starts: in 100,000 files that takes a while to say.
_WARN_AFTER_S = 0.25
# How long a thread that looks at files may keep the loop waiting, each time: Python's own 5 ms add up, as the loop has
# to wait after each call of the system.
_TURN_S = 0.0005
# A signal that comes twice so soon was sent once to the group and once more by a parent that forwards it.
_SAME_SIGNAL_S = 0.2


def run(request: Request, known: Declared, options: Options) -> int:
    """Run the project until it is stopped; the exit status. ConfigError where its `isolation` is not possible here."""
    if known.project.isolation == "pidns":
        from procwatch.runtime import namespace  # noqa: PLC0415 - few need it

        try:
            namespace.enter()
        except namespace.IsolationError as error:
            raise ConfigError((problem(request, ("project", "isolation"), f"project: {error}"),)) from error
    sys.setswitchinterval(_TURN_S)
    return asyncio.run(_run(request, known, options))


@frozen
class _Start:
    """What a run begins with. `builds` are to be run once, and that is all (full names)."""

    request: Request
    known: Declared
    options: Options
    notifier: Notifier
    # What takes part from the beginning, and what counts as there though procwatch does not start it (full names).
    chosen: frozenset[str]
    excepted: frozenset[str]
    builds: tuple[str, ...]

    @property
    def project(self) -> Project:
        """All that is declared, also what does not take part."""
        return self.known.project

    @property
    def is_watched(self) -> bool:
        """Whether a file can make anything due, and is to."""
        return self.options.watch and can_be_due(self.project)


async def _run(request: Request, known: Declared, options: Options) -> int:
    # An unknown name is told before anything is done.
    excepted = names.excepted(known.project, options.excepted)
    builds = names.builds(known.project, options.once.names) if options.once else ()
    chosen = taking_part(known.project, builds or names.to_start(known.project, options.names, excepted), excepted)
    start = _Start(request, known, options, Notifier(os.environ, front_pid()), chosen, excepted, builds)
    loop = asyncio.get_running_loop()
    look = Look(options.as_json, options.verbosity, options.clear, options.detach, answers=bool(builds))
    folder = Path(known.project.folder)
    console = Console(known.project, look, os.environ, loop, folder / FOLDER / "logs")
    store = Store(folder, console.report)
    server = Server(console.report)
    signals = Signals()
    try:
        console.begin()
        store.open()
        server.open(store.socket_paths())
        for warning in known.warnings:
            console.report(f"warning: {warning}")
        return await _supervise(start, store, console, server, signals)
    finally:
        server.shut()
        store.close()
        server.ended.set()
        await server.close()
        console.close()
        _be_deaf(signals)


async def _supervise(start: _Start, store: Store, console: Console, server: Server, signals: Signals) -> int:
    become_subreaper()
    descriptors.keep_to_ourselves()
    descriptors.make_room(len(start.project.units), how_many(start.project))
    journal = Journal(store.folder / "processes.jsonl", console.report)
    await end_strays(journal.earlier, console.report)
    # In a namespace nothing can be left, and the ids that the file tells of mean nothing.
    if store.is_kept and start.project.isolation == "tree":
        journal.begin()
    chronicle = Chronicle(console)
    parts = _parts(start, store, console, server, journal, chronicle)
    before = parts.releases.complete(store.remembered(), start.project)
    # Whoever has asked for builds ends it: see `Once`.
    ran, goes_on = store.remembered_services(), start.is_watched or bool(start.builds)
    state = initial(start.project, start.chosen, before, ran, watching=goes_on, excepted=start.excepted)
    engine = Engine(state, parts)
    engine.watch_plans(parts.fronts.planned)
    asked = Asked(start.request, start.options.names, start.options.watch)
    configuration = Configuration(asked, start.known, parts, engine, console.use)
    commands = Commands(engine, chronicle, parts.terminals, server.ended, console.rings)
    commands.take_in, commands.reload = configuration.take_in, configuration.reload
    commands.reload_soon = configuration.reload_soon
    _on_failures(engine)
    _on_signals(signals, engine, parts.forest, parts.terminals)
    keys = Keys(_keys(engine, console), signals)
    own_folder = OwnFolder(store, partial(_on_restored, server, store, journal, parts.releases, engine), console.report)
    if start.options.once:
        _build_once(start, engine, commands, server, console)
    else:
        server.serve(commands.handle)
        _tell_systemd(start.notifier, engine)
        keys.open()
    watch = asyncio.create_task(_watch(start, configuration, parts, engine, console, own_folder))
    try:
        return await engine.run()
    finally:
        keys.close()
        own_folder.close()
        journal.close(left=any(tree.members for tree in parts.forest.trees))
        parts.inputs.close()
        watch.cancel()
        await asyncio.wait([watch])


def _parts(
    start: _Start, store: Store, console: Console, server: Server, journal: Journal, chronicle: Chronicle
) -> Parts:
    folder = Path(start.project.folder)
    forest = Forest(console.report, Gate(console.screen, console.logs), journal)
    releases = ReleaseStore(folder, store.folder, console.report)
    assigner = Assigner(folder, store, server.path)
    # A copy: each look at os.environ decodes what it finds, and every start takes all of it.
    surroundings = Surroundings(start.project, dict(os.environ), assigner, console.color, releases)
    inputs = Inputs(start.project, start.known.files, store.folder / FINGERPRINTS if store.is_kept else None)
    terminals = Terminals(lambda: Size(*console.room()))
    fronts = Fronts(Sockets(folder), partial(_open_proxies, forest, console.report))
    return Parts(surroundings, inputs, forest, store, releases, chronicle, terminals, fronts)


async def _watch(
    start: _Start,
    configuration: Configuration,
    parts: Parts,
    engine: Engine,
    console: Console,
    own_folder: OwnFolder,
) -> None:
    """Listen and arm first, then begin: from here on nobody is refused, and what is edited is not lost."""
    inputs = parts.inputs
    try:
        listen = _listen(start, parts.fronts, engine, console)
        if start.is_watched:
            await asyncio.gather(configuration.arm(console.report), listen)
        else:
            await listen
        asyncio.get_running_loop().call_later(_NO_GARBAGE_S, _search_for_garbage)
        engine.tell(msg.Begun())
        await configuration.keep()
        own_folder.watch()  # after all else: instances of inotify are few
        follow = [_follow(start, configuration, console)] if start.options.watch else []
        await asyncio.gather(_warn(start, inputs, console), *follow)
    except Stopped:  # all is being stopped: whoever was looking at files has nobody to tell
        pass
    except Exception as error:
        console.report(f"watching has failed: {error}; procwatch stops")
        engine.tell(msg.StopAsked(1))
    finally:
        await configuration.close()


async def _listen(start: _Start, fronts: Fronts, engine: Engine, console: Console) -> None:
    """Have clients of all services wait instead of being refused; whoever waits for a detached start may come now."""
    await fronts.expect(service for name, service in start.project.services.items() if name in start.chosen)
    if start.options.detach and engine.state.exit_code is None:
        console.leave_caller(f"runs in the background (process {front_pid()}); `procwatch stop` ends it")
        detach.let_go(str(Path(start.project.folder) / FOLDER / "logs" / f"{OWN_LOG}.log"))


def _build_once(start: _Start, engine: Engine, commands: Commands, server: Server, console: Console) -> None:
    from procwatch.runtime.once import Once  # noqa: PLC0415 - few need it

    assert start.options.once is not None
    once = Once(commands, engine.tell, start.builds, start.options.once.timeout_s)
    server.serve(once.handle)
    engine.spawn(once.run(console.answer, console.report))


def _tell_systemd(notifier: Notifier, engine: Engine) -> None:
    if notifier.is_wanted:
        notifier.begin()
        engine.watch_plans(notifier.planned)


async def _warn(start: _Start, inputs: Inputs, console: Console) -> None:
    await asyncio.sleep(_WARN_AFTER_S)
    for warning in await asyncio.to_thread(inputs.warnings, start.chosen):
        console.report(f"warning: {warning}")


async def _follow(start: _Start, configuration: Configuration, console: Console) -> None:
    if not start.is_watched:  # nothing but the configuration itself
        await configuration.arm(console.report)
    await configuration.follow()


def _search_for_garbage() -> None:
    """From now on, and in what comes from now on: to search all that is there takes longer than the loop may stand."""
    gc.freeze()
    gc.enable()


def _open_proxies(forest: Forest, report: Callable[[str], None]) -> Opening:
    from procwatch.runtime.proxy import Proxies  # noqa: PLC0415 - few need it

    return Proxies(forest, report)


def _on_restored(server: Server, store: Store, journal: Journal, releases: ReleaseStore, engine: Engine) -> None:
    """Put back what was in the folder; builds whose releases were there run again."""
    server.report(f"{store.folder} was removed; it is made again, without the logs and releases of before")
    server.reopen(store.socket_paths())
    journal.renew()
    engine.tell(msg.ReleasesLost(releases.forget_lost()))


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


def _on_signals(signals: Signals, engine: Engine, forest: Forest, terminals: Terminals) -> None:
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
        signals.on(number, partial(asked, number))
    signals.on(signal.SIGCHLD, forest.reap)
    signals.on(signal.SIGWINCH, terminals.fit_all)


def _keys(engine: Engine, console: Console) -> dict[bytes, Callable[[], None]]:
    """What the keys of a foreground start do."""

    def run_again() -> None:
        moment = engine.moment()
        builds = tuple(name for name in moment.state.builds if not moment.project.builds[name].manual)
        wanted = tuple(name for name, state in moment.state.services.items() if state.wanted)
        engine.tell(msg.BuildsAsked(builds) if builds else msg.ServicesAsked(wanted, "restart"))

    def pause() -> None:
        moment = engine.moment()
        paused = not moment.state.paused
        engine.tell(msg.PauseAsked(tuple(moment.project.units), paused))
        console.say("paused: changes are collected; p goes on" if paused else "goes on")

    def end() -> None:
        if engine.moment().state.exit_code is None:
            engine.stop(0)
        else:
            engine.kill_soon()

    return {b"r": run_again, b"p": pause, b"c": console.screen.clear, b"q": end, b"\n": console.screen.blank}


def _be_deaf(signals: Signals) -> None:
    """All is done, and only the interpreter has to end: a Ctrl-C now would change the exit status."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    signals.close()
