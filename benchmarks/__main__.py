"""`python -m benchmarks`: measure procwatch beside the peers that are installed, print tables with ratios."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import control, ends, idle, proxy, saves, servers, startup, switching, throughput, tree
from benchmarks.beacon import make_beacon
from benchmarks.figures import Result, Row, as_data, render, table
from benchmarks.peers import PEERS, Peer
from benchmarks.session import sweeping
from benchmarks.settings import QUICK, Bench, Settings, machine

SUBJECTS: dict[str, Callable[[Bench], Result]] = {
    "saves": saves.measure, "startup": startup.measure, "idle": idle.measure, "throughput": throughput.measure,
    "ends": ends.measure, "control": control.measure, "switching": switching.measure, "servers": servers.measure,
    "proxy": proxy.measure, "tree": tree.measure,
}  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write JSON if asked to."""
    asked = _parse(arguments)
    settings = _settings(asked)
    chosen = [peer for peer in PEERS if peer.name in asked.tools]
    found = tuple(peer for peer in chosen if peer.find())
    missing = tuple(peer for peer in chosen if peer not in found)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, sweeping():
        bench = Bench(settings, found, make_beacon(Path(folder)), Path(folder))
        about, versions = machine(bench.beacon), {peer.name: peer.version() for peer in found}
        _print_surroundings(about, versions, missing)
        results = [_measure(name, bench, missing) for name in asked.only]
    if asked.json:
        tools: dict[str, Any] = {**versions, **{peer.name: None for peer in missing}}
        data = {"machine": about, "tools": tools, "subjects": [as_data(result) for result in results]}
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__.replace("`", ""))
    names = [peer.name for peer in PEERS]
    parser.add_argument("--quick", action="store_true", help="a small version, to see that it works")
    parser.add_argument("--only", action="append", choices=SUBJECTS, help="this subject; may be given again")
    parser.add_argument("--tools", type=lambda text: text.split(","), default=names, help="names with commas between")
    parser.add_argument("--saves", type=_whole, help="saves for each tool (30)")
    parser.add_argument("--lines", type=_whole, help="lines that are printed (1000000)")
    parser.add_argument("--repeats", type=_whole, help="starts for each tool and number of services (5)")
    parser.add_argument("--switches", type=_whole, help="saves while clients ask, one of which breaks the build (9)")
    parser.add_argument("--restarts", type=_whole, help="switches of each real server, in each way (100)")
    parser.add_argument("--ends", type=_whole, help="runs that are ended, for each tool and signal (25)")
    parser.add_argument("--calls", type=_whole, help="calls of `status` for each tool (1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single value there, too")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.tools) - set(names)):
        parser.error(f"--tools: unknown: {', '.join(unknown)}; tools are: {', '.join(names)}")
    asked.only = asked.only or list(SUBJECTS)
    return asked


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _settings(asked: argparse.Namespace) -> Settings:
    names = ("saves", "lines", "repeats", "ends", "switches", "restarts", "calls")
    given = {name: getattr(asked, name) for name in names if getattr(asked, name)}
    return replace(QUICK if asked.quick else Settings(), **given)


def _print_surroundings(about: dict[str, str], versions: dict[str, str], missing: tuple[Peer, ...]) -> None:
    print(table(("machine", ""), [*about.items()]) + "\n")
    rows = [*versions.items(), *((peer.name, "not installed") for peer in missing)]
    print(table(("tool", "version"), rows) + "\n", flush=True)


def _measure(name: str, bench: Bench, missing: tuple[Peer, ...]) -> Result:
    """One subject, with a row for each tool that would belong there but is not installed."""
    result = SUBJECTS[name](bench)
    absent = (peer for peer in missing if takes_part(peer, name))
    result = replace(result, rows=(*result.rows, *(Row(peer.name, note="not installed") for peer in absent)))
    print(render(result), flush=True)
    return result


def takes_part(peer: Peer, name: str) -> bool:
    """Whether a subject knows how to use the tool."""
    others = {
        "saves": peer.watch, "switching": peer.watch, "tree": peer.watch, "control": peer.control, "servers": None,
        "proxy": None,
    }  # fmt: skip
    return others.get(name, peer.run) is not None


def _end(number: int, _frame: object) -> None:
    """An exception, so that what was started is ended and the folder goes, as with Ctrl-C."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # else nohup has asked to go on
        signal.signal(signal.SIGHUP, _end)
    sys.exit(main(sys.argv[1:]))
