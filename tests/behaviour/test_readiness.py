"""A probe succeeds when the service can serve, and else says what the last try met."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from procwatch.core.model import (
    DelayProbe,
    HttpProbe,
    LogProbe,
    NotifyProbe,
    Probe,
    ProbeTiming,
    RunProbe,
    TcpProbe,
)
from procwatch.runtime import readiness
from procwatch.runtime.notify import NotifySocket
from procwatch.runtime.readiness import LogWatch, NotReady, Target, until_ready
from tests.rig import obey
from tests.rig.obey import Stage, play
from tests.rig.sample import free_port

PATIENT = ProbeTiming(interval_s=0.01, timeout_s=20.0, deadline_s=20.0)
# As long as a probe that must fail is given.
BRIEF = ProbeTiming(interval_s=0.01, timeout_s=0.1, deadline_s=0.25)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = obey.descriptors()
    yield from obey.nothing_left()
    assert obey.descriptors() == before


@asynccontextmanager
async def server(
    answer: bytes | None,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    taken: asyncio.Event | None = None,
    port: int = 0,
) -> AsyncIterator[int]:
    """A server that gives this answer to everyone; None: it takes connections (and sets `taken`) and is silent."""
    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if taken:
            taken.set()
        if answer is None:
            return
        await reader.read(64 * 1024)
        writer.write(answer)
        writer.close()

    listener = await asyncio.start_server(serve, host, port, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for writer in connections:
            writer.transport.abort()
        await listener.wait_closed()


async def reason_of(probe: Probe, timing: ProbeTiming, target: Target) -> str | None:
    """What the probe says: None when it is ready."""
    try:
        await until_ready(probe, timing, target)
    except NotReady as unready:
        return unready.reason
    return None


async def one_try(probe: HttpProbe | TcpProbe | RunProbe, target: Target, timeout_s: float = 20.0) -> str | None:
    """What one try says; a deadline short enough for a test would cut tries on a busy machine."""
    return await readiness.try_once(probe, timeout_s, target)


def probed(folder: Path, work: Callable[[Stage, Target], Awaitable[str | None]]) -> str | None:
    async def scene(stage: Stage) -> str | None:
        return await work(stage, Target(stage.spec("unused"), stage.forest))

    return play(folder, scene)


@pytest.mark.parametrize(
    ("status", "wanted", "reason"),
    [
        (b"200 OK", None, None),
        (b"204 No Content", None, None),
        (b"302 Found", None, None),
        (b"399 ?", None, None),
        (b"204 No Content", 204, None),
        (b"404 Not Found", 404, None),
        (b"200 OK", 204, "GET /health answered 200 instead of 204"),
        (b"404 Not Found", None, "GET /health answered 404"),
        (b"503 Service Unavailable", None, "GET /health answered 503"),
        (b"101 Switching", None, "GET /health answered 101"),
    ],
)
def test_an_answer_is_ready_by_its_status(
    tmp_path: Path, status: bytes, wanted: int | None, reason: str | None
) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        async with server(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n") as port:
            return await one_try(HttpProbe(port, "/health", status=wanted), target)

    assert probed(tmp_path, work) == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"220 mail.example ESMTP\r\n", "127.0.0.1:{} answered, but not in HTTP"),
        (b"x" * 100_000, "127.0.0.1:{} answered, but not in HTTP"),
        (b"", "127.0.0.1:{} closed the connection without an answer"),
        (None, "no answer from 127.0.0.1:{} within 0.1 s"),
    ],
)
def test_what_is_no_answer_is_told(tmp_path: Path, answer: bytes | None, reason: str) -> None:
    ports: list[int] = []

    async def work(_: Stage, target: Target) -> str | None:
        async with server(answer) as port:
            ports.append(port)
            return await one_try(HttpProbe(port, "/health", "127.0.0.1"), target, 20.0 if answer is not None else 0.1)

    assert probed(tmp_path, work) == reason.format(ports[0])


def test_the_request_is_one_that_every_server_takes(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def work(_: Stage, target: Target) -> str | None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            await until_ready(HttpProbe(port, "/a?b=c"), PATIENT, target)
            return str(port)

    port = probed(tmp_path, work)
    head = asked[0].decode().split("\r\n")
    assert head[0] == "GET /a?b=c HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in head
    assert "Connection: close" in head


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_a_certificate_of_its_own_is_good_enough(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=nobody"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def work(_: Stage, target: Target) -> str | None:
        async with server(b"HTTP/1.1 200 OK\r\n\r\n", context) as port:
            return await reason_of(HttpProbe(port, "/", tls=True), PATIENT, target)

    assert probed(tmp_path, work) is None


def test_tls_where_there_is_none_is_told(tmp_path: Path) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        async with server(b"HTTP/1.1 200 OK\r\n\r\n") as port:
            return await one_try(HttpProbe(port, "/", "127.0.0.1", tls=True), target)

    reason = probed(tmp_path, work)
    assert reason is not None
    assert re.match(r"no TLS connection to 127\.0\.0\.1:\d+: \w|127\.0\.0\.1:\d+ closed the connection", reason)


@pytest.mark.parametrize("probe", [HttpProbe(0, "/"), TcpProbe(0)], ids=["http", "tcp"])
def test_a_refused_connection_is_told_with_its_address(tmp_path: Path, probe: HttpProbe | TcpProbe) -> None:
    port = free_port()
    aimed: HttpProbe | TcpProbe = HttpProbe(port, "/") if isinstance(probe, HttpProbe) else TcpProbe(port)

    async def work(_: Stage, target: Target) -> str | None:
        return await one_try(aimed, target)

    assert probed(tmp_path, work) == f"connection refused on 127.0.0.1:{port}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_without_a_host_both_loopback_addresses_are_tried(tmp_path: Path, host: str) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        try:
            async with server(None, host=host) as port:
                return await reason_of(TcpProbe(port), PATIENT, target)
        except OSError:
            pytest.skip("this machine has no IPv6")

    assert probed(tmp_path, work) is None


def test_a_name_that_nobody_knows_is_told(tmp_path: Path) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        return await one_try(TcpProbe(80, "no-such-host.invalid"), target, 1.0)

    reason = probed(tmp_path, work)  # without a network the question itself may get no answer
    assert reason in (
        "no address is known for no-such-host.invalid:80",
        "no answer from no-such-host.invalid:80 within 1 s",
    )


def test_a_service_that_comes_late_is_found(tmp_path: Path) -> None:
    port = free_port()
    code = f"""
import socket, sys
sys.stdin.read()
s = socket.create_server(("127.0.0.1", {port}))
print("up", flush=True)
s.accept()
s.accept()
"""

    async def work(stage: Stage, target: Target) -> str | None:
        os.mkfifo(stage.folder / "gate")
        process, _ = stage.start(f"{obey.python(code)} < gate")
        probing = asyncio.create_task(reason_of(TcpProbe(port), PATIENT, target))
        assert await one_try(TcpProbe(port), target) == f"connection refused on 127.0.0.1:{port}"
        (stage.folder / "gate").write_text("")
        reason = await probing
        await process.kill()
        return reason

    assert probed(tmp_path, work) is None


def test_a_command_is_tried_until_it_succeeds(tmp_path: Path) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        return await reason_of(RunProbe("echo x >> tries; test $(wc -l < tries) -ge 3"), PATIENT, target)

    assert probed(tmp_path, work) is None
    assert (tmp_path / "tries").read_text() == "x\n" * 3


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo one; echo two >&2; exit 3", "the command failed (exit 3): two"),
        ("exit 1", "the command failed (exit 1)"),
        (("frob",), "no such command: frob"),
        ("setsid sleep 300 & sleep 300", "the command did not end within 0.1 s"),
    ],
)
def test_a_command_that_fails_is_told(tmp_path: Path, command: str | tuple[str, ...], reason: str) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        return await one_try(RunProbe(command), target, 0.1 if "0.1" in reason else 20.0)

    assert probed(tmp_path, work) == reason


def test_what_a_probe_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        return await reason_of(RunProbe("setsid sleep 300 & true"), PATIENT, target)

    assert probed(tmp_path, work) is None  # and the fixture finds nothing


LINES = b"starting\r\n\x1b[32mServer \x1b[1mready\x1b[0m on port 80\xff\nmore\n"


@pytest.mark.parametrize("cut", range(len(LINES)))
def test_a_line_is_found_wherever_it_is_cut(cut: int) -> None:
    watch = LogWatch(r"^Server ready on port \d+")
    watch.feed(LINES[:cut])
    watch.feed(LINES[cut:])
    assert watch.found.is_set()


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("ready$", b"ready\r\n", True),
        ("ready", b"ready", False),  # the line has not ended
        ("a.b", b"a\nb\n", False),
        ("^$", b"\n", True),
        ("title", b"\x1b]0;title\x07text\n", False),
        ("end", b"x" * 70_000 + b"end\n", False),  # beyond the first 64 KiB of a line
        ("next", b"x" * 300_000 + b"\nnext\n", True),
        ("\ufffd", b"\xff\n", True),
    ],
)
def test_a_pattern_is_looked_for_in_one_line(pattern: str, text: bytes, found: bool) -> None:
    watch = LogWatch(pattern)
    for start in range(0, len(text), 10_000):
        watch.feed(text[start : start + 10_000])
        assert len(watch._line) <= 64 * 1024
    assert watch.found.is_set() == found


def test_a_line_that_was_printed_before_the_probe_counts(tmp_path: Path) -> None:
    async def work(stage: Stage, target: Target) -> str | None:
        watch = LogWatch("ready")
        watch.feed(b"ready\n")
        return await reason_of(LogProbe("ready"), PATIENT, Target(target.spec, target.forest, log=watch))

    assert probed(tmp_path, work) is None


def test_no_line_is_told(tmp_path: Path) -> None:
    async def work(stage: Stage, target: Target) -> str | None:
        target = Target(target.spec, target.forest, log=LogWatch("rea+dy"))
        return await reason_of(LogProbe("rea+dy"), BRIEF, target)

    assert probed(tmp_path, work) == "no line matched /rea+dy/"


NOTIFY = """
import os, socket, sys
for message in sys.argv[1:]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(message.encode(), os.environ["NOTIFY_SOCKET"])
"""


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (["READY=1"], None),
        (["STATUS=loading", "MAINPID=1\nREADY=1\nSTATUS=fine"], None),
        (["STATUS=loading data"], "no READY=1 came to $NOTIFY_SOCKET; its last status is: loading data"),
        (["READY=10", "XREADY=1", ""], "no READY=1 came to $NOTIFY_SOCKET"),
    ],
)
def test_a_service_can_tell_by_itself(tmp_path: Path, messages: list[str], reason: str | None) -> None:
    async def work(stage: Stage, target: Target) -> str | None:
        notify = NotifySocket()
        assert Path(notify.path).parent.stat().st_mode & 0o777 == 0o700
        env = {**target.spec.env, "NOTIFY_SOCKET": notify.path}
        process, _ = stage.start((sys.executable, "-S", "-c", NOTIFY, *messages), env=env)
        await process.wait()
        timing = PATIENT if reason is None else BRIEF
        said = await reason_of(NotifyProbe(), timing, Target(target.spec, target.forest, notify=notify))
        await process.kill()
        notify.close()
        assert not Path(notify.path).parent.exists()
        return said

    assert probed(tmp_path, work) == reason


def test_the_path_of_the_socket_is_short_whatever_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))

    async def work(_stage: Stage, _target: Target) -> str | None:
        notify = NotifySocket()
        path = notify.path
        notify.close()
        return path

    path = probed(tmp_path, work)
    assert path is not None
    assert len(path) <= 103
    assert list(deep.iterdir()) == []


def test_a_delay_is_over_when_it_is_over(tmp_path: Path) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        begun_s = asyncio.get_running_loop().time()
        await until_ready(DelayProbe(0.05), BRIEF, target)
        return "waited" if asyncio.get_running_loop().time() - begun_s >= 0.049 else "too short"

    assert probed(tmp_path, work) == "waited"


@pytest.mark.parametrize("kind", ["http", "tcp", "run", "log", "notify", "delay"])
def test_a_probe_can_be_cancelled_at_once(tmp_path: Path, kind: str) -> None:
    endless = ProbeTiming(interval_s=3600, timeout_s=3600, deadline_s=3600)

    async def work(stage: Stage, target: Target) -> str | None:
        notify = NotifySocket()
        target = Target(target.spec, target.forest, LogWatch("x"), notify)
        os.mkfifo(stage.folder / "begun")
        taken = asyncio.Event()
        async with server(None, taken=taken) as port:
            probes: dict[str, Probe] = {
                "http": HttpProbe(port, "/"),
                "tcp": TcpProbe(free_port()),
                "run": RunProbe("echo > begun; setsid sleep 300 & sleep 300"),
                "log": LogProbe("x"),
                "notify": NotifyProbe(),
                "delay": DelayProbe(3600),
            }
            probing = asyncio.create_task(until_ready(probes[kind], endless, target))
            if kind == "run":
                await asyncio.to_thread((stage.folder / "begun").read_text)
            elif kind == "http":
                await taken.wait()
            else:
                await asyncio.sleep(0)
            probing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probing
        notify.close()
        return "cancelled"

    assert probed(tmp_path, work) == "cancelled"


@pytest.mark.parametrize("turns", range(8))
def test_a_cancelled_connection_is_closed_whatever_it_has_come_to(tmp_path: Path, turns: int) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            before = obey.descriptors()
            probe = HttpProbe(listener.getsockname()[1], "/", "127.0.0.1")
            trying = asyncio.create_task(one_try(probe, target))
            for _turn in range(turns):
                await asyncio.sleep(0)
            trying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await trying
            await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn
            return None if obey.descriptors() == before else "left open"

    assert probed(tmp_path, work) is None


def test_the_deadline_ends_a_try_that_is_under_way(tmp_path: Path) -> None:
    async def work(_: Stage, target: Target) -> str | None:
        timing = ProbeTiming(interval_s=0.01, timeout_s=3600, deadline_s=0.1)
        return await reason_of(RunProbe("setsid sleep 300 & sleep 300"), timing, target)

    assert probed(tmp_path, work) == "the first try did not end in time"


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_port_that_is_not_open_yet_is_asked_again_soon(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, tries = free_port(), 0
    tried_often = asyncio.Event()
    connect = readiness._connect

    async def counted(host: str, number: int) -> socket.socket:
        nonlocal tries
        tries += 1
        if tries >= 6:  # each try asks two addresses
            tried_often.set()
        return await connect(host, number)

    monkeypatch.setattr(readiness, "_connect", counted)

    async def work(_: Stage, target: Target) -> str | None:
        probe: Probe = HttpProbe(port, "/") if kind == "http" else TcpProbe(port)
        ready = asyncio.create_task(until_ready(probe, replace(PATIENT, interval_s=3600), target))
        await tried_often.wait()
        taken = asyncio.Event()
        answer = b"HTTP/1.1 204 No Content\r\n\r\n" if kind == "http" else None
        async with server(answer, taken=taken, port=port):
            await ready
            await taken.wait()
        return None

    assert probed(tmp_path, work) is None


def test_the_deadline_tells_what_the_last_try_met(tmp_path: Path) -> None:
    port = free_port()

    async def work(_: Stage, target: Target) -> str | None:
        return await reason_of(TcpProbe(port), ProbeTiming(interval_s=3600, timeout_s=3600, deadline_s=1.0), target)

    assert probed(tmp_path, work) == f"connection refused on 127.0.0.1:{port}"
