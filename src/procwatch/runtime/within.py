"""A limit of time that is fair: what others were given time for must not fail because procwatch itself stood still.

It does when it is stopped (SIGSTOP, a debugger) or gets no processor. What it waits for may have come long ago then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# A timer that comes so late shows that the loop did not run; on a loaded machine it is late by some milliseconds.
STALL_S = 1.0


@asynccontextmanager
async def within(limit_s: float | None) -> AsyncIterator[None]:
    """As asyncio.timeout; if the end is noticed late, as much time follows as it is late by, at most `limit_s`."""
    if limit_s is None:
        yield
        return
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as timeout:
        due_s = loop.time() + limit_s
        timer = loop.call_at(due_s, _end, loop, timeout, due_s, limit_s)
        try:
            yield
        finally:
            timer.cancel()


def _end(loop: asyncio.AbstractEventLoop, timeout: asyncio.Timeout, due_s: float, limit_s: float) -> None:
    """The time is up, unless this is noticed only now."""
    now_s = loop.time()
    late_s = now_s - due_s
    timeout.reschedule(due_s if late_s < STALL_S else now_s + min(limit_s, late_s))
