"""Connections that are passed on: every byte, each end of a direction, and how they break."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest

from procwatch.runtime.asking import connect
from procwatch.runtime.forward import Forwarder
from procwatch.runtime.steering import Slot
from tests.behaviour.test_steering import client_of, listening_at
from tests.rig.needs import need_linux
from tests.rig.obey import DEADLINE_S, descriptors

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def within_deadline() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await scene()

    before = descriptors()
    asyncio.run(within_deadline())
    assert descriptors() == before


@asynccontextmanager
async def forwarded(serve: Serve) -> AsyncIterator[tuple[Forwarder, int]]:
    """A server, and the port of a forwarder before it."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    async def to_server() -> socket.socket:
        connection = socket.socket()
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, address)
        except BaseException:
            connection.close()
            raise
        return connection

    try:
        async with Forwarder(to_server) as forwarder:
            yield forwarder, forwarder.listen()
    finally:
        server.close()
        await server.wait_closed()


def break_off(writer: asyncio.StreamWriter) -> None:
    """A reset, as of a program that was killed."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that was said, once the client has said all."""
    said = await reader.read()
    writer.write(said)
    await writer.drain()
    writer.close()


def test_an_end_of_one_direction_leaves_the_other_open() -> None:
    async def scene() -> None:
        async with forwarded(answer_at_the_end) as (forwarder, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"question")
            writer.write_eof()
            assert await reader.read() == b"question"
            writer.close()
            await forwarder.ended()

    play(scene)


def test_a_server_that_ends_first_can_still_be_told_things() -> None:
    heard: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.write_eof()
        heard.append(await reader.read())
        writer.close()

    async def scene() -> None:
        async with forwarded(greet) as (forwarder, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b"hello"
            writer.write(b"late")
            writer.write_eof()
            await forwarder.ended()
            writer.close()
        assert heard == [b"late"]

    play(scene)


def test_every_byte_of_many_long_connections_passes_at_once_both_ways() -> None:
    data = os.urandom(4 * 1024 * 1024)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(100_000):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def one(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def say() -> None:
            writer.write(data)
            writer.write_eof()
            await writer.drain()

        _, answer = await asyncio.gather(say(), reader.read())
        assert answer == data
        writer.close()

    async def scene() -> None:
        async with forwarded(echo) as (_, port):
            await asyncio.gather(*(one(port) for _ in range(8)))

    play(scene)


def test_a_connection_that_breaks_is_no_orderly_end() -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half an answ")
        await writer.drain()
        break_off(writer)

    async def scene() -> None:
        async with forwarded(half) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    play(scene)


def test_a_client_that_breaks_off_is_told_to_the_server() -> None:
    async def scene() -> None:
        broken = asyncio.Event()
        begun = asyncio.Event()

        async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while await reader.read(100):
                    begun.set()
            except ConnectionResetError:
                broken.set()
            writer.close()

        async with forwarded(wait) as (_, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x")
            await begun.wait()
            break_off(writer)
            await broken.wait()

    play(scene)


def test_where_nobody_answers_the_client_is_refused_by_a_reset() -> None:
    async def scene() -> None:
        async def refuse() -> socket.socket:
            raise ConnectionRefusedError

        async with Forwarder(refuse) as forwarder:
            reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.listen())
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    play(scene)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_waits_for_one_that_has_died_is_handed_to_its_successor(host: str) -> None:
    need_linux()

    async def scene() -> None:
        with listening_at(host) as listening:
            clients = [client_of(listening) for _ in range(5)]
            for client in clients:
                client.sendall(b"question")
                client.shutdown(socket.SHUT_WR)
                client.setblocking(False)
            listening.put_in_charge(1)
            server = await asyncio.start_server(answer_at_the_end, sock=listening.socket(1).dup())
            async with Forwarder(partial(connect, Slot(listening, 1))) as forwarder:
                assert forwarder.take_over(listening.socket(0)) == 5
                for client in clients:
                    with client:
                        assert await asyncio.get_running_loop().sock_recv(client, 100) == b"question"
                await forwarder.ended()
            assert listening.socket(0).getblocking()
            server.close()
            await server.wait_closed()

    play(scene)


def test_a_forwarder_reaches_a_candidate_that_nobody_else_reaches(tmp_path: Path) -> None:
    need_linux()

    async def scene() -> None:
        with listening_at("127.0.0.1", tmp_path) as listening:
            async with Forwarder(partial(connect, Slot(listening, 1))) as forwarder:
                reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.listen())
                with closing(client_of(listening)):
                    candidate = await asyncio.start_server(answer_at_the_end, sock=listening.socket(1).dup())
                    writer.write(b"verify")
                    writer.write_eof()
                    assert await reader.read() == b"verify"
                    assert listening.queue_length(0) == 1
                writer.close()
                await forwarder.ended()
                candidate.close()
                await candidate.wait_closed()

    play(scene)
