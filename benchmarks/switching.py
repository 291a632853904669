"""Subject "switching": what clients lose while a service is built and restarted, and one of the builds fails."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

from benchmarks.figures import Result, Row
from benchmarks.load import Load, answers, free_port
from benchmarks.peers import SOURCE, Peer, Plan
from benchmarks.settings import Bench

LOST_FRESH, LOST_KEPT = "lost on new connections, of 1,000", "lost on kept connections, of 1,000"
CLOSED, LONGEST = "kept connections closed", "longest answer, ms"
HOW = (
    "A build that takes 0.5 s and a server that takes 0.4 s to start; a save every 2.5 s, one of which breaks it. "
    "50 requests a second on new connections, and 50 on five kept ones; a kept one that is found closed is opened anew "
    "and asked again. procwatch with `listen`; the others have the server open its port"
)
# Between two saves: for the build, the start, and what a tool waits before.
_PAUSE_S = 2.5
_BROKEN_SAVE = 4
_START_S = 30.0
_SERVER = Path(__file__).with_name("web.py")


def measure(bench: Bench) -> Result:
    """One tool after the other, each in the same time."""
    rows = [_row(peer, bench) for peer in bench.peers if peer.watch]
    return Result("switching", HOW, (LOST_FRESH, LOST_KEPT, CLOSED, LONGEST), tuple(rows), has_ratios=False)


def _row(peer: Peer, bench: Bench) -> Row:
    port, place = free_port(), bench.place(f"switching/{peer.name}")
    with bench.run(_plan(peer, port), place):
        if not answers(port, _START_S):
            return Row(peer.name, note=f"does not serve within {_START_S:g} s")
        time.sleep(_PAUSE_S)  # two tools that start side by side may restart it once more
        with Load(port) as load:
            for number in range(1, bench.settings.switches + 1):
                (place / SOURCE).write_text("broken" if number == _BROKEN_SAVE else f"fn main() {{ {number} }}\n")
                time.sleep(_PAUSE_S)
    values = {
        LOST_FRESH: (1000 * load.fresh.lost / load.fresh.asked,),
        LOST_KEPT: (1000 * load.kept.lost / load.kept.asked,),
        CLOSED: (float(load.closed),),
        LONGEST: (load.longest_ms,),
    }
    versions = len(load.bodies)
    expected = bench.settings.switches + (bench.settings.switches < _BROKEN_SAVE)
    return Row(peer.name, values, "" if versions == expected else f"{versions} of {expected} versions served")


def _plan(peer: Peer, port: int) -> Plan:
    assert peer.watch is not None
    build, service = f"sleep 0.5; ! grep -q broken {SOURCE}", shlex.join([sys.executable, str(_SERVER), str(port)])
    plan = peer.watch(build, service)
    if peer.name != "procwatch":
        return plan
    toml = plan.files["watch.toml"]
    own = f'listen = ["127.0.0.1:{port}"]\nready = {{ http = "/" }}\nrun = {json.dumps("exec " + service)}\n'
    return Plan(plan.command, {"watch.toml": toml.replace(f"run = {json.dumps('exec ' + service)}\n", own)})
