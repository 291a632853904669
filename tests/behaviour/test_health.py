"""A ready service is asked again and again; one that is not well any more is restarted, and told why."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import write
from tests.rig.obey import alive
from tests.rig.sample import free_port

# Answers 200 or, while the file "ill" is there, 503; stops answering at all while it is stopped.
SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.path.exists("ill") else 200)
        self.end_headers()
http.server.HTTPServer.allow_reuse_address = True
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
BRISK = 'interval = "20ms", timeout = "20s"'


def write_server(project: Path, health: str, more: str = "") -> None:
    write(project / "serve.py", SERVER)
    write(project / "watch.toml", f'''
[service.web]
run = "exec python serve.py"
port = {free_port()}
health = {{ {health} }}
{more}
''')  # fmt: skip


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ('http = "/health"', "health: GET /health answered 503 (3 times in a row)"),
        ('run = "test ! -e ill || { echo feels bad; exit 4; }"', "health: the command failed (exit 4): feels bad (3 "),
    ],
)
def test_so_many_failures_in_a_row_are_a_crash_with_a_reason_and_a_restart(
    project: Path, start: Start, probe: str, reason: str
) -> None:
    hooks = 'hooks = { crashed = "echo $PROCWATCH_EXIT_CODE > crashed; rm ill", pre_stop = "echo stop >> stops" }'
    write_server(project, f"{probe}, {BRISK}", hooks)
    live = start()
    first = live.wait("service_ready")["pid"]
    write(project / "ill", "")
    crash = live.wait("service_crashed")
    assert crash["reason"].startswith(reason)
    assert crash["exit_code"] == 143
    assert crash["effect"] == "restart in 0.1 s"
    assert live.wait("service_ready", times=2)["pid"] != first
    assert not alive(first)
    live.until((project / "crashed").exists, "the hook")
    assert (project / "crashed").read_text() == "143\n"
    assert (project / "stops").read_text() == "stop\n"


def test_a_service_that_answers_no_more_is_killed_when_its_grace_is_over(project: Path, start: Start) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(1000)"
    )
    write(project / "watch.toml", f'''
[service.web]
run = ["python", "-c", "{code}"]
ready = {{ log = "up" }}
health = {{ run = "test ! -e ill", failures = 1, {BRISK} }}
stop = {{ grace = "200ms" }}
hooks = {{ crashed = "rm ill" }}
''')  # fmt: skip
    live = start()
    live.wait("service_ready")
    write(project / "ill", "")
    crash = live.wait("service_crashed")
    assert crash["reason"] == "health: the command failed (exit 1)"
    assert crash["exit_code"] == 137
    live.wait("service_ready", times=2)


def test_a_try_that_gets_no_answer_in_time_has_failed(project: Path, start: Start) -> None:
    write_server(project, 'http = "/", interval = "20ms", timeout = "500ms", failures = 2')
    live = start()
    pid = live.wait("service_ready")["pid"]
    os.kill(pid, signal.SIGSTOP)
    reason = live.wait("service_crashed")["reason"]
    assert reason.startswith("health: no answer from 127.0.0.1:")
    assert reason.endswith(" within 0.5 s (2 times in a row)")
    live.wait("service_ready", times=2)


def test_failures_that_a_success_comes_between_are_none(project: Path, start: Start) -> None:
    """Two of three tries fail, for ever; the service beside it, which fails three times in a row, shows the time."""
    count = "echo x >> {0}; case $(($(wc -l < {0}) % {1})) in 0) exit 0;; *) exit 1;; esac"
    write(project / "watch.toml", f'''
[service.hardy]
run = "exec sleep 1000"
health = {{ run = "{count.format("hardy", 3)}", {BRISK} }}
[service.weak]
run = "exec sleep 1000"
health = {{ run = "{count.format("weak", 4)}", {BRISK} }}
restart = {{ min_delay = "10ms", max_delay = "10ms" }}
''')  # fmt: skip
    live = start()
    live.wait("service_crashed", "service.weak", times=3)
    live.until(lambda: (project / "hardy").read_text().count("x") > 12, "many tries")
    assert not live.seen("service_crashed", "service.hardy")


def test_with_the_policy_never_it_stays_down(project: Path, start: Start) -> None:
    health = f'health = {{ run = "exit 1", {BRISK} }}'
    write(
        project / "watch.toml", f'[service.web]\nrun = "exec sleep 1000"\nrestart = {{ policy = "never" }}\n{health}\n'
    )
    live = start("--no-watch")
    assert live.wait("service_crashed")["effect"] == "it is not restarted (restart.policy)"
    assert live.ended() == 1


def test_one_that_is_never_well_is_in_a_crash_loop(project: Path, start: Start) -> None:
    write(project / "watch.toml", f'''
[service.web]
run = "exec sleep 1000"
health = {{ run = "exit 1", {BRISK} }}
restart = {{ min_delay = "10ms", max_delay = "40ms" }}
''')  # fmt: skip
    live = start()
    assert live.wait("crash_loop")["reason"] == "5 crashes in a row, none after 10 s of running well"
    live.wait("service_ready", times=7)
    assert len(live.seen("crash_loop")) == 1


def test_it_is_not_asked_while_it_is_being_stopped(project: Path, start: Start) -> None:
    write(project / "watch.toml", f'''
[service.web]
run = "exec sleep 1000"
health = {{ run = "echo x >> asked", {BRISK} }}
hooks = {{ pre_stop = "cp asked before; sleep 0.5" }}
''')  # fmt: skip
    live = start()
    live.until((project / "asked").exists, "a first try")
    live.stop()
    before, after = ((project / name).read_text().count("x") for name in ("before", "asked"))
    assert after - before <= 1, "but for the try that was under way"


# Obeys: "leave" makes it say that it is ending, and "go" makes it end.
TELLS = """
import os, pathlib, socket, sys, time
def say(words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(words, os.environ["NOTIFY_SOCKET"])
def wait_for(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.01)
pathlib.Path("socket").write_text(os.environ["NOTIFY_SOCKET"])
say(b"STATUS=fine\\nREADY=1\\n")
wait_for("leave")
say(b"STOPPING=1\\nSTATUS=saving\\n")
pathlib.Path("left").touch()
wait_for("go")
"""


def write_teller(project: Path, more: str) -> None:
    write(project / "tells.py", TELLS)
    write(project / "watch.toml", f'''
[service.web]
run = "exec python tells.py"
ready = {{ notify = true }}
{more}
''')  # fmt: skip


def test_a_service_that_says_it_is_ending_is_asked_no_more_and_ends_in_order(project: Path, start: Start) -> None:
    """The service beside it, which is as ill, shows the time."""
    write_teller(project, f'''
health = {{ run = "test ! -e left", {BRISK} }}
[service.ill]
run = "exec sleep 1000"
health = {{ run = "test ! -e left", {BRISK} }}
restart = {{ min_delay = "10ms", max_delay = "10ms" }}
''')  # fmt: skip
    live = start()
    live.wait("service_ready", "service.web")
    live.wait("service_ready", "service.ill")
    write(project / "leave", "")
    live.wait("service_crashed", "service.ill", times=3)
    write(project / "go", "")
    stopped = live.wait("service_stopped", "service.web")
    assert (stopped["reason"], stopped["exit_code"]) == ("ended by itself", 0)
    assert stopped["effect"] == "it stays down until something changes", "it did mean to end: no hint about stdin"
    assert not live.seen("service_crashed", "service.web")
    assert not Path((project / "socket").read_text()).exists()


def test_a_service_that_says_it_is_ending_and_does_not_is_stopped_after_its_grace(project: Path, start: Start) -> None:
    write_teller(project, 'stop = { grace = "300ms" }\nrestart = { policy = "never" }')
    live = start("--no-watch")
    live.wait("service_ready")
    write(project / "leave", "")
    assert live.wait("service_crashed")["reason"] == "has not ended 0.3 s after STOPPING=1"
    assert live.ended() == 1


RELOADS = (
    TELLS.partition('wait_for("leave")')[0]
    + """
wait_for("reload")
say(b"RELOADING=1")
pathlib.Path("ill").touch()
wait_for("done")
say(b"READY=1")
wait_for("never")
"""
)


@pytest.mark.parametrize(("deadline", "done"), [("30s", True), ("2s", False)])
def test_it_is_not_asked_while_it_reloads_unless_that_takes_too_long(
    project: Path, start: Start, deadline: str, *, done: bool
) -> None:
    """The service beside it, which is as ill, shows the time."""
    health = f'health = {{ run = "test ! -e ill", {BRISK} }}'
    write(project / "tells.py", RELOADS)
    write(project / "watch.toml", f'''
[service.web]
run = "exec python tells.py"
ready = {{ notify = true, deadline = "{deadline}" }}
{health}
[service.ill]
run = "exec sleep 1000"
restart = {{ min_delay = "10ms", max_delay = "10ms" }}
{health}
''')  # fmt: skip
    live = start()
    live.wait("service_ready", "service.web")
    live.wait("service_ready", "service.ill")
    write(project / "reload", "")
    live.wait("service_crashed", "service.ill", times=3)
    assert not live.seen("service_crashed", "service.web")
    if done:
        write(project / "done", "")
    assert live.wait("service_crashed", "service.web")["reason"].startswith("health: ")


TLS_SERVER = """
import http.server, os, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("made.pem", "key.pem")
http.server.HTTPServer.allow_reuse_address = True
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_a_service_is_asked_by_https(project: Path, start: Start) -> None:
    write(project / "serve.py", TLS_SERVER)
    port = free_port()
    write(project / "watch.toml", f'''
[build.certificate]
run = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=x -keyout key.pem -out made.pem"
[service.web]
run = "exec python serve.py"
needs = ["build.certificate"]
port = {port}
ready = {{ http = "https://127.0.0.1:{port}/" }}
health = {{ http = "https://127.0.0.1:{port}/", {BRISK}, failures = 1 }}
''')  # fmt: skip
    live = start()
    pid = live.wait("service_ready")["pid"]
    os.kill(pid, signal.SIGKILL)
    assert live.wait("service_crashed")["exit_code"] == 137
    live.wait("service_ready", times=2)
    assert live.stop() == 130
