"""Signals become calls in the loop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from procwatch.runtime.signals import Signals
from tests.rig.live import DEADLINE_S


def _with_signals(story: Callable[[Signals], Awaitable[None]]) -> None:
    """Run a story in a loop that hears signals; afterwards they do again what they did before."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]

    async def run() -> None:
        signals = Signals()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await story(signals)
        finally:
            signals.close()

    try:
        asyncio.run(run())
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_each_signal_calls_what_belongs_to_it() -> None:
    async def story(signals: Signals) -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()
        signals.on(signal.SIGUSR1, lambda: heard.put_nowait("one"))
        signals.on(signal.SIGUSR2, lambda: heard.put_nowait("two"))
        for number, name in ((signal.SIGUSR2, "two"), (signal.SIGUSR1, "one"), (signal.SIGUSR1, "one")):
            os.kill(os.getpid(), number)
            assert await heard.get() == name

    _with_signals(story)


def test_a_flood_of_signals_is_heard_and_warns_of_nothing() -> None:
    async def story(signals: Signals) -> None:
        came = asyncio.Event()
        signals.on(signal.SIGUSR1, came.set)
        for _ in range(20_000):  # far more than the socket between Python and the loop can hold
            os.kill(os.getpid(), signal.SIGUSR1)
        await came.wait()
        came.clear()
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGUSR1)
        await came.wait()

    _with_signals(story)


def test_a_signal_that_others_handle_is_theirs() -> None:
    async def story(signals: Signals) -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()
        signals.on(signal.SIGUSR1, lambda: heard.put_nowait("ours"))
        signal.signal(signal.SIGUSR2, lambda *_: heard.put_nowait("theirs"))
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert [await heard.get(), await heard.get()] == ["theirs", "ours"]

    _with_signals(story)


def _fail() -> None:
    raise ValueError


def test_a_callback_that_fails_is_told_and_holds_up_no_other() -> None:
    async def story(signals: Signals) -> None:
        told: asyncio.Queue[BaseException] = asyncio.Queue()
        came = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.put_nowait(context["exception"]))
        signals.on(signal.SIGUSR1, _fail)
        signals.on(signal.SIGUSR2, came.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        await came.wait()
        assert isinstance(await told.get(), ValueError)

    _with_signals(story)


def test_one_that_is_let_be_does_what_it_does_by_default() -> None:
    async def story(signals: Signals) -> None:
        signals.on(signal.SIGUSR1, lambda: None)
        signals.off(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
        signals.off(signal.SIGUSR2)  # it was none of ours

    _with_signals(story)
