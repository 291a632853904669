"""Which service needs which public address: one stays open as long as somebody does.

Rule 1: an instance needs what it was given, until it is gone; a service needs what its next instance is to get.
Rule 2: an address passes from one service to another without being closed: who is over leaves it to whom it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Generic, TypeVar

from procwatch.core.model import Service

_Address = TypeVar("_Address")


class Claims(Generic[_Address]):
    """All of them. `wanted_by` tells what a service is to have."""

    def __init__(self, wanted_by: Callable[[Service], set[_Address]]) -> None:
        self._wanted_by = wanted_by
        # By service: what its instances were given, and what the next one is to get.
        self._used: dict[str, set[_Address]] = {}
        self._asked: dict[str, set[_Address]] = {}

    def used(self, name: str) -> set[_Address]:
        """What the instances of this service were given."""
        return self._used.get(name, set())

    def needed(self) -> set[_Address]:
        """All that somebody needs."""
        return set().union(*self._used.values(), *self._asked.values())

    def passing(self, name: str) -> set[_Address]:
        """What only instances of this service need: the next one gets others."""
        asked: set[_Address] = set().union(*self._asked.values())
        return self.used(name) - asked

    def ask(self, service: Service) -> None:
        """The next instance is to get what the service is to have."""
        self._asked[service.name] = self._wanted_by(service)

    def begin(self, service: Service, *, beside: bool) -> None:
        """An instance is about to get it; if it is not to run `beside` others, what these had is needed no more."""
        if not beside:
            self._used.pop(service.name, None)
        self.ask(service)
        self._used.setdefault(service.name, set()).update(self._wanted_by(service))

    def keep(self, name: str, used: Iterable[_Address]) -> None:
        """An instance is gone: those that are left have just these."""
        self._used[name] = set(used)

    def release(self, services: Collection[Service], is_over: Callable[[str], bool]) -> bool:
        """Let go of what belongs to services that are over; whether there was any."""
        over = [name for name in {*self._used, *self._asked} if is_over(name)]
        left: set[_Address] = set()
        for name in over:
            left |= self._used.pop(name, set()) | self._asked.pop(name, set())
        for service in services if left else ():
            if service.name not in self._asked and not is_over(service.name) and left & self._wanted_by(service):
                self.ask(service)
        return bool(over)

    def clear(self) -> None:
        """Nobody needs anything."""
        self._used.clear()
        self._asked.clear()
