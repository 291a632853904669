"""When reading from processes waits: always for a disk, never for a reader that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from procwatch.runtime import gate as gate_module
from procwatch.runtime.gate import Gate

DEADLINE_S = 30.0


class _Queue:
    def __init__(self, *, full: bool) -> None:
        self.is_full = full
        self.written_bytes = 0
        self.callbacks: list[Callable[[], None]] = []

    def when_room(self, callback: Callable[[], None], /) -> None:
        self.callbacks.append(callback)

    def make_room(self) -> None:
        self.is_full = False
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


def scene(*, screen: bool, logs: bool, act: Callable[[_Queue, _Queue], None], stall_s: float) -> bool:
    """Whether reading, held back first, is let go on after `act` within some turns of the loop and many stalls."""

    async def play() -> bool:
        backlog, disk = _Queue(full=screen), _Queue(full=logs)
        gate = Gate(backlog, disk)
        goes_on = asyncio.Event()

        def ask() -> None:
            if not gate.holds(ask):
                goes_on.set()

        ask()
        assert not goes_on.is_set()
        act(backlog, disk)
        try:
            async with asyncio.timeout(DEADLINE_S if stall_s else 0.2):
                await goes_on.wait()
        except TimeoutError:
            return False
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate_module, "STALL_S", stall_s or 0.001)
        return asyncio.run(play())


def test_a_reader_that_stands_still_is_not_waited_for() -> None:
    assert scene(screen=True, logs=False, act=lambda backlog, disk: None, stall_s=0.01)


def test_a_disk_is_waited_for_however_long_it_stands_still() -> None:
    assert not scene(screen=False, logs=True, act=lambda backlog, disk: None, stall_s=0)


def test_a_disk_is_waited_for_beside_a_reader_that_stands_still() -> None:
    assert not scene(screen=True, logs=True, act=lambda backlog, disk: None, stall_s=0)


@pytest.mark.parametrize(("screen", "logs"), [(True, False), (False, True), (True, True)])
def test_room_lets_it_go_on(screen: bool, logs: bool) -> None:
    def make_room(backlog: _Queue, disk: _Queue) -> None:
        disk.make_room()
        backlog.make_room()

    assert scene(screen=screen, logs=logs, act=make_room, stall_s=1000.0)
