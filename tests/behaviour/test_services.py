"""Services: start order, readiness, crashes, stops, signals, and the exit status of procwatch."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import write

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists("healthy") else 503)
        self.end_headers()
        self.wfile.write(b"hello")
http.server.HTTPServer.allow_reuse_address = True
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_services_start_when_what_they_need_is_ready_and_stop_in_reverse(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.db]
run = "until [ -e go ]; do sleep 0.02; done; echo db is up; exec sleep 1000"
ready = { log = "db is up" }
[service.api]
run = "exec sleep 1000"
needs = ["db"]
""")  # fmt: skip
    live = start()
    live.wait("service_started", "service.db")
    assert not live.seen("service_started", "service.api")
    write(project / "go", "")
    live.wait("service_ready", "service.api")
    order = [(event["event"], event.get("name")) for event in live.events]
    assert order.index(("service_ready", "service.db")) < order.index(("service_started", "service.api"))
    assert live.stop() == 130
    assert [event["name"] for event in live.seen("service_stopped")] == ["service.api", "service.db"]


@pytest.mark.parametrize("ready", ['{ http = "/health" }', "{ tcp = true }", '{ run = "python ask.py" }', None])
def test_a_service_with_a_port_is_ready_when_its_probe_succeeds(
    project: Path, start: Start, port: int, ready: str | None
) -> None:
    write(project / "serve.py", SERVER)
    write(project / "ask.py", "import os, urllib.request; urllib.request.urlopen(os.environ['PROCWATCH_URL'])")
    write(project / "healthy", "")
    line = f"ready = {ready}\n" if ready else ""
    write(project / "watch.toml", f'[service.web]\nrun = "exec python serve.py"\nport = {port}\n{line}')
    live = start()
    live.wait("service_ready", "service.web")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.0 200"


def test_notify_and_delay_are_probes_too(project: Path, start: Start) -> None:
    notify = "import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
    notify += "s.connect(os.environ['NOTIFY_SOCKET']); s.send(b'READY=1'); time.sleep(1000)"
    write(project / "watch.toml", f'''
[service.told]
run = ["python", "-c", "{notify}"]
ready = {{ notify = true }}
[service.waits]
run = "exec sleep 1000"
ready = {{ delay = "300ms" }}
''')  # fmt: skip
    live = start()
    live.wait("service_ready", "service.told")
    assert live.wait("service_ready", "service.waits")["duration"] >= 0.3


def test_not_ready_by_the_deadline_is_a_crash_that_says_what_the_last_try_met(
    project: Path, start: Start, port: int
) -> None:
    write(project / "serve.py", SERVER)
    write(project / "watch.toml", f'''
[service.web]
run = "exec python serve.py"
port = {port}
ready = {{ http = "/health", deadline = "1s" }}
''')  # fmt: skip
    live = start()
    assert "503" in live.wait("not_ready", "service.web")["reason"]
    live.wait("service_crashed", "service.web")
    write(project / "healthy", "")
    live.wait("service_ready", "service.web")


def test_a_port_that_is_taken_is_told_with_its_holder(project: Path, start: Start) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        write(project / "watch.toml", f'[service.web]\nrun = "exec sleep 1000"\nport = {taken}\n')
        live = start()
        reason = live.wait("service_crashed", "service.web")["reason"]
    assert f"port {taken} is taken" in reason
    assert f"process {os.getpid()}" in reason


def test_a_crashed_service_comes_back_with_a_doubling_delay(project: Path, start: Start) -> None:
    write(
        project / "watch.toml", '[service.web]\nrun = "exit 3"\nrestart = { min_delay = "10ms", max_delay = "40ms" }\n'
    )
    live = start()
    live.wait("crash_loop", "service.web")
    crashes = live.seen("service_crashed")[:4]
    assert [crash["effect"] for crash in crashes] == [f"restart in {s} s" for s in ("0.01", "0.02", "0.04", "0.04")]
    assert {(crash["exit_code"], crash["reason"]) for crash in crashes} == {(3, "exit 3")}


def test_a_crash_loop_is_told_once_goes_on_at_the_longest_delay_and_is_over_after_stable(
    project: Path, start: Start
) -> None:
    write(project / "watch.toml", """
[service.web]
run = "if [ -e calm ]; then rm calm; sleep 1; fi; exit 3"
restart = { min_delay = "10ms", max_delay = "50ms", stable = "1s" }
""")  # fmt: skip
    live = start()
    assert live.wait("crash_loop")["effect"] == "tried every 0.05 s"
    assert live.wait("service_crashed", times=8)["effect"] == "restart in 0.05 s"
    assert len(live.seen("crash_loop")) == 1
    mark = live.mark()
    write(project / "calm", "")
    live.until(
        lambda: any(crash["effect"] == "restart in 0.01 s" for crash in live.seen("service_crashed", after=mark)),
        "a crash after a stable time",
    )
    live.wait("crash_loop", after=mark)


def test_a_crash_is_noticed_when_the_process_ends_not_when_its_pipe_closes(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[service.web]\nrun = "setsid sleep 1000 & exit 7"\nrestart = { policy = "never" }\n')
    live = start()
    crash = live.wait("service_crashed", "service.web")
    assert crash["exit_code"] == 7
    assert crash["duration"] < 10


def test_a_command_that_does_not_exist_is_a_crash_with_a_clear_line(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[service.web]\nrun = ["frobnicate"]\nrestart = { policy = "never" }\n')
    live = start("--no-watch")
    crash = live.wait("service_crashed")
    assert crash["exit_code"] == 127
    assert "frobnicate" in crash["reason"]
    assert live.ended() == 1


def test_a_service_that_ends_well_is_not_restarted_and_procwatch_ends_with_it(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[service.once]\nrun = "true"\n')
    live = start("--no-watch")
    stopped = live.wait("service_stopped", "service.once")
    assert stopped["exit_code"] == 0
    assert "stdin" in stopped["effect"]
    assert live.ended() == 0


def test_a_switch_by_signal_keeps_the_process(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.web]
run = 'trap "touch reloaded" USR1; echo up; while :; do sleep 0.05; done'
ready = { log = "up" }
switch = "signal"
reload_signal = "SIGUSR1"
watch = ["trigger"]
""")  # fmt: skip
    live = start()
    pid = live.wait("service_ready")["pid"]
    write(project / "trigger", "")
    live.wait("service_switched", "service.web")
    live.until((project / "reloaded").exists, "the reload")
    assert alive(pid)


def test_standard_input_is_empty_unless_it_is_held_open(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.null]
run = "cat; echo ended > null"
restart = { policy = "never" }
[service.open]
run = "cat; echo ended > open"
stdin = "open"
""")  # fmt: skip
    live = start()
    live.wait("service_stopped", "service.null")
    live.wait("service_ready", "service.open")
    assert not (project / "open").exists()


def test_a_second_procwatch_in_the_same_project_is_refused(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[service.web]\nrun = "exec sleep 1000"\n')
    first = start()
    first.wait("service_ready")
    second = start()
    assert second.ended() == 4
    assert f"process {first.process.pid}" in second.stderr()


def test_what_a_command_is_given(project: Path, start: Start) -> None:
    write(project / ".env", "FROM_FILE=file\nSHARED=file\n")
    write(project / "watch.toml", """
[project]
env = { SHARED = "project" }
[service.web]
run = "env -0 > given; echo up; exec sleep 1000"
ready = { log = "up" }
env = { OWN = "own" }
""")  # fmt: skip
    live = start(env={"INHERITED": "yes"})
    live.wait("service_ready")
    given = dict(line.split("=", 1) for line in (project / "given").read_text().split("\0") if line)
    expected = {
        "PROCWATCH": "1", "PROCWATCH_PROJECT": str(project), "PROCWATCH_NAME": "service.web", "PROCWATCH_RUN": "1",
        "PROCWATCH_REPLICA": "1", "FROM_FILE": "file", "SHARED": "project", "OWN": "own", "INHERITED": "yes",
    }  # fmt: skip
    assert {key: given.get(key) for key in expected} == expected
    assert "FORCE_COLOR" not in given


def test_only_the_named_services_and_what_they_need_start(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[build.lib]
run = "true"
[build.other]
run = "touch other"
[service.db]
run = "exec sleep 1000"
autostart = false
[service.api]
run = "exec sleep 1000"
needs = ["lib", "db"]
[service.web]
run = "exec sleep 1000"
needs = ["other"]
""")  # fmt: skip
    live = start("api")
    live.wait("service_ready", "service.api")
    live.stop()
    assert {event["name"] for event in live.seen("service_ready")} == {"service.db", "service.api"}
    assert not (project / "other").exists()
