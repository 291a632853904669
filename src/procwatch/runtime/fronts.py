"""Which instance of a service its clients reach, through the sockets that procwatch listens at for it.

Rule 1: new clients come to one slot, that of the instance in charge; what is not to have any yet has the other one.
Rule 2: who waits in a slot that no instance serves, and that new clients do not come to, is passed on to the one in
        charge: nobody is forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from procwatch.core import messages as msg
from procwatch.core.model import RunProbe, Service
from procwatch.frozen import field, frozen
from procwatch.runtime.asking import connect
from procwatch.runtime.forward import Forwarder
from procwatch.runtime.sockets import Handed, Sockets
from procwatch.runtime.steering import Listening, Slot


@frozen
class Seat:
    """Where one instance sits: its slot, the sockets that it was given, and a door that leads to it alone.

    `door`: what a command that looks at the instance is told besides (PORT, PROCWATCH_URL).
    """

    slot: int
    handed: tuple[Handed, ...] = ()
    forwarder: Forwarder | None = None
    door: Mapping[str, str] = field(default_factory=dict)


class Fronts:
    """The fronts of all services."""

    def __init__(self, sockets: Sockets) -> None:
        self.sockets = sockets
        self._seats: dict[tuple[str, int], Seat] = {}
        # By service, the slot that new clients come to.
        self._clients: dict[str, int] = {}
        self._relief: dict[Listening, Forwarder] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def seat(self, service: Service, action: msg.StartInstance) -> Seat:
        """A place for a new instance, until it is `gone`. Raises ListenError."""
        key = (service.name, action.instance)
        clients = self._clients.get(service.name, 0)
        slot = 1 - clients if action.apart else clients
        if slot in {seat.slot for (name, _), seat in self._seats.items() if name == service.name}:
            slot = 1 - slot
        self._seats[key] = Seat(slot)
        try:
            handed = await self.sockets.claim(service, slot, beside=action.beside)
        except BaseException:
            del self._seats[key]
            raise
        for each in handed:
            each.slot.listening.put_in_charge(clients)
            if each.slot.listening.is_steered:
                self._leave(each.slot.listening)  # who waits there waits for this one
        self._seats[key] = Seat(slot, handed, *self._open_door(service, handed))
        return self._seats[key]

    def _open_door(self, service: Service, handed: tuple[Handed, ...]) -> tuple[Forwarder | None, Mapping[str, str]]:
        """For `verify` and `ready.run`, which know only of an address; OSError where no port is free."""
        is_asked_for = service.verify is not None or isinstance(service.ready, RunProbe)
        first = next((each for each in handed if not each.slot.listening.bound_name), None)
        if first is None or not is_asked_for:
            return None, {}
        forwarder = Forwarder(partial(connect, first.slot))
        port = forwarder.listen()
        return forwarder, {"PORT": str(port), "PROCWATCH_URL": f"http://127.0.0.1:{port}"}

    def door(self, name: str, instance: int) -> Mapping[str, str]:
        """What leads to this instance alone; nothing where there is no such door."""
        seat = self._seats.get((name, instance))
        return seat.door if seat else {}

    def take_over(self, name: str, instance: int) -> None:
        """From now on new clients come to this instance."""
        if (seat := self._seats.get((name, instance))) is not None:
            self._clients[name] = seat.slot
            for each in seat.handed:
                each.slot.listening.put_in_charge(seat.slot)
            self._relieve(name)

    def gone(self, name: str, instance: int) -> None:
        """Nothing is left of this instance."""
        seat = self._seats.pop((name, instance), None)
        if seat is None:
            return
        left = [other for (owner, _), other in self._seats.items() if owner == name]
        if left:
            self.sockets.keep(name, {each.slot.listening for other in left for each in other.handed})
        self._relieve(name)
        if seat.forwarder is not None:
            closing = asyncio.get_running_loop().create_task(seat.forwarder.__aexit__())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def slots(self, name: str, instance: int) -> tuple[Slot, ...]:
        """What this instance takes its clients from."""
        seat = self._seats.get((name, instance))
        return tuple(each.slot for each in seat.handed) if seat else ()

    async def close(self) -> None:
        """Pass nobody on any more."""
        forwarders = [*self._relief.values(), *(seat.forwarder for seat in self._seats.values() if seat.forwarder)]
        for listening in [*self._relief]:
            self._leave(listening)
        for forwarder in forwarders:
            await forwarder.__aexit__()
        await asyncio.gather(*self._closing)

    # --- who waits for an instance that has gone ---------------------------------------------------------------------

    def _relieve(self, name: str) -> None:
        """Look after the slot that nobody serves, as long as another one is in charge."""
        seats = {seat.slot: seat for (other, _), seat in self._seats.items() if other == name}
        clients = self._clients.get(name, 0)
        for each in seats[clients].handed if clients in seats else ():
            if each.slot.listening.is_steered and 1 - clients not in seats:
                self._look_after(each.slot.listening, clients)

    def _look_after(self, listening: Listening, clients: int) -> None:
        if listening in self._relief:
            return
        forwarder = self._relief[listening] = Forwarder(partial(connect, Slot(listening, clients)))
        waiting = listening.socket(1 - clients)
        listening.on_close = partial(self._leave, listening)
        asyncio.get_running_loop().add_reader(waiting.fileno(), forwarder.take_over, waiting)

    def _leave(self, listening: Listening) -> None:
        """An instance takes from that slot itself again, or nobody listens any more."""
        if self._relief.pop(listening, None) is not None:
            loop = asyncio.get_running_loop()
            for slot in (0, 1):
                loop.remove_reader(listening.socket(slot).fileno())
