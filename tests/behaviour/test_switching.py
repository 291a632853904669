"""Clients of `listen`, while one instance follows the other: none is refused, cut or led to the unverified."""

from __future__ import annotations

import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import pytest
from benchmarks.load import Load

from tests.behaviour.conftest import Start
from tests.rig import served
from tests.rig.live import DEADLINE_S, Live, write
from tests.rig.needs import need_linux
from tests.rig.sample import free_port
from tests.rig.served import WEB, ask, follow_each_other, waiting

BY = 'listen = ["ADDRESS"]'
toml = partial(served.toml, BY)


def running(project: Path, start: Start, more: str = "", *, rude: bool = False) -> tuple[Live, int]:
    """Up on version 1; its public port."""
    need_linux()
    return served.running(project, start, BY, more, rude=rude)


@pytest.mark.parametrize("rude", [False, True])
def test_no_request_is_lost_while_versions_follow_each_other(project: Path, start: Start, rude: bool) -> None:
    live, port = running(project, start, rude=rude)
    with Load(port) as load:
        follow_each_other(project, live, load, 5)
    assert load.lost == 0, (load.fresh, load.kept)
    assert {body.split()[0] for body in load.bodies} == {str(number).encode() for number in range(1, 6)}


@pytest.mark.parametrize("rude", [False, True])
def test_with_replace_clients_wait_and_none_is_lost(project: Path, start: Start, rude: bool) -> None:
    live, port = running(project, start, 'switch = "replace"', rude=rude)
    with Load(port) as load:
        follow_each_other(project, live, load, 3)
    assert load.lost == 0, (load.fresh, load.kept)


@pytest.mark.parametrize("rude", [False, True])
def test_a_long_request_that_was_begun_before_the_switch_is_answered_by_the_old_version(
    project: Path, start: Start, rude: bool
) -> None:
    live, port = running(project, start, rude=rude)
    thread, got = waiting(port, "/slow")
    live.until((project / "begun").exists, "the request")
    write(project / "version", "2")
    live.wait("service_switched", WEB)
    assert ask(port).startswith("2 ")
    assert thread.is_alive()
    write(project / "go", "")
    thread.join(DEADLINE_S)
    assert got[0].startswith("1 ")
    live.wait("service_stopped", WEB)


@pytest.mark.parametrize(
    ("version", "event"), [("dead", "service_crashed"), ("mute", "not_ready"), ("3", "verify_failed")]
)
def test_while_a_candidate_fails_the_old_process_serves_on_and_nothing_is_lost(
    project: Path, start: Start, version: str, event: str
) -> None:
    verify = f"""verify = ["{sys.executable}", "-c", '''
import os, urllib.request
assert urllib.request.urlopen(os.environ["PROCWATCH_URL"]).read()[:2] != b"3 "
''']"""
    live, port = running(project, start, verify)
    before = ask(port)
    with Load(port) as load:
        write(project / "version", version)
        assert live.wait(event, WEB)["effect"] == "service.web stays on run 1"
    assert load.lost == 0, (load.fresh, load.kept)
    assert load.bodies.keys() == {before.encode()}, "somebody has met the candidate"
    write(project / "version", "4")
    live.wait("service_switched", WEB)
    assert ask(port).startswith("4 ")


def test_at_the_first_start_clients_wait_until_verify_has_passed(project: Path, start: Start) -> None:
    need_linux()
    port = free_port()
    write(project / "watch.toml", toml(port, 'verify = "until test -e good; do sleep 0.02; done"'))
    write(project / "version", "1")
    live = start()
    live.wait("service_started", WEB)
    thread, got = waiting(port, "/")
    write(project / "good", "")
    thread.join(DEADLINE_S)
    ready = live.wait("service_ready", WEB)
    assert got == [f"1 {ready['pid']}"]


def test_who_comes_before_the_first_start_waits_until_verify_has_passed(project: Path, start: Start) -> None:
    need_linux()
    served.keeps_waiting_until_verified(project, start, BY)


def test_the_old_one_dies_and_who_waits_for_it_is_answered_by_the_candidate(project: Path, start: Start) -> None:
    live, port = running(
        project, start, 'verify = "test $PROCWATCH_RUN = 1 || until test -e good; do sleep 0.02; done"'
    )
    first = live.wait("service_ready", WEB)["pid"]
    write(project / "version", "2")
    second = live.wait("service_started", WEB, times=2)["pid"]
    os.kill(first, signal.SIGKILL)
    live.wait("service_crashed", WEB)
    requests = [waiting(port, "/") for _ in range(5)]
    write(project / "good", "")
    for thread, _ in requests:
        thread.join(DEADLINE_S)
    assert [got for _, got in requests] == [[f"2 {second}"]] * 5


def test_a_stop_by_hand_refuses_and_a_start_serves_again(project: Path, start: Start) -> None:
    live, port = running(project, start)
    write(project / "version", "2")
    live.wait("service_switched", WEB)
    live.wait("service_stopped", WEB)
    assert ask(port).startswith("2 ")
    assert live.stop() == 130
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_killed_in_the_middle_of_a_switch_the_next_start_is_clean_and_serves_the_newest(
    project: Path, start: Start
) -> None:
    verify = 'verify = "test $PROCWATCH_RUN = 1 || until test -e good; do sleep 0.02; done"'
    live, port = running(project, start, verify)
    write(project / "version", "2")
    live.wait("service_ready", WEB)
    live.wait("service_started", WEB, times=2)
    os.kill(live.supervisor(), signal.SIGKILL)
    assert live.ended() == 128 + signal.SIGKILL
    write(project / "good", "")
    again = start()
    again.wait("service_ready", WEB)
    assert ask(port).startswith("2 ")
    assert "earlier procwatch" not in again.stderr()
