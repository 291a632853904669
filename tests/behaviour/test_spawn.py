"""A command is started, what it prints is handed on whole and in order, and its end is told as it was."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.core.model import Exit
from procwatch.runtime import census, spawn
from procwatch.runtime.spawn import start
from procwatch.runtime.tree import MARK
from tests.rig import obey
from tests.rig.obey import PATIENT, QUICK, Stage, play


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield from obey.nothing_left()


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("exit 0", 0, "exit 0"),
        ("exit 2", 2, "exit 2"),
        ("exit 126", 126, "exit 126"),
        ("exit 127", 127, "exit 127"),
        ("exit 255", 255, "exit 255"),
        ("kill -KILL $$", 137, "killed by SIGKILL"),
        ("ulimit -c 0; kill -SEGV $$", 139, "killed by SIGSEGV"),
        ("kill -40 $$", 168, "killed by signal 40"),
        ("no-such-command-at-all", 127, "exit 127"),
    ],
)
def test_the_end_is_told_as_a_shell_would(tmp_path: Path, command: str, code: int, words: str) -> None:
    async def scene(stage: Stage) -> Exit:
        process, _ = stage.start(command)
        ended = await process.wait()
        await process.end(QUICK)
        return ended

    assert play(tmp_path, scene) == Exit(code, words)


def test_output_and_errors_come_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> str:
        process, sink = stage.start("for n in 1 2 3 4 5; do echo out $n; echo err $n >&2; done")
        await process.wait()
        await process.end(QUICK)
        return sink.text

    assert play(tmp_path, scene) == "".join(f"out {n}\nerr {n}\n" for n in range(1, 6))


def test_a_megabyte_comes_out_to_the_byte(tmp_path: Path) -> None:
    content = os.urandom(1024 * 1024 + 7)
    (tmp_path / "blob").write_bytes(content)

    async def scene(stage: Stage) -> bytes:
        process, sink = stage.start(("cat", "blob"))
        await process.wait()
        there_at_the_end = bytes(sink.data)
        await process.end(QUICK)
        return there_at_the_end

    assert play(tmp_path, scene) == content


def test_one_noisy_process_does_not_keep_the_loop_from_the_others(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> tuple[Exit, bool]:
        noisy, _ = stage.start(("yes",))
        quiet, sink = stage.start("echo done")
        ended = await quiet.wait()
        running = noisy.exit is None
        await asyncio.gather(quiet.end(QUICK), noisy.end(QUICK))
        assert sink.text == "done\n"
        return ended, running

    assert play(tmp_path, scene) == (Exit(0, "exit 0"), True)


def test_the_end_of_the_leader_is_told_while_a_grandchild_holds_the_pipe(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> tuple[str, bool, str]:
        process, sink = stage.start("(read line < gate; echo late) & echo early")
        await process.wait()
        before, left = sink.text, await process.descendants_left()
        (tmp_path / "gate").write_text("now\n")
        await sink.until("late")
        await process.end(PATIENT)
        return before, left, sink.text

    os.mkfifo(tmp_path / "gate")
    assert play(tmp_path, scene) == ("early\n", True, "early\nlate\n")


def test_a_command_leads_a_session_of_its_own(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> bool:
        process, sink = stage.start(obey.python("import os; print(os.getpid(), os.getsid(0), os.getpgrp())"))
        await process.wait()
        await process.end(QUICK)
        return set(sink.text.split()) == {str(process.pid)}

    assert play(tmp_path, scene)


def test_a_child_is_given_its_three_descriptors_and_no_other(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> str:
        others = [stage.start("echo up; read x", stdin="open") for _ in range(3)]
        code = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1])"
        process, sink = stage.start(obey.python(code))
        await process.wait()
        await asyncio.gather(*(one.end(QUICK) for one, _ in [(process, sink), *others]))
        return sink.text

    assert play(tmp_path, scene) == "[0, 1, 2]\n"


def test_the_environment_is_what_was_given_and_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONLY_OURS", "1")

    async def scene(stage: Stage) -> list[str]:
        process, sink = stage.start(("env",), env={"PATH": os.environ["PATH"], "A": "1 = one", "B": ""})
        await process.wait()
        await process.end(QUICK)
        return sorted(line.partition("=")[0] for line in sink.text.splitlines())

    assert play(tmp_path, scene) == ["A", "B", "PATH", MARK]


def test_a_name_is_looked_up_in_the_path_that_the_child_is_given(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        script = tmp_path / folder / "frob"
        script.write_text(f"#!/bin/sh\necho {folder} $0\n")
        script.chmod(0o755)
    (tmp_path / "one" / "frob").chmod(0o644)  # not executable: the next one is taken

    async def scene(stage: Stage) -> str:
        process, sink = stage.start(("frob",), env={"PATH": f"one:{tmp_path}/two"})
        await process.wait()
        await process.end(QUICK)
        return sink.text

    assert play(tmp_path, scene) == f"two {tmp_path}/two/frob\n"


def test_a_name_with_a_slash_is_relative_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "here").symlink_to("/bin/pwd")

    async def scene(stage: Stage) -> str:
        process, sink = stage.start(("bin/here",), env={})
        await process.wait()
        await process.end(QUICK)
        return sink.text

    assert play(tmp_path, scene) == f"{tmp_path}\n"


def test_standard_input_ends_at_once_unless_it_is_held_open(tmp_path: Path) -> None:
    code = "import select; print('ended' if select.select([0], [], [], 0)[0] else 'open')"

    async def scene(stage: Stage) -> list[str]:
        null, said_null = stage.start(obey.python(code))
        held, said_held = stage.start(obey.python(code), stdin="open")
        await asyncio.gather(null.wait(), held.wait())
        await asyncio.gather(null.end(QUICK), held.end(QUICK))
        return [said_null.text, said_held.text]

    assert play(tmp_path, scene) == ["ended\n", "open\n"]


def test_standard_input_that_is_held_ends_with_the_process(tmp_path: Path) -> None:
    before = obey.descriptors()

    async def scene(stage: Stage) -> None:
        process, sink = stage.start("echo up; exec >/dev/null 2>&1; cat", stdin="open")
        await sink.until("up")
        await process.end(PATIENT)

    play(tmp_path, scene)
    assert obey.descriptors() == before


def test_twenty_at_once_keep_their_output_apart(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> list[str]:
        script = "i=0; while [ $i -lt 200 ]; do echo $0 $i; i=$((i+1)); done"
        started = [stage.start(("/bin/sh", "-c", script, str(number))) for number in range(20)]
        await asyncio.gather(*(process.wait() for process, _ in started))
        await asyncio.gather(*(process.end(QUICK) for process, _ in started))
        return [sink.text for _, sink in started]

    assert play(tmp_path, scene) == ["".join(f"{n} {i}\n" for i in range(200)) for n in range(20)]


def test_two_hundred_runs_leave_no_descriptor_open(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> tuple[int, int]:
        await _run_once(stage)
        before = obey.descriptors()
        for _ in range(200):
            await _run_once(stage)
        return before, obey.descriptors()

    before, after = play(tmp_path, scene)
    assert after == before


async def _run_once(stage: Stage) -> None:
    process, _ = stage.start(("true",))
    await process.wait()
    await process.release(lambda: None)


def test_a_signal_goes_to_the_program_and_not_to_the_shell_before_it(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> tuple[bool, str, Exit]:
        command = obey.hears("SIGHUP", "got it").removeprefix("exec ")
        process, sink = stage.start(f"{command}; echo the shell goes on")
        await sink.until("pid ")
        sent = await process.signal("SIGHUP")
        ended = await process.wait()
        await process.end(QUICK)
        return sent, sink.text, ended

    sent, text, ended = play(tmp_path, scene)
    assert sent
    assert text.endswith("got it\nthe shell goes on\n")
    assert ended == Exit(0, "exit 0")


def test_a_signal_goes_to_the_leader_that_has_taken_the_place_of_the_shell(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> tuple[bool, Exit, bool]:
        process, sink = stage.start(obey.python("import signal; print('up'); signal.pause()"))
        await sink.until("up")
        sent = await process.signal("SIGUSR1")
        ended = await process.wait()
        again = await process.signal("SIGUSR1")
        await process.end(QUICK)
        return sent, ended, again

    assert play(tmp_path, scene) == (True, Exit(128 + signal.SIGUSR1, "killed by SIGUSR1"), False)


def test_the_end_is_noticed_without_pidfds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "HAS_PIDFD", False)
    monkeypatch.setattr(census, "HAS_PIDFD", False)

    async def scene(stage: Stage) -> list[Exit | None]:
        short, _ = stage.start("exit 5")
        long, sink = stage.start("echo up; sleep 300 & wait")
        await sink.until("up")
        await short.wait()
        await asyncio.gather(short.end(QUICK), long.end(PATIENT))
        return [short.exit, long.exit]

    assert play(tmp_path, scene) == [Exit(5, "exit 5"), Exit(143, "killed by SIGTERM")]


def test_a_status_that_somebody_else_took_is_not_made_up(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> Exit:
        process, _ = stage.start("exit 0")
        os.waitpid(process.pid, 0)  # noqa: ASYNC222 - it ends at once
        ended = await process.wait()
        await process.end(QUICK)
        return ended

    assert play(tmp_path, scene) == Exit(1, "exit status unknown")


def test_a_process_is_not_fed_after_it_was_closed(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> tuple[str, Exit]:
        sink = obey.Recorder()
        process = start(stage.spec("echo up; read x < gate; echo never"), sink.feed, stage.forest)
        await sink.until("up")
        await process.kill()
        process.close()
        return sink.text, await process.wait()

    os.mkfifo(tmp_path / "gate")
    assert play(tmp_path, scene) == ("up\n", Exit(137, "killed by SIGKILL"))


def test_the_end_is_told_even_if_the_output_finds_no_taker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procwatch.runtime.pipe.Pipe._readable", lambda _pipe: None)  # all is left for the end

    def refuse(_data: bytes) -> None:
        raise RuntimeError("broken")

    async def scene(stage: Stage) -> tuple[Exit, list[str]]:
        told: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["exception"])))
        before = obey.descriptors()
        process = start(stage.spec("echo x; exit 3"), refuse, stage.forest)
        ended = await process.wait()
        await process.end(QUICK)
        assert obey.descriptors() == before
        return ended, told

    assert play(tmp_path, scene) == (Exit(3, "exit 3"), ["broken"])
