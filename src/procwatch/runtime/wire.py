"""One question and the first line of its answer over a connection, in TLS if it is asked for.

Rule 1: asyncio's own TLS is not used: `begin` imports asyncio without it, which saves every start 5 MiB and 10 ms.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")
# The status line of an answer; more than this is no HTTP.
_LINE_BYTES = 8 * 1024


class Wire:
    """A connected, non-blocking socket; who made it closes it. `tls_name`: the host of an encrypted one."""

    def __init__(self, connection: socket.socket, tls_name: str | None) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._tls_name = tls_name

    async def ask(self, question: bytes) -> bytes:
        """The first line of the answer; empty when the connection ended without one. Raises OSError."""
        if self._tls_name is None:
            await self._loop.sock_sendall(self._connection, question)
            return await _first_line(lambda: self._loop.sock_recv(self._connection, _LINE_BYTES))
        tls = _Tls(self._connection, self._tls_name)
        await tls.run(tls.session.do_handshake)
        await tls.run(lambda: tls.session.write(question))
        return await _first_line(tls.receive)


class _Tls:
    """A TLS session over a socket. Certificates of development servers are their own: who it is is not asked."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        import ssl  # noqa: PLC0415 - few probes need it

        self._ssl = ssl
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session: Any = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    async def run(self, step: Callable[[], _T]) -> _T:
        """Do a step of the session; what it wants to hear is received, and what it says is sent."""
        while True:
            try:
                result = step()
            except self._ssl.SSLWantReadError:
                await self._send()
                data = await self._loop.sock_recv(self._connection, _LINE_BYTES)
                self._incoming.write(data) if data else self._incoming.write_eof()
            else:
                await self._send()
                return result

    async def receive(self) -> bytes:
        """The next piece of the answer; empty at its end."""
        try:
            return bytes(await self.run(lambda: self.session.read(_LINE_BYTES)))
        except self._ssl.SSLEOFError:  # many servers just close the connection
            return b""

    async def _send(self) -> None:
        if data := self._outgoing.read():
            await self._loop.sock_sendall(self._connection, data)


async def _first_line(receive: Callable[[], Any]) -> bytes:
    answer = b""
    while b"\n" not in answer:
        data = await receive()
        if not data:
            return answer
        answer += data
        if len(answer) > _LINE_BYTES:
            return b"?"
    return answer.partition(b"\n")[0]
