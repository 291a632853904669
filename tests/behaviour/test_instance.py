"""An instance is started, becomes ready or not, and has ended only when nothing of its tree is left."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from procwatch.core.model import (
    DelayProbe,
    Exit,
    LogProbe,
    NotifyProbe,
    ProbeTiming,
    RunProbe,
    StopPolicy,
    TcpProbe,
)
from procwatch.runtime.instance import (
    Ended,
    Ending,
    Launch,
    Leaving,
    Ready,
    Reloaded,
    Reloading,
    Report,
    Started,
    Unready,
    run_instance,
)
from tests.rig import obey
from tests.rig.obey import PATIENT, QUICK, STUBBORN, Recorder, Stage, alive, play

T = TypeVar("T")
NEVER = DelayProbe(3600)
STAY = "echo pid $$; exec sleep 300"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = obey.descriptors()
    yield from obey.nothing_left()
    assert obey.descriptors() == before


@dataclass
class Life:
    """One instance that runs, its output and its reports."""

    sink: Recorder = field(default_factory=Recorder)
    reports: asyncio.Queue[Report] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None

    def begin(self, launch: Launch, stage: Stage) -> Life:
        self.task = asyncio.create_task(run_instance(launch, self.sink, stage.forest, self.reports.put_nowait))
        return self

    async def next(self, kind: type[T]) -> T:
        report = await self.reports.get()
        assert isinstance(report, kind), f"{report} instead of {kind.__name__}; it printed {self.sink.text!r}"
        return report

    async def stop(self) -> Exit:
        """Cancel it; how it ended."""
        assert self.task is not None
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task
        reports = []
        while not self.reports.empty():
            reports.append(self.reports.get_nowait())
        ended = reports.pop()
        assert isinstance(ended, Ended)
        assert not any(isinstance(report, Ended) for report in reports)
        return ended.exit


def lived(folder: Path, scene: Callable[[Stage, Life], Awaitable[T]]) -> T:
    async def both(stage: Stage) -> T:
        return await scene(stage, Life())

    return play(folder, both)


def test_a_life_is_started_ready_ended(tmp_path: Path) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        life.begin(Launch(stage.spec(STAY, stop=PATIENT), DelayProbe(0.01)), stage)
        started = await life.next(Started)
        await life.next(Ready)
        assert life.sink.pids() == [started.process.pid]
        assert await life.stop() == Exit(143, "killed by SIGTERM")
        assert life.sink.finished == [False]

    lived(tmp_path, scene)


@pytest.mark.parametrize("probe", [NEVER, LogProbe("never"), RunProbe("exit 1"), NotifyProbe(), TcpProbe(1)])
def test_an_end_before_it_is_ready_is_just_an_end(tmp_path: Path, probe: DelayProbe) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        life.begin(Launch(stage.spec("echo bye; exit 3"), probe), stage)
        await life.next(Started)
        await life.next(Ending)
        assert (await life.next(Ended)).exit == Exit(3, "exit 3")
        assert life.sink.text == "bye\n"
        assert life.sink.finished == [True]

    lived(tmp_path, scene)


def test_what_cannot_be_started_has_ended(tmp_path: Path) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        life.begin(Launch(stage.spec(("frob",))), stage)
        assert (await life.next(Ended)).exit == Exit(127, "no such command: frob")
        assert life.sink.finished == [True]

    lived(tmp_path, scene)


def test_what_is_not_ready_in_time_runs_on(tmp_path: Path) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        timing = ProbeTiming(deadline_s=0.05)
        life.begin(Launch(stage.spec(STAY, stop=PATIENT), LogProbe("never"), timing), stage)
        started = await life.next(Started)
        assert (await life.next(Unready)).reason == "no line matched /never/"
        assert alive(started.process.pid)
        assert await life.stop() == Exit(143, "killed by SIGTERM")

    lived(tmp_path, scene)


def test_a_line_of_its_output_makes_it_ready(tmp_path: Path) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        os.mkfifo(stage.folder / "gate")
        command = "printf 'serv'; read x < gate; printf 'ing on 80\\n'; exec sleep 300"
        life.begin(Launch(stage.spec(command, stop=PATIENT), LogProbe("^serving on")), stage)
        await life.next(Started)
        await life.sink.until("serv")
        (stage.folder / "gate").write_text("go\n")
        await life.next(Ready)
        await life.stop()
        assert life.sink.text == "serving on 80\n"

    lived(tmp_path, scene)


def test_it_can_tell_by_itself_that_it_is_ready(tmp_path: Path) -> None:
    code = """
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
time.sleep(300)
"""

    async def scene(stage: Stage, life: Life) -> None:
        life.begin(Launch(stage.spec(obey.python(code), stop=PATIENT), NotifyProbe()), stage)
        await life.next(Started)
        await life.next(Ready)
        await life.stop()

    lived(tmp_path, scene)


SAYS = """
import os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    for message in sys.argv[1:]:
        s.sendto(message.encode(), os.environ["NOTIFY_SOCKET"])
sys.stdin.readline()
"""


def test_it_can_tell_that_it_reloads_and_that_it_ends(tmp_path: Path) -> None:
    said = ["READY=1\n", "RELOADING=1\nSTATUS=half way", "READY=1\nX_OTHER=1\n", "STOPPING=1\n"]

    async def scene(stage: Stage, life: Life) -> None:
        command = (sys.executable, "-S", "-c", SAYS, *said)
        life.begin(Launch(stage.spec(command, stdin="open", stop=PATIENT), NotifyProbe()), stage)
        await life.next(Started)
        told = [await life.reports.get() for _ in range(4)]
        # That it is ready is told by its probe, in a turn of its own.
        assert sorted(map(str, told)) == sorted(map(str, (Ready(), Reloading(), Reloaded(), Leaving())))
        assert [one for one in told if one != Ready()] == [Reloading(), Reloaded(), Leaving()]
        await life.stop()

    lived(tmp_path, scene)


def test_what_it_says_just_before_its_end_is_heard(tmp_path: Path) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        command = (sys.executable, "-S", "-c", SAYS, "STOPPING=1")
        life.begin(Launch(stage.spec(command), NotifyProbe()), stage)
        await life.next(Started)
        await life.next(Leaving)
        await life.next(Ending)
        assert (await life.next(Ended)).exit.ok

    lived(tmp_path, scene)


def test_its_end_waits_for_what_its_leader_left(tmp_path: Path) -> None:
    (tmp_path / "left").write_text(obey.hears("SIGTERM", "told to end"))

    async def scene(stage: Stage, life: Life) -> None:
        os.mkfifo(stage.folder / "gate")
        command = "(setsid sh left &); read x < gate; exit 9"
        life.begin(Launch(stage.spec(command, stop=PATIENT), NEVER), stage)
        await life.next(Started)
        await life.sink.until("pid ")
        (stage.folder / "gate").write_text("go\n")
        await life.next(Ending)
        assert (await life.next(Ended)).exit == Exit(9, "exit 9")
        assert not alive(life.sink.pids()[0])
        assert "told to end" in life.sink.text

    lived(tmp_path, scene)


def test_a_stubborn_one_is_killed_after_its_grace(tmp_path: Path) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        life.begin(Launch(stage.spec(f"setsid sh -c '{STAY}' & {STUBBORN}", stop=QUICK), NEVER), stage)
        await life.next(Started)
        await life.sink.until("up")
        await life.sink.until("pid ")
        assert await life.stop() == Exit(137, "killed by SIGKILL")
        assert not alive(life.sink.pids()[0])

    lived(tmp_path, scene)


def test_a_second_cancellation_kills_at_once(tmp_path: Path) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        life.begin(
            Launch(stage.spec(obey.hears("SIGTERM", "told", stays=True), stop=StopPolicy(grace_s=3600)), NEVER), stage
        )
        await life.sink.until("up")
        assert life.task is not None
        life.task.cancel()
        await life.sink.until("told")
        assert await life.stop() == Exit(137, "killed by SIGKILL")

    lived(tmp_path, scene)


def test_a_stop_in_the_same_moment_as_the_start_leaves_nothing(tmp_path: Path) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        life.begin(Launch(stage.spec(STAY, stop=PATIENT), NEVER), stage)
        await asyncio.sleep(0)
        assert (await life.stop()).code == 143

    lived(tmp_path, scene)


def test_it_can_be_signalled_while_it_runs(tmp_path: Path) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        life.begin(Launch(stage.spec(obey.hears("SIGHUP", "reloaded", stays=True), stop=QUICK), NEVER), stage)
        started = await life.next(Started)
        await life.sink.until("up")
        assert await started.process.signal("SIGHUP")
        await life.sink.until("reloaded")
        await life.stop()

    lived(tmp_path, scene)


LISTEN = """
import socket, sys, time
family, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with socket.socket(family) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, port))
    s.listen()
    print("port", s.getsockname()[1], flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize(
    ("family", "host"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::"),
    ],
)
def test_a_port_that_is_taken_is_told_with_its_holder(tmp_path: Path, family: int, host: str) -> None:
    async def scene(stage: Stage, life: Life) -> None:
        other, said = stage.start((sys.executable, "-S", "-c", LISTEN, str(int(family)), host, "0"))
        await said.until("\n")
        port = int(said.text.split()[1])
        life.begin(Launch(stage.spec("echo started"), port=port), stage)
        name = (Path("/proc") / str(other.pid) / "comm").read_text().strip()
        assert (await life.next(Ended)).exit == Exit(1, f"port {port} is taken by {name} (process {other.pid})")
        assert life.sink.text == ""
        await other.kill()

    lived(tmp_path, scene)


def test_a_holder_that_cannot_be_seen_is_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procwatch.runtime.ports._listeners", lambda _port: set())

    async def scene(stage: Stage, life: Life) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            life.begin(Launch(stage.spec("echo started"), port=port), stage)
            assert (await life.next(Ended)).exit == Exit(1, f"port {port} is taken by another program")

    lived(tmp_path, scene)


def test_a_port_is_free_again_as_soon_as_its_instance_has_ended(tmp_path: Path) -> None:
    """The same port again and again, with connections that were open when it ended."""
    with socket.create_server(("127.0.0.1", 0)) as trial:
        port = trial.getsockname()[1]
    command = (sys.executable, "-S", "-c", LISTEN, str(int(socket.AF_INET)), "127.0.0.1", str(port))

    async def scene(stage: Stage, _: Life) -> None:
        for _round in range(3):
            life = Life().begin(Launch(stage.spec(command, stop=PATIENT), TcpProbe(port), port=port), stage)
            await life.next(Started)
            await life.next(Ready)
            with socket.create_connection(("127.0.0.1", port)):
                assert await life.stop() == Exit(143, "killed by SIGTERM")

    lived(tmp_path, scene)
