"""Wait until an instance that clients do not come to any more has answered those that it has.

Rule 1: this is a courtesy before the stop signal; who catches that signal ends in an order of its own.
Rule 2: it has an end: the grace of the service's stop.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from procwatch.core.model import StopPolicy
from procwatch.runtime.spawn import Process
from procwatch.runtime.steering import Slot
from procwatch.runtime.traffic import look

# A look costs some milliseconds of a thread: the first ones meet most requests, the others wait for long ones.
_FIRST_PAUSE_S, _LAST_PAUSE_S, _GROWS = 0.005, 0.1, 1.5
# A request that came in the same tick of the clock as the last answer looks like none. Of a program that its stop
# signal would end at once such connections are given so long to show whether there is one.
_UNCLEAR_S = 1.0


async def drained(process: Process, slots: Sequence[Slot], policy: StopPolicy, hurry: asyncio.Event) -> None:
    """Return when nobody waits in these slots and no request is under way; after the grace, or a `hurry`, at once."""
    if not slots:
        return
    loop = asyncio.get_running_loop()
    since_s, pause_s = loop.time(), _FIRST_PAUSE_S
    while not hurry.is_set() and process.exit is None and loop.time() - since_s < policy.grace_s:
        if not await _has_clients(process, slots, policy.signal, loop.time() - since_s):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await hurry.wait()
        pause_s = min(pause_s * _GROWS, _LAST_PAUSE_S)


async def _has_clients(process: Process, slots: Sequence[Slot], signal_name: str, waited_s: float) -> bool:
    # The queues first: what is taken from one between the two looks is seen by the second.
    if any(slot.listening.is_steered and slot.queue_length() for slot in slots):
        return True
    pids = await process.pids()
    is_patient = waited_s < _UNCLEAR_S and not catches(pids, signal_name)
    for slot in slots:
        traffic = await look(pids, slot.listening)
        if traffic is not None and (traffic.busy or (traffic.unclear and is_patient)):
            return True
    return False


async def until_hurried(waiting: Coroutine[None, None, None], hurry: asyncio.Event) -> None:
    """Wait for this, or until there is a `hurry`, which ends it."""
    tasks = {asyncio.create_task(waiting), asyncio.create_task(hurry.wait())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def catches(pids: Iterable[int], signal_name: str) -> bool:
    """Whether one of these has a handler for this signal (proc_pid_status(5)); where nothing tells, it is believed."""
    bit = 1 << (signal.Signals[signal_name] - 1)
    found = [_caught(pid) for pid in pids]
    return any(mask is None or mask & bit for mask in found)


def _caught(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")), None)
