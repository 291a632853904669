"""The commands that ask a running procwatch: they wait for the outcome, say it, and end with the right status."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import DEADLINE_S, Live, clean_environment, wait_for_file, write
from tests.rig.needs import need_commands
from tests.rig.obey import alive

TOML = """
[build.app]
run = "cat src/a; ! grep -q broken src/a"
watch = ["src"]
[build.seed]
run = "echo seeded >> seeds"
manual = true
[service.api]
run = "exec sh run.sh"
needs = ["build.app"]
restart = { min_delay = "10s", max_delay = "10s" }
[service.db]
run = "exec sleep 1000"
"""
RUN = "[ -e ill ] && { echo no luck; exit 3; }; exec sleep 1000"


class Done:
    """What a command has come to."""

    def __init__(self, project: Path, *args: str, env: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "procwatch", *args], cwd=project, capture_output=True, text=True, check=False,
            env={**clean_environment(), **(env or {})}, timeout=DEADLINE_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __eq__(self, other: object) -> bool:
        return (self.status, self.out, self.err) == other

    def __repr__(self) -> str:
        return f"{self.status} {self.out!r} {self.err!r}"

    __hash__ = None  # type: ignore[assignment]


def ready(project: Path, start: Start, *args: str) -> Live:
    write(project / "src/a", "1\n")
    write(project / "run.sh", RUN)
    write(project / "watch.toml", TOML)
    live = start("-v", *args)
    live.wait("service_ready", "service.api")
    live.wait("service_ready", "service.db")
    return live


def pid(live: Live, name: str, times: int = 1) -> int:
    return int(live.wait("service_ready", name, times=times)["pid"])


def test_a_restart_waits_until_the_new_instance_is_ready(project: Path, start: Start) -> None:
    live = ready(project, start)
    before = pid(live, "service.api")
    done = Done(project, "restart", "api")
    after = pid(live, "service.api", 2)
    assert done == (0, f"service.api restarted: ready (run 2, process {after})\n", "")
    assert not alive(before)
    assert alive(after)
    assert not live.seen("service_crashed")


def test_a_restart_that_fails_says_why_with_the_last_lines(project: Path, start: Start) -> None:
    ready(project, start)
    write(project / "ill", "")
    assert Done(project, "restart", "api") == (1, "", "service.api: crashed: exit 3\n  | no luck\n")
    (project / "ill").unlink()
    assert Done(project, "start", "api").status == 0, "nobody waits for the back-off of ten seconds"


def test_a_service_is_stopped_and_started_by_name(project: Path, start: Start) -> None:
    live = ready(project, start)
    before = pid(live, "service.db")
    assert Done(project, "stop", "db") == (0, "service.db stopped\n", "")
    assert not alive(before)
    assert "stopped by hand" in Done(project, "status", "db").out
    assert Done(project, "wait", "db").status == 1
    assert Done(project, "restart", "db").status == 0
    assert Done(project, "start", "db").out.startswith("service.db started: ready (run 2")


def test_stop_alone_ends_procwatch_and_another_one_can_be_started_at_once(project: Path, start: Start) -> None:
    live = ready(project, start)
    assert Done(project, "stop") == (0, "", "")
    again = start()
    assert live.ended() == 0
    again.wait("service_ready", "service.api")
    assert again.stop() == 130


def test_a_build_runs_when_it_is_asked_for(project: Path, start: Start) -> None:
    live = ready(project, start)
    assert Done(project, "build", "app") == (0, "build.app built: run 2 succeeded\n", "")
    assert Done(project, "build", "seed") == (0, "build.seed built: run 1 succeeded\n", "")
    assert (project / "seeds").read_text() == "seeded\n"
    live.wait("build_succeeded", "build.seed")
    assert len(live.seen("service_started", "service.api")) == 1


def test_wait_takes_in_what_has_just_been_saved(project: Path, start: Start) -> None:
    ready(project, start)
    for number in range(2, 6):
        write(project / "src/a", f"{number}\n")
        done = Done(project, "wait", "service.api")
        assert done.status == 0
        assert done.out.startswith(f"service.api: ready (run {number}, process ")
    write(project / "src/a", "broken\n")
    done = Done(project, "wait", "app", "api")
    assert done.status == 1
    assert "build.app: failed (exit 1)\n  | broken\n" in done.err
    assert "service.api: outdated: build.app failed (exit 1)\n  | broken\n" in done.err
    assert Done(project, "status", "service.api").out.splitlines()[1].split("  ")[1] == "ready, outdated"


def test_a_limit_on_the_wait_ends_it(project: Path, start: Start) -> None:
    ready(project, start)
    os.mkfifo(project / "gate")
    write(project / "run.sh", ": < gate; exec sleep 1000")
    write(project / "watch.toml", TOML.replace('exec sh run.sh"', "exec sh run.sh\"\nready = { log = 'never' }"))
    done = Done(project, "build", "app", "--timeout", "0")
    assert done.status == 1
    assert done.err.startswith("build.app: not yet: ")


def test_why_tells_the_file_the_reason_and_what_went_wrong(project: Path, start: Start) -> None:
    ready(project, start)
    write(project / "src/a", "broken\n")
    Done(project, "wait", "api")
    told = Done(project, "why", "app")
    assert told.status == 0
    lines = told.out.splitlines()
    assert lines[:3] == ["build.app: failed (run 2): exit 1", "  ran last because: src/a changed", "  watches: src"]
    assert lines[3].endswith("build_failed: exit 1")
    assert lines[4:] == ["    | broken"]
    assert "build.app failed (exit 1)" in Done(project, "why", "service.api").out


def test_why_tells_that_nothing_was_done_and_the_reason(project: Path, start: Start) -> None:
    live = ready(project, start)
    os.utime(project / "src/a")
    at = live.wait("build_skipped")["at"]
    told = f"  {at} nothing was done: the same content as in run 1 (src/a changed)"
    assert told in Done(project, "why", "build.app").out.splitlines()


def test_without_a_watch_toml_the_one_that_runs_is_found(project: Path, start: Start) -> None:
    live = ready(project, start)
    (project / "watch.toml").unlink()
    live.wait("config_rejected")
    assert Done(project / "src", "stop") == (0, "", "")
    assert live.ended() == 0


def test_a_pause_collects_and_resume_acts_once(project: Path, start: Start) -> None:
    live = ready(project, start)
    assert Done(project, "pause").status == 0
    for number in range(5):
        write(project / "src/a", f"{number + 2}\n")
        live.wait("files_changed", times=number + 1)
    assert "paused" in Done(project, "status", "app").out
    assert Done(project, "resume") == (0, "resumed\n", "")
    assert Done(project, "wait", "api").status == 0
    assert len(live.seen("build_started", "build.app")) == 2


def test_events_are_those_of_the_past_or_those_to_come(project: Path, start: Start) -> None:
    live = ready(project, start)
    past = [json.loads(line) for line in Done(project, "events", "-n", "3").out.splitlines()]
    live.until(lambda: past == live.events[-3:], f"{past} at the end of what `start --json` prints")
    follower = subprocess.Popen(
        [sys.executable, "-m", "procwatch", "events"], cwd=project, stdout=subprocess.PIPE, env=clean_environment()
    )
    assert follower.stdout is not None
    try:
        Done(project, "hello")  # time for the follower; what it misses is asked for again below
        while True:
            Done(project, "restart", "db")
            if (line := follower.stdout.readline()) and json.loads(line)["name"] == "service.db":
                break
        follower.send_signal(signal.SIGINT)
        assert follower.wait(DEADLINE_S) == -signal.SIGINT
    finally:
        follower.kill()
        follower.wait()
        follower.stdout.close()


def test_json_is_for_programs(project: Path, start: Start) -> None:
    ready(project, start)
    units = json.loads(Done(project, "status", "--json").out)["units"]
    assert [unit["name"] for unit in units] == ["build.app", "build.seed", "service.api", "service.db"]
    done = json.loads(Done(project, "restart", "db", "--json").out)
    assert done["results"][0]["outcome"] == "done"
    assert json.loads(Done(project, "restart", "db", "--no-wait", "--json").out) == {
        "results": [{"name": "service.db", "outcome": "asked"}]
    }


def test_each_command_that_waits_need_not(project: Path, start: Start) -> None:
    """What is asked for is held back until the file `go` is there: a call that waited would never return."""
    hold = "until test -e go; do sleep 0.02; done"
    toml = f"""
        [build.app]
        run = "{hold}; cp src made"
        watch = ["src"]
        outputs = ["made"]
        [service.web]
        run = "exec sleep 1000"
        needs = ["build.app"]
        hooks = {{ pre_stop = "{hold}" }}
        [service.db]
        run = "exec sleep 1000"
        """
    write(project / "watch.toml", toml)
    write(project / "src", "1")
    go = write(project / "go", "")
    live = start("--no-watch", "-v")
    live.wait("service_ready", "service.web")
    asked = [
        (("build", "app"), "build.app", "build_succeeded"), (("restart", "web"), "service.web", "service_ready"),
        (("rollback", "web"), "service.web", "service_ready"), (("stop", "web"), "service.web", "service_stopped"),
    ]  # fmt: skip
    write(project / "src", "2")
    for words, name, event in asked:
        go.unlink()
        mark = live.mark()
        assert Done(project, *words, "--no-wait") == (0, f"{name}: asked for\n", "")
        assert not live.seen(event, name, after=mark)
        write(go, "")
        live.wait(event, name, after=mark)
        if words[0] == "build":
            live.wait("service_ready", "service.web", after=mark)
    write(project / "watch.toml", toml.replace("sleep 1000", "sleep 1001"))
    assert Done(project, "reload", "--no-wait") == (0, "asked for\n", "")
    live.wait("config_reloaded")
    write(project / "watch.toml", "[")
    assert Done(project, "reload", "--no-wait", "--json") == (0, "{}\n", "")
    live.wait("config_rejected")
    assert Done(project, "stop", "--no-wait") == (0, "", "")
    assert live.ended() == 0


def test_names_are_checked_and_suggested(project: Path, start: Start) -> None:
    ready(project, start)
    for command in ("restart", "stop", "wait", "why", "status"):
        done = Done(project, command, "ap")
        assert done.status == 2
        assert 'did you mean "' in done.err
    assert Done(project, "build", "api").err == 'procwatch: "api" is a service; builds are: build.app, build.seed\n'


@pytest.mark.parametrize("command", [["status"], ["restart", "api"], ["stop"], ["events"], ["wait", "api"]])
def test_without_a_supervisor_the_status_is_three(project: Path, command: list[str]) -> None:
    write(project / "watch.toml", TOML)
    done = Done(project, *command)
    assert done == (3, "", f"procwatch: no procwatch runs for {project}; `procwatch start` starts it\n")


def test_start_with_names_starts_what_does_not_run_and_without_them_is_refused(project: Path, start: Start) -> None:
    live = ready(project, start, "db", "api")
    Done(project, "stop", "api")
    again = Done(project, "start", "api", "db")
    assert again.status == 0
    assert [line.partition(":")[0] for line in again.out.splitlines()] == ["service.api started", "service.db started"]
    assert len(live.seen("service_started", "service.db")) == 1
    assert Done(project, "start").status == 4


def test_a_service_that_does_not_take_part_is_started_by_name(project: Path, start: Start) -> None:
    write(project / "src/a", "1\n")
    write(project / "run.sh", RUN)
    write(project / "watch.toml", TOML)
    live = start("db")
    live.wait("service_ready", "service.db")
    assert "not asked for" in Done(project, "status", "api").out
    assert Done(project, "start", "api").status == 0
    write(project / "src/a", "2\n")
    assert Done(project, "wait", "api").status == 0
    assert live.wait("service_ready", "service.api", times=2)["run"] == 2


def test_a_build_cannot_wait_for_itself(project: Path, start: Start) -> None:
    command = f"{sys.executable} -m procwatch restart api > told 2>&1; echo $? > code"
    write(project / "watch.toml", f"""
[build.app]
run = '{command}'
[service.api]
run = "exec sleep 1000"
needs = ["build.app"]
""")  # fmt: skip
    live = start()
    live.wait("service_ready")
    assert (project / "code").read_text() == "4\n"
    words = "this runs inside of build.app, which service.api would wait for; say --no-wait"
    assert (project / "told").read_text() == f"procwatch: {words}\n"


def test_inside_a_service_the_project_is_found_from_anywhere(project: Path, start: Start) -> None:
    command = f"cd / && {sys.executable} -m procwatch status --json > {project}/told; exec sleep 1000"
    write(project / "watch.toml", f"[service.api]\nrun = '{command}'\n")
    live = start()
    live.wait("service_ready")
    live.until(lambda: (project / "told").exists() and (project / "told").stat().st_size, "the answer")
    assert json.loads((project / "told").read_text())["folder"] == str(project)


# --- driven from outside ---------------------------------------------------------------------------------------------

OUTSIDE = """
[service.api]
run = "exec ./served"
"""
SERVED = "#!/bin/sh\nexec sleep 1000 {}\n"


def test_cargo_watch_builds_and_procwatch_restarts(project: Path, start: Start) -> None:
    """`cargo watch -x build -s 'procwatch restart api'`: a broken build leaves the service as it is."""
    tools = Path(__file__).parents[2] / ".tools/cargo/bin"
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    if shutil.which("cargo-watch", path=path) is None:
        need_commands("cargo-watch")
    write(project / "Cargo.toml", '[package]\nname = "served"\nversion = "0.1.0"\nedition = "2021"\n')
    source = 'fn main() {{ println!("version {}"); std::thread::sleep(std::time::Duration::from_secs(1000)); }}\n'
    write(project / "src/main.rs", source.format(1))
    env = {**clean_environment(), "PATH": path, "CARGO_TERM_COLOR": "never"}
    subprocess.run(["cargo", "build", "--quiet", "--offline"], cwd=project, env=env, check=True, timeout=120)
    write(project / "watch.toml", '[service.api]\nrun = "exec target/debug/served"\nready = { log = "version" }\n')
    live = start()
    first = pid(live, "service.api")
    restart = f"{sys.executable} -m procwatch restart api"
    command = ["cargo-watch", "-w", "src", "--delay", "0", "-x", "build --offline", "-s", restart]
    said = project.parent / "cargo-watch.log"
    with said.open("w+b") as log:
        watcher = subprocess.Popen(
            command, cwd=project, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        second = pid(live, "service.api", 2)  # it builds when it begins, and watches by then
        assert second != first
        write(project / "src/main.rs", "fn main() { broken }\n")
        live.until(lambda: "could not compile" in said.read_text(errors="replace"), "a broken build")
        assert alive(second)
        write(project / "src/main.rs", source.format(3))
        assert pid(live, "service.api", 3) != second
        lines = project / ".procwatch/logs/service.api.log"
        live.until(lambda: "version 3" in lines.read_text(), "the new version's line in the log")
    finally:
        os.killpg(watcher.pid, signal.SIGKILL)
        watcher.wait()
    assert live.stop() == 130


def test_a_trigger_file_restarts_and_a_broken_build_does_not_touch_it(project: Path, start: Start) -> None:
    """The scheme of two watchers: one builds and touches a file if that went well, procwatch watches the file."""
    write(project / "watch.toml", '[service.api]\nrun = "exec sleep 1000"\nwatch = [".trigger"]\n')
    live = start("-v")
    first = pid(live, "service.api")
    build = "{}; test $? = 0 && touch .trigger"
    subprocess.run(build.format("true"), shell=True, cwd=project, check=True)
    second = pid(live, "service.api", 2)
    assert second != first
    subprocess.run(build.format("false"), shell=True, cwd=project, check=False)
    assert Done(project, "wait", "api").status == 0
    assert len(live.seen("service_ready")) == 2
    assert alive(second)
    subprocess.run(build.format("true"), shell=True, cwd=project, check=True)
    pid(live, "service.api", 3)


def test_a_client_in_another_watchers_group_leaves_nothing_there(project: Path, start: Start) -> None:
    ready(project, start)
    client = f"{sys.executable} -m procwatch"
    command = f"{client} restart db; {client} build app; : > {project}/done; exec sleep 1000"
    outer = subprocess.Popen(["/bin/sh", "-c", command], cwd=project, env=clean_environment(), start_new_session=True)
    try:
        wait_for_file(project / "done", outer)
        members = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                group = int((entry / "stat").read_text().rpartition(")")[2].split()[2])
            except OSError:
                continue
            if group == outer.pid:
                members.append(int(entry.name))
        assert members == [outer.pid]
    finally:
        outer.kill()
        outer.wait()
