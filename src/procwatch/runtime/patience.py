"""Say who holds up a stop, and what comes next, before anybody thinks that procwatch hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from procwatch.core.model import StopPolicy

# A stop that takes longer is told; one that is shorter is nobody's concern.
FIRST_S = 1.0
# And again at these intervals.
AGAIN_S = 5.0


class Patience:
    """Tells of stops that take long. `is_end` says whether all of procwatch is to end: then Ctrl-C again helps."""

    def __init__(self, tell: Callable[[str], None], is_end: Callable[[], bool]) -> None:
        self._tell = tell
        self._is_end = is_end

    @contextmanager
    def waiting(self, name: str, policy: StopPolicy) -> Iterator[None]:
        """While inside, `name` has been sent its stop signal and has not ended."""
        reminder = asyncio.get_running_loop().create_task(self._remind(name, policy))
        try:
            yield
        finally:
            reminder.cancel()

    async def _remind(self, name: str, policy: StopPolicy) -> None:
        waited_s = FIRST_S
        await asyncio.sleep(FIRST_S)
        while True:
            self._tell(self._words(name, policy, waited_s))
            await asyncio.sleep(AGAIN_S)
            waited_s += AGAIN_S

    def _words(self, name: str, policy: StopPolicy, waited_s: float) -> str:
        left_s = policy.grace_s - waited_s
        then = f"SIGKILL in {left_s:.0f} s" if left_s > 0 else "SIGKILL has been sent"
        remedy = "; Ctrl-C again to kill now" if self._is_end() and left_s > 0 else ""
        return f"{name} has not ended {waited_s:.0f} s after {policy.signal}; {then}{remedy}"
