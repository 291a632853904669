"""A program on a terminal finds an ordinary one: its size, its keys, its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.core.model import Exit
from procwatch.runtime.spawn import Process
from procwatch.runtime.terminal import Size, Terminal
from tests.rig import obey
from tests.rig.obey import PATIENT, QUICK, Recorder, Stage, play

SIZE = Size(30, 100)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield from obey.nothing_left()


def on_terminal(stage: Stage, command: str | tuple[str, ...], **changes: object) -> tuple[Process, Recorder, Terminal]:
    process, sink = stage.start(command, **{"terminal": SIZE, **changes})
    assert process.terminal is not None
    return process, sink, process.terminal


def test_all_three_descriptors_are_a_terminal_of_this_size_and_the_session_s_own(tmp_path: Path) -> None:
    code = """
import os
print([os.isatty(n) for n in (0, 1, 2)], *os.get_terminal_size(1))
print(os.getsid(0) == os.getpid() == os.tcgetpgrp(os.open("/dev/tty", os.O_RDWR)))
print(sorted(int(n) for n in os.listdir("/proc/self/fd"))[:3], os.ttyname(0) == os.ttyname(1) == os.ttyname(2))
"""

    async def scene(stage: Stage) -> str:
        process, sink, _ = on_terminal(stage, obey.python(code))
        assert await process.wait() == Exit(0, "exit 0")
        await process.end(QUICK)
        return sink.text

    assert play(tmp_path, scene) == "[True, True, True] 100 30\nTrue\n[0, 1, 2] True\n"


def test_a_new_size_is_told_by_a_signal(tmp_path: Path) -> None:
    code = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
print("up", flush=True)
signal.sigwait({signal.SIGWINCH})
print(*os.get_terminal_size(1), flush=True)
"""

    async def scene(stage: Stage) -> None:
        process, sink, terminal = on_terminal(stage, obey.python(code))
        await sink.until("up")
        terminal.resize(Size(20, 70))
        await sink.until("70 20\n")
        await process.wait()
        await process.end(QUICK)

    play(tmp_path, scene)


def test_lines_end_as_on_a_pipe_and_what_is_typed_arrives(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> tuple[str, bytes]:
        raw = bytearray()
        process, sink, terminal = on_terminal(
            stage, r"""printf 'one\ntwo\r\n'; read line; echo "got $line"; printf 'x\r'"""
        )
        terminal.on_output = raw.extend
        await sink.until("two")
        await terminal.type(b"hello\r")
        await process.wait()
        await process.end(QUICK)
        await terminal.type(b"nobody is there\r")
        return sink.text, bytes(raw)

    text, raw = play(tmp_path, scene)
    assert text == "one\ntwo\r\nhello\ngot hello\nx\r"
    assert raw == b"one\r\ntwo\r\r\nhello\r\ngot hello\r\nx\r"


def test_a_key_interrupts_all_in_the_foreground_and_nothing_else(tmp_path: Path) -> None:
    shell = f"trap 'echo trapped' INT; ({obey.hears('SIGINT', 'heard')}); echo after; read x"

    async def scene(stage: Stage) -> None:
        process, sink, terminal = on_terminal(stage, shell)
        other, untouched, _ = on_terminal(stage, obey.hears("SIGINT", "heard"))
        await sink.until("pid ")
        await untouched.until("pid ")
        await terminal.type(b"\x03")
        for word in ("heard", "trapped", "after"):
            await sink.until(word)
        assert process.exit is None
        assert other.exit is None
        await asyncio.gather(process.end(QUICK), other.end(QUICK))

    play(tmp_path, scene)


@pytest.mark.parametrize("count", [1, 4095, 4096, 5000, 10_000, 1_000_000])
def test_all_that_was_printed_has_been_handed_on_when_the_end_is_told(tmp_path: Path, count: int) -> None:
    async def scene(stage: Stage) -> int:
        process, sink, _ = on_terminal(stage, ("/usr/bin/head", "-c", str(count), "/dev/zero"))
        await process.wait()
        there_at_the_end = len(sink.data)
        await process.end(QUICK)
        return there_at_the_end

    assert play(tmp_path, scene) == count


def test_a_flood_is_typed_without_loss_while_the_program_reads(tmp_path: Path) -> None:
    code = """
import os, tty
tty.setraw(0)
os.write(1, b"up")
count = 0
while count < 300_000:
    count += len(os.read(0, 1000))
os.write(1, b"all")
"""

    async def scene(stage: Stage) -> None:
        process, sink, terminal = on_terminal(stage, obey.python(code))
        await sink.until("up")
        await asyncio.gather(*(terminal.type(b"x" * 30_000) for _ in range(10)))
        await sink.until("all")
        await process.wait()
        await process.end(QUICK)

    play(tmp_path, scene)


def test_the_end_of_the_program_ends_the_wait_of_who_types(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        process, sink, terminal = on_terminal(
            stage, obey.python("import tty, time; tty.setraw(0); print('up'); time.sleep(1000)")
        )
        await sink.until("up")
        typing = asyncio.create_task(terminal.type(b"x" * 1_000_000))
        await asyncio.sleep(0)
        await process.kill()
        await typing

    play(tmp_path, scene)


def test_a_program_may_let_go_of_its_terminal_and_run_on(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        process, sink, _ = on_terminal(
            stage,
            "trap 'echo hung up >told' HUP; echo up; exec <&- >out 2>&1; "
            "until [ -e gate ]; do sleep 0.02; done; echo end >/dev/tty",
        )
        await sink.until("up")
        assert process.exit is None
        (tmp_path / "gate").touch()
        await process.wait()
        assert sink.text == "up\nend\n"
        await process.end(PATIENT)

    play(tmp_path, scene)
    assert not (tmp_path / "told").exists()


def test_the_project_s_shell_is_known_as_such_on_a_terminal_too(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> str:
        process, sink, _ = on_terminal(stage, f"({obey.hears('SIGUSR1', 'heard')}); echo after")
        await sink.until("up")
        assert await process.signal("SIGUSR1")
        await process.wait()
        await process.end(QUICK)
        return sink.text

    assert "heard\nafter\n" in play(tmp_path, scene)


@pytest.mark.parametrize("command", ["env", ("env",)])
def test_the_environment_arrives_whole(tmp_path: Path, command: str | tuple[str, ...]) -> None:
    async def scene(stage: Stage) -> str:
        env = {"PATH": os.environ["PATH"], "PLAIN": "1 2", "spring.profiles": "dev=x", "A-B": "$HOME"}
        process, sink, _ = on_terminal(stage, command, env=env)
        await process.wait()
        await process.end(QUICK)
        return sink.text

    lines = play(tmp_path, scene).splitlines()
    assert "PLAIN=1 2" in lines
    if isinstance(command, tuple):  # a shell drops what it has no names for
        assert "spring.profiles=dev=x" in lines
        assert "A-B=$HOME" in lines


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        counts = []
        for _ in range(3):
            process, _, _ = on_terminal(stage, "exit 3")
            assert (await process.wait()).code == 3
            await process.end(QUICK)
            counts.append(obey.descriptors())
        assert counts[1] == counts[2]

    play(tmp_path, scene)
