"""Hooks of services and builds: when they run, what they are told, and what follows."""

from __future__ import annotations

from pathlib import Path

from tests.behaviour.conftest import Start
from tests.rig.live import write
from tests.rig.obey import alive


def test_not_ready_in_time_while_the_next_is_prepared_is_a_crash_like_any(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.web]
run = "touch up; exec sleep 1000"
ready = { log = "never", deadline = "1s" }
watch = ["trigger"]
hooks = { pre_start = "if test -e up; then rm up; touch preparing; exec sleep 1000; fi", pre_stop = "echo stop >> log" }
""")  # fmt: skip
    live = start()
    live.wait("service_started")
    live.until((project / "up").exists, "its start")
    write(project / "trigger", "")
    live.until((project / "preparing").exists, "pre_start of the next")
    assert live.wait("service_crashed")["reason"] == "not ready"
    live.wait("service_started", times=2)
    assert (project / "log").read_text() == "stop\n"


def test_a_hook_is_told_its_own_services_paths_only(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.a]
run = "exec sleep 1000"
watch = ["a.toml"]
hooks = { pre_start = 'echo "$PROCWATCH_CHANGED" > told' }
[service.b]
run = "exec sleep 1000"
watch = ["b.toml"]
""")  # fmt: skip
    live = start()
    live.wait("service_ready", "service.a")
    live.wait("service_ready", "service.b")
    write(project / "b.toml", "1")
    write(project / "a.toml", "1")
    live.wait("service_ready", "service.a", times=2)
    assert (project / "told").read_text() == "a.toml\n"


def test_hooks_of_a_service_run_in_order_with_their_environment(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.web]
run = "echo run >> log; exec sleep 1000"
watch = ["trigger"]
[service.web.hooks]
pre_start = "echo pre_start $PROCWATCH_EVENT $PROCWATCH_RUN >> log; test ! -e refuse"
post_start = "echo post_start >> log"
pre_stop = "echo pre_stop >> log"
post_stop = ["echo post_stop >> log", "touch stopped"]
""")  # fmt: skip
    live = start()
    pid = live.wait("service_ready")["pid"]
    live.until(lambda: "post_start" in (project / "log").read_text(), "post_start")
    write(project / "refuse", "")
    write(project / "trigger", "")
    assert live.wait("not_ready")["effect"] == "service.web stays on run 1"
    assert alive(pid)
    live.stop()
    live.until((project / "stopped").exists, "post_stop")
    assert (project / "log").read_text().splitlines() == [
        "pre_start pre_start 1", "run", "post_start", "pre_start pre_start 2", "pre_stop", "post_stop",
    ]  # fmt: skip


def test_a_hook_is_told_what_came_before_it_and_which_files_changed(project: Path, start: Start) -> None:
    note = 'echo "$PROCWATCH_EVENT $PROCWATCH_EXIT_CODE ${PROCWATCH_DURATION:+took} $PROCWATCH_CHANGED" >> log'
    write(project / "watch.toml", f"""
[build.app]
run = "true"
watch = ["src/*"]
hooks = {{ post_build = '{note}' }}
[service.web]
run = "echo run >> log; exec sleep 1000"
needs = ["build.app"]
hooks = {{ post_start = '{note}', pre_stop = '{note}', post_stop = '{note}; cat $PROCWATCH_CHANGED_JSON > paths' }}
""")  # fmt: skip
    write(project / "src/a", "1")
    live = start()
    live.wait("service_ready")
    live.until(lambda: "post_start" in (project / "log").read_text(), "post_start")
    write(project / "src/a", "2")
    live.wait("service_ready", times=2)
    live.until(lambda: (project / "log").read_text().count("post_start") == 2, "post_start")
    assert [line.split() for line in (project / "log").read_text().splitlines()] == [
        ["post_build", "0", "took"], ["run"], ["post_start", "took"],
        ["post_build", "0", "took", "src/a"], ["pre_stop", "src/a"], ["post_stop", "143", "took", "src/a"],
        ["run"], ["post_start", "took", "src/a"],
    ]  # fmt: skip
    assert (project / "paths").read_text() == '["src/a"]'
    live.until(lambda: not list((project / ".procwatch").glob("changed-*")), "the removal of the lists of paths")


def test_a_refused_switch_tells_what_its_hook_has_printed(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.web]
run = "echo serving; exec sleep 1000"
watch = ["trigger"]
hooks = { pre_start = "test ! -e refuse || { echo no database; exit 3; }" }
""")  # fmt: skip
    live = start()
    live.wait("service_ready")
    write(project / "refuse", "")
    write(project / "trigger", "")
    refused = live.wait("not_ready")
    assert (refused["reason"], refused["output"]) == ("pre_start exit 3", ["no database"])


def test_without_watching_a_hook_that_tells_is_let_finish_within_the_builds_timeout(
    project: Path, start: Start
) -> None:
    write(project / "watch.toml", """
[build.good]
run = "exit 1"
timeout = "100s"
hooks = { build_failed = "sleep 0.5; touch told" }
[build.hangs]
run = "exit 1"
timeout = "300ms"
hooks = { build_failed = "sleep 1000" }
""")  # fmt: skip
    live = start("--no-watch")
    assert live.ended() == 1
    assert (project / "told").exists()
    assert "build.hangs: hook build_failed failed (timed out after 0.3 s)" in live.stderr()
