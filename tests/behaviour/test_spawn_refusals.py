"""What cannot be started is told in words that name it and the remedy, with the code that a shell would give."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procwatch.core.model import Command, Exit
from procwatch.runtime.spawn import SpawnError
from tests.rig import obey
from tests.rig.obey import QUICK, Stage, play


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield from obey.nothing_left()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text").write_text("no program\n")
    (tmp_path / "bare").write_text("no program\n")
    (tmp_path / "bare").chmod(0o755)
    (tmp_path / "orphan").write_text("#!/no/such/interpreter -x\n")
    (tmp_path / "orphan").chmod(0o755)
    (tmp_path / "sub").mkdir()
    return tmp_path


def refusal(folder: Path, command: Command, **changes: Any) -> Exit:
    async def scene(stage: Stage) -> Exit:
        before = obey.descriptors()
        with pytest.raises(SpawnError) as caught:
            stage.start(command, **changes)
        assert obey.descriptors() == before
        assert str(caught.value) == caught.value.exit.words
        return caught.value.exit

    return play(folder, scene)


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("frob", "-x"), 127, "no such command: frob"),
        (("./frob",), 127, "no such command: ./frob"),
        (("text/frob",), 127, "no such command: text/frob"),
        (("sub",), 127, "no such command: sub"),
        (("",), 127, "no such command: its name is empty"),
        ((), 127, "no such command: its name is empty"),
        (("./text",), 126, "not executable: ./text (permission denied)"),
        (("text",), 126, "not executable: text (permission denied)"),
        (("./sub",), 126, "not executable: ./sub (it is a folder)"),
        (("./bare",), 126, "not executable: ./bare (it is no program, and has no first line such as #!/bin/sh)"),
        (("orphan",), 126, "not executable: orphan (what runs it is missing: /no/such/interpreter -x)"),
        (("fr\0b",), 126, "cannot pass on the command 'fr\\x00b' or its environment: embedded null byte"),
        (("true", "a\0b"), 126, "cannot pass on the command 'true' or its environment: embedded null byte"),
    ],
)
def test_a_program_that_cannot_be_run(folder: Path, command: tuple[str, ...], code: int, words: str) -> None:
    env = {"PATH": f"{os.environ['PATH']}:{folder}"}
    assert refusal(folder, command, env=env) == Exit(code, words)


def test_a_shell_that_is_not_there_is_named_with_its_key(folder: Path) -> None:
    found = refusal(folder, "echo hello", shell=("/bin/nosh", "-c"))
    assert found == Exit(127, "no such command: /bin/nosh (project.shell)")


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere", "no such folder: {}/nowhere"), ("text", "not a folder: {}/text")],
)
def test_a_folder_that_is_not_there(folder: Path, name: str, words: str) -> None:
    assert refusal(folder, "true", cwd=folder / name) == Exit(127, words.format(folder))


def test_an_environment_that_no_process_can_have(folder: Path) -> None:
    assert refusal(folder, "true", env={"A=B": "1"}).code == 126
    too_long = refusal(folder, "true", env={"A": "x" * (4 * 1024 * 1024)})
    assert too_long == Exit(
        126, "the command and its environment are too long for the system: pass on less, or use a file"
    )


def test_no_descriptor_left_is_told_and_passes(folder: Path) -> None:
    async def scene(stage: Stage) -> tuple[Exit, Exit]:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        filler = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(filler) + 1, hard))
        try:
            with pytest.raises(SpawnError) as caught:
                stage.start("true")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in filler:
                os.close(descriptor)
        process, _ = stage.start("true")
        ended = await process.wait()
        await process.end(QUICK)
        return caught.value.exit, ended

    refused, ended = play(folder, scene)
    assert refused == Exit(126, "too many open files: raise the limit (ulimit -n) or run less at once")
    assert ended.ok


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EAGAIN, "no more processes are allowed: raise the limit (ulimit -u) or run less at once"),
        (errno.ENOMEM, "out of memory: end what is not needed"),
        (errno.EACCES, "not executable: true (permission denied)"),
        (errno.ETXTBSY, "not executable: true (it is still being written)"),
        (errno.EIO, "not executable: true (input/output error)"),
    ],
)
def test_what_the_system_refuses_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert refusal(folder, ("true",)) == Exit(126, words)
