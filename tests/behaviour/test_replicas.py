"""Several instances of one service at one address: spread over, switched one after another, and nobody is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.load import Load

from tests.behaviour.conftest import Start
from tests.rig import served
from tests.rig.live import Live, clean_environment, write
from tests.rig.needs import need_linux
from tests.rig.sample import free_port
from tests.rig.served import ask, follow_each_other

LISTEN, PROXY = 'listen = ["ADDRESS"]', 'proxy = "ADDRESS"'
THREE = "replicas = 3\n"
NAMES = ("service.web.1", "service.web.2", "service.web.3")
each_way = pytest.mark.parametrize("by", [LISTEN, PROXY])


def running(
    project: Path, start: Start, by: str, more: str = THREE, names: tuple[str, ...] = NAMES
) -> tuple[Live, int]:
    """Up on version 1; their public port."""
    need_linux()
    port = free_port()
    write(project / "watch.toml", served.toml(by, port, more))
    write(project / "version", "1")
    live = start()
    for name in names:
        live.wait("service_ready", name)
    return live, port


def procwatch(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One command, which ends by itself."""
    command = [sys.executable, "-m", "procwatch", *words]
    return subprocess.run(
        command, cwd=project, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )


def processes(live: Live, event: str = "service_started") -> dict[str, int]:
    """The newest process of each."""
    return {str(each["name"]): int(str(each["pid"])) for each in live.seen(event) if "pid" in each}


def who_answers(live: Live, port: int, expected: set[int]) -> None:
    """Ask until all of these processes, and no other one, have answered."""
    seen: set[int] = set()

    def all_of_them() -> bool:
        seen.add(int(ask(port).split()[1]))
        assert seen <= expected, (seen, expected)
        return seen == expected

    live.until(all_of_them, f"an answer of each of {expected}")


@each_way
def test_new_clients_are_spread_over_all_of_them(project: Path, start: Start, by: str) -> None:
    live, port = running(project, start, by)
    who_answers(live, port, set(processes(live).values()))


@each_way
def test_three_roll_one_after_another_and_no_request_is_lost(project: Path, start: Start, by: str) -> None:
    live, port = running(project, start, by)
    with Load(port) as load:
        follow_each_other(project, live, load, 5, *NAMES)
    assert load.lost == 0, (load.fresh, load.kept)
    assert {body.split()[0] for body in load.bodies} >= {b"1", b"5"}
    order = [each["name"] for each in live.events if each["event"] in {"service_started", "service_switched"}][3:]
    assert order == [name for name in NAMES for _ in (1, 2)] * 4
    who_answers(live, port, set(processes(live).values()))


@each_way
def test_while_the_first_one_fails_verify_all_stay_and_nothing_is_lost(project: Path, start: Start, by: str) -> None:
    verify = f"""verify = ["{sys.executable}", "-c", '''
import os, urllib.request
assert urllib.request.urlopen(os.environ["PROCWATCH_URL"]).read()[:2] != b"2 "
''']
"""
    live, port = running(project, start, by, THREE + verify)
    before = set(processes(live).values())
    with Load(port) as load:
        write(project / "version", "2")
        live.wait("verify_failed", "service.web.1")
        done = procwatch(project, "wait", "web", "--timeout", "30")
        assert done.returncode == 1
        assert "service.web.3" in done.stdout + done.stderr
        assert "stays on run 1: service.web.1: verify exit 1" in done.stdout + done.stderr
    assert load.lost == 0, (load.fresh, load.kept)
    assert len(live.seen("verify_failed")) == 1
    who_answers(live, port, before)
    write(project / "version", "3")
    for name in NAMES:
        live.wait("service_switched", name)
    assert ask(port).startswith("3 ")


@each_way
def test_clients_of_one_that_has_crashed_come_to_the_others(project: Path, start: Start, by: str) -> None:
    live, port = running(project, start, by, THREE + "restart = { min_delay = '30s', max_delay = '30s' }\n")
    before = processes(live)
    os.kill(before["service.web.2"], signal.SIGKILL)
    live.wait("service_crashed", "service.web.2")
    for _ in range(20):
        assert int(ask(port).split()[1]) in {before["service.web.1"], before["service.web.3"]}
    os.kill(before["service.web.1"], signal.SIGKILL)
    live.wait("service_crashed", "service.web.1")
    for _ in range(20):
        assert int(ask(port).split()[1]) == before["service.web.3"]
    procwatch(project, "start", "web.2")
    live.wait("service_ready", "service.web.2", times=2)
    who_answers(live, port, {before["service.web.3"], processes(live)["service.web.2"]})


@each_way
def test_how_many_there_are_can_be_changed_while_they_serve(project: Path, start: Start, by: str) -> None:
    live, port = running(project, start, by, "replicas = 2\n", NAMES[:2])
    before = processes(live)
    with Load(port) as load:
        write(project / "watch.toml", served.toml(by, port, THREE))
        live.wait("service_ready", NAMES[2])
        who_answers(live, port, {*before.values(), processes(live)[NAMES[2]]})
        write(project / "watch.toml", served.toml(by, port, "replicas = 2\n"))
        live.wait("service_stopped", NAMES[2])
        who_answers(live, port, {*before.values()})
        # From several to one and back: other names, the same address, which is never closed.
        write(project / "watch.toml", served.toml(by, port))
        live.wait("service_ready", "service.web")
        who_answers(live, port, {processes(live)["service.web"]})
        write(project / "watch.toml", served.toml(by, port, "replicas = 2\n"))
        for name in NAMES[:2]:
            live.wait("service_ready", name, times=2)
    assert load.lost == 0, (load.fresh, load.kept)


def test_each_knows_its_number(project: Path, start: Start) -> None:
    write(
        project / "watch.toml",
        "[service.job]\nrun = 'echo I am $PROCWATCH_NAME, $PROCWATCH_REPLICA; exec cat'\nstdin = 'open'\n",
    )
    live = start("-c", "job=2", json_events=False)
    for number in (1, 2):
        live.until(lambda: f"I am service.job.{number}, {number}" in live.text(), "what it says")  # noqa: B023


def test_two_share_a_unix_socket(project: Path, start: Start) -> None:
    need_linux()
    path = project / "web.sock"
    write(project / "watch.toml", served.toml(f'listen = ["{path.name}"]', 0, "replicas = 2\n"))
    write(project / "version", "1")
    live = start()
    for name in NAMES[:2]:
        live.wait("service_ready", name)
    write(project / "version", "2")
    for name in NAMES[:2]:
        live.wait("service_switched", name)
