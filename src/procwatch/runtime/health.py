"""Ask a ready instance again and again whether it is still well.

Rule 1: it never decides: what is told goes on being told as long as it is so, and the planner acts when it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from procwatch.core.model import Health
from procwatch.runtime.readiness import Target, try_once


async def watch_health(health: Health, target: Target, pause_s: float, tell: Callable[[str, float], None]) -> None:
    """Ask until it is cancelled, for the first time after `pause_s`.

    Each try that fails after enough others before it is told with a reason, and how many seconds ago all was well.
    """
    clock = asyncio.get_running_loop().time
    well_s, failed = clock(), 0
    while True:
        await asyncio.sleep(pause_s)
        pause_s = health.interval_s
        reason = await try_once(health.probe, health.timeout_s, target)
        if reason is None:
            well_s, failed = clock(), 0
            continue
        failed += 1
        if failed >= health.failures:
            times = f" ({failed} times in a row)" if failed > 1 else ""
            tell(f"health: {reason}{times}", clock() - well_s)
