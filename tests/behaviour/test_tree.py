"""Ending a tree ends all of it, whatever its members did to get away, and nothing else."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from procwatch.core.model import Exit, StopPolicy
from procwatch.runtime import census, tree
from procwatch.runtime.census import Member, look_up, send
from tests.rig import obey
from tests.rig.obey import PATIENT, QUICK, STUBBORN, Stage, alive, play

SIGTERM = Exit(143, "killed by SIGTERM")
SIGKILL = Exit(137, "killed by SIGKILL")
# Prints its id, so that the test can ask for it later, and stays.
STAY = "echo pid $$; exec sleep 300"
STAY_QUOTED = STAY.replace("$", "\\$")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield from obey.nothing_left()


@pytest.mark.parametrize(
    ("command", "members"),
    [
        (STAY, 1),
        (f"sh -c '{STAY}' & {STAY}", 2),
        (f"setsid sh -c '{STAY}' & {STAY}", 2),
        (f"(setsid sh -c '{STAY}' &); {STAY}", 2),
        (f"(setsid sh -c '(setsid sh -c \"{STAY_QUOTED}\" &)' &); {STAY}", 2),
        (f"env -i setsid sh -c '{STAY}' & {STAY}", 2),
        (f"sh -c '{STUBBORN}' & setsid sh -c 'echo pid $$; {STUBBORN}' & {STAY}", 2),
    ],
    ids=["alone", "child", "session", "orphan", "daemon", "cleared", "stubborn"],
)
def test_nothing_of_a_tree_is_left(tmp_path: Path, command: str, members: int) -> None:
    async def scene(stage: Stage) -> tuple[list[int], Exit | None]:
        process, sink = stage.start(command)
        await sink.until("pid ", members)
        started = sink.pids()
        assert all(alive(pid) for pid in started)
        # Only what takes no notice of the signal needs the kill; the others have all the time that they want.
        assert await process.end(StopPolicy(grace_s=1.0) if STUBBORN in command else PATIENT)
        assert not await process.descendants_left()
        return started, process.exit

    started, ended = play(tmp_path, scene)
    assert len(started) == members
    assert not [pid for pid in started if alive(pid)]
    assert ended == SIGTERM


def test_an_orphan_that_is_met_in_the_midst_of_its_exec_is_known_all_the_same(tmp_path: Path) -> None:
    """For a tenth of a millisecond it shows no environment: without a second look one in 250 got away."""

    async def scene(stage: Stage) -> None:
        for _ in range(300):
            process, _ = stage.start("setsid sleep 300 & exit 7")
            assert (await process.wait()).code == 7
            assert await process.end(QUICK)
        assert descendants_of_this() == []

    def descendants_of_this() -> list[int]:
        found = (look_up(int(entry.name)) for entry in Path("/proc").glob("[0-9]*"))
        return [one.pid for one in found if one and one.parent == os.getpid() and not one.zombie]

    play(tmp_path, scene)


def test_what_the_leader_leaves_gets_the_same_signal_before_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "left").write_text(obey.hears("SIGTERM", "told to end"))

    async def scene(stage: Stage) -> tuple[Exit | None, str]:
        process, sink = stage.start("setsid sh left & echo here; exec sleep 300")
        await sink.until("here\n")
        await sink.until("pid ")
        await process.end(PATIENT)
        return process.exit, sink.text

    ended, text = play(tmp_path, scene)
    assert ended == SIGTERM
    assert text.count("told to end") == 1


def test_an_orphan_is_ended_politely_after_its_leader_has_ended_by_itself(tmp_path: Path) -> None:
    (tmp_path / "left").write_text(obey.hears("SIGTERM", "told to end"))

    async def scene(stage: Stage) -> tuple[Exit | None, str]:
        process, sink = stage.start("(setsid sh left &); exit 3")
        await process.wait()
        await sink.until("pid ")
        await process.end(PATIENT)
        return process.exit, sink.text

    ended, text = play(tmp_path, scene)
    assert ended == Exit(3, "exit 3")
    assert text.count("told to end") == 1


# The leader tells its child to end, as servers do with their workers; the child says so if the signal came to it.
LEADER_AND_WORKER = """
import os, signal
term = {signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, term)
gate, out = os.pipe()
if os.fork() == 0:
    os.close(out)
    print("up", flush=True)
    os.read(gate, 1)
    if signal.sigpending() & term:
        print("worker told", flush=True)
    os._exit(0)
print("up", flush=True)
signal.sigwait(term)
print("leader told", flush=True)
os.close(out)
os.wait()
"""


@pytest.mark.parametrize(("to", "told"), [("leader", 0), ("group", 1)])
def test_the_signal_goes_to_the_leader_or_to_the_group(tmp_path: Path, to: str, told: int) -> None:
    policy = replace(PATIENT, to=to)  # type: ignore[arg-type]

    async def scene(stage: Stage) -> tuple[Exit | None, str]:
        process, sink = stage.start(obey.python(LEADER_AND_WORKER))
        await sink.until("up", 2)
        await process.end(policy)
        return process.exit, sink.text

    ended, text = play(tmp_path, scene)
    assert ended == Exit(0, "exit 0")
    assert (text.count("leader told"), text.count("worker told")) == (1, told)


def test_the_group_is_told_where_the_leader_is_still_the_shell(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> str:
        process, sink = stage.start(f"{obey.hears('SIGINT', 'told').removeprefix('exec ')}; echo after")
        await sink.until("pid ")
        await process.end(replace(PATIENT, signal="SIGINT"))
        return sink.text

    assert "told\n" in play(tmp_path, scene)


def test_nobody_is_told_twice(tmp_path: Path) -> None:
    count = """
import signal
term = {signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, term)
print("up", flush=True)
signal.sigwait(term)
again = signal.sigtimedwait(term, 0.3)
print("told", 1 if again is None else 2, flush=True)
"""

    async def scene(stage: Stage) -> tuple[Exit | None, str]:
        process, sink = stage.start(f"{obey.python(count).removeprefix('exec ')} & wait")
        await sink.until("up")
        await process.end(PATIENT)
        return process.exit, sink.text

    assert play(tmp_path, scene) == (SIGTERM, "up\ntold 1\n")


def test_a_stopped_process_is_woken_to_hear_its_signal(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> Exit | None:
        process, _ = stage.start("exec sh -c 'kill -STOP $$; exec sleep 300'")
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        await process.end(PATIENT)
        return process.exit

    assert play(tmp_path, scene) == SIGTERM


def test_what_ignores_the_signal_is_killed_after_the_grace(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> Exit | None:
        process, sink = stage.start(STUBBORN)
        await sink.until("up")
        assert await process.end(QUICK)
        return process.exit

    assert play(tmp_path, scene) == SIGKILL


def test_a_cancellation_ends_the_grace(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> Exit | None:
        process, sink = stage.start(obey.hears("SIGTERM", "told", stays=True))
        await sink.until("pid ")
        ending = asyncio.create_task(process.end(StopPolicy(grace_s=3600)))
        await sink.until("told")
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        return process.exit

    assert play(tmp_path, scene) == SIGKILL


def test_a_storm_of_forks_is_killed_to_the_last(tmp_path: Path) -> None:
    storm = """
import os
for _ in range(150):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print("up", flush=True)
            while True:
                os.system("sleep 300")
        os._exit(0)
print("up", flush=True)
while True:
    os.system("sleep 300")
"""

    async def scene(stage: Stage) -> int:
        process, sink = stage.start(obey.python(storm))
        await sink.until("up", 151)
        members = len(await process._tree.look())
        assert await process.kill()
        return members

    assert play(tmp_path, scene) > 150


def test_a_tree_leaves_the_strays_of_another_alone(tmp_path: Path) -> None:
    """A hook has the same PROCWATCH_NAME and PROCWATCH_RUN as its service, and ends while the service runs."""

    async def scene(stage: Stage) -> tuple[bool, bool]:
        service, said = stage.start(f"(setsid sh -c '{STAY}' &); {STAY}")
        hook, _ = stage.start("(setsid sleep 300 &); true")
        await said.until("pid ", 2)
        await hook.wait()
        await hook.end(QUICK)
        lives = all(alive(pid) for pid in said.pids())
        await service.end(QUICK)
        return lives, any(alive(pid) for pid in said.pids())

    assert play(tmp_path, scene) == (True, False)


def test_what_was_seen_once_is_remembered_without_any_mark(tmp_path: Path) -> None:
    """A cleared environment, a session of its own and a parent that has gone: only memory tells."""

    async def scene(stage: Stage) -> tuple[int, int]:
        process, sink = stage.start(f"env -i setsid sh -c '{STAY}' & echo leader; read x < gate")
        await sink.until("pid ")
        await sink.until("leader")
        assert await process.descendants_left()  # seen while its parent lives
        (tmp_path / "gate").write_text("go\n")
        await process.wait()
        left = len(await process._tree.look())
        await process.end(QUICK)
        return left, sum(alive(pid) for pid in sink.pids())

    os.mkfifo(tmp_path / "gate")
    assert play(tmp_path, scene) == (1, 0)


def test_released_leftovers_live_on_until_the_forest_is_ended(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> tuple[bool, int, list[str], int]:
        silent: list[str] = []
        process, sink = stage.start(f"(setsid sh -c '{STAY}' &); echo done")
        await process.wait()
        await sink.until("pid ")
        await process.release(lambda: silent.append("silent"))
        lives, trees = alive(sink.pids()[0]), len(stage.forest.trees)
        assert silent == []
        await stage.forest.end()
        await stage.forest.survey()
        return lives, trees, silent, len(stage.forest.trees)

    assert play(tmp_path, scene) == (True, 1, ["silent"], 0)


def test_a_forest_kills_all_its_trees_at_once(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> list[Exit]:
        started = [stage.start(STUBBORN, stop=PATIENT) for _ in range(5)]
        for _, sink in started:
            await sink.until("up")
        await stage.forest.kill()
        ends = [await process.wait() for process, _ in started]
        for process, _ in started:
            process.close()
        return ends

    assert play(tmp_path, scene) == [SIGKILL] * 5


def test_orphans_that_have_ended_are_waited_for(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        process, _ = stage.start("for n in 1 2 3 4 5; do (setsid true &); done; (setsid sleep 300 &); true")
        await process.wait()
        await process.end(QUICK)
        await stage.forest.survey()

    play(tmp_path, scene)
    with pytest.raises(ChildProcessError):  # no child is left, not even a zombie
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def test_a_recycled_id_is_never_signalled(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> tuple[bool, bool, Exit | None]:
        process, sink = stage.start(STAY)
        await sink.until("pid ")
        real = look_up(process.pid)
        assert real is not None
        earlier = Member(real.pid, real.started - 1)
        hit = send(earlier, signal.SIGKILL)
        await census.gone(earlier)  # it has ended: another one has its id now
        lives = alive(process.pid)
        await process.end(PATIENT)
        return hit, lives, process.exit

    assert play(tmp_path, scene) == (False, True, SIGTERM)


def test_what_ends_between_the_look_and_the_kill_is_no_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = census.send

    def too_late(member: Member, number: int) -> bool:
        real(member, number)
        return False

    async def scene(stage: Stage) -> tuple[bool, list[str]]:
        process, sink = stage.start(f"(setsid sh -c '{STAY}' &); {STAY}")
        await sink.until("pid ", 2)
        monkeypatch.setattr(census, "send", too_late)
        return await process.kill(), stage.told

    assert play(tmp_path, scene) == (True, [])


def test_what_cannot_be_ended_is_told_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise PermissionError

    async def scene(stage: Stage) -> tuple[bool, list[str], str]:
        process, sink = stage.start(f"(setsid sh -c '{STAY}' &); true")
        await process.wait()
        await sink.until("pid ")
        with monkeypatch.context() as patched:
            patched.setattr(census, "send", refuse)
            ended = await process.end(QUICK)
        told = list(stage.told)
        await stage.forest.kill()
        return ended, told, str(sink.pids()[0])

    ended, told, pid = play(tmp_path, scene)
    assert not ended
    assert told == [f"build.test: process {pid} (sleep) cannot be ended: it belongs to another user"]


def test_what_hangs_is_told_after_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> tuple[bool, list[str], str]:
        process, sink = stage.start(f"(setsid sh -c '{STAY}' &); true")
        await process.wait()
        await sink.until("pid ")
        with monkeypatch.context() as patched:
            patched.setattr(tree, "KILL_LIMIT_S", 0.2)
            patched.setattr(census, "send", lambda *_: True)
            ended = await process.end(StopPolicy(grace_s=0.1))
        told = list(stage.told)
        await stage.forest.kill()
        return ended, told, str(sink.pids()[0])

    ended, told, pid = play(tmp_path, scene)
    assert not ended
    assert told == [f"build.test: process {pid} (sleep) cannot be ended: it hangs in the kernel"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of the exit call is that of x86-64")
def test_a_program_whose_main_thread_has_ended_is_alive(tmp_path: Path) -> None:
    program = """
import ctypes, threading, time
def stay():
    print("up", flush=True)
    time.sleep(300)
threading.Thread(target=stay).start()
ctypes.CDLL(None).syscall(60, 0)
"""

    async def scene(stage: Stage) -> tuple[bool, Exit | None]:
        process, sink = stage.start(obey.python(program))
        await sink.until("up")
        lives = bool(await process._tree.look())
        await process.end(PATIENT)
        return lives, process.exit

    assert play(tmp_path, scene) == (True, SIGTERM)


def test_a_tree_is_ended_without_pidfds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "HAS_PIDFD", False)

    async def scene(stage: Stage) -> Exit | None:
        process, sink = stage.start(f"(setsid sh -c '{STAY}' &); {STAY}")
        await sink.until("pid ", 2)
        assert await process.end(PATIENT)
        assert not any(alive(pid) for pid in sink.pids())
        return process.exit

    assert play(tmp_path, scene) == SIGTERM


@pytest.mark.skipif(not shutil.which("ps"), reason="needs ps")
def test_a_tree_is_ended_without_proc_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> list[int]:
        with monkeypatch.context() as patched:
            patched.setattr(census, "HAS_PROC", False)
            patched.setattr(census, "HAS_PIDFD", False)
            process, sink = stage.start(f"sh -c '{STAY}' & setsid sh -c '{STAY}' & sh -c '{STAY}'; true")
            await sink.until("pid ", 3)
            assert await process.end(PATIENT)
        return [pid for pid in sink.pids() if alive(pid)]

    assert play(tmp_path, scene) == []


def test_the_family_is_found_whichever_thread_has_started_it_and_however_deep_it_is(tmp_path: Path) -> None:
    (tmp_path / "inner").write_text(STAY)
    (tmp_path / "outer").write_text("sh -c 'sh inner & wait' & wait")
    (tmp_path / "threads.py").write_text(
        "import subprocess, threading, time\n"
        "def begin():\n    subprocess.Popen(['sh', 'outer'])\n    time.sleep(1000)\n"
        "for _ in range(2): threading.Thread(target=begin, daemon=True).start()\n"
        "begin()\n"
    )

    async def scene(stage: Stage) -> tuple[set[int], set[int]]:
        process, sink = stage.start((sys.executable, "threads.py"))
        await sink.until("pid ", 3)
        found = {pid for pid in await census.family() if pid != process.pid}
        seen = {member.pid for member in census.descendants(process.pid)}
        await process.end(QUICK)
        return found, seen

    found, seen = play(tmp_path, scene)
    assert found == seen
    assert len(found) == 3 * len(("outer", "its shell", "inner"))


def test_all_looks_of_one_moment_share_one_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans: list[int] = []
    family = census.family

    async def count() -> census.Census:
        scans.append(1)
        return await family()

    async def scene(stage: Stage) -> int:
        started = [stage.start(STAY)[0] for _ in range(10)]
        monkeypatch.setattr(census, "family", count)
        await asyncio.gather(*(process.descendants_left() for process in started))
        made = len(scans)
        await stage.forest.kill()
        for process in started:
            process.close()
        return made

    assert play(tmp_path, scene) == 1
