"""`listen`: sockets that procwatch opens, hands over as systemd does, and keeps while its service is away."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import DEADLINE_S, Live, write
from tests.rig.needs import need_linux
from tests.rig.sample import free_port

# One request at a time; "/die" ends it without a word, SIGTERM after the answer under way.
SERVER = """
import os, select, signal, socket
given = os.environ
sockets = [socket.socket(fileno=3 + index) for index in range(int(given["LISTEN_FDS"]))]
print("is", os.getpid(), "for", given["LISTEN_PID"], given["LISTEN_FDNAMES"], "PORT" in given, flush=True)
print("at", *[one.getsockname() for one in sockets], sep="|", flush=True)
version = open("version").read()
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
while not stopping:
    for one in select.select(sockets, [], [], 0.1)[0]:
        client, _ = one.accept()
        client.settimeout(20)
        with client:
            question = client.recv(4096)
            if question.startswith(b"GET /die"):
                os._exit(3)
            body = f"{version} {os.getpid()}"
            head = f"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: {len(body)}"
            client.sendall(f"{head}\\r\\n\\r\\n{body}".encode())
"""
RUN = 'run = "exec python server.py"\nrestart = { min_delay = "10ms", max_delay = "50ms" }\n'


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(autouse=True)
def server(project: Path) -> None:
    write(project / "server.py", SERVER)
    write(project / "version", "one")


def service(listen: str, more: str = RUN, name: str = "web") -> str:
    return f"[service.{name}]\nlisten = {listen}\n{more}\n"


def ask(port: int, path: str = "/", host: str = "127.0.0.1") -> str:
    """The body of an answer; an error if there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def ask_unix(path: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(path)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.recv(4096)


def is_refused(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), timeout=DEADLINE_S).close()
    except ConnectionRefusedError:
        return True
    return False


class Load:
    """Clients that ask one request after another, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.answers: list[str] = []
        self.failures: list[BaseException] = []
        self._port = port
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def _run(self) -> None:
        while not self._enough.is_set():
            try:
                self.answers.append(ask(self._port))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)

    @contextmanager
    def goes_on(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._enough.set()
            for thread in self._threads:
                thread.join(DEADLINE_S)

    def versions(self) -> set[str]:
        return {answer.split()[0] for answer in list(self.answers)}


# --- what is handed over ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    ['"exec python server.py"', '"python server.py"', '["python", "server.py"]', '"cd . && exec python server.py"'],
)
@pytest.mark.parametrize("tty", ["true", "false"])
def test_sockets_come_as_from_systemd_and_the_process_id_is_right(
    project: Path, start: Start, port: int, run: str, tty: str
) -> None:
    listen = f'{{ main = "127.0.0.1:{port}", admin = "run/admin.sock" }}'
    write(project / "watch.toml", service(listen, f'run = {run}\ntty = {tty}\nenv = {{ "a.b" = "c", PORT = "1" }}\n'))
    live = start("-v", json_events=False)
    live.shows("at|")
    live.shows("ready in")
    told = re.search(r"is (\d+) for (\d+) main:admin True", live.text())
    assert told is not None
    assert told[1] == told[2]
    assert f"at|('127.0.0.1', {port})|{project}/run/admin.sock" in live.text()
    assert ask(port).startswith("one ")


def test_a_list_gives_all_sockets_the_name_of_the_service_and_no_port(project: Path, start: Start, port: int) -> None:
    six = free_port("::1")
    write(project / "watch.toml", service(f'["localhost:{port}", "[::1]:{six}"]'))
    live = start(json_events=False)
    live.shows("at|")
    assert re.search(r"is (\d+) for \1 web:web False", live.text())
    assert f"at|('127.0.0.1', {port})|('::1', {six}, 0, 0)" in live.text()


def test_what_a_service_is_started_with_is_its_sockets_and_no_more(project: Path, start: Start, port: int) -> None:
    """Neither what procwatch has open nor what it was given by its own parent."""
    need_linux()
    show = "ls -l /proc/self/fd > fds; exec python server.py"
    write(project / "watch.toml", service(f'["127.0.0.1:{port}"]', f'run = "{show}"\n'))
    live = start(under="exec 9>kept")
    live.wait("service_ready", "service.web")
    found = re.findall(r" (\d+) -> (\S+)", (project / "fds").read_text())
    assert [number for number, _ in found if int(number) > 2][:-1] == ["3"]
    assert not any("kept" in target for _, target in found)


def test_probes_get_the_address_and_no_socket(project: Path, start: Start, port: int) -> None:
    write(project / "ask.py", "import os, urllib.request as r; print(r.urlopen(os.environ['PROCWATCH_URL']).read())\n")
    probe = "test -z $LISTEN_FDS && test -n $PORT && python ask.py"
    write(project / "watch.toml", service(f'["127.0.0.1:{port}"]', RUN + f"ready = {{ run = '{probe}' }}\n"))
    start().wait("service_ready", "service.web")


# --- readiness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "ready"),
    [
        *((kind, ready) for kind in ("tcp", "unix") for ready in ("", "{ tcp = true }", '{ http = "/" }')),
        ("tcp", '{ http = "http://127.0.0.1:PORT/" }'),
        ("tcp", "{ tcp = PORT }"),
    ],
)
def test_it_is_ready_when_it_takes_connections_itself(
    project: Path, start: Start, port: int, ready: str, kind: str
) -> None:
    ready = f"ready = {ready}\n".replace("PORT", str(port)) if ready else ""
    address = f"127.0.0.1:{port}" if kind == "tcp" else "run/web.sock"
    run = 'run = "while [ ! -e go ]; do sleep 0.05; done; exec python server.py"\n'
    write(project / "watch.toml", service(f'["{address}"]', run + ready) + '[service.other]\nrun = "exec sleep 1000"\n')
    live = start()
    live.wait("service_started", "service.web")
    live.wait("service_ready", "service.other")
    assert not is_refused(port) if kind == "tcp" else (project / "run/web.sock").exists()
    assert not live.seen("service_ready", "service.web")
    write(project / "go", "")
    live.wait("service_ready", "service.web")


def test_one_that_takes_no_connection_is_told_where_its_socket_is(project: Path, start: Start, port: int) -> None:
    more = 'run = "exec sleep 1000"\nready = { tcp = true, deadline = "300ms" }\n'
    write(project / "watch.toml", service(f'["127.0.0.1:{port}"]', more))
    reason = start().wait("not_ready", "service.web")["reason"]
    where = "which the service is given as descriptor 3 (LISTEN_FDS)"
    assert reason == f"nothing takes connections at 127.0.0.1:{port}, {where}"


def test_one_that_hangs_is_not_well_though_procwatch_listens(project: Path, start: Start, port: int) -> None:
    health = 'health = { tcp = true, interval = "50ms", timeout = "200ms", failures = 1 }\n'
    write(project / "watch.toml", service(f'["127.0.0.1:{port}"]', RUN + health))
    live = start()
    pid = live.wait("service_ready", "service.web")["pid"]
    os.kill(pid, signal.SIGSTOP)
    reason = live.wait("service_crashed", "service.web")["reason"]
    assert f"nothing takes connections at 127.0.0.1:{port}" in reason
    live.wait("service_ready", "service.web", times=2)


# --- connections wait ------------------------------------------------------------------------------------------------


def test_connections_wait_while_a_crashed_service_comes_back(project: Path, start: Start, port: int) -> None:
    write(project / "watch.toml", service(f'["127.0.0.1:{port}"]'))
    live = start()
    live.wait("service_ready", "service.web")
    with Load(port).goes_on() as load:
        for times in range(2, 6):
            with pytest.raises((OSError, http.client.HTTPException)):
                ask(port, "/die")
            live.wait("service_ready", "service.web", times=times)
            before = len(load.answers)
            live.until(lambda: len(load.answers) > before + 20, "answers")  # noqa: B023 - called at once
    assert load.failures == []
    assert len({answer.split()[1] for answer in load.answers}) >= 5


def test_connections_wait_through_a_switch_by_a_build(project: Path, start: Start, port: int) -> None:
    build = '[build.web]\nrun = "cp src version"\nwatch = ["src"]\n'
    write(project / "src", "v1")
    write(project / "watch.toml", build + service(f'["127.0.0.1:{port}"]', RUN + 'needs = ["build.web"]\n'))
    live = start()
    live.wait("service_ready", "service.web")
    with Load(port).goes_on() as load:
        for number in range(2, 5):
            write(project / "src", f"v{number}")
            live.wait("service_switched", "service.web", times=number - 1)
            live.until(lambda: f"v{number}" in load.versions(), "an answer of the new one")  # noqa: B023
    assert load.failures == []
    assert load.versions() == {"v1", "v2", "v3", "v4"}


def test_one_that_was_stopped_by_hand_refuses_and_listens_again_when_started(
    project: Path, start: Start, port: int
) -> None:
    write(project / "watch.toml", service(f'["127.0.0.1:{port}", "web.sock"]'))
    live = start()
    live.wait("service_ready", "service.web")
    control(project, "stop", "web")
    live.until(lambda: is_refused(port), "a refusal")
    assert not (project / "web.sock").exists()
    control(project, "start", "web")
    assert ask(port).startswith("one ")


def test_sockets_are_open_as_soon_as_a_service_is_to_start(project: Path, start: Start, port: int) -> None:
    """From the beginning, and as edits of watch.toml have it: not only when what it needs is there."""
    other, third = free_port(), free_port()
    held = '[build.app]\nrun = "until test -e go; do sleep 0.02; done"\n'
    needs = 'needs = ["build.app"]\n' + RUN
    write(project / "watch.toml", held + service(f'["127.0.0.1:{port}"]', needs))
    live = start()
    live.wait("build_started", "build.app")
    assert not is_refused(port)
    two = service(f'["127.0.0.1:{third}"]', needs, "second")
    write(project / "watch.toml", held + service(f'["127.0.0.1:{other}"]', needs) + two)
    live.wait("config_reloaded")
    live.until(lambda: is_refused(port) and not is_refused(other) and not is_refused(third), "the new addresses")
    control(project, "stop", "web")
    live.until(lambda: is_refused(other), "a refusal")
    write(project / "go", "")
    assert ask(third).startswith("one ")
    assert not live.seen("service_started", "service.web")


def test_a_program_that_spoils_its_socket_gets_a_new_one_next_time(project: Path, start: Start, port: int) -> None:
    """shutdown(2) of a listening socket is an end of listening for all who have it; a file can be removed."""
    spoil = "import socket, os; socket.socket(fileno=3).shutdown(2); os.unlink('web.sock')"
    run = f'run = "[ -e spoilt ] || {{ touch spoilt; exec python -c \\"{spoil}\\"; }}; exec python server.py"\n'
    more = run + 'restart = { policy = "always", min_delay = "10ms" }\n'
    write(project / "watch.toml", service(f'["127.0.0.1:{port}", "web.sock"]', more))
    live = start()
    live.wait("service_ready", "service.web")
    assert ask(port).startswith("one ")
    assert (project / "web.sock").is_socket()


# --- addresses that cannot be had ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_an_address_that_is_taken_is_told_with_its_holder_and_tried_again(
    project: Path, start: Start, port: int, *, shared: bool
) -> None:
    with socket.socket() as holder:
        if shared:  # it would let others of the same user have the port too
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        write(project / "watch.toml", service(f'["127.0.0.1:{port}"]'))
        live = start()
        reason = live.wait("service_crashed", "service.web")["reason"]
        assert reason.startswith(f"cannot listen at 127.0.0.1:{port}: it is taken by ")
        assert f"(process {os.getpid()})" in reason
    live.wait("service_ready", "service.web")
    assert ask(port).startswith("one ")


def test_a_unix_socket_of_somebody_who_listens_is_not_taken_away(project: Path, start: Start) -> None:
    with socket.socket(socket.AF_UNIX) as holder:
        holder.bind(str(project / "web.sock"))
        holder.listen()
        write(project / "watch.toml", service('["web.sock"]'))
        live = start()
        reason = live.wait("service_crashed", "service.web")["reason"]
        assert f"(process {os.getpid()})" in reason
    live.wait("service_ready", "service.web")  # nobody listens there any more: the file is a stale one
    assert live.stop() == 130
    assert not (project / "web.sock").exists()


def test_a_file_that_is_no_socket_stays(project: Path, start: Start) -> None:
    write(project / "data.sock", "precious")
    write(project / "watch.toml", service('["data.sock"]'))
    reason = start().wait("service_crashed", "service.web")["reason"]
    assert "there is a file that is no socket; remove it, or choose another path" in reason
    assert (project / "data.sock").read_text() == "precious"


def test_what_a_killed_procwatch_left_is_taken_over(project: Path, start: Start, port: int) -> None:
    need_linux()
    write(project / "watch.toml", service(f'["web.sock", "127.0.0.1:{port}"]'))
    live = start()
    live.wait("service_ready", "service.web")
    os.kill(live.supervisor(), signal.SIGKILL)
    live.ended()
    assert (project / "web.sock").is_socket()
    start().wait("service_ready", "service.web")
    assert ask_unix(str(project / "web.sock")).startswith(b"HTTP/1.1 200")


def test_a_path_may_be_longer_than_an_address_holds(
    project: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_linux()
    path = "/".join(["a-folder-with-a-long-name"] * 6) + "/web.sock"
    write(project / "watch.toml", service(f'["{path}"]'))
    start().wait("service_ready", "service.web")
    monkeypatch.chdir((project / path).parent)
    assert ask_unix("web.sock").startswith(b"HTTP/1.1 200")


# --- another watch.toml ----------------------------------------------------------------------------------------------


def test_a_reload_that_leaves_listen_alone_leaves_the_sockets_alone(project: Path, start: Start, port: int) -> None:
    write(project / "watch.toml", service(f'["127.0.0.1:{port}"]'))
    live = start()
    live.wait("service_ready", "service.web")
    with Load(port).goes_on() as load:
        live.until(lambda: load.answers, "an answer")
        write(project / "watch.toml", service(f'["127.0.0.1:{port}"]', RUN + 'env = { NEW = "1" }\n'))
        live.wait("service_ready", "service.web", times=2)
    assert load.failures == []


def test_a_reload_opens_what_is_new_and_closes_what_is_gone(project: Path, start: Start, port: int) -> None:
    other = free_port()
    write(project / "watch.toml", service(f'["127.0.0.1:{port}", "old.sock"]'))
    live = start()
    live.wait("service_ready", "service.web")
    write(project / "watch.toml", service(f'["0.0.0.0:{other}", "new.sock"]'))
    live.wait("service_ready", "service.web", times=2)
    assert ask(other).startswith("one ")
    live.until(lambda: is_refused(port), "the end of the old address")
    assert ((project / "old.sock").exists(), (project / "new.sock").is_socket()) == (False, True)
    # The same port at another address, which cannot be opened beside it.
    write(project / "watch.toml", service(f'["127.0.0.1:{other}"]'))
    live.until(lambda: "the instance that runs has this port at another address" in live.stderr(), "the reason")
    write(project / "watch.toml", service(f'["127.0.0.1:{other}"]', RUN + 'switch = "replace"\n'))
    live.wait("service_ready", "service.web", times=3)
    assert ask(other).startswith("one ")
    assert not live.seen("service_crashed")


def test_a_new_address_that_is_taken_changes_nothing_that_runs(project: Path, start: Start, port: int) -> None:
    write(project / "watch.toml", service(f'["127.0.0.1:{port}"]'))
    live = start()
    live.wait("service_ready", "service.web")
    first = ask(port)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        write(project / "watch.toml", service(f'["127.0.0.1:{taken}"]'))
        told = f"cannot listen at 127.0.0.1:{taken}: it is taken by "
        live.until(lambda: told in live.stderr(), "the reason")  # nothing is started meanwhile: a fork has it too
    assert re.search(re.escape(told) + rf".* \(process {os.getpid()}\); a restart of it tries again\n", live.stderr())
    assert told in control(project, "status", "web")
    assert ask(port) == first
    assert len(live.seen("service_started")) == 1
    assert live.stderr().count(told) == 1
    control(project, "restart", "web")
    assert ask(taken) != first
    live.until(lambda: is_refused(port), "the end of the old address")


def test_an_address_passes_from_one_service_to_another_open(project: Path, start: Start, port: int) -> None:
    write(project / "watch.toml", service(f'["127.0.0.1:{port}"]', name="old"))
    live = start()
    live.wait("service_ready", "service.old")
    write(project / "watch.toml", service(f'["127.0.0.1:{port}"]', name="new"))
    live.wait("service_ready", "service.new")
    assert ask(port).startswith("one ")
    assert not live.seen("service_crashed")


def control(project: Path, *words: str) -> str:
    done = Live(project, *words[1:], command=words[0], json_events=False)
    try:
        assert done.ended() == 0, done.story()
        return done.text()
    finally:
        done.close()
