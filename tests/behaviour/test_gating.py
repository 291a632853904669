"""A service moves to a new version only when every build it needs has succeeded."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import Live, write

# The build copies src/version to built, unless it says "broken"; the service notes what it was started with.
BUILD = 'v=$(cat src/version); echo "run $v" >> runs; test "$v" != broken || exit 2; echo "$v" > built'
TOML = f"""
[build.app]
run = '''{BUILD}'''
watch = ["src/**"]

[service.web]
run = "cat built >> started; exec sleep 1000"
needs = ["build.app"]
"""


def save(project: Path, content: str) -> None:
    write(project / "src/version", f"{content}\n")


def started(project: Path) -> list[str]:
    """What each instance was started with."""
    return (project / "started").read_text().split()


def running(project: Path, start: Start, toml: str = TOML) -> Live:
    """Started, built, ready."""
    write(project / "watch.toml", toml)
    save(project, "one")
    live = start()
    live.wait("service_ready", "service.web")
    return live


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_good_broken_fixed_broken_and_back_to_the_last_good_content(project: Path, start: Start) -> None:
    live = running(project, start)
    first = live.wait("service_ready")["pid"]
    save(project, "broken")
    failed = live.wait("build_failed", "build.app")
    assert failed["exit_code"] == 2
    assert failed["effect"] == "service.web stays on run 1"
    assert is_running(first)
    save(project, "two")
    second = live.wait("service_ready", times=2)["pid"]
    assert live.wait("build_fixed")["reason"] == "after one failure"
    assert not is_running(first)
    save(project, "broken")
    live.wait("build_failed", times=2)
    mark = live.mark()
    save(project, "two")
    back = live.wait("build_succeeded", after=mark)
    assert back["effect"] == "service.web stays on run 2 (the same content)"
    assert live.stop() == 130
    assert not live.seen("service_ready", after=mark)
    assert live.seen("service_ready")[-1]["pid"] == second
    assert started(project) == ["one", "two"]


def test_the_same_bytes_and_a_touch_start_nothing_and_say_why(project: Path, start: Start) -> None:
    live = running(project, start)
    save(project, "one")
    skipped = live.wait("build_skipped", "build.app")
    assert skipped["reason"] == "the same content as in run 1"
    assert skipped["paths"] == ["src/version"]
    mark = live.mark()
    os.utime(project / "src/version")
    live.wait("build_skipped", after=mark)
    live.stop()
    assert (project / "runs").read_text() == "run one\n"


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("exit 2", 2, "exit 2"),
        ("exit 126", 126, "exit 126"),
        ("no-such-command-here || exit", 127, "exit 127"),
        ("kill -9 $$", 137, "killed by SIGKILL"),
        ("kill -TERM $$", 143, "killed by SIGTERM"),
        ("sleep 1000", 124, "timed out after 0.3 s"),
    ],
)
def test_any_way_to_fail_leaves_the_service_and_procwatch_alone(
    project: Path, start: Start, command: str, code: int, reason: str
) -> None:
    broken = f"if [ $(cat src/version) = broken ]; then {command}; fi"
    toml = TOML.replace(BUILD, f"{broken}; cp src/version built").replace("watch =", "timeout = 0.3\nwatch =")
    live = running(project, start, toml)
    pid = live.wait("service_ready")["pid"]
    save(project, "broken")
    failed = live.wait("build_failed")
    assert (failed["exit_code"], failed["reason"]) == (code, reason)
    assert is_running(pid)
    save(project, "two")
    live.wait("service_switched", "service.web")
    live.until(lambda: started(project) == ["one", "two"], "what they were started with")


def test_a_program_that_does_not_exist_is_a_failed_build_with_a_clear_reason(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[build.app]\nrun = ["frobnicate", "--fast"]\n')
    live = start("--no-watch")
    failed = live.wait("build_failed")
    assert failed["exit_code"] == 127
    assert "frobnicate" in failed["reason"]
    assert live.ended() == 1


def test_a_service_waits_for_its_first_good_build(project: Path, start: Start) -> None:
    write(project / "watch.toml", TOML)
    save(project, "broken")
    live = start()
    assert live.wait("build_failed")["effect"] == "service.web waits for it"
    save(project, "good")
    live.wait("service_ready", "service.web")
    assert started(project) == ["good"]


def test_six_saves_during_a_two_second_build_complete_at_most_two_and_restart_once(project: Path, start: Start) -> None:
    toml = TOML.replace(BUILD, "v=$(cat src/version); sleep 2; echo $v > built")
    live = running(project, start, toml)
    mark = live.mark()
    for number in range(6):
        save(project, f"save{number}")
        live.wait("files_changed", after=mark, times=number + 1)
    live.wait("service_switched", "service.web", after=mark)
    live.stop()
    assert 1 <= len(live.seen("build_succeeded", after=mark)) <= 2
    assert started(project) == ["one", "save5"]


def test_with_finish_a_run_is_let_end_and_the_last_content_wins(project: Path, start: Start) -> None:
    toml = TOML.replace(BUILD, "v=$(cat src/version); until [ -e go ]; do sleep 0.02; done; echo $v > built")
    write(project / "go", "")
    live = running(project, start, toml.replace("watch =", 'on_change = "finish"\nwatch ='))
    (project / "go").unlink()
    save(project, "two")
    live.wait("build_started", times=2)
    mark = live.mark()
    save(project, "three")
    live.wait("files_changed", after=mark)
    write(project / "go", "")
    live.wait("service_switched", after=mark)
    live.stop()
    assert started(project) == ["one", "three"]
    assert "outdated" in live.wait("build_cancelled", after=mark)["reason"]


def test_an_edit_during_the_first_build_is_not_lost(project: Path, start: Start) -> None:
    slow = "v=$(cat src/version); echo $v >> runs; until [ -e go ]; do sleep 0.02; done; echo $v > built"
    write(project / "watch.toml", TOML.replace(BUILD, slow))
    save(project, "one")
    live = start()
    live.until((project / "runs").exists, "the first run")
    save(project, "two")
    write(project / "go", "")
    live.wait("service_ready")
    live.stop()
    assert started(project) == ["two"]


def test_a_failing_build_that_writes_the_same_bytes_again_does_not_run_for_ever(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[build.app]
run = "echo run >> runs; cp src/a gen/a; exit 1"
watch = ["src", "gen"]
[build.next]
run = "exec sleep 0.3; true"
watch = ["next"]
""")  # fmt: skip
    write(project / "src/a", "1")
    write(project / "gen/a", "1")
    write(project / "next", "1")
    live = start()
    live.wait("build_failed")
    for times in range(2, 5):
        live.wait("build_succeeded", "build.next", times=times - 1)
        write(project / "next", str(times))
    live.wait("build_succeeded", "build.next", times=4)
    assert (project / "runs").read_text() == "run\n"
    write(project / "src/a", "1")
    live.wait("build_failed", "build.app", times=2)


def test_content_that_went_another_way_and_back_during_the_run_is_built_again(project: Path, start: Start) -> None:
    read = "touch begun; until test -e read; do sleep 0.02; done; cp src/version built; touch done"
    wait = "; until test -e go; do sleep 0.02; done"
    toml = f'[build.app]\nrun = "{read}{wait}"\nwatch = ["src/**"]\non_change = "finish"\n'
    write(project / "watch.toml", toml)
    save(project, "one")
    live = start()
    live.until((project / "begun").exists, "the run")
    save(project, "two")
    live.wait("files_changed")
    write(project / "read", "")
    live.until((project / "done").exists, "the read")
    save(project, "one")
    live.wait("files_changed", times=2)
    write(project / "go", "")
    live.wait("build_succeeded")
    assert (project / "built").read_text() == "one\n"


def test_a_manual_build_does_not_follow_the_one_that_it_needs(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[build.app]
run = "true"
watch = ["src/**"]
[build.seed]
run = "echo seeded >> log"
needs = ["build.app"]
manual = true
""")  # fmt: skip
    save(project, "one")
    live = start("build.seed")
    live.wait("build_succeeded", "build.seed")
    save(project, "two")
    live.wait("build_succeeded", "build.app", times=2)
    save(project, "three")
    live.wait("build_succeeded", "build.app", times=3)
    assert live.stop() == 130
    assert (project / "log").read_text() == "seeded\n"


DIAMOND = """
[build.lib]
run = "cp src/lib lib.out"
watch = ["src/lib"]
[build.left]
run = "cat lib.out src/left > left.out"
watch = ["src/left"]
needs = ["lib"]
[build.right]
run = "test $(cat src/right) != broken && cat lib.out src/right > right.out"
watch = ["src/right"]
needs = ["lib"]
[service.app]
run = "exec sleep 1000"
needs = ["left", "right"]
"""


def test_a_diamond_builds_each_once_a_change_and_a_failure_on_one_side_leaves_the_service(
    project: Path, start: Start
) -> None:
    write(project / "watch.toml", DIAMOND)
    for name in ("lib", "left", "right"):
        write(project / "src" / name, "1\n")
    live = start()
    pid = live.wait("service_ready")["pid"]
    mark = live.mark()
    write(project / "src/lib", "2\n")
    pid = live.wait("service_switched", after=mark)["pid"]
    assert [len(live.seen("build_started", f"build.{name}", after=mark)) for name in ("lib", "left", "right")] == [
        1,
        1,
        1,
    ]
    mark = live.mark()
    write(project / "src/right", "broken\n")
    write(project / "src/left", "3\n")
    live.wait("build_failed", "build.right", after=mark)
    live.wait("build_succeeded", "build.left", after=mark)
    assert is_running(pid)
    assert live.stop() == 130
    assert not live.seen("service_started", after=mark)


def test_hooks_gate_a_build_and_are_told_what_happens(project: Path, start: Start) -> None:
    write(project / "watch.toml", TOML + """
[build.app.hooks]
pre_build = "echo pre $PROCWATCH_EVENT $PROCWATCH_NAME >> hooks; test ! -e no-pre"
post_build = ["echo post >> hooks", ["sh", "-c", "test ! -e no-post"]]
build_failed = "sh tell.sh"
""")  # fmt: skip
    tell = "echo failed $PROCWATCH_EVENT $PROCWATCH_EXIT_CODE $PROCWATCH_RUN $PROCWATCH_DURATION >> hooks; touch told"
    write(project / "tell.sh", tell)
    save(project, "one")
    live = start()
    pid = live.wait("service_ready")["pid"]
    assert (project / "hooks").read_text() == "pre pre_build build.app\npost\n"
    write(project / "no-post", "")
    save(project, "two")
    assert live.wait("build_failed")["reason"] == "post_build exit 1"
    live.until((project / "told").exists, "build_failed")
    last = (project / "hooks").read_text().splitlines()[-1].split()
    assert last[:4] == ["failed", "build_failed", "1", "2"]
    assert float(last[4]) > 0
    (project / "no-post").unlink()
    write(project / "no-pre", "")
    save(project, "three")
    assert live.wait("build_failed", times=2)["reason"] == "pre_build exit 1"
    assert is_running(pid)
    assert (project / "runs").read_text() == "run one\nrun two\n"


def test_a_build_is_told_which_files_changed(project: Path, start: Start) -> None:
    live = running(
        project,
        start,
        TOML.replace(
            BUILD, 'echo "$PROCWATCH_CHANGED" > changed; cp $PROCWATCH_CHANGED_JSON all; cp src/version built'
        ),
    )
    write(project / "src/ö b", "x")
    live.wait("service_switched")
    assert (project / "changed").read_text() == "src/ö b\n"
    assert (project / "all").read_text() == '["src/\\u00f6 b"]'


def test_what_a_successful_run_leaves_lives_on_and_what_a_failed_one_leaves_is_ended(
    project: Path, start: Start
) -> None:
    leave = "sleep 1000 & echo $! > left.$(cat src/version); test $(cat src/version) != broken && cp src/version built"
    live = running(project, start, TOML.replace(BUILD, leave))
    good = int((project / "left.one").read_text())
    assert is_running(good)
    save(project, "broken")
    live.wait("build_failed")
    assert not is_running(int((project / "left.broken").read_text()))
    assert is_running(good)
    assert live.stop(signal.SIGTERM) == 143
    assert not is_running(good)
