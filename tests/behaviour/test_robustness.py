"""procwatch lasts: thousands of restarts, a thousand services, no descriptor or process to be had, clocks that jump."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import Live, wait_for_file, write
from tests.rig.needs import need_linux
from tests.rig.obey import alive


@pytest.fixture(autouse=True)
def linux() -> None:
    need_linux()  # /proc tells what is counted here


# --- restarts --------------------------------------------------------------------------------------------------------

# Each takes another way through the start of an instance; after `last` starts each stays.
RESTARTS = """
[defaults.service]
restart = {{ policy = "always", min_delay = "1ms", max_delay = "1ms" }}
[service.plain]
run = '[ $PROCWATCH_RUN -ge {last} ] && exec sleep 1000; echo ends'
[service.told]
run = 'python -S tell.py; [ $PROCWATCH_RUN -ge {last} ] && exec sleep 1000; exit 0'
ready = {{ notify = true }}
[service.asked]
run = '[ $PROCWATCH_RUN -ge {last} ] && exec sleep 1000; sleep 0.01; exit 3'
ready = {{ run = "exit 0", interval = "1ms" }}
health = {{ run = "exit 0", interval = "1ms" }}
stdin = "open"
[service.hooked]
run = '[ $PROCWATCH_RUN -ge {last} ] && exec sleep 1000; (setsid sleep 1000 &); exit 0'
hooks = {{ pre_start = "true", crashed = "true", post_stop = "true" }}
[service.matched]
run = 'echo up; [ $PROCWATCH_RUN -ge {last} ] && exec sleep 1000; kill -9 $$'
ready = {{ log = "up" }}
"""
TELL = """
import os, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
"""
SERVICES = 5


# Its own, and four at most that read files: these are begun when they are needed.
MOST_THREADS = 12


def holds(live: Live) -> tuple[int, int]:
    """Descriptors and children of the supervisor."""
    place = Path(f"/proc/{live.supervisor()}")
    children = (place / f"task/{place.name}/children").read_text().split()
    return len(list((place / "fd").iterdir())), len(children)


def memory_kib(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def restarted(project: Path, start: Start, last: int) -> Live:
    """procwatch at rest, after each of the services has been started so many times."""
    write(project / "tell.py", TELL)
    write(project / "watch.toml", RESTARTS.format(last=last))
    live = start("-v")
    # A deadline for every tenth start: a thousand take as long as they take.
    for event, run in (*(("service_started", run) for run in range(1, last, 10)), ("service_ready", last)):
        live.until(lambda: _reached(live, event, run) == SERVICES, f"{event} of run {run}")  # noqa: B023 - called at once
    return live


def _reached(live: Live, event: str, run: int) -> int:
    """How many services have come so far."""
    return len([one for one in live.seen(event) if one["run"] == run])


@pytest.mark.long
def test_a_thousand_restarts_leave_nothing_open(project: Path, start: Start) -> None:
    live = restarted(project, start, 4)
    # A probe that runs just now holds some: the least of many looks is what there is at rest.
    rest = min(holds(live) for _ in range(50))
    few_kib = memory_kib(live.supervisor())
    assert live.stop() == 130
    live = restarted(project, start, 200)
    assert len(live.seen("service_started")) == 1000
    live.until(lambda: holds(live) <= rest, f"the descriptors and children that there were after 20 starts: {rest}")
    assert len(list(Path(f"/proc/{live.supervisor()}/task").iterdir())) <= MOST_THREADS
    assert memory_kib(live.supervisor()) < few_kib + 8 * 1024


# --- descriptors -----------------------------------------------------------------------------------------------------

# Enough for procwatch and some services.
FEW = 100
GUESTS = 40
CROWD = """
[build.app]
run = "cat src/a >> built"
watch = ["src"]
[service.host]
run = "exec sleep 1000"
needs = ["build.app"]
"""
# Stays until somebody opens the door, and then ends well.
GUEST = """
[service.guest{number}]
run = ": < door"
restart = {{ policy = "on-failure", min_delay = "100ms", max_delay = "100ms" }}
needs = ["service.host"]
"""
TOO_MANY = "too many open files: raise the limit (ulimit -n) or run less at once"


def test_without_a_free_descriptor_what_runs_goes_on_and_all_comes_right_later(project: Path, start: Start) -> None:
    write(project / "src/a", "1")
    os.mkfifo(project / "door")
    write(project / "watch.toml", CROWD + "".join(GUEST.format(number=number) for number in range(GUESTS)))
    live = start("-v", under=f"ulimit -n {FEW}")
    host = live.wait("service_ready", "service.host")["pid"]
    assert live.wait("service_crashed")["reason"] == TOO_MANY
    write(project / "src/a", "2")
    assert live.wait("build_failed")["reason"] == TOO_MANY
    door = os.open(project / "door", os.O_RDWR)
    try:
        for number in range(GUESTS):
            live.wait("service_stopped", f"service.guest{number}")
    finally:
        os.close(door)
    assert not live.seen("service_crashed", "service.host")
    assert not live.seen("service_stopped", "service.host")
    assert alive(host)
    write(project / "src/a", "3")
    live.wait("service_ready", "service.host", times=2)
    assert (project / "built").read_text().endswith("3")
    assert live.stop() == 130


# --- processes -------------------------------------------------------------------------------------------------------

PAIR = """
[build.app]
run = "cat src/a >> built"
watch = ["src"]
[service.host]
run = "exec sleep 1000"
needs = ["build.app"]
[service.other]
run = "exec sleep 1000"
restart = { min_delay = "50ms", max_delay = "50ms" }
ready = { run = "true", interval = "10ms" }
"""
NO_MORE = "no more processes are allowed: raise the limit (ulimit -u) or run less at once"


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that can limit the number of processes (root has no other limit); else the test is skipped."""
    base = Path("/sys/fs/cgroup")
    place = (base / "pids" if (base / "pids").is_dir() else base) / f"procwatch-test-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here ({error.strerror}); test_spawn_refusals.py has the words")
    if not (place / "pids.max").exists():
        place.rmdir()
        pytest.skip("this machine's control groups do not count processes; test_spawn_refusals.py has the words")
    yield place
    place.rmdir()


def test_without_a_free_process_what_runs_goes_on_and_all_comes_right_later(
    project: Path, group: Path, start: Start
) -> None:
    write(project / "src/a", "1")
    write(project / "watch.toml", PAIR)
    live = start("-v", under=f"echo $$ > {group}/cgroup.procs")
    host = live.wait("service_ready", "service.host")["pid"]
    other = live.wait("service_ready", "service.other")["pid"]
    live.until(lambda: not probes(live, {host, other}), "the end of the last probe")
    (group / "pids.max").write_text((group / "pids.current").read_text())
    write(project / "src/a", "2")
    assert live.wait("build_failed")["reason"] == NO_MORE
    (group / "pids.max").write_text("1")  # less than there are: nothing that ends makes room
    os.kill(other, signal.SIGKILL)
    assert live.wait("service_crashed", "service.other", times=2)["reason"] == NO_MORE
    assert alive(host)
    (group / "pids.max").write_text("max")
    live.wait("service_ready", "service.other", times=2)
    write(project / "src/a", "3")
    live.wait("service_ready", "service.host", times=2)
    assert (project / "built").read_text() == "13"
    assert live.stop() == 130
    live.until(lambda: not (group / "cgroup.procs").read_text(), "an empty group")


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_a_start_for_which_there_are_too_few_processes_says_so(
    project: Path, group: Path, start: Start, limit: int
) -> None:
    write(project / "watch.toml", PAIR)
    (group / "pids.max").write_text(str(limit))
    live = start(under=f"echo $$ > {group}/cgroup.procs")
    assert live.ended() == 1
    assert re.search(r"no more threads|cannot start a process|can't start new thread", live.stderr())
    assert "Traceback" not in live.stderr()
    assert "internal error" not in live.stderr()


def probes(live: Live, services: set[int]) -> set[int]:
    """The children of the supervisor that are no services."""
    supervisor = live.supervisor()
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return {int(pid) for pid in children} - services


# --- many services ---------------------------------------------------------------------------------------------------

MANY = 1000


@pytest.mark.long
def test_a_thousand_services_start_and_stop_with_the_descriptors_that_a_shell_gives(
    project: Path, start: Start
) -> None:
    """macOS gives 256, Linux 1,024: procwatch takes more for itself, and hands on what it was given."""
    service = '[service.s{}]\nrun = ["sh", "-c", "ulimit -Sn; exec sleep 1000"]\n'
    write(project / "watch.toml", "".join(service.format(number) for number in range(MANY)))
    live = start(under="ulimit -Sn 256")
    for count in range(100, MANY + 1, 100):
        live.wait("service_ready", times=count)
    logs = [project / f".procwatch/logs/service.s{number}.log" for number in range(MANY)]
    live.until(lambda: all(log.exists() and log.stat().st_size for log in logs), "a line in each log")
    assert {log.read_text().split()[-1] for log in logs} == {"256"}
    live.process.send_signal(signal.SIGTERM)
    for count in range(100, MANY + 1, 100):
        live.wait("service_stopped", times=count)
    assert live.ended() == 143
    assert not live.seen("service_crashed")


# --- time ------------------------------------------------------------------------------------------------------------

# Puts the clock of whoever imports it ahead by as many seconds as stand in a file; timers have a clock of their own.
CLOCK = """
import os, time
real, real_ns = time.time, time.time_ns
def ahead():
    try:
        return int(open(os.environ["AHEAD"]).read())
    except (OSError, ValueError):
        return 0
time.time = lambda: real() + ahead()
time.time_ns = lambda: real_ns() + ahead() * 10**9
"""
TIMED = """
[build.app]
run = "cat src/a >> built; sed -n 2p src/a | sh"
watch = ["src"]
timeout = "1h"
[service.host]
run = "while :; do echo tick; sleep 0.05; done"
needs = ["build.app"]
restart = { min_delay = "50ms" }
health = { run = "true", interval = "50ms", failures = 1 }
log = { max_size = "4KiB" }
"""


@pytest.mark.parametrize("jump_s", [400 * 86400, -400 * 86400])
def test_a_clock_that_jumps_stops_and_repeats_nothing(project: Path, start: Start, jump_s: int) -> None:
    write(project.parent / "clock/sitecustomize.py", CLOCK)
    ahead, begun = project.parent / "ahead", project.parent / "begun"
    write(project / "src/a", "1\n")
    write(project / "watch.toml", TIMED)
    live = start("-v", env={"PYTHONPATH": str(project.parent / "clock"), "AHEAD": str(ahead)})
    host = live.wait("service_ready", "service.host")["pid"]
    write(ahead, str(jump_s))
    # While its build runs the clock goes back to the truth, which is another jump.
    write(project / "src/a", f"2\n[ -e {begun} ] || {{ : > {begun}; read line < {project.parent}/go; }}")
    os.mkfifo(project.parent / "go")
    wait_for_file(begun, live.process)
    ahead.unlink()
    write(project.parent / "go", "\n")
    second = live.wait("service_ready", "service.host", times=2)["pid"]
    assert second != host
    for number, at_s in enumerate((0, 4 * 10**9)):  # files of 1970 and of 2096
        path = write(project / "src/b", str(number))
        os.utime(path, (at_s, at_s))
        live.wait("build_succeeded", times=3 + number)
        live.wait("service_ready", "service.host", times=3 + number)
    write(ahead, str(jump_s))
    last = live.wait("service_ready", "service.host", times=4)["pid"]
    os.kill(last, signal.SIGKILL)
    live.wait("service_ready", "service.host", times=5)
    assert len(live.seen("service_crashed")) == 1
    assert not live.seen("build_failed")
    assert (project / ".procwatch/logs/service.host.log").exists()
    assert live.stop() == 130


# What each waits for comes long after its deadline, while procwatch is stopped.
STOPPED = """
[build.slow]
run = "sh wait.sh"
timeout = "1s"
watch = ["src"]
[service.slow]
run = "sh wait.sh; exec sleep 1000"
ready = { log = "^done$", deadline = "1s" }
[service.well]
run = "exec sleep 1000"
health = { run = "sh wait.sh", interval = "10ms", timeout = "1s", failures = 1 }
[service.crashing]
run = "[ -e again ] && exec sleep 1000; touch again; sh wait.sh; exit 1"
restart = { min_delay = "10ms" }
"""
WAIT = ': > "$0.$PROCWATCH_NAME.begun"; : < door; echo done; : > "$0.$PROCWATCH_NAME.done"'
WAITING = ("build.slow", "service.slow", "service.well", "service.crashing")


def test_who_waits_for_procwatch_while_it_is_stopped_has_no_harm_of_it(project: Path, start: Start) -> None:
    os.mkfifo(project / "door")
    write(project / "wait.sh", WAIT)
    write(project / "watch.toml", STOPPED)
    write(project / "src/a", "1")
    live = start("-v")
    for name in WAITING:
        wait_for_file(project / f"wait.sh.{name}.begun", live.process)
    supervisor = live.supervisor()
    os.kill(supervisor, signal.SIGSTOP)
    subprocess.run(["sleep", "2.5"], check=True)  # the deadlines are over, and more than what a loaded machine explains
    door = os.open(project / "door", os.O_RDWR)
    try:
        for name in WAITING:
            wait_for_file(project / f"wait.sh.{name}.done", live.process)
        os.kill(supervisor, signal.SIGCONT)
        live.wait("service_ready", "service.slow")
        live.wait("service_crashed", "service.crashing")
        live.wait("service_ready", "service.crashing")
        live.wait("build_succeeded")
        write(project / "src/a", "2")
        live.wait("build_succeeded", times=2)
    finally:
        os.close(door)
    assert not live.seen("not_ready")
    assert not live.seen("build_failed")
    assert [one["name"] for one in live.seen("service_crashed")] == ["service.crashing"]
    assert live.stop() == 130
