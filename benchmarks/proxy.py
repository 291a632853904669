"""Subject "proxy": what it costs to ask a server through a public port of procwatch instead of directly.

Rule 1: both are asked in turns, by the same client; every answer is waited for, and one that is cut off ends the run.
Rule 2: the proxy's own process is measured as services get it: there is nothing of it in the client's process.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import round_trips
from benchmarks.figures import REFERENCE, Result, Row
from benchmarks.settings import Bench
from procwatch.runtime.proxy import Proxies
from procwatch.runtime.tree import Forest

_MANY = 32
_COMPILE_S = 60.0
_END_S = 10.0
# As an application that does nothing, on a port that it is given by the system and prints.
_UVICORN = """
import socket, uvicorn
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error")).run([listener])
"""

Values = dict[str, dict[str, list[float]]]


def measure(bench: Bench) -> Result:
    """Each server, directly and through the proxy, in turns."""
    values: Values = {"direct": {}, REFERENCE: {}}
    columns: list[str] = []
    for name, command in _servers(bench.folder).items():
        with _running(command) as port:
            found = asyncio.run(_through_proxy(port, name, bench))
        for way, by_column in found.items():
            values[way] |= by_column
        columns += found["direct"]
    how = (
        f"A client asks a server directly, and through a public port of procwatch: on {_MANY} kept connections at "
        "once, on one, on a new one for each request, in turns; times are for one request"
    )
    rows = tuple(
        Row(way, {name: tuple(found) for name, found in values[way].items()}, _rates(values[way])) for way in values
    )
    return Result("proxy", how, tuple(columns), rows)


def _servers(folder: Path) -> dict[str, tuple[str, ...]]:
    """A usual server, and where there is a C compiler one that costs next to nothing."""
    found: dict[str, tuple[str, ...]] = {"uvicorn": (sys.executable, "-c", _UVICORN)}
    if compiler := shutil.which("cc"):
        program = str(folder / "hello")
        source = str(Path(__file__).with_name("hello.c"))
        subprocess.run((compiler, "-O2", "-pthread", "-o", program, source), check=True, timeout=_COMPILE_S)
        found["C"] = (program,)
    return found


@contextmanager
def _running(command: tuple[str, ...]) -> Iterator[int]:
    """The server's port."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()
            server.wait(_END_S)


async def _through_proxy(port: int, name: str, bench: Bench) -> Values:
    proxies = Proxies(Forest(print), print)
    try:
        front = await proxies.open("service.bench", "127.0.0.1", 0)
        front.point_to(port)
        await front.counts()
        ways = {"direct": port, REFERENCE: front.listeners[0].getsockname()[1]}
        return await asyncio.to_thread(_turns, ways, name, bench)
    finally:
        await proxies.close()


def _turns(ways: dict[str, int], name: str, bench: Bench) -> Values:
    values: Values = {way: {} for way in ways}
    for _ in range(bench.settings.repeats):
        for way, port in ways.items():
            for column, value in _once(port, name, bench).items():
                values[way].setdefault(column, []).append(value)
    return values


def _once(port: int, name: str, bench: Bench) -> dict[str, float]:
    """One turn; the columns name their unit."""
    seconds = bench.settings.load_s
    found = {
        f"{name}, {_MANY} at once, µs": 1e6 / round_trips.kept(port, _MANY, seconds).rate,
        f"{name}, one, µs": round_trips.kept(port, 1, seconds).median_s * 1e6,
        f"{name}, new, µs": round_trips.fresh(port, seconds).median_s * 1e6,
    }
    if name == "C":
        found[f"a download of {bench.settings.download >> 20} MiB, s"] = round_trips.download(
            port, bench.settings.download
        )
    return found


def _rates(by_column: dict[str, list[float]]) -> str:
    """What a time for one request means in a second, where many are asked at once."""
    many = {column: found for column, found in by_column.items() if "at once" in column}
    rates = [
        f"{name.partition(',')[0]} {1e6 / statistics.median(found):,.0f} requests/s" for name, found in many.items()
    ]
    return "; ".join(rates)
