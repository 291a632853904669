"""Where the clients of a service wait and come to, by the slots of its address; no process is started."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

from procwatch.core import messages as msg
from procwatch.core.model import Listener, Service
from procwatch.runtime.fronts import Fronts
from procwatch.runtime.public_ports import Opening
from procwatch.runtime.sockets import Sockets
from procwatch.runtime.steering import Slot
from tests.rig.needs import need_linux
from tests.rig.obey import descriptors
from tests.rig.sample import free_port
from tests.rig.world import service

DEADLINE_S = 30.0


def no_proxy() -> Opening:
    raise AssertionError("nothing here has a proxy")


async def sit(fronts: Fronts, one: Service, instance: int, *, apart: bool = False) -> Slot:
    """The slot of a new instance."""
    seat = await fronts.seat(one, msg.StartInstance(one.name, instance, beside=apart, apart=apart))
    return seat.handed[0].slot


def test_a_candidate_gets_nobody_who_waited_for_another_one_in_its_slot(tmp_path: Path) -> None:
    need_linux()
    listener = Listener("web", "127.0.0.1", free_port())
    one, other = (replace(service(f"web.{each}"), of="service.web", listen=(listener,)) for each in (1, 2))

    async def story() -> None:
        fronts = Fronts(Sockets(tmp_path), no_proxy)
        first = await sit(fronts, one, 1)
        fronts.take_over(one.name, 1)
        fronts.gone(one.name, 1)
        with socket.create_connection(("127.0.0.1", listener.port), timeout=DEADLINE_S) as client:
            client.sendall(b"hello")
            serving = await sit(fronts, other, 1, apart=True)
            fronts.take_over(other.name, 1)
            candidate = await sit(fronts, one, 2, apart=True)  # before the loop has looked at anything else
            assert candidate == first != serving
            assert candidate.listening.queue_length(candidate.index) == 0
            async with asyncio.timeout(DEADLINE_S):
                served, _ = await asyncio.get_running_loop().sock_accept(_waited_for(serving))
                with served:
                    assert await asyncio.get_running_loop().sock_recv(served, 5) == b"hello"
        await fronts.close()

    asyncio.run(story())


def test_who_comes_while_the_last_one_finishes_waits_for_the_next_one_and_is_not_passed_on_in_a_circle(
    tmp_path: Path,
) -> None:
    need_linux()
    listener = Listener("web", "127.0.0.1", free_port())
    web = replace(service("web"), listen=(listener,))

    async def story() -> None:
        fronts = Fronts(Sockets(tmp_path), no_proxy)
        first = await sit(fronts, web, 1)
        fronts.take_over(web.name, 1)
        await sit(fronts, web, 2, apart=True)
        fronts.take_over(web.name, 2)
        fronts.gone(web.name, 1)  # who waits there from now on is passed on to the second one
        fronts.retire(web.name, 2, aside=True)
        with socket.create_connection(("127.0.0.1", listener.port), timeout=DEADLINE_S) as client:
            client.sendall(b"hello")
            held = descriptors()
            for _ in range(20):
                await asyncio.sleep(0)
            assert descriptors() == held
            assert await sit(fronts, web, 3) == first
            fronts.take_over(web.name, 3)
            async with asyncio.timeout(DEADLINE_S):
                served, _ = await asyncio.get_running_loop().sock_accept(_waited_for(first))
                with served:
                    assert await asyncio.get_running_loop().sock_recv(served, 5) == b"hello"
        await fronts.close()

    asyncio.run(story())


def _waited_for(slot: Slot) -> socket.socket:
    waiting = slot.listening.socket(slot.index)
    waiting.setblocking(False)
    return waiting
