"""`procwatch build NAME` where no procwatch runs: it runs these builds once, after what they need, and is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import DEADLINE_S, Live, clean_environment, left_over, wait_for_file, write

TOML = """
[build.gen]
run = "echo generated; cat src > made"
watch = ["src"]
at_start = "changed"
[build.app]
run = "echo $WHO >> app; cp made app.out; ! grep -q broken src"
watch = ["made"]
needs = ["build.gen"]
at_start = "changed"
outputs = ["app.out"]
env_file = ["app.env"]
hooks = { post_build = "echo post >> app", build_failed = "echo told >> app" }
[build.seed]
run = "echo seeded; echo seeded >> seeds; test ! -e broken || exit 3"
manual = true
[build.migrate]
run = "test -e db.up && echo migrated"
manual = true
needs = ["service.db", "build.gen"]
[service.db]
run = "sleep 0.2; touch db.up; exec sleep 1000"
ready = { run = "test -e db.up" }
hooks = { post_stop = "rm db.up; echo stopped > db.end" }
autostart = false
[service.web]
run = "touch web.up; exec sleep 1000"
needs = ["build.app"]
"""
SLOW = """
[build.slow]
run = "trap 'echo > tidied; exit 1' TERM; touch begun; sleep 1000 & wait"
manual = true
needs = ["service.db"]
[service.db]
run = "exec sleep 1000"
hooks = { post_stop = "echo stopped > db.end" }
"""

CRASHING = """
[build.migrate]
run = "echo migrated"
needs = ["service.db"]
[service.db]
run = "exit 9"
restart = { min_delay = "1ms", max_delay = "1ms" }
"""


class Done:
    """What a command has come to."""

    def __init__(self, project: Path, *args: str, **env: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "procwatch", *args], cwd=project, capture_output=True, text=True, check=False,
            env={**clean_environment(), **env}, timeout=DEADLINE_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def declared(project: Path) -> Iterator[None]:
    write(project / "watch.toml", TOML)
    write(project / "src", "one\n")
    write(project / "app.env", "WHO=me\n")
    yield
    assert not left_over(project)


@pytest.fixture
def slow(project: Path, start: Start) -> Live:
    """A build that runs until it is stopped, and the service that it needs."""
    write(project / "watch.toml", SLOW)
    live = start("slow", command="build", json_events=False)
    wait_for_file(project / "begun", live.process)
    return live


def test_a_manual_build_runs_each_time_and_nothing_else_does(project: Path) -> None:
    for _ in range(2):
        done = Done(project, "build", "seed")
        assert (done.status, done.err) == (0, "")
        assert " seed      | seeded\n" in done.out
        assert "build.seed succeeded" in done.out
        assert "stopping" not in done.out, "there is nothing to stop"
    assert (project / "seeds").read_text() == "seeded\n" * 2
    assert {path.name for path in project.iterdir()} == {"watch.toml", "src", "app.env", "seeds", ".procwatch"}


def test_a_build_that_fails_ends_with_1(project: Path) -> None:
    write(project / "broken", "")
    done = Done(project, "build", "seed", "gen")
    assert done.status == 1
    assert "build.seed failed (exit 3)" in done.out
    assert (project / "made").exists(), "what does not need it is built all the same"


def test_what_it_needs_is_built_first_and_a_later_start_knows_of_it(project: Path, start: Start) -> None:
    assert Done(project, "build", "app").status == 0
    assert (project / "app").read_text() == "me\npost\n"
    assert (project / ".procwatch/releases/app/current/app.out").read_text() == "one\n"
    again = Done(project, "build", "app")
    assert "generated" not in again.out, "what it needs goes by its own at_start"
    assert (project / "app").read_text() == "me\npost\n" * 2, "what is named runs, changed or not"
    live = start("-v")
    live.wait("service_ready", "service.web")
    assert not live.seen("build_started")


def test_what_waits_for_a_failed_build_is_told_and_fails(project: Path) -> None:
    write(project / "watch.toml", TOML.replace("cat src > made", "exit 7"))
    done = Done(project, "build", "migrate", "app")
    assert done.status == 1
    assert "build.gen failed (exit 7)" in done.out
    assert "build.app waits for build.gen, which failed" in done.out
    assert not (project / "app").exists()


def test_a_build_whose_inputs_change_meanwhile_runs_again(project: Path) -> None:
    write(project / "watch.toml", '[build.fmt]\nrun = "echo run >> runs; echo done > src"\nwatch = ["src"]\n')
    assert Done(project, "build", "fmt").status == 0
    assert (project / "runs").read_text() == "run\n" * 2


def test_a_failed_build_tells_as_at_a_start(project: Path) -> None:
    write(project / "src", "broken\n")
    assert Done(project, "build", "app").status == 1
    assert (project / "app").read_text() == "me\ntold\n"


def test_a_service_that_it_needs_is_ready_before_and_stopped_after(project: Path) -> None:
    done = Done(project, "build", "migrate")
    assert done.status == 0
    assert " migrate   | migrated\n" in done.out
    assert (project / "db.end").exists()
    assert not (project / "db.up").exists()
    assert not (project / "web.up").exists()


def test_a_service_that_keeps_crashing_is_not_waited_for(project: Path) -> None:
    write(project / "watch.toml", CRASHING)
    done = Done(project, "build", "migrate", "--json")
    assert done.status == 1
    (result,) = json.loads(done.out)["results"]
    assert (result["name"], result["outcome"]) == ("build.migrate", "failed")
    assert "waits for service.db" in result["reason"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_all_in_order(project: Path, slow: Live, number: int, status: int) -> None:
    assert slow.stop(number) == status
    assert (project / "tidied").exists(), "it was asked to end before it was killed"
    assert (project / "db.end").exists()


def test_a_kill_leaves_nothing(project: Path, slow: Live) -> None:
    slow.process.kill()
    assert slow.ended() == 137
    # That nothing is left, even so, is seen to by `start`.


def test_others_are_refused_meanwhile_but_can_look_and_stop_it(project: Path, slow: Live) -> None:
    refused = "procwatch: procwatch only runs build.slow here, and then ends; ask again after that\n"
    for words in (("build", "slow"), ("start", "db"), ("restart", "db"), ("stop", "db"), ("reload",), ("pause",)):
        done = Done(project, *words)
        assert (done.status, done.err) == (4, refused), words
    done = Done(project, "start")
    assert (done.status, f"already runs for this project (process {slow.process.pid})" in done.err) == (4, True)
    assert "build.slow  running" in Done(project, "status").out
    assert "ran last because: asked for" in Done(project, "why", "slow").out
    assert Done(project, "wait", "db").status == 0
    assert '"event": "build_started", "name": "build.slow"' in Done(project, "events", "-n", "20").out
    assert Done(project, "stop").status == 0
    assert slow.ended() == 1, "it has not been built"
    assert (project / "db.end").exists()


def test_names_are_checked_as_by_a_supervisor(project: Path, start: Start) -> None:
    alone = [Done(project, "build", name) for name in ("sed", "web", "gen.x")]
    assert [done.status for done in alone] == [2, 2, 2]
    assert not (project / ".procwatch").exists(), "before anything is done"
    start().wait("service_ready", "service.web")
    assert [done.err for done in alone] == [Done(project, "build", name).err for name in ("sed", "web", "gen.x")]
    assert alone[0].err == 'procwatch: there is no build "sed"; did you mean "seed"?\n'


def test_a_wrong_watch_toml_is_told(project: Path) -> None:
    write(project / "watch.toml", TOML + "[build.x]\nrum = 'x'\n")
    done = Done(project, "build", "seed")
    assert (done.status, "rum" in done.err) == (2, True)


def test_json_is_the_answer_that_a_supervisor_gives(project: Path, start: Start) -> None:
    alone = Done(project, "build", "seed", "--json")
    assert (alone.status, alone.err) == (0, "")
    assert json.loads(alone.out) == {
        "results": [{"name": "build.seed", "outcome": "done", "reason": "run 1 succeeded"}]
    }
    write(project / "broken", "")
    failed = json.loads(Done(project, "build", "seed", "--json").out)["results"][0]
    assert (failed["outcome"], failed["failed"]["output"]) == ("failed", ["seeded"])
    (project / "broken").unlink()
    start().wait("service_ready", "service.web")
    asked = json.loads(Done(project, "build", "seed", "--json").out)
    assert asked == {"results": [{"name": "build.seed", "outcome": "done", "reason": "run 3 succeeded"}]}


def test_without_a_supervisor_nobody_can_be_asked_without_waiting(project: Path) -> None:
    done = Done(project, "build", "seed", "--no-wait")
    assert (done.status, done.out) == (3, "")
    assert "--no-wait" in done.err
    assert not (project / "seeds").exists()


def test_a_limit_on_the_wait_stops_it(project: Path) -> None:
    write(project / "watch.toml", SLOW)
    done = Done(project, "build", "slow", "--timeout", "1s")
    assert done.status == 1
    assert "build.slow has not ended within 1 s: " in done.out


def test_a_file_can_be_named(project: Path, tmp_path: Path) -> None:
    assert Done(tmp_path, "-f", "project/watch.toml", "build", "seed").status == 0
    assert Done(tmp_path, "build", "seed", "-f", "project/watch.toml").status == 0
    assert (project / "seeds").read_text() == "seeded\n" * 2
