"""The output of units without a log file, as far as a running supervisor remembers it.

Rule 1: a supervisor that is not there, ends or hangs keeps nobody from the log files: there is nothing remembered then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from procwatch.control.client import Client, connect
from procwatch.errors import ProcwatchError
from procwatch.output.events import stamp
from procwatch.output.runs import DATED_LINE, Reader, Run

# It answers within a millisecond; one that is stopped is not waited for.
_ANSWER_S = 2.0
# After it could not be reached.
_RETRY_S = 1.0


class Memory:
    """What the supervisor of the project in `folder` remembers, if there is one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._client: Client | None = None
        self._retry_s = 0.0

    def names(self) -> list[str]:
        """The units that it remembers the output of."""
        return list(self.ask({}).get("names", []))

    def ask(self, params: dict[str, object]) -> dict[str, Any]:
        """The answer to `logs`; an empty one if nobody gives any."""
        if self._client is None and time.monotonic() < self._retry_s:
            return {}
        try:
            self._client = self._client or connect(self._folder)
            answer: dict[str, Any] = self._client.call("logs", params, _ANSWER_S)
        except ProcwatchError:
            self._client = None
            self._retry_s = time.monotonic() + _RETRY_S
            return {}
        return answer


class Remembered:
    """The output of one unit: as `output.past.Past`, from memory."""

    def __init__(self, memory: Memory, unit: str, lost: Callable[[int | None], None]) -> None:
        self._memory = memory
        self._unit = unit
        self._lost = lost
        self._reader = Reader()
        self._data = b""
        self._place = 0
        self._pid = 0

    def look(self) -> None:
        """Take in what has come since the last look."""
        while answer := self._memory.ask({"name": self._unit, "place": self._place}):
            if answer["pid"] != self._pid:  # another supervisor, which counts from 0
                is_first, self._pid, self._place = self._pid == 0, answer["pid"], 0
                if not is_first:
                    continue
            elif self._place < answer["begin"] and self._place:
                self._lost(answer["begin"] - self._place)
            data = answer["text"].encode("utf-8", "surrogateescape")
            self._data += data
            self._place = answer["begin"] + len(data)
            if answer["is_last"]:
                return

    def hold(self) -> None:
        """Nothing that is here goes."""

    def go_to_moment(self, at: bytes) -> None:
        """Leave out what stands before the first line of this time or a later one."""
        places = (found.start() for found in DATED_LINE.finditer(self._data) if found[1] >= at)
        self._data = self._data[next(places, len(self._data)) :]

    def go_back(self, lines: int, count: Callable[[bytes], int], *, unfinished: bool) -> int:  # noqa: ARG002 - as `Past`
        """How many lines count; all of them are left, as there are not many."""
        return count(self._whole(unfinished=unfinished))

    def runs(self, block_bytes: int = 0, *, unfinished: bool) -> Iterator[list[Run]]:  # noqa: ARG002 - as `Past`
        """What there is. `unfinished`: a last line without an end too."""
        whole = self._whole(unfinished=unfinished)
        self._data = self._data[len(whole) :]
        if whole:
            yield self._reader.read(whole, stamp(time.time()).encode())

    def _whole(self, *, unfinished: bool) -> bytes:
        if unfinished and self._data and not self._data.endswith(b"\n"):
            return self._data + b"\n"
        return self._data[: self._data.rfind(b"\n") + 1]
