"""The process behind the proxy: it never outlives the supervisor, comes back if it dies, and refuses in words."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from procwatch.runtime.proxy import Counts, PortError
from procwatch.runtime.steering import LEAST_DESCRIPTOR
from tests.rig.proxied import DEADLINE_S, GET, Proxied, ends, is_cut, ok, receive, serve


@pytest.fixture
def proxied() -> Iterator[Proxied]:
    with Proxied() as made:
        yield made


def pid_of(proxied: Proxied) -> int:
    """The process that passes bytes on."""
    (tree,) = (tree for tree in proxied.forest.trees if tree.members)
    return tree.leader.pid


def test_who_comes_while_the_process_is_dead_waits_for_the_next_one(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    other = proxied.open("service.other", "127.0.0.1", 0)
    other.point_to(instance.port)
    client = proxied.connect()
    serve(client, instance)
    os.kill(pid_of(proxied), signal.SIGKILL)
    assert ends(client)
    for front in (proxied.front, other):
        serve(proxied.connect(front), instance)
    assert proxied.reports == [
        "the proxy process has ended (killed by SIGKILL): connections through it are cut; starting another"
    ]


def test_a_drain_is_over_when_the_process_dies(proxied: Proxied) -> None:
    old = proxied.in_charge()
    client = proxied.connect()
    client.sendall(GET)
    receive(old.accept(), len(GET))
    proxied.in_charge()
    drained = proxied.drain(old)
    proxied.counts()
    os.kill(pid_of(proxied), signal.SIGKILL)
    assert drained.result(DEADLINE_S) == 0


SUPERVISOR = """
import asyncio, os, signal
from procwatch.runtime.proxy import Proxies
from procwatch.runtime.tree import Forest

async def main():
    forest = Forest(print)
    await Proxies(forest, print).open("service.api", "127.0.0.1", 0)
    print(forest.trees[0].leader.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_the_process_ends_when_the_supervisor_is_killed() -> None:
    supervisor = subprocess.Popen((sys.executable, "-c", SUPERVISOR), stdout=subprocess.PIPE)
    assert supervisor.stdout is not None
    with supervisor.stdout as told:
        pid = int(told.readline())
        waiting = os.pidfd_open(pid)
    try:
        assert supervisor.wait(DEADLINE_S) == -signal.SIGKILL
        assert select.select([waiting], [], [], DEADLINE_S)[0]
    finally:
        os.close(waiting)


def test_closing_a_port_cuts_what_is_open_and_frees_it(proxied: Proxied) -> None:
    instance = proxied.in_charge()
    client = proxied.connect()
    server = serve(client, instance)
    address = proxied.address

    async def close() -> None:
        proxied.front.close()

    proxied.run(close())
    assert ends(client) or is_cut(client)
    assert ends(server)
    again = proxied.open("service.api", *address)
    again.point_to(instance.port)
    serve(proxied.connect(again), instance)


def test_a_port_that_was_given_up_has_nothing_to_tell(proxied: Proxied) -> None:
    other = proxied.open("service.other", "127.0.0.1", 0)

    async def close_and_ask() -> tuple[int, Counts]:
        other.close()
        return await other.drain(1, DEADLINE_S), await other.counts()

    assert proxied.run(close_and_ask()) == (0, Counts())
    assert proxied.counts() == Counts()


def test_all_can_be_closed_and_begun_again(proxied: Proxied) -> None:
    proxied.run(proxied.proxies.close())
    front = proxied.open("service.api", "127.0.0.1", 0)
    instance = proxied.instance()
    front.point_to(instance.port)
    serve(proxied.connect(front), instance)


def test_a_port_that_is_taken_is_told_with_its_holder(proxied: Proxied) -> None:
    host, port = proxied.address
    holder = rf"\(process ({os.getpid()}|{pid_of(proxied)})\)"
    with pytest.raises(PortError, match=rf"^{host}:{port} is taken by \S+ {holder}$"):
        proxied.open("service.other", host, port)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.1", "192.0.2.1:8000: this machine has no such address"),
        ("2001:db8::1", r"\[2001:db8::1\]:8000: this machine has no such address"),
        ("no-such-host.invalid", "no-such-host.invalid:8000: no address is known for this name"),
        ("a..b", "a..b:8000: no address is known for this name"),
    ],
)
def test_an_address_that_cannot_be_had_is_told(proxied: Proxied, host: str, words: str) -> None:
    with pytest.raises(PortError, match=f"^{words}$"):
        proxied.open("service.other", host, 8000)


def test_without_a_host_all_addresses_are_opened(proxied: Proxied) -> None:
    front = proxied.open("service.all", "", 0)
    instance = proxied.instance()
    front.point_to(instance.port)
    port = front.listeners[0].getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), DEADLINE_S) as client:
            client.sendall(GET)
            server = instance.accept()
            assert receive(server, len(GET)) == GET
            server.sendall(ok())
            assert receive(client, len(ok())) == ok()


def test_the_sockets_stay_out_of_a_services_way(proxied: Proxied) -> None:
    listener = proxied.front.listeners[0]
    assert listener.fileno() >= LEAST_DESCRIPTOR
    assert not listener.get_inheritable()
    assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_many_ports_share_one_process(proxied: Proxied) -> None:
    fronts = [proxied.open(f"service.s{number}", "127.0.0.1", 0) for number in range(20)]
    instances = [proxied.instance() for _ in fronts]
    for front, instance in zip(fronts, instances, strict=True):
        front.point_to(instance.port)
    for front, instance in zip(fronts, instances, strict=True):
        serve(proxied.connect(front), instance)
    assert pid_of(proxied)
