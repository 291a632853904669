"""A build run is its steps in order: the first failure ends it, and only a success leaves anything running."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.core.messages import Failed, Succeeded
from procwatch.core.model import Exit, StopPolicy
from procwatch.runtime.steps import Step, run_build, run_hook
from tests.rig import obey
from tests.rig.obey import QUICK, STUBBORN, Recorder, Stage, alive, play


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = obey.descriptors()
    yield from obey.nothing_left()
    assert obey.descriptors() == before


class Sinks:
    """A recorder for each step, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Recorder]] = []
        self._news = asyncio.Event()

    def __call__(self, step: str) -> Recorder:
        self.made.append((step, Recorder()))
        self._news.set()
        return self.made[-1][1]

    async def until(self, step: str) -> Recorder:
        """Wait until this step has begun."""
        while not (self.made and self.made[-1][0] == step):
            self._news.clear()
            await self._news.wait()
        return self.made[-1][1]

    def seen(self) -> list[tuple[str, str, bool]]:
        """Step, text, and whether it was shown as failed at first."""
        return [(name, sink.text, sink.finished[0]) for name, sink in self.made]


def steps(stage: Stage, *commands: tuple[str, str], stop: StopPolicy = QUICK) -> tuple[Step, ...]:
    return tuple(Step(name, stage.spec(command, stop=stop)) for name, command in commands)


def test_all_steps_run_in_order(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        sinks = Sinks()
        asked = [("pre_build", "echo a"), ("pre_build", "echo b"), ("run", "echo c"), ("post_build", "echo d")]
        assert await run_build(steps(stage, *asked), 20.0, sinks, stage.forest) == Succeeded()
        assert sinks.seen() == [(name, command[-1] + "\n", False) for name, command in asked]

    play(tmp_path, scene)


@pytest.mark.parametrize("failing", ["pre_build", "run", "post_build"])
@pytest.mark.parametrize(
    ("command", "exit_"),
    [
        ("echo no; exit 2", Exit(2, "exit 2")),
        ("echo no; exit 126", Exit(126, "exit 126")),
        ("echo no; exit 127", Exit(127, "exit 127")),
        ("echo no; kill -KILL $$", Exit(137, "killed by SIGKILL")),
    ],
)
def test_the_first_step_that_fails_ends_the_run(tmp_path: Path, failing: str, command: str, exit_: Exit) -> None:
    names = ("pre_build", "run", "post_build")

    async def scene(stage: Stage) -> None:
        sinks = Sinks()
        asked = [(name, command if name == failing else "echo yes") for name in names]
        assert await run_build(steps(stage, *asked), None, sinks, stage.forest) == Failed(exit_, failing)
        done = names[: names.index(failing)]
        assert sinks.seen() == [*((name, "yes\n", False) for name in done), (failing, "no\n", True)]

    play(tmp_path, scene)


def test_a_command_that_cannot_be_started_is_a_failed_step(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        sinks = Sinks()
        asked = (Step("run", stage.spec(("frob",))),)
        outcome = await run_build(asked, None, sinks, stage.forest)
        assert outcome == Failed(Exit(127, "no such command: frob"), "run")
        assert sinks.seen() == [("run", "", True)]

    play(tmp_path, scene)


@pytest.mark.parametrize(("hanging", "limit_s"), [("pre_build", 0.5), ("post_build", 2.0)])
def test_the_time_limit_is_for_all_steps_together(tmp_path: Path, hanging: str, limit_s: float) -> None:
    async def scene(stage: Stage) -> None:
        sinks = Sinks()
        names = ("pre_build", "run", "post_build")
        asked = [(name, f"setsid sleep 300 & {STUBBORN}" if name == hanging else "true") for name in names]
        outcome = await run_build(steps(stage, *asked), limit_s, sinks, stage.forest)
        assert outcome == Failed(Exit(124, f"timed out after {limit_s:g} s"), hanging)
        assert sinks.seen()[-1][::2] == (hanging, True)

    play(tmp_path, scene)


def test_what_a_failed_run_leaves_is_ended_before_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "left").write_text(obey.hears("SIGTERM", "told to end"))

    async def scene(stage: Stage) -> None:
        os.mkfifo(stage.folder / "gate")
        sinks = Sinks()
        asked = [("pre_build", "(setsid sh left &); true"), ("run", "(setsid sh left &); read x < gate; exit 1")]
        task = asyncio.create_task(run_build(steps(stage, *asked, stop=obey.PATIENT), None, sinks, stage.forest))
        await sinks.until("run")
        for _, sink in sinks.made:
            await sink.until("pid ")
        (stage.folder / "gate").write_text("go\n")
        assert await task == Failed(Exit(1, "exit 1"), "run")
        assert not [pid for _, sink in sinks.made for pid in sink.pids() if alive(pid)]
        assert [sink.text.splitlines()[-1] for _, sink in sinks.made] == ["told to end"] * 2

    play(tmp_path, scene)


def test_what_a_successful_run_leaves_lives_on_and_its_output_is_still_taken(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        os.mkfifo(stage.folder / "gate")
        sinks = Sinks()
        daemon = "(setsid sh -c 'echo up; read x < gate; echo later' &); true"
        asked = [("run", daemon), ("post_build", "true")]
        assert await run_build(steps(stage, *asked), 20.0, sinks, stage.forest) == Succeeded()
        sink = sinks.made[0][1]
        await sink.until("up")
        assert {tree.identity.name for tree in stage.forest.trees} == {"build.test"}
        await asyncio.to_thread((stage.folder / "gate").write_text, "go\n")
        await sink.until("later")
        await stage.forest.end()
        await asyncio.sleep(0)
        await stage.forest.survey()
        assert sink.finished[0] is False
        assert len(sink.finished) == 2  # again when the last of it had printed
        assert stage.forest.trees == ()

    play(tmp_path, scene)


@pytest.mark.parametrize("running", ["pre_build", "run", "post_build"])
def test_a_cancelled_run_has_ended_its_whole_tree(tmp_path: Path, running: str) -> None:
    tree = "(setsid sh -c 'echo pid $$; exec sleep 300' &); echo pid $$; exec sleep 300"

    async def scene(stage: Stage) -> None:
        sinks = Sinks()
        names = ("pre_build", "run", "post_build")
        asked = [(name, tree if name == running else "true") for name in names]
        task = asyncio.create_task(run_build(steps(stage, *asked, stop=obey.PATIENT), None, sinks, stage.forest))
        sink = await sinks.until(running)
        await sink.until("pid ", 2)
        pids = sink.pids()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(alive(pid) for pid in pids)
        assert sinks.seen()[-1][::2] == (running, False)
        assert len(sinks.made) == names.index(running) + 1

    play(tmp_path, scene)


def test_a_second_cancellation_kills_at_once(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        sinks = Sinks()
        asked = steps(stage, ("run", obey.hears("SIGTERM", "told", stays=True)), stop=StopPolicy(grace_s=3600))
        task = asyncio.create_task(run_build(asked, None, sinks, stage.forest))
        sink = await sinks.until("run")
        await sink.until("up")
        task.cancel()
        await sink.until("told")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(tmp_path, scene)  # and the fixture finds nothing


def test_a_run_that_is_killed_through_the_forest_ends_as_it_was(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        sinks = Sinks()
        asked = steps(stage, ("run", STUBBORN), stop=StopPolicy(grace_s=3600))
        task = asyncio.create_task(run_build(asked, None, sinks, stage.forest))
        sink = await sinks.until("run")
        await sink.until("up")
        await stage.forest.kill()
        assert await task == Failed(Exit(128 + signal.SIGKILL, "killed by SIGKILL"), "run")

    play(tmp_path, scene)


def test_a_hook_gives_the_exit_of_the_first_command_that_failed(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        sinks = Sinks()
        asked = steps(stage, ("pre_start", "echo a"), ("pre_start", "echo b; exit 7"), ("pre_start", "echo c"))
        assert await run_hook(asked, sinks, stage.forest) == Exit(7, "exit 7")
        assert sinks.seen() == [("pre_start", "a\n", False), ("pre_start", "b\n", True)]
        assert await run_hook(asked[:1], sinks, stage.forest) == Exit(0, "exit 0")
        assert await run_hook((), sinks, stage.forest) == Exit(0, "exit 0")

    play(tmp_path, scene)


def test_a_hook_that_hangs_is_stopped_at_its_limit(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        sinks = Sinks()
        asked = steps(stage, ("pre_stop", f"setsid sleep 300 & {STUBBORN}"))
        ended = await run_hook(asked, sinks, stage.forest, limit_s=0.5)
        assert ended == Exit(124, "timed out after 0.5 s")

    play(tmp_path, scene)
