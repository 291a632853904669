"""The sockets that services are given, each open from the first start of its service until that is stopped for good.

Rule 1: an address stays open through restarts, crashes, back-off and reloads as long as an instance, or the newest
        definition of a service, has it. It passes from one service to another without being closed.
Rule 2: what cannot be opened changes nothing that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from procwatch.core.model import Listener, Project, Service
from procwatch.frozen import frozen
from procwatch.runtime.listening import ListenError, explained, open_address, own_way
from procwatch.runtime.steering import Listening, Slot

_Address = tuple[str, int, str]


@frozen
class Handed:
    """A socket as an instance is given it; `address` is what a user calls it."""

    name: str
    address: str
    slot: Slot


class Sockets:
    """All that is listened at; a relative path of a unix socket is one in `folder`."""

    def __init__(self, folder: Path, opener: Callable[[Listener, Path], Listening] = open_address) -> None:
        self._folder = folder
        self._opener = opener
        self._open: dict[_Address, Listening] = {}
        # What the newest instance of each service was given, and what the next one is to get.
        self._used: dict[str, set[_Address]] = {}
        self._asked: dict[str, set[_Address]] = {}

    async def prepare(self, service: Service) -> None:
        """Open what a service that has its sockets is to get besides, by a new definition. Raises ListenError."""
        if not self._used.get(service.name):
            return
        try:
            self._open_all(service)
        except ListenError as error:
            is_own = self._is_in_own_way(service, error)
            if not is_own or service.switch == "overlap":
                self._tidy()
                raise (own_way(error.listener) if is_own else await explained(error)) from None
        self._asked[service.name] = _addresses(service)
        self._tidy()

    async def claim(self, service: Service, slot: int = 0, *, beside: bool = False) -> tuple[Handed, ...]:
        """What a new instance is given, in the order of `listen`. Raises ListenError.

        What only the last instance had is closed, unless the new one is to run `beside` it: then by the next `claim`.
        """
        wanted = _addresses(service)
        if not beside:
            self._forget(service.name)
        if not wanted:
            self._tidy()
            return ()
        self._asked[service.name] = wanted
        self._used.setdefault(service.name, set()).update(wanted)
        self._tidy()
        try:
            self._repair(wanted)
            self._open_all(service)
        except ListenError as error:
            raise await explained(error) from None
        return tuple(Handed(each.name, each.address, Slot(self._open[_address(each)], slot)) for each in service.listen)

    def keep(self, name: str, used: Collection[Listening]) -> None:
        """Of a service's addresses only these are used by an instance now; the others may be closed."""
        self._used[name] = {address for address, listening in self._open.items() if listening in used}
        self._tidy()

    def planned(self, is_over: Callable[[str], bool]) -> None:
        """Close what belongs to services that are over."""
        for name in [*self._used]:
            if is_over(name):
                self._forget(name)
                self._tidy()

    def close(self) -> None:
        """Listen no more."""
        self._used.clear()
        self._asked.clear()
        self._tidy()

    def _open_all(self, service: Service) -> None:
        for listener in service.listen:
            if _address(listener) not in self._open:
                self._open[_address(listener)] = self._opener(listener, self._folder)

    def _repair(self, addresses: set[_Address]) -> None:
        """Close those that the last instance has spoiled."""
        for address in addresses & self._open.keys():
            if not self._open[address].is_sound():
                self._open.pop(address).close()

    def _is_in_own_way(self, service: Service, error: ListenError) -> bool:
        """Whether it is the service itself that has the port, at other addresses: those are closed at its restart."""
        own = self._used[service.name] & self._open.keys()
        return error.is_taken and any(port == error.listener.port for _, port, _ in own if port)

    def _forget(self, name: str) -> None:
        self._used.pop(name, None)
        self._asked.pop(name, None)

    def _tidy(self) -> None:
        kept: set[_Address] = set().union(*self._used.values(), *self._asked.values()) if self._open else set()
        for address in self._open.keys() - kept:
            self._open.pop(address).close()


def how_many(project: Project) -> int:
    """How many addresses a project has procwatch listen at."""
    return sum(len(service.listen) + (service.proxy is not None) for service in project.services.values())


def _address(listener: Listener) -> _Address:
    return (listener.host, listener.port, listener.path)


def _addresses(service: Service) -> set[_Address]:
    return {_address(each) for each in service.listen}
