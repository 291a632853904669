"""The control socket answers who may ask, however many others, and is harmed by nobody."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from procwatch.control.client import AnswerError, Client, connect
from procwatch.control.protocol import MAX_REQUEST_BYTES, Request
from procwatch.runtime.server import MAX_CONNECTIONS, Caller, Server
from tests.behaviour.conftest import Start
from tests.rig.live import DEADLINE_S, Live, clean_environment, write
from tests.rig.needs import need_linux

TOML = """
[build.app]
run = "true"
[service.api]
run = "exec sleep 1000"
needs = ["build.app"]
"""


def ready(project: Path, start: Start) -> Live:
    write(project / "watch.toml", TOML)
    live = start("-v")
    live.wait("service_ready")
    return live


def plug(project: Path) -> socket.socket:
    """A connection without anything around it."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(os.fspath(project / ".procwatch/control.sock"))  # without a limit: else a full queue is an error
    made.settimeout(DEADLINE_S)
    return made


def lines(connection: socket.socket) -> list[bytes]:
    """All that comes until the other side ends the connection."""
    data = b""
    while True:
        try:
            more = connection.recv(1 << 16)
        except ConnectionResetError:
            more = b""
        if not more:
            return data.splitlines()
        data += more


def is_well(project: Path) -> bool:
    with connect(project) as client:
        return [unit["state"] for unit in client.call("status", {})["units"]] == ["fresh", "ready"]


def descriptors(live: Live) -> int:
    return len(list(Path(f"/proc/{live.supervisor()}/fd").iterdir()))


def test_the_socket_is_this_users_alone_and_gone_afterwards(project: Path, start: Start) -> None:
    live = ready(project, start)
    path = project / ".procwatch/control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert live.stop() == 130
    assert not path.exists()


def test_another_user_is_refused_even_where_permissions_would_let_him(project: Path, start: Start) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)
        write(folder / "watch.toml", TOML)
        live = Live(folder)
        try:
            live.wait("service_ready")
            assert b"Permission denied" in as_nobody(folder)
            (folder / ".procwatch").chmod(0o755)
            (folder / ".procwatch/control.sock").chmod(0o666)
            answer = json.loads(as_nobody(folder))
            assert answer["error"] == {"code": 4, "message": "this procwatch is another user's"}
            assert is_well(folder)
        finally:
            live.close()


def as_nobody(folder: Path) -> bytes:
    """What a process of another user gets from the socket."""
    code = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
made = socket.socket(socket.AF_UNIX)
try:
    made.connect(sys.argv[1])
except OSError as error:
    sys.exit(str(error))
sys.stdout.buffer.write(made.recv(65536))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, folder / ".procwatch/control.sock"], capture_output=True, check=False,
        timeout=DEADLINE_S,
    )  # fmt: skip
    return done.stdout or done.stderr


def test_ten_thousand_fuzzed_requests_are_answered_and_leave_nothing(project: Path, start: Start) -> None:
    live = ready(project, start)
    rng = random.Random(5)
    before = descriptors(live)
    words = [
        b'"jsonrpc":"2.0"', b'"id":1', b'"method":"status"', b'"method":"why"', b'"params":{"names":["api"]}',
        b'"params":{"names":[1]}', b'"params":[]', b'"id":{}', b"\xff", b"{", b"[", b'"', b",", b"0e9", b"nul",
    ]  # fmt: skip
    for _ in range(100):
        requests = []
        for _ in range(100):
            picked = rng.sample(words, rng.randrange(1, 6))
            requests.append(b"{" + b",".join(picked) + b"}" if rng.random() < 0.8 else b"".join(picked))
        with plug(project) as connection:
            connection.sendall(b"\n".join(requests) + b"\n")
            connection.shutdown(socket.SHUT_WR)
            answers = [json.loads(line) for line in lines(connection)]
        calls = len([one for one in answers if "error" in one or "result" in one])
        assert calls == len(answers)
        assert 0 < calls <= 100
    assert is_well(project)
    live.until(lambda: descriptors(live) <= before, "the descriptors that there were before")
    assert "internal error" not in live.stderr()


def test_two_hundred_clients_at_once_are_all_answered(project: Path, start: Start) -> None:
    live = ready(project, start)
    answered: list[int] = []

    def ask_often() -> None:
        with connect(project) as client:
            answered.extend(len(client.call("status", {}, DEADLINE_S)["units"]) for _ in range(5))

    threads = [threading.Thread(target=ask_often) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answered == [2] * 1000
    assert live.stop() == 130


def test_a_thousand_connections_are_a_few_too_many_and_harm_nobody(project: Path, start: Start) -> None:
    live = ready(project, start)
    client = connect(project)
    before = descriptors(live)
    crowd = [plug(project) for _ in range(1000)]
    endings = [b"".join(lines(connection)) for connection in crowd[MAX_CONNECTIONS - 1 :]]
    refused = len([one for one in endings if b"too many connections" in one])
    assert refused == 1 + 1000 - MAX_CONNECTIONS
    assert len(client.call("status", {})["units"]) == 2, "who was there before is answered"
    client.close()
    for connection in crowd:
        connection.close()
    live.until(lambda: descriptors(live) <= before, "the end of all connections")
    assert is_well(project)


def test_as_many_as_are_allowed_are_taken_however_they_come(project: Path) -> None:
    """One after the other, at each turn of the loop: each counts once."""

    async def main() -> None:
        server = Server(lambda line: pytest.fail(line))
        (project / ".procwatch").mkdir()
        server.open([project / ".procwatch/control.sock"])
        server.serve(nothing)
        with ExitStack() as crowd:
            for _ in range(MAX_CONNECTIONS):
                crowd.enter_context(plug(project))
                await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE_S):
                while len(server.connections) < MAX_CONNECTIONS:  # noqa: ASYNC110 - the server has no event for it
                    await asyncio.sleep(0)
        await server.close()

    async def nothing(_request: Request, _caller: Caller) -> object:
        return None

    asyncio.run(main())


@pytest.mark.parametrize(
    "harm",
    [
        lambda to: to.sendall(b'{"jsonrpc":"2.0","id":1,"meth'),
        lambda to: to.sendall(b"\n" * 100_000),
        lambda to: to.sendall(b'{"jsonrpc":"2.0","id":1,"method":"status"}\n' * 5000),
        lambda to: to.shutdown(socket.SHUT_RD),
    ],
    ids=["half", "empty", "greedy", "deaf"],
)
def test_a_client_that_goes_away_in_the_middle_harms_nobody(
    project: Path, start: Start, harm: Callable[[socket.socket], None]
) -> None:
    live = ready(project, start)
    before = descriptors(live)
    for _ in range(20):
        with plug(project) as connection:
            harm(connection)
    live.until(lambda: descriptors(live) <= before, "the descriptors that there were before")
    assert is_well(project)


def test_what_never_ends_its_line_is_refused_and_not_kept(project: Path, start: Start) -> None:
    need_linux()
    live = ready(project, start)
    status = Path(f"/proc/{live.supervisor()}/status")

    def memory_kib() -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))

    before_kib = memory_kib()
    with plug(project) as connection:
        sent = 0
        try:
            for _ in range(100):
                connection.sendall(b"x" * (1 << 20))
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 100
        assert any(f"at most {MAX_REQUEST_BYTES // 1024} KiB".encode() in line for line in lines(connection))
    assert memory_kib() < before_kib + 20 * 1024
    assert is_well(project)


def test_a_follower_that_does_not_read_is_let_go(project: Path, start: Start) -> None:
    live = ready(project, start)
    client = connect(project)
    deaf = connect(project)
    deaf.call("follow", {})
    names = ["api"] * 3000
    for _ in range(200):  # an answer of its own length each, on the follower's connection
        deaf.send("pause", {"names": names})
    assert len(client.call("status", {}, DEADLINE_S)["units"]) == 2
    deaf.close()
    client.close()
    assert live.stop() == 130


def test_answers_may_come_in_any_order_and_notifications_get_none(project: Path, start: Start) -> None:
    ready(project, start)
    with plug(project) as connection:
        slow = {"jsonrpc": "2.0", "id": "slow", "method": "build", "params": {"names": ["app"]}}
        quick = {"jsonrpc": "2.0", "id": 2, "method": "hello"}
        silent = {"jsonrpc": "2.0", "method": "hello"}
        connection.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in (slow, silent, quick)))
        connection.shutdown(socket.SHUT_WR)
        answers = [json.loads(line) for line in lines(connection)]
    assert [one["id"] for one in answers] == [2, "slow"]
    assert answers[1]["result"]["results"][0]["outcome"] == "done"


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("nothing", {}, -32601, 'there is no method "nothing"; methods are: hello, status'),
        ("restart", {"names": ["ap"]}, 2, 'there is no service or group "ap"; did you mean "api"?'),
        ("restart", {"names": []}, -32602, '"names" must name something'),
        ("restart", {"names": "api"}, -32602, '"names" must be a list of strings'),
        ("restart", {"names": ["api"], "wait": 1}, -32602, '"wait" must be true or false'),
        ("restart", {"names": ["api"], "timeout": -1}, -32602, '"timeout" must be a number from 0 on'),
        ("status", {"nams": []}, -32602, 'there is no parameter "nams" here'),
        ("hello", {"protocol": 9}, 4, "this procwatch speaks protocol 1, not 9; use one version"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    project: Path, start: Start, method: str, params: dict[str, object], code: int, words: str
) -> None:
    ready(project, start)
    with connect(project) as client, pytest.raises(AnswerError) as caught:
        client.call(method, params)
    assert caught.value.fault.code == code
    assert str(caught.value).startswith(words)


def test_a_stale_socket_is_taken_over(project: Path, start: Start) -> None:
    live = ready(project, start)
    os.kill(live.supervisor(), signal.SIGKILL)
    assert live.ended() == 137
    assert (project / ".procwatch/control.sock").exists()
    ready(project, start)
    assert is_well(project)


def test_a_project_with_a_long_path_has_its_socket_elsewhere(project: Path) -> None:
    folder = project / ("long" * 20) / ("path" * 20)
    write(folder / "watch.toml", TOML)
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        env = {"XDG_RUNTIME_DIR": runtime}
        live = Live(folder, env=env)
        try:
            live.wait("service_ready")
            (found,) = Path(runtime).glob("procwatch/*.sock")
            done = subprocess.run(
                [sys.executable, "-m", "procwatch", "status", "api"], cwd=folder, capture_output=True, text=True,
                env={**clean_environment(), **env}, timeout=DEADLINE_S, check=True,
            )  # fmt: skip
            assert "ready" in done.stdout
            assert live.stop() == 130
            assert not found.exists()
        finally:
            live.close()


def test_without_a_folder_of_its_own_there_are_a_socket_and_a_lock_all_the_same(project: Path) -> None:
    write(project / "watch.toml", TOML)
    write(project / ".procwatch", "no folder")
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        env = {"XDG_RUNTIME_DIR": runtime}
        live = Live(project, env=env)
        try:
            live.wait("service_ready")
            second = Live(project, env=env)
            assert second.ended() == 4
            assert "already runs" in second.stderr()
            done = subprocess.run(
                [sys.executable, "-m", "procwatch", "stop"], cwd=project, capture_output=True, text=True,
                env={**clean_environment(), **env}, timeout=DEADLINE_S, check=True,
            )  # fmt: skip
            assert done.returncode == 0
            assert live.ended() == 0
            second.close()
        finally:
            live.close()


def test_a_client_is_told_when_the_supervisor_is_stopped_and_cannot_answer(project: Path, start: Start) -> None:
    live = ready(project, start)
    client: Client = connect(project)
    os.kill(live.supervisor(), signal.SIGSTOP)
    try:
        with pytest.raises(Exception, match=r"has not answered within 0\.2 s; is it stopped"):
            client.call("status", {}, 0.2)
    finally:
        os.kill(live.supervisor(), signal.SIGCONT)
        client.close()
    assert is_well(project)
