"""The public addresses of services with `proxy`: who has which, for how long, and to which instance each leads.

Rule 1: an address stays open through restarts, crashes and reloads (runtime/claims.py); clients wait while nobody
        serves.
Rule 2: nothing points to an instance that has ended: its port may soon be somebody else's.
Rule 3: what passes the bytes on is imported and started only when there is something to open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from procwatch.core.model import Listener, Service
from procwatch.errors import ProcwatchError
from procwatch.frozen import frozen
from procwatch.runtime import ports
from procwatch.runtime.claims import Claims
from procwatch.runtime.listening import own_way

_Address = tuple[str, int]


class Opened(Protocol):
    """An address that is listened at; `ports` are the instances that it leads to."""

    ports: tuple[int, ...]

    def point_to(self, *instances: int) -> None:
        """Lead to these from now on."""

    async def drain(self, instance: int, seconds: float) -> int:
        """Wait until no connection is with this instance."""

    def close(self) -> None:
        """Listen no more."""


class Opening(Protocol):
    """What opens addresses. Raises ProcwatchError."""

    async def open(self, name: str, host: str, port: int) -> Opened:
        """Listen there."""

    async def close(self) -> None:
        """Close all of them."""


@frozen
class Place:
    """Where one instance is: the port that it is given, and the address by which clients come to it."""

    port: int
    address: _Address


class PublicPorts:
    """All of them. `opening` makes what opens them."""

    def __init__(self, opening: Callable[[], Opening]) -> None:
        self._opening = opening
        self._opener: Opening | None = None
        self._open: dict[_Address, Opened] = {}
        self._claims: Claims[_Address] = Claims(_addresses)
        self._places: dict[tuple[str, int], Place] = {}

    async def expect(self, service: Service) -> None:
        """Open where the first instance of a service is to be reached, if that is possible: else its `claim` tells."""
        self._claims.ask(service)
        if service.proxy is not None:
            with suppress(ProcwatchError):
                await self._ensure(service, service.proxy)
        self._tidy()

    async def prepare(self, service: Service) -> None:
        """Open what a service that has an address is to get instead, by a new definition. Raises ProcwatchError."""
        own = self._claims.used(service.name)
        if not own:
            await self.expect(service)
            return
        if service.proxy is not None:
            try:
                await self._ensure(service, service.proxy)
            except ProcwatchError:
                # The service itself may have the port, at another host: that is closed when it is replaced.
                if all(port != service.proxy.port for _, port in own & self._open.keys()):
                    raise
                if service.switch == "overlap":
                    raise own_way(service.proxy) from None
        self._claims.ask(service)
        self._tidy()

    def ask(self, service: Service, *, beside: bool) -> None:
        """A new instance is to begin, which may be `beside` the last one; else what only that one had is closed."""
        self._claims.begin(service, beside=beside)
        self._tidy()

    async def claim(self, service: Service, instance: int) -> Place | None:
        """A place for this instance, if its service has an address, until it is `gone`. Raises ProcwatchError."""
        if service.proxy is None:
            return None
        await self._ensure(service, service.proxy)
        place = Place(self._free_port(service.proxy), _address(service.proxy))
        self._places[service.name, instance] = place
        return place

    def take_over(self, name: str, instance: int) -> None:
        """From now on clients come to this instance, also by an address that nobody is to have much longer."""
        place = self._places.get((name, instance))
        if place is None:
            return
        own = {other.port for (owner, _), other in self._places.items() if owner == name}
        for address in {place.address, *self._claims.passing(name)} & self._open.keys():
            opened = self._open[address]
            opened.point_to(*(port for port in opened.ports if port not in own), place.port)

    def retire(self, name: str, instance: int) -> None:
        """New clients of this instance, if it is in charge, come to other replicas, or wait for the next one."""
        place = self._places.get((name, instance))
        for opened in self._open.values() if place else ():
            if place is not None and place.port in opened.ports:
                opened.point_to(*(port for port in opened.ports if port != place.port))

    async def drain(self, name: str, instance: int, seconds: float) -> None:
        """Wait until no client is with this instance, or so long."""
        place = self._places.get((name, instance))
        opened = self._open.get(place.address) if place else None
        if place is not None and opened is not None:
            await opened.drain(place.port, seconds)

    def gone(self, name: str, instance: int) -> None:
        """Nothing is left of this instance."""
        self.retire(name, instance)
        if self._places.pop((name, instance), None) is None:
            return
        left = {place.address for (owner, _), place in self._places.items() if owner == name}
        if left:
            self._claims.keep(name, left)
        self._tidy()

    def planned(self, services: Collection[Service], is_over: Callable[[str], bool]) -> None:
        """Close what belongs to services that are over, and to no other one."""
        if self._claims.release(services, is_over):
            self._tidy()

    async def close(self) -> None:
        """Listen no more."""
        self._open.clear()
        self._claims.clear()
        opener, self._opener = self._opener, None
        if opener is not None:
            await opener.close()

    async def _ensure(self, service: Service, wanted: Listener) -> None:
        if _address(wanted) in self._open:
            return
        if self._opener is None:
            self._opener = self._opening()
        opened = await self._opener.open(service.name, wanted.host, wanted.port)
        self._open[_address(wanted)] = opened

    def _free_port(self, public: Listener) -> int:
        """One that no program has on the loopback, and no other instance was given."""
        port = ports.find_free({place.port for place in self._places.values()} | {public.port})
        if port is None:
            raise ProcwatchError("no free port was found for it")
        return port

    def _tidy(self) -> None:
        for address in self._open.keys() - self._claims.needed():
            self._open.pop(address).close()


def _addresses(service: Service) -> set[_Address]:
    return set() if service.proxy is None else {_address(service.proxy)}


def _address(listener: Listener) -> _Address:
    return (listener.host, listener.port)
