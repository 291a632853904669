"""The new instance starts beside the old one, which is stopped only when the new one can serve."""

from __future__ import annotations

import os
from pathlib import Path

from tests.behaviour.conftest import Start
from tests.behaviour.test_control_commands import Done
from tests.rig.live import Live, write

# `ready` is the probe: an instance of the version "slow" waits for a file; one of "dead" ends; the rest is well.
TOML = """
[build.api]
run = "cp version built"
watch = ["version"]

[service.api]
run = '''
v=$(cat built); echo "up $v"; test "$v" != dead || { echo "cannot go on"; exit 3; }
echo "$v" > "ready-$PROCWATCH_RUN"; exec sleep 1000
'''
needs = ["build.api"]
switch = "overlap"
ready = { run = "v=$(cat ready-$PROCWATCH_RUN) && { test $v != slow || test -e go; }", interval = "20ms" }
verify = "echo looking at $PROCWATCH_RUN; ! grep -q wrong ready-$PROCWATCH_RUN"
"""
API = "service.api"


def running(project: Path, start: Start, toml: str = TOML) -> tuple[Live, int]:
    """Up on the first version; its process id."""
    write(project / "watch.toml", toml)
    write(project / "version", "1\n")
    live = start()
    return live, live.wait("service_ready", API)["pid"]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_the_old_instance_serves_until_the_new_one_is_ready_and_verified(project: Path, start: Start) -> None:
    live, first = running(project, start)
    write(project / "version", "slow\n")
    second = live.wait("service_started", API, times=2)["pid"]
    assert is_running(first)
    assert not live.seen("service_switched", API)
    write(project / "go", "")
    assert live.wait("service_switched", API)["pid"] == second
    stopped = live.wait("service_stopped", API)
    assert (stopped["run"], is_running(first), is_running(second)) == (1, False, True)


def test_a_candidate_that_dies_is_told_once_with_its_last_lines_and_the_old_one_stays(
    project: Path, start: Start
) -> None:
    live, first = running(project, start)
    write(project / "version", "dead\n")
    crashed = live.wait("service_crashed", API)
    assert crashed["effect"] == "service.api stays on run 1"
    assert crashed["output"][-2:] == ["up dead", "cannot go on"]
    why = Done(project, "why", "api")
    assert "run 2: exit 3" in why.out
    write(project / "version", "2\n")
    live.wait("service_switched", API)
    assert len(live.seen("service_crashed", API)) == 1
    live.until(lambda: not is_running(first), "the end of the first")


def test_what_fails_verify_never_serves(project: Path, start: Start) -> None:
    live, first = running(project, start)
    write(project / "version", "wrong\n")
    failed = live.wait("verify_failed", API)
    assert (failed["run"], failed["exit_code"], failed["effect"]) == (2, 1, "service.api stays on run 1")
    assert failed["output"] == ["looking at 2"]
    live.wait("service_stopped", API)
    assert is_running(first)
    restart = Done(project, "restart", "api")
    assert restart.status == 1
    assert "stays on run 1: verify exit 1" in restart.err
    assert is_running(first)


def test_a_newer_build_gives_up_the_candidate(project: Path, start: Start) -> None:
    live, first = running(project, start)
    write(project / "version", "slow\n")
    live.wait("service_started", API, times=2)
    write(project / "version", "3\n")
    switched = live.wait("service_switched", API)
    assert switched["run"] == 3
    live.wait("service_stopped", API, times=2)
    assert [event["run"] for event in live.seen("service_stopped", API)] == [2, 1]
    assert not is_running(first)


def test_the_old_one_dies_and_the_candidate_takes_its_place(project: Path, start: Start) -> None:
    live, first = running(project, start)
    write(project / "version", "slow\n")
    second = live.wait("service_started", API, times=2)["pid"]
    os.kill(first, 9)
    crashed = live.wait("service_crashed", API)
    assert crashed["effect"] == "run 2, which is starting, takes its place"
    write(project / "go", "")
    assert live.wait("service_ready", API, times=2)["pid"] == second


def test_a_stop_ends_both(project: Path, start: Start) -> None:
    live, first = running(project, start)
    write(project / "version", "slow\n")
    second = live.wait("service_started", API, times=2)["pid"]
    assert live.stop() == 130
    assert not is_running(first)
    assert not is_running(second)
