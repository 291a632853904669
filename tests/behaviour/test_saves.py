"""Ways in which editors and people save: what is built, and how often."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import Live, write
from tests.rig.needs import need_linux

TOML = """
[build.app]
run = "find src -type f | sort | xargs cat > built"
watch = ["src/**"]

[service.web]
run = "cat built >> started; exec sleep 1000"
needs = ["build.app"]
"""


def running(project: Path, start: Start, toml: str = TOML) -> Live:
    write(project / "watch.toml", toml)
    write(project / "src/main.rs", "one\n")
    live = start()
    live.wait("service_ready")
    return live


@pytest.fixture(params=["inotify", "watchfiles"])
def toml(request: pytest.FixtureRequest) -> str:
    """The same project on each engine that has events."""
    if request.param == "inotify":
        need_linux()
    return f'[watch]\nengine = "{request.param}"\n{TOML}'


def builds(live: Live, mark: int) -> int:
    return len(live.seen("build_started", "build.app", after=mark))


def test_vims_way_of_saving_gives_one_build(project: Path, start: Start, toml: str) -> None:
    live = running(project, start, toml)
    mark = live.mark()
    source = project / "src/main.rs"
    write(project / "src/4913", "")
    (project / "src/4913").unlink()
    source.rename(project / "src/main.rs~")
    write(source, "two\n")
    (project / "src/main.rs~").unlink()
    live.wait("service_switched", after=mark)
    assert builds(live, mark) == 1
    assert (project / "started").read_text() == "one\ntwo\n"


def test_jetbrains_way_of_saving_gives_one_build(project: Path, start: Start, toml: str) -> None:
    live = running(project, start, toml)
    mark = live.mark()
    source = project / "src/main.rs"
    write(project / "src/main.rs___jb_tmp___", "two\n")
    source.rename(project / "src/main.rs___jb_old___")
    (project / "src/main.rs___jb_tmp___").rename(source)
    (project / "src/main.rs___jb_old___").unlink()
    live.wait("service_switched", after=mark)
    assert builds(live, mark) == 1
    assert (project / "started").read_text() == "one\ntwo\n"


def test_a_file_that_is_truncated_and_then_written_gives_one_restart(project: Path, start: Start, toml: str) -> None:
    live = running(project, start, toml)
    mark = live.mark()
    with (project / "src/main.rs").open("w") as file:
        file.flush()
        os.fsync(file.fileno())
        file.write("two\n")
    live.wait("service_switched", after=mark)
    mark = live.mark()
    write(project / "src/next", "three\n")
    live.wait("service_switched", after=mark)
    assert len(live.seen("service_switched")) == 2
    assert (project / "started").read_text() == "one\n" + "two\n" + "two\nthree\n"


def test_eight_nested_new_folders_with_a_file_written_at_once_give_eight_builds(
    project: Path, start: Start, toml: str
) -> None:
    live = running(project, start, toml)
    for number in range(8):
        mark = live.mark()
        write(project / f"src/new{number}/a/b/c/file.rs", f"{number}\n")
        live.wait("service_switched", after=mark)
        assert builds(live, mark) == 1
        assert f"{number}\n" in (project / "built").read_text()


def test_a_deleted_file_is_a_change(project: Path, start: Start, toml: str) -> None:
    live = running(project, start, toml)
    write(project / "src/extra.rs", "extra\n")
    live.wait("service_switched")
    mark = live.mark()
    (project / "src/extra.rs").unlink()
    live.wait("service_switched", after=mark)
    assert (project / "built").read_text() == "one\n"


def test_ignored_and_editors_own_files_start_nothing(project: Path, start: Start, toml: str) -> None:
    write(project / ".gitignore", "*.log\n/src/gen/\n")
    live = running(project, start, toml)
    mark = live.mark()
    for name in ("src/x.log", "src/.main.rs.swp", "src/main.rs~", "src/#main.rs#", "src/gen/deep/file.rs"):
        write(project / name, "noise\n")
    write(project / "src/real.rs", "real\n")
    live.wait("service_switched", after=mark)
    assert live.wait("files_changed", after=mark)["paths"] == ["src/real.rs"]
    assert builds(live, mark) == 1


def test_a_thousand_saves_end_with_the_last_content_and_few_builds(project: Path, start: Start, toml: str) -> None:
    live = running(project, start, toml)
    mark = live.mark()
    for number in range(1000):
        write(project / "src/main.rs", f"save {number}\n")
    live.until(lambda: (project / "started").read_text().endswith("save 999\n"), "the last content")
    assert builds(live, mark) < 100


def test_a_service_restarts_on_its_own_files_even_with_the_same_bytes(project: Path, start: Start) -> None:
    live = running(project, start, TOML + 'watch = ["../trigger", "config/*.toml"]\n')
    trigger = project.parent / "trigger"
    for times in (1, 2):
        trigger.touch()
        live.wait("service_switched", times=times)
    write(project / "config/a.toml", "x")
    live.wait("service_switched", times=3)
    assert len(live.seen("build_started")) == 1


def test_an_edited_env_file_is_a_change_of_what_uses_it(project: Path, start: Start) -> None:
    write(project / "web.env", "COLOUR=red\n")
    toml = TOML.replace("cat built >> started", "echo $COLOUR >> started") + 'env_file = ["web.env"]\n'
    live = running(project, start, toml)
    write(project / "web.env", "COLOUR=blue\n")
    live.wait("service_switched")
    assert (project / "started").read_text() == "red\nblue\n"
    assert len(live.seen("build_started")) == 1


def test_an_env_file_that_has_gone_stops_nothing_and_says_why(project: Path, start: Start) -> None:
    write(project / "web.env", "COLOUR=red\n")
    toml = '[service.web]\nrun = "echo $COLOUR >> started; exec sleep 1000"\nenv_file = ["web.env"]\n'
    write(project / "watch.toml", toml)
    live = start(json_events=False)
    live.shows("service.web started")
    (project / "web.env").unlink()
    live.shows("service.web is outdated: web.env: no such file")
    write(project / "web.env", "COLOUR=blue\n")
    live.shows("service.web restarted")
    assert (project / "started").read_text() == "red\nblue\n"


def test_a_build_that_writes_what_it_watches_is_told_as_a_loop_after_five_rounds(project: Path, start: Start) -> None:
    toml = TOML.replace('run = "find', 'run = "date +%N >> src/generated; find')
    live = running(project, start, toml)
    loop = live.wait("build_loop", "build.app")
    assert loop["paths"] == ["src/generated"]
    completed = len(live.seen("build_started")) - len(
        [event for event in live.seen("build_cancelled") if "outdated" not in event["reason"]]
    )
    assert completed == 5, "a slow machine may see the change during the run and stop it, up to three times"
    mark = live.mark()
    write(project / "src/main.rs", "two\n")
    live.wait("build_started", after=mark)


def test_a_hook_that_writes_what_its_build_watches_is_told_as_a_loop_too(project: Path, start: Start) -> None:
    hook = "[build.app.hooks]\npost_build = 'date +%N > src/generated'\n"
    live = running(project, start, TOML.replace("[service.web]", f"{hook}\n[service.web]"))
    assert live.wait("build_loop", "build.app")["paths"] == ["src/generated"]


@pytest.mark.parametrize(
    ("toml", "names", "cause"),
    [
        (TOML.replace("exec sleep", "date +%N > src/generated; exec sleep"), ["build.app"], "starts of service.web"),
        (TOML.replace("exec sleep", "touch src/x; exec sleep") + 'watch = ["src/x"]\n', ["service.web"], "starts of"),
        (TOML + "hooks = { post_start = 'date +%N > src/generated' }\n", ["build.app"], "starts of service.web"),
        (
            TOML.replace("> built", "> built; exit 2")
            + "[build.app.hooks]\nbuild_failed = 'date +%N > src/generated'\n",
            ["build.app"],
            "runs of build.app",
        ),
    ],
    ids=["service", "own watch", "post_start", "build_failed"],
)
def test_what_makes_itself_run_again_by_another_way_is_named(
    project: Path, start: Start, toml: str, names: list[str], cause: str
) -> None:
    write(project / "watch.toml", toml)
    write(project / "src/main.rs", "one\n")
    told = start().wait("always_changing")
    assert set(names) <= set(told["names"])
    assert cause in told["reason"]


def test_log_files_and_what_a_build_makes_start_nothing(project: Path, start: Start) -> None:
    watch = 'watch = ["src/**", "watch.toml", ".procwatch/**", "made"]\nignore = ["!.procwatch"]\noutputs = ["made"]'
    toml = TOML.replace("> built", "> made; date").replace('watch = ["src/**"]', watch)
    toml = toml.replace("cat built >> started; exec sleep 1000", "while :; do echo line; sleep 0.01; done")
    live = running(project, start, toml)
    log = project / ".procwatch/logs/service.web.log"
    for content in ("two\n", "three\n"):
        mark = live.mark()
        size = log.stat().st_size
        live.until(lambda: log.stat().st_size > size + 500, "more lines in the log")  # noqa: B023
        write(project / "src/main.rs", content)
        live.wait("service_switched", after=mark)
        assert live.wait("files_changed", after=mark)["paths"] == ["src/main.rs"]
        assert builds(live, mark) == 1
