"""The server that is switched: `web.py PORT` opens the port, or takes the socket that it is given (LISTEN_FDS).

It takes a while to start, as programs do, and on SIGTERM answers what it has begun before it ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time

# Until it listens, or takes what waits.
STARTS_IN_S = 0.4


async def main(port: int) -> None:
    """Serve until SIGTERM."""
    ending = asyncio.Event()
    busy: set[asyncio.StreamWriter] = set()
    idle: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not ending.is_set():
                idle.add(writer)
                await reader.readuntil(b"\r\n\r\n")
                idle.discard(writer)
                busy.add(writer)
                body = str(os.getpid()).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
                busy.discard(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            idle.discard(writer)
            busy.discard(writer)
            writer.close()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    if os.environ.get("LISTEN_FDS"):
        server = await asyncio.start_server(serve, sock=socket.socket(fileno=3))
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", port)
    await ending.wait()
    server.close()
    for writer in tuple(idle):
        writer.close()
    while busy:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    time.sleep(STARTS_IN_S)
    asyncio.run(main(int(sys.argv[1])))
