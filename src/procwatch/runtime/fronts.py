"""Which instances of a service its clients reach, through what procwatch listens at for it: `listen` and `proxy`.

Rule 1: new clients come to the slots of the instances in charge; what is not to have any yet has another slot.
Rule 2: as long as none is in charge they wait where they came last, and the next instance sits down there.
Rule 3: who waits in a slot that no instance serves, and that new clients do not come to, is passed on to one in charge:
        nobody is forgotten.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from procwatch.core import messages as msg
from procwatch.core.model import RunProbe, Service
from procwatch.core.state import Phase
from procwatch.core.verdict import Moment
from procwatch.errors import ProcwatchError
from procwatch.frozen import field, frozen
from procwatch.runtime.asking import connect
from procwatch.runtime.forward import Forwarder
from procwatch.runtime.listening import in_words
from procwatch.runtime.public_ports import Opening, PublicPorts
from procwatch.runtime.sockets import Handed, Sockets
from procwatch.runtime.steering import Listening, Slot

# A service and the number of an instance.
_Key = tuple[str, int]


@frozen
class Seat:
    """Where one instance sits: the sockets or the port that it was given, and a door that leads to it alone.

    `door`: what a command that looks at the instance is told besides (PORT, PROCWATCH_URL).
    """

    handed: tuple[Handed, ...] = ()
    port: int | None = None
    forwarder: Forwarder | None = None
    door: Mapping[str, str] = field(default_factory=dict)


class Fronts:
    """The fronts of all services."""

    def __init__(self, sockets: Sockets, opening: Callable[[], Opening]) -> None:
        self._sockets = sockets
        self._public = PublicPorts(opening)
        self._seats: dict[_Key, Seat] = {}
        # By service, the instance in charge.
        self._in_charge: dict[str, int] = {}
        self._relief: dict[Slot, Forwarder] = {}
        # What still passes somebody on though nobody comes to it any more, and the task that waits for the end of that.
        self._ending: dict[asyncio.Task[None], Forwarder] = {}

    async def expect(self, services: Iterable[Service]) -> None:
        """Listen for services that are to be started when all that they need is there: who comes until then waits.

        To be called before the first one is started. What cannot be had changes nothing: their starts tell it.
        """
        for service in services:
            self._sockets.expect(service)
            await self._public.expect(service)

    async def prepare(self, service: Service) -> None:
        """Listen where a new definition wants it, before anything is stopped for it. Raises ProcwatchError."""
        await self._sockets.prepare(service)
        await self._public.prepare(service)

    async def seat(self, service: Service, action: msg.StartInstance) -> Seat:
        """A place for a new instance, until it is `gone`. Raises ProcwatchError."""
        key = (service.name, action.instance)
        self._public.ask(service, beside=action.beside)
        held = {each.slot.listening for seat in self._seats.values() for each in seat.handed}
        listenings = await self._sockets.claim(service, beside=action.beside, held=held)
        slot = self._free_slot(service, listenings, apart=action.apart)
        named = zip(service.listen, listenings, strict=True)
        handed = tuple(Handed(each.name, each.address, Slot(listening, slot)) for each, listening in named)
        self._seats[key] = Seat(handed)
        for each in handed:
            self._clear(each.slot)
        try:
            place = await self._public.claim(service, action.instance)
        except BaseException:
            del self._seats[key]
            raise
        if place is not None:
            self._seats[key] = Seat(handed, port=place.port, door=_leading_to(place.port))
        elif (forwarder := self._door_for(service, handed)) is not None:
            self._seats[key] = Seat(handed, forwarder=forwarder, door=_leading_to(forwarder.listen()))
        return self._seats[key]

    def _free_slot(self, service: Service, listenings: tuple[Listening, ...], *, apart: bool) -> int:
        """One that no instance has: where clients wait, unless it is to be `apart` from them. Raises ProcwatchError."""
        steered = [listening for listening in listenings if listening.is_steered]
        if not steered:
            return 0
        waited_in = [slot for slot in steered[0].in_charge if Slot(steered[0], slot) not in self._taken(steered[0])]
        if waited_in and not apart:
            return waited_in[0]
        try:
            return self._unused_slot(steered)
        except OSError as error:
            listener = service.listen[0]
            raise ProcwatchError(
                f"cannot listen once more at {listener.address}: {in_words(error, listener)}"
            ) from None

    def _unused_slot(self, steered: Sequence[Listening]) -> int:
        """One that no instance has and no client comes to, at all of these addresses. Raises OSError."""
        used = {slot.index for listening in steered for slot in self._taken(listening)}
        used |= {slot for listening in steered for slot in listening.in_charge}
        found = next(slot for slot in itertools.count() if slot not in used)
        for listening in steered:
            while found not in listening.slots:
                listening.grow()
        return found

    def _taken(self, listening: Listening) -> set[Slot]:
        """The slots of an address that instances have."""
        slots = (each.slot for seat in self._seats.values() for each in seat.handed)
        return {slot for slot in slots if slot.listening is listening}

    def _door_for(self, service: Service, handed: tuple[Handed, ...]) -> Forwarder | None:
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
        """From now on new clients come to this instance, and to no other one of this service."""
        if (name, instance) in self._seats:
            self._in_charge[name] = instance
            self._steer(name)
            self._public.take_over(name, instance)

    def retire(self, name: str, instance: int, *, aside: bool = False) -> None:
        """It is about to end: new clients come to other replicas, or wait for the next instance.

        `aside`: those wait where this one does not take them from, so that it can finish with those that it has.
        """
        if self._in_charge.get(name) == instance:
            del self._in_charge[name]
            self._steer(name, aside=aside)
        self._public.retire(name, instance)

    async def drain(self, name: str, instance: int, seconds: float) -> None:
        """Wait until no client is with an instance behind a proxy, or so long."""
        await self._public.drain(name, instance, seconds)

    def gone(self, name: str, instance: int) -> None:
        """Nothing is left of this instance."""
        if (name, instance) not in self._seats:
            return
        self.retire(name, instance)
        seat = self._seats.pop((name, instance))
        left = [other for (owner, _), other in self._seats.items() if owner == name]
        self._public.gone(name, instance)
        if left:
            self._sockets.keep(name, {each.slot.listening for other in left for each in other.handed})
        for each in seat.handed:
            self._relieve(each.slot.listening)
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

        services = moment.project.services.values()
        self._sockets.planned(services, is_over)
        self._public.planned(services, is_over)

    async def close(self) -> None:
        """Pass nobody on any more, and listen no more."""
        for slot in [*self._relief]:
            self._leave(slot)
        doors = (seat.forwarder for seat in self._seats.values() if seat.forwarder is not None)
        for forwarder in [*self._ending.values(), *doors]:
            await forwarder.__aexit__()
        await asyncio.gather(*self._ending)
        await self._public.close()
        self._sockets.close()

    # --- where new clients come to -----------------------------------------------------------------------------------

    def _steer(self, name: str, *, aside: bool = False) -> None:
        """Have new clients come to those in charge, at each address that an instance of this service has."""
        handed = (each for (owner, _), seat in self._seats.items() if owner == name for each in seat.handed)
        for listening in {each.slot.listening for each in handed}:
            if slots := self._serving(listening):
                listening.put_in_charge(*slots)
            elif aside and listening.is_steered:
                with suppress(OSError):  # no descriptor is free: they wait where they came last
                    waiting = self._unused_slot([listening])
                    self._leave(Slot(listening, waiting))  # else who comes would be passed on to that slot itself
                    listening.put_in_charge(waiting)
            self._relieve(listening)

    def _serving(self, listening: Listening) -> list[int]:
        """The slots of the instances in charge."""
        seats = [self._seats[key] for key in self._in_charge.items() if key in self._seats]
        return sorted(each.slot.index for seat in seats for each in seat.handed if each.slot.listening is listening)

    def _relieve(self, listening: Listening) -> None:
        """Look after the slots that nobody serves, as long as there is one in charge."""
        if not listening.is_steered or not self._serving(listening):
            return
        taken = self._taken(listening)
        for slot in (Slot(listening, index) for index in listening.slots if index not in listening.in_charge):
            if slot not in taken and slot not in self._relief:
                self._look_after(slot)

    def _look_after(self, slot: Slot) -> None:
        listening = slot.listening
        forwarder = self._relief[slot] = Forwarder(lambda: connect(Slot(listening, random.choice(listening.in_charge))))  # noqa: S311
        waiting = listening.socket(slot.index)
        listening.on_close = partial(self._leave_all, listening)
        asyncio.get_running_loop().add_reader(waiting.fileno(), forwarder.take_over, waiting)

    def _clear(self, slot: Slot) -> None:
        """An instance is about to take from that slot: who waits there while another one serves is passed on first."""
        if slot in self._relief:
            with suppress(OSError):  # no descriptor is free: they wait for the instance
                self._relief[slot].take_over(slot.listening.socket(slot.index))
            self._leave(slot)

    def _leave_all(self, listening: Listening) -> None:
        """Nobody listens there any more."""
        for index in listening.slots:
            self._leave(Slot(listening, index))

    def _leave(self, slot: Slot) -> None:
        """An instance takes from that slot itself again, or nobody does any more."""
        forwarder = self._relief.pop(slot, None)
        if forwarder is not None:
            asyncio.get_running_loop().remove_reader(slot.listening.socket(slot.index).fileno())
            self._keep_until(forwarder, forwarder.ended())

    def _keep_until(self, forwarder: Forwarder, end: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(end)
        self._ending[task] = forwarder
        task.add_done_callback(self._ending.pop)


def _leading_to(port: int) -> dict[str, str]:
    return {"PORT": str(port), "PROCWATCH_URL": f"http://127.0.0.1:{port}"}
