"""Clients of `proxy`, while one instance follows the other: none is refused or cut, and kept connections are kept."""

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
from tests.behaviour.test_listen import control
from tests.rig import served
from tests.rig.live import DEADLINE_S, Live, is_gone_after_another, write
from tests.rig.sample import free_port
from tests.rig.served import WEB, ask, follow_each_other, waiting

BY = 'proxy = "ADDRESS"'
toml = partial(served.toml, BY)


def running(project: Path, start: Start, more: str = "", *, rude: bool = False) -> tuple[Live, int]:
    """Up on version 1; its public port."""
    return served.running(project, start, BY, more, rude=rude)


@pytest.mark.parametrize("rude", [False, True])
@pytest.mark.parametrize("switch", ["overlap", "replace"])
def test_no_request_and_no_kept_connection_is_lost_while_versions_follow_each_other(
    project: Path, start: Start, switch: str, rude: bool
) -> None:
    live, port = running(project, start, f'switch = "{switch}"', rude=rude)
    with Load(port) as load:
        follow_each_other(project, live, load, 7)
    assert load.lost == 0, (load.fresh, load.kept)
    assert load.closed == 0
    assert {body.split()[0] for body in load.bodies} == {str(number).encode() for number in range(1, 8)}


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


def test_with_replace_a_long_request_is_answered_before_the_old_one_is_stopped(project: Path, start: Start) -> None:
    live, port = running(project, start, 'switch = "replace"', rude=True)
    slow, got_slow = waiting(port, "/slow")
    live.until((project / "begun").exists, "the request")
    write(project / "version", "2")
    live.until(lambda: "switching" in control(project, "status"), "the stop of the old one")
    new, got_new = waiting(port, "/")
    write(project / "go", "")
    for thread in (slow, new):
        thread.join(DEADLINE_S)
    assert got_slow[0].startswith("1 ")
    assert got_new[0].startswith("2 ")


@pytest.mark.parametrize(
    ("version", "event"), [("dead", "service_crashed"), ("mute", "not_ready"), ("3", "verify_failed")]
)
def test_while_a_candidate_fails_the_old_process_serves_on_and_nothing_is_lost(
    project: Path, start: Start, version: str, event: str
) -> None:
    verify = f"""verify = ["{sys.executable}", "-c", '''
import os, urllib.request
assert os.environ["PROCWATCH_URL"] == "http://127.0.0.1:" + os.environ["PORT"]
assert urllib.request.urlopen(os.environ["PROCWATCH_URL"]).read()[:2] != b"3 "
''']"""
    live, port = running(project, start, verify)
    before = ask(port)
    with Load(port) as load:
        write(project / "version", version)
        assert live.wait(event, WEB)["effect"] == "service.web stays on run 1"
    assert load.lost == 0, (load.fresh, load.kept)
    assert load.closed == 0
    assert load.bodies.keys() == {before.encode()}, "somebody has met the candidate"
    write(project / "version", "4")
    live.wait("service_switched", WEB)
    assert ask(port).startswith("4 ")


def test_at_the_first_start_clients_wait_until_verify_has_passed(project: Path, start: Start) -> None:
    port = free_port()
    write(project / "watch.toml", toml(port, 'verify = "until test -e good; do sleep 0.02; done"'))
    write(project / "version", "1")
    live = start()
    live.wait("service_started", WEB)
    thread, got = waiting(port, "/")
    write(project / "good", "")
    thread.join(DEADLINE_S)
    assert got == [f"1 {live.wait('service_ready', WEB)['pid']}"]


def test_who_comes_before_the_first_start_waits_until_verify_has_passed(project: Path, start: Start) -> None:
    served.keeps_waiting_until_verified(project, start, BY)


def test_clients_wait_through_a_crash(project: Path, start: Start) -> None:
    live, port = running(project, start)
    os.kill(live.wait("service_ready", WEB)["pid"], 9)
    live.wait("service_crashed", WEB)
    thread, got = waiting(port, "/")
    thread.join(DEADLINE_S)
    assert got == [f"1 {live.wait('service_ready', WEB, times=2)['pid']}"]


def test_the_program_is_given_a_port_of_its_own_and_ready_run_as_well(project: Path, start: Start) -> None:
    port = free_port()
    more = 'env = { PORT = "1" }\n[service.web.hooks]\npost_start = "echo $PROCWATCH_URL >public"\n'
    look = 'run = "printenv PORT PROCWATCH_URL >seen"'
    write(project / "watch.toml", toml(port, more).replace('http = "/"', look))
    write(project / "version", "1")
    live = start()
    live.wait("service_ready", WEB)
    own, url = (project / "seen").read_text().split()
    assert own not in {"1", str(port)}
    assert url == f"http://127.0.0.1:{own}"
    live.until(lambda: (project / "public").exists() and (project / "public").read_text(), "the hook")
    assert (project / "public").read_text() == f"http://127.0.0.1:{port}\n"


@pytest.mark.parametrize("probe", ["", "ready = {{ tcp = true }}", "ready = {{ tcp = {port} }}"])
def test_it_is_ready_when_the_instance_itself_takes_a_connection(project: Path, start: Start, probe: str) -> None:
    port = free_port()
    text = toml(port).replace('ready = { http = "/", deadline = "3s", timeout = "2s" }', probe.format(port=port))
    run = f"""run = "until test -e good; do sleep 0.02; done; exec '{sys.executable}' '{served.SERVER}'"\n"""
    write(project / "watch.toml", "\n".join(run if line.startswith("run =") else line for line in text.split("\n")))
    write(project / "version", "1")
    live = start()
    live.wait("service_started", WEB)
    thread, got = waiting(port, "/")
    assert not live.seen("service_ready")
    write(project / "good", "")
    live.wait("service_ready", WEB)
    thread.join(DEADLINE_S)
    assert got[0].startswith("1 ")


def test_a_taken_port_is_a_crash_that_names_the_holder_and_is_tried_again(project: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        write(project / "watch.toml", toml(port))
        write(project / "version", "1")
        live = start()
        reason = live.wait("service_crashed", WEB)["reason"]
        assert reason.startswith(f"127.0.0.1:{port} is taken by ")
        assert f"(process {os.getpid()})" in reason
    live.wait("service_ready", WEB)
    assert ask(port).startswith("1 ")


def test_a_stop_by_hand_refuses_and_a_start_serves_again(project: Path, start: Start) -> None:
    _, port = running(project, start)
    control(project, "stop", "web")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    control(project, "start", "web")
    assert ask(port).startswith("1 ")


@pytest.mark.parametrize("switch", ["overlap", "replace"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_does_not_wait_for_clients_of_the_one_before(
    project: Path, start: Start, switch: str, number: signal.Signals
) -> None:
    live, port = running(project, start, f'switch = "{switch}"\nstop = {{ grace = "1h" }}', rude=True)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        live.until((project / "begun").exists, "the request")
        write(project / "version", "2")
        if switch == "overlap":
            live.wait("service_switched", WEB)
        else:
            live.until(lambda: "switching" in control(project, "status"), "the stop of the old one")
        assert live.stop(number) == 128 + number
    assert live.stderr() == ""


def test_a_second_signal_kills_the_service_and_what_is_behind_its_port(project: Path, start: Start) -> None:
    live, port = running(project, start, 'stop = { grace = "1h" }')
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        live.until((project / "begun").exists, "the request")
        live.process.send_signal(signal.SIGINT)
        live.wait("stopping")
        live.until(lambda: is_gone_after_another(live), "the end")
    assert "the proxy process" not in live.stderr()


@pytest.mark.parametrize("switch", ["overlap", "replace"])
def test_the_same_port_at_another_host(project: Path, start: Start, switch: str) -> None:
    live, port = running(project, start, f'switch = "{switch}"')
    write(project / "watch.toml", toml(port, f'switch = "{switch}"').replace("127.0.0.1:", "0.0.0.0:"))
    if switch == "replace":
        live.wait("service_switched", WEB)
        assert live.seen("service_crashed") == []
    else:
        refusal = f"cannot listen at 0.0.0.0:{port}: the instance that runs has this port at another address"
        live.until(lambda: refusal in live.stderr(), "the refusal")
    assert ask(port).startswith("1 ")


def test_another_address_is_opened_before_the_old_one_is_closed(project: Path, start: Start) -> None:
    live, port = running(project, start)
    first = ask(port)
    other = free_port()
    write(project / "watch.toml", toml(other))
    live.wait("service_switched", WEB)
    assert ask(other) != first
    live.wait("service_stopped", WEB)
    live.until(lambda: _is_refused(port), "the end of the old address")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        write(project / "watch.toml", toml(holder.getsockname()[1]))
        live.until(lambda: "stays as it is: 127.0.0.1:" in live.stderr(), "the refusal")
        assert ask(other).startswith("1 ")
    assert live.seen("service_crashed") == []


@pytest.mark.parametrize("switch", ["overlap", "replace"])
def test_an_address_moves_to_another_service_and_nobody_is_refused(project: Path, start: Start, switch: str) -> None:
    port, other, free = free_port(), free_port(), free_port()
    more = f'switch = "{switch}"\n'
    web, api = toml(port, more), toml(other, more).replace("[service.web]", "[service.api]")
    write(project / "watch.toml", web + api)
    write(project / "version", "1")
    live = start()
    live.wait("service_ready", WEB)
    live.wait("service_ready", "service.api")
    with Load(port) as load:
        write(project / "watch.toml", toml(free, more) + api.replace(str(other), str(port)))
        live.wait("service_switched", WEB)
        moved = live.wait("service_switched", "service.api")
        live.until(lambda: any(body.endswith(b" %d" % moved["pid"]) for body in [*load.bodies]), "an answer of api")
        live.until(lambda: _is_refused(other), "the end of the address of api")
    assert load.lost == 0, (load.fresh, load.kept)
    assert ask(free).startswith("1 ")


def test_if_procwatch_is_killed_nothing_is_left_at_the_public_port(project: Path, start: Start) -> None:
    live, port = running(project, start)
    os.kill(live.supervisor(), signal.SIGKILL)
    live.ended()
    assert _is_refused(port)


def test_a_project_without_a_proxy_starts_no_process_for_it(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[service.web]\nrun = ["sleep", "1000"]\n')
    live = start()
    pid = live.wait("service_ready", WEB)["pid"]
    children = Path(f"/proc/{live.supervisor()}/task/{live.supervisor()}/children").read_text().split()
    assert children == [str(pid)]


def _is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False
