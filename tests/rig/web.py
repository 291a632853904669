"""A web server for tests: takes its socket from procwatch, or opens $PORT where it was given none; answers with the
file `version` as it was at its start.

`/slow` makes the file `begun`, and is answered when the file `go` is there; `version` "dead" ends at once, "mute"
answers nothing until SIGTERM ends it. The argument "rude" leaves SIGTERM as it is: what is being answered then is cut.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path


async def main(rude: bool) -> None:
    """Serve until SIGTERM, then until the last request is answered."""
    version = Path("version").read_text().strip()
    if version == "dead":
        print("cannot go on")
        sys.exit(3)
    busy: set[asyncio.StreamWriter] = set()
    idle: set[asyncio.StreamWriter] = set()
    ending = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not ending.is_set():
                idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                idle.discard(writer)
                busy.add(writer)
                is_slow = head.startswith(b"GET /slow")
                if is_slow:
                    Path("begun").touch()
                while version == "mute" or (is_slow and not Path("go").exists()):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                body = f"{version} {os.getpid()}".encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
                busy.discard(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            idle.discard(writer)
            busy.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, sock=_listener())
    if not rude and version != "mute":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await ending.wait()
    server.close()
    for writer in tuple(idle):
        writer.close()
    while busy:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _listener() -> socket.socket:
    if "LISTEN_FDS" not in os.environ:
        return socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=1024)
    return socket.socket(fileno=3)


if __name__ == "__main__":
    asyncio.run(main(rude="rude" in sys.argv))
