"""The parameters of a request, each checked as it is taken.

Rule 1: a wrong one is a fault that names it, and so is one that nobody takes.
"""

from __future__ import annotations

from typing import Any

from procwatch.control.protocol import WRONG_PARAMS, Fault


class Params:
    """The parameters of a request, taken one by one; what is left over is unknown."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = dict(given)

    def words(self, key: str, *, at_least_one: bool) -> tuple[str, ...]:
        """A list of strings."""
        found = self._given.pop(key, [])
        if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
            raise Fault(WRONG_PARAMS, f'"{key}" must be a list of strings')
        if at_least_one and not found:
            raise Fault(WRONG_PARAMS, f'"{key}" must name something')
        return tuple(found)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        found = self._given.pop(key, default)
        if not isinstance(found, bool):
            raise Fault(WRONG_PARAMS, f'"{key}" must be true or false')
        return found

    def number(self, key: str, default: float | None) -> Any:
        """A number that is not negative, in seconds where it is a time."""
        found = self._given.pop(key, default)
        if found is None and default is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < float("inf"):
            raise Fault(WRONG_PARAMS, f'"{key}" must be a number from 0 on')
        return found

    def text(self, key: str) -> str:
        """A string; empty if it is not given."""
        found = self._given.pop(key, "")
        if not isinstance(found, str):
            raise Fault(WRONG_PARAMS, f'"{key}" must be a string')
        return found

    def end(self) -> None:
        """A parameter that nobody has taken is a mistake."""
        if self._given:
            raise Fault(WRONG_PARAMS, f'there is no parameter "{next(iter(self._given))[:80]}" here')
