"""Subject "servers": real servers are switched again and again while clients ask them, with `listen` and with `proxy`.

Rule 1: the servers are those of samples/08-sockets; for `proxy` each opens the port in $PORT instead, nothing else.
Rule 2: the same clients ask the same server without a switch, as long as the switches took: who waits longer there
        has waited for the machine.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Result, Row
from benchmarks.load import Load, answers, free_port
from benchmarks.peers import Plan, search_path
from benchmarks.session import Call, prepare
from benchmarks.settings import Bench

REQUESTS, LOST_FRESH, LOST_KEPT = "requests", "lost on new connections", "lost on kept connections"
CLOSED, LONGEST = "kept connections closed", "longest answer, ms"
CALM, SWITCH = "longest without switches, ms", "one switch, ms"
COLUMNS = (REQUESTS, LOST_FRESH, LOST_KEPT, CLOSED, LONGEST, CALM, SWITCH)
# Of each kind of connection: enough for some requests in every stage of a switch, and far from what a server can do.
RATE, KEPT = 100.0, 10
# A first `cargo build` fetches and compiles what the server needs.
_BUILD_S = 300.0
_START_S = 30.0
# After a start and the last switch, until what is left to do is over.
_SETTLE_S = 1.0
_SAMPLES = Path(__file__).parents[1] / "samples" / "08-sockets"
_PORT = "8108"

Edits = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Server:
    """One of the sample's servers: its folder and files, the program that it needs, its build and its service.

    `on_port`: by file, what in it makes room for what, for a server that opens $PORT.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    needs: str
    build: str
    service: str
    on_port: Mapping[str, Edits]


_TO_PROXY = {f'listen = ["127.0.0.1:{_PORT}"]': f'proxy = "127.0.0.1:{_PORT}"'}
SERVERS = (
    Server(
        "uvicorn", "python", ("watch.toml", "app.py"), "uvicorn", "check", "uvicorn",
        {"watch.toml": {**_TO_PROXY, "--fd 3": "--port $PORT"}},
    ),
    Server(
        "Go net/http", "go", ("watch.toml", "main.go", "go.mod"), "go", "server", "web",
        {
            "watch.toml": _TO_PROXY,
            "main.go": {
                'net.FileListener(os.NewFile(3, "listen"))': 'net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))'
            },
        },
    ),
    Server(
        "Node http", "node", ("watch.toml", "server.js"), "node", "check", "web",
        {"watch.toml": _TO_PROXY, "server.js": {"{ fd: 3 }": 'process.env.PORT, "127.0.0.1"'}},
    ),
    Server(
        "Rust", "rust", ("watch.toml", "Cargo.toml", "Cargo.lock", "src/main.rs"), "cargo", "cargo", "web",
        {
            "watch.toml": _TO_PROXY,
            "src/main.rs": {
                f'"127.0.0.1:{_PORT}"': 'format!("127.0.0.1:{}", std::env::var("PORT").unwrap())'
            },
        },
    ),
)  # fmt: skip


def measure(bench: Bench) -> Result:
    """One server after the other, each in both ways."""
    rows = [_row(server, way, bench) for server in SERVERS for way in ("listen", "proxy")]
    how = (
        f"{bench.settings.restarts} switches of each (`procwatch restart`), one after the other; {RATE:g} requests a "
        f"second on new connections, and {RATE:g} on {KEPT} kept ones; a kept one that is found closed is opened anew "
        "and asked again. Then as long without a switch"
    )
    return Result("servers", how, COLUMNS, tuple(rows), has_ratios=False)


def files(server: Server, way: str, port: int) -> dict[str, str]:
    """The sample's files as they are measured: on another port, and for `proxy` with a server that opens $PORT."""
    found = {name: (_SAMPLES / server.folder / name).read_text() for name in server.files}
    for name, edits in server.on_port.items() if way == "proxy" else ():
        for old, new in edits.items():
            if old not in found[name]:
                raise ValueError(f"{server.folder}/{name} does not hold {old!r} any more")
            found[name] = found[name].replace(old, new)
    return {name: text.replace(_PORT, str(port)) for name, text in found.items()}


def _row(server: Server, way: str, bench: Bench) -> Row:
    name = f"{server.name}, {way}"
    if shutil.which(server.needs, path=search_path()) is None:
        return Row(name, note=f"no {server.needs} here")
    port, place = free_port(), bench.place(f"servers/{server.folder}-{way}")
    plan = Plan(("procwatch", "start", server.service), files(server, way, port))
    prepare(place, plan)
    if bench.call(("procwatch", "start", "--no-watch", f"build.{server.build}"), place, {}, _BUILD_S).status != 0:
        return Row(name, note=_last_line(place))
    with bench.run(plan, place):
        if not answers(port, _START_S):
            return Row(name, note=f"does not serve within {_START_S:g} s")
        time.sleep(_SETTLE_S)
        return _measured(name, port, lambda: bench.call(("procwatch", "restart", server.service), place, {}), bench)


def _measured(name: str, port: int, switch: Callable[[], Call], bench: Bench) -> Row:
    began_s = time.monotonic()
    with Load(port, rate=RATE, kept=KEPT) as load:
        switches = [switch() for _ in range(bench.settings.restarts)]
        time.sleep(_SETTLE_S)
    took_s = time.monotonic() - began_s
    with Load(port, rate=RATE, kept=KEPT) as calm:
        time.sleep(took_s)
    values = {
        REQUESTS: (float(load.fresh.asked + load.kept.asked),),
        LOST_FRESH: (float(load.fresh.lost),),
        LOST_KEPT: (float(load.kept.lost),),
        CLOSED: (float(load.closed),),
        LONGEST: (load.longest_ms,),
        CALM: (calm.longest_ms,),
        SWITCH: tuple(one.took_ms for one in switches),
    }
    return Row(name, values, remarks(load, [one.status for one in switches]))


def remarks(load: Load, statuses: list[int]) -> str:
    """What should not be: switches that failed, instances that nobody met, and how requests were lost."""
    failed, instances = sum(map(bool, statuses)), len(load.bodies)
    found = [f"{failed} of {len(statuses)} switches failed"] if failed else []
    # Each answer names its process.
    found += [f"{instances} of {len(statuses) + 1} instances have answered"] if instances <= len(statuses) else []
    reasons = Counter(load.fresh.reasons) + Counter(load.kept.reasons)
    return ", ".join([*found, *(f"{reason} {times}x" for reason, times in reasons.items())])


def _last_line(place: Path) -> str:
    """Of what the last command has printed."""
    lines = (place / "answer").read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
