"""The sockets that services are given, each open from when its service is to start until that is stopped for good.

Rule 1: an address stays open through restarts, crashes, back-off and reloads (runtime/claims.py).
Rule 2: what cannot be opened changes nothing that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from procwatch.core.model import Listener, Project, Service
from procwatch.frozen import frozen
from procwatch.runtime.claims import Claims
from procwatch.runtime.listening import ListenError, explained, open_address, own_way, spoiled
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
        self._claims: Claims[_Address] = Claims(_addresses)

    def expect(self, service: Service) -> None:
        """Open what the first instance of a service is to get, where that is possible: its `claim` tells the rest."""
        self._claims.ask(service)
        for listener in service.listen:
            with suppress(ListenError):
                self._open_one(listener)
        self._tidy()

    async def prepare(self, service: Service) -> None:
        """Open what a service that has its sockets is to get besides, by a new definition. Raises ListenError."""
        if not self._claims.used(service.name):
            self.expect(service)
            return
        try:
            self._open_all(service)
        except ListenError as error:
            is_own = self._is_in_own_way(service, error)
            if not is_own or service.switch == "overlap":
                self._tidy()
                raise (own_way(error.listener) if is_own else await explained(error)) from None
        self._claims.ask(service)
        self._tidy()

    async def claim(
        self, service: Service, *, beside: bool = False, held: Collection[Listening] = ()
    ) -> tuple[Listening, ...]:
        """Where a new instance is to listen, in the order of `listen`. Raises ListenError.

        What only the last instance had is closed, unless the new one is to run `beside` it: then by the next `claim`.
        `held`: what other instances have.
        """
        self._claims.begin(service, beside=beside)
        self._tidy()
        try:
            self._repair(service, held)
            self._open_all(service)
        except ListenError as error:
            raise await explained(error) from None
        return tuple(self._open[_address(each)] for each in service.listen)

    def keep(self, name: str, used: Collection[Listening]) -> None:
        """Of a service's addresses only these are used by an instance now; the others may be closed."""
        self._claims.keep(name, (address for address, listening in self._open.items() if listening in used))
        self._tidy()

    def planned(self, services: Collection[Service], is_over: Callable[[str], bool]) -> None:
        """Close what belongs to services that are over, and to no other one."""
        if self._claims.release(services, is_over):
            self._tidy()

    def close(self) -> None:
        """Listen no more."""
        self._claims.clear()
        self._tidy()

    def _open_all(self, service: Service) -> None:
        for listener in service.listen:
            self._open_one(listener)

    def _open_one(self, listener: Listener) -> None:
        if _address(listener) not in self._open:
            self._open[_address(listener)] = self._opener(listener, self._folder)

    def _repair(self, service: Service, held: Collection[Listening]) -> None:
        """Close those that the last instance has spoiled."""
        for listener in service.listen:
            listening = self._open.get(_address(listener))
            if listening is not None and not listening.is_sound():
                if listening in held:
                    raise spoiled(listener)
                self._open.pop(_address(listener)).close()

    def _is_in_own_way(self, service: Service, error: ListenError) -> bool:
        """Whether it is the service itself that has the port, at other addresses: those are closed at its restart."""
        own = self._claims.used(service.name) & self._open.keys()
        return error.is_taken and any(port == error.listener.port for _, port, _ in own if port)

    def _tidy(self) -> None:
        kept = self._claims.needed() if self._open else set[_Address]()
        for address in self._open.keys() - kept:
            self._open.pop(address).close()


def how_many(project: Project) -> int:
    """How many addresses a project has procwatch listen at."""
    return sum(len(service.listen) + (service.proxy is not None) for service in project.services.values())


def _address(listener: Listener) -> _Address:
    return (listener.host, listener.port, listener.path)


def _addresses(service: Service) -> set[_Address]:
    return {_address(each) for each in service.listen}
