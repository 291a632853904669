"""A process that the kernel kills for want of memory is told as such, and one that somebody else kills is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.core.model import Exit
from tests.rig import obey
from tests.rig.live import DEADLINE_S, clean_environment, left_over, write
from tests.rig.obey import QUICK, Stage, play

# Enough for procwatch, far from enough for the hog; machines without swap limits swap the rest first.
LIMIT_BYTES = 160 << 20
HOG = "b'x' * (800 << 20)"


@pytest.fixture
def small_group() -> Iterator[Path]:
    """The `cgroup.procs` of a control group with little memory; machines where none can be made skip the test."""
    base = Path("/sys/fs/cgroup")
    is_v1 = (base / "memory").is_dir()
    group = (base / "memory" if is_v1 else base) / f"procwatch-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here ({error.strerror}); tests/unit/test_exits.py has the rest")
    try:
        (group / ("memory.limit_in_bytes" if is_v1 else "memory.max")).write_text(str(LIMIT_BYTES))
        yield group / "cgroup.procs"
    except FileNotFoundError:
        pytest.skip("this machine's control groups do not limit memory; tests/unit/test_exits.py has the rest")
    finally:
        group.rmdir()


def test_a_build_that_the_kernel_has_ended_says_so(project: Path, small_group: Path) -> None:
    write(project / "watch.toml", f'''
[build.hog]
run = ["python", "-c", "{HOG}"]
[build.shell]
run = "python -c \\"{HOG}\\"; exit $?"
''')  # fmt: skip
    command = [sys.executable, "-m", "procwatch", "start", "--no-watch", "--json"]
    done = subprocess.run(
        ["/bin/sh", "-c", f'echo $$ > {small_group}; exec "$@"', "sh", *command], cwd=project, check=False,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S, env=clean_environment(),
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines()]
    failed = {event["name"]: event for event in events if event["event"] == "build_failed"}
    assert failed["build.hog"]["exit_code"] == 137, done.stdout + done.stderr
    assert failed["build.hog"]["reason"] == "killed by SIGKILL (out of memory?)"
    assert failed["build.shell"]["reason"] == "exit 137 (out of memory?)"
    assert left_over(project) == {}


@pytest.fixture
def nothing_left() -> Iterator[None]:
    yield from obey.nothing_left()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("killed_for", "by", "words"),
    [
        (0, "somebody", "killed by SIGKILL"),
        (1, "somebody", "killed by SIGKILL (out of memory?)"),
        (1, "procwatch", "killed by SIGKILL"),
    ],
)
def test_a_kill_of_our_own_has_nothing_to_do_with_memory(tmp_path: Path, killed_for: int, by: str, words: str) -> None:
    async def scene(stage: Stage) -> Exit:
        count = 7
        stage.forest.oom_kills = lambda: count
        process, sink = stage.start("echo up; exec sleep 300")
        await sink.until("up")
        count += killed_for
        if by == "somebody":
            os.kill(process.pid, signal.SIGKILL)
        else:
            await process.kill()
        ended = await process.wait()
        await process.end(QUICK)
        return ended

    assert play(tmp_path, scene) == Exit(137, words)
