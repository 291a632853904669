"""A limit of time is kept, but time in which the loop itself stood still is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from procwatch.runtime.within import within


class Clock(asyncio.SelectorEventLoop):
    """A loop whose clock can jump: what it then shows is that of a process that was stopped meanwhile."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s

    def stand_still(self, stall_s: float) -> None:
        self.ahead_s += stall_s


def play(scene: Callable[[Clock], Awaitable[str]]) -> str:
    loop = Clock()
    try:
        return loop.run_until_complete(asyncio.ensure_future(scene(loop), loop=loop))
    finally:
        loop.close()


async def outcome(limit_s: float | None, work_s: float) -> str:
    try:
        async with within(limit_s):
            await asyncio.sleep(work_s)
    except TimeoutError:
        return "late"
    return "in time"


@pytest.mark.parametrize(
    ("limit_s", "work_s", "expected"), [(0.01, 30.0, "late"), (30.0, 0.01, "in time"), (None, 0.01, "in time")]
)
def test_a_limit_is_kept(limit_s: float | None, work_s: float, expected: str) -> None:
    assert play(lambda _: outcome(limit_s, work_s)) == expected


def test_what_has_come_while_the_loop_stood_still_is_in_time() -> None:
    """The work needs another step after the stall: with a plain timeout that would come too late."""

    async def scene(loop: Clock) -> str:
        loop.call_soon(loop.stand_still, 60.0)
        try:
            async with within(20.0):
                await asyncio.sleep(10.0)
                await asyncio.sleep(0.01)
        except TimeoutError:
            return "late"
        return "in time"

    assert play(scene) == "in time"


def test_a_stall_gives_back_no_more_than_the_limit() -> None:
    async def scene(loop: Clock) -> str:
        loop.call_soon(loop.stand_still, 5000.0)
        began_s = loop.time()
        told = await outcome(0.02, 1e6)
        assert 5000.0 < loop.time() - began_s < 5020.0
        return told

    assert play(scene) == "late"


def test_a_cancellation_from_outside_is_not_taken_for_the_end_of_the_limit() -> None:
    async def scene(loop: Clock) -> str:
        task = asyncio.ensure_future(outcome(30.0, 30.0))
        loop.call_soon(task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            return "cancelled"

    assert play(scene) == "cancelled"
