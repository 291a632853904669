"""Which instance of a service its clients reach, through what procwatch listens at for it: `listen` and `proxy`.

Rule 1: new clients come to one slot, that of the instance in charge; what is not to have any yet has the other one.
Rule 2: who waits in a slot that no instance serves, and that new clients do not come to, is passed on to the one in
        charge: nobody is forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from procwatch.core import messages as msg
from procwatch.core.model import RunProbe, Service
from procwatch.core.state import Phase
from procwatch.core.verdict import Moment
from procwatch.frozen import field, frozen
from procwatch.runtime.asking import connect
from procwatch.runtime.forward import Forwarder
from procwatch.runtime.public_ports import Opening, PublicPorts
from procwatch.runtime.sockets import Handed, Sockets
from procwatch.runtime.steering import Listening, Slot


@frozen
class Seat:
    """Where one instance sits: its slot, the sockets or the port that it was given, and a door that leads to it alone.

    `door`: what a command that looks at the instance is told besides (PORT, PROCWATCH_URL).
    """

    slot: int
    handed: tuple[Handed, ...] = ()
    port: int | None = None
    forwarder: Forwarder | None = None
    door: Mapping[str, str] = field(default_factory=dict)


class Fronts:
    """The fronts of all services."""

    def __init__(self, sockets: Sockets, opening: Callable[[], Opening]) -> None:
        self._sockets = sockets
        self._public = PublicPorts(opening)
        self._seats: dict[tuple[str, int], Seat] = {}
        # By service, the slot that new clients come to.
        self._clients: dict[str, int] = {}
        self._relief: dict[Listening, Forwarder] = {}
        # What still passes somebody on though nobody comes to it any more, and the task that waits for the end of that.
        self._ending: dict[asyncio.Task[None], Forwarder] = {}

    async def prepare(self, service: Service) -> None:
        """Listen where a new definition wants it, before anything is stopped for it. Raises ProcwatchError."""
        await self._sockets.prepare(service)
        await self._public.prepare(service)

    async def seat(self, service: Service, action: msg.StartInstance) -> Seat:
        """A place for a new instance, until it is `gone`. Raises ProcwatchError."""
        key = (service.name, action.instance)
        clients = self._clients.get(service.name, 0)
        slot = 1 - clients if action.apart else clients
        if slot in {seat.slot for (name, _), seat in self._seats.items() if name == service.name}:
            slot = 1 - slot
        self._seats[key] = Seat(slot)
        try:
            self._public.ask(service, beside=action.beside)
            handed = await self._sockets.claim(service, slot, beside=action.beside)
            place = await self._public.claim(service, action.instance)
        except BaseException:
            del self._seats[key]
            raise
        for each in handed:
            each.slot.listening.put_in_charge(clients)
            if each.slot.listening.is_steered:
                self._leave(each.slot.listening)  # who waits there waits for this one
        if place is not None:
            self._seats[key] = Seat(slot, port=place.port, door=_leading_to(place.port))
        else:
            forwarder = self._open_door(service, handed)
            door = _leading_to(forwarder.listen()) if forwarder else {}
            self._seats[key] = Seat(slot, handed, forwarder=forwarder, door=door)
        return self._seats[key]

    def _open_door(self, service: Service, handed: tuple[Handed, ...]) -> Forwarder | None:
        """For `verify` and `ready.run`, which know only of an address."""
        is_asked_for = service.verify is not None or isinstance(service.ready, RunProbe)
        first = next((each for each in handed if not each.slot.listening.bound_name), None)
        if first is None or not is_asked_for:
            return None
        return Forwarder(partial(connect, first.slot))

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
            self._public.take_over(name, instance)

    def retire(self, name: str, instance: int) -> None:
        """It is about to end: behind a proxy new clients wait for another one, if this one is in charge."""
        self._public.retire(name, instance)

    async def drain(self, name: str, instance: int, seconds: float) -> None:
        """Wait until no client is with an instance behind a proxy, or so long."""
        await self._public.drain(name, instance, seconds)

    def gone(self, name: str, instance: int) -> None:
        """Nothing is left of this instance."""
        seat = self._seats.pop((name, instance), None)
        if seat is None:
            return
        left = [other for (owner, _), other in self._seats.items() if owner == name]
        self._public.gone(name, instance)
        if left:
            self._sockets.keep(name, {each.slot.listening for other in left for each in other.handed})
        self._relieve(name)
        if seat.forwarder is not None:
            self._keep_until(seat.forwarder, seat.forwarder.__aexit__())

    def slots(self, name: str, instance: int) -> tuple[Slot, ...]:
        """What this instance takes its clients from."""
        seat = self._seats.get((name, instance))
        return tuple(each.slot for each in seat.handed) if seat else ()

    def planned(self, moment: Moment, _event: object) -> None:
        """Close what belongs to services that are gone, or have been stopped for good."""

        def is_over(name: str) -> bool:
            state = moment.state.services.get(name)
            return state is None or (state.phase is Phase.STOPPED and not state.wanted)

        self._sockets.planned(is_over)
        self._public.planned(is_over)

    async def close(self) -> None:
        """Pass nobody on any more, and listen no more."""
        for listening in [*self._relief]:
            self._leave(listening)
        doors = (seat.forwarder for seat in self._seats.values() if seat.forwarder is not None)
        for forwarder in [*self._ending.values(), *doors]:
            await forwarder.__aexit__()
        await asyncio.gather(*self._ending)
        await self._public.close()
        self._sockets.close()

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
        forwarder = self._relief.pop(listening, None)
        if forwarder is not None:
            loop = asyncio.get_running_loop()
            for slot in (0, 1):
                loop.remove_reader(listening.socket(slot).fileno())
            self._keep_until(forwarder, forwarder.ended())

    def _keep_until(self, forwarder: Forwarder, end: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(end)
        self._ending[task] = forwarder
        task.add_done_callback(self._ending.pop)


def _leading_to(port: int) -> dict[str, str]:
    return {"PORT": str(port), "PROCWATCH_URL": f"http://127.0.0.1:{port}"}
