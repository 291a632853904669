"""`isolation = "pidns"`: the kernel ends all that procwatch has started, whoever is killed; all else is as without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.runtime import census
from tests.behaviour.conftest import Start
from tests.behaviour.test_guardian import NOTE, PROCESSES, TOML, ends, in_terminal, pids
from tests.rig.live import DEADLINE_S, Live, clean_environment, is_gone_after_another, left_over, write
from tests.rig.needs import need_namespaces

pytestmark = pytest.mark.usefixtures("namespaces")
PIDNS = '[project]\nisolation = "pidns"\n'
PROCWATCH = (sys.executable, "-m", "procwatch", "start")


@pytest.fixture
def namespaces() -> None:
    need_namespaces()


@pytest.fixture(autouse=True)
def nothing_is_left(project: Path) -> Iterator[None]:
    yield
    ends(lambda: not left_over(project))


def front_to_supervisor(live: Live) -> list[int]:
    """The guardian, the one that stays outside, and the supervisor, which is the first process inside."""
    line = [live.process.pid]
    while len(line) < 3:
        below = census.descendants(line[0])
        line += [one.pid for one in below if one.parent == line[-1]][:1]
    return line


def inside(supervisor: int) -> set[int]:
    """All processes of its namespace, by the ids that they have here."""
    space = space_of(Path(f"/proc/{supervisor}"))
    return {int(entry.name) for entry in Path("/proc").glob("[0-9]*") if space_of(entry) == space}


def space_of(entry: Path) -> int:
    try:
        return (entry / "ns/pid").stat().st_ino
    except OSError:  # it has ended
        return 0


def is_there(pid: int) -> bool:
    seen = census.look_up(pid)
    return seen is not None and not seen.zombie


def running(project: Path, start: Start, more: str = "") -> Live:
    write(project / "watch.toml", PIDNS + more + TOML)
    write(project / "note", NOTE)
    write(project / "src/a", "1")
    live = start()
    live.until(lambda: len(pids(project)) == PROCESSES, "all processes")
    return live


@pytest.mark.parametrize("killed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)], ids=str)
def test_whoever_is_killed_and_if_it_be_all_at_once_nothing_is_left(
    project: Path, start: Start, killed: tuple[int, ...]
) -> None:
    live = running(project, start)
    line = front_to_supervisor(live)
    members = inside(line[-1])
    assert len(members) > PROCESSES
    for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none of them can do anything meanwhile
        for each in killed:
            os.kill(line[each], number)
    assert live.ended() == 137
    ends(lambda: not any(is_there(pid) for pid in members | set(line)))
    if 0 not in killed:
        assert live.stderr() == "procwatch was killed by SIGKILL; what it had started has been ended\n"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
@pytest.mark.parametrize("to", [0, 1, 2])
def test_a_signal_to_any_of_them_ends_all_in_order(
    project: Path, start: Start, number: signal.Signals, code: int, to: int
) -> None:
    write(
        project / "watch.toml",
        PIDNS + '[service.web]\nrun = "exec sleep 1000"\nhooks = { pre_stop = "echo stop >> stops" }\n',
    )
    live = start()
    live.wait("service_ready", "service.web")
    os.kill(front_to_supervisor(live)[to], number)
    assert live.ended() == code
    # As without isolation, SIGQUIT is for the impatient.
    assert (project / "stops").exists() is (number != signal.SIGQUIT)


def test_a_second_ctrl_c_kills_what_takes_its_time(project: Path, start: Start) -> None:
    live = running(project, start, '[defaults.service]\nstop = { grace = "1h" }\n')
    line = front_to_supervisor(live)
    members = inside(line[-1])
    live.process.send_signal(signal.SIGINT)
    live.wait("stopping")
    live.wait("service_stopped", "service.plain")
    live.until(lambda: is_gone_after_another(live), "the end")
    assert live.ended() == 130
    assert not any(is_there(pid) for pid in members)


def test_the_terminals_ctrl_c_is_one_signal_for_all(project: Path) -> None:
    write(
        project / "watch.toml",
        PIDNS + '[service.web]\nrun = "exec sleep 1000"\nhooks = { pre_stop = "echo stop >> stops" }\n',
    )
    process, terminal = in_terminal(project)
    output = b""
    while b"started" not in output:
        output += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    while b"stopping" not in output:
        output += os.read(terminal, 4096)
    os.close(terminal)
    assert process.wait(DEADLINE_S) in {130, -signal.SIGINT}
    assert (project / "stops").read_text() == "stop\n"


def test_ends_are_told_and_trees_are_ended_as_without(project: Path, start: Start) -> None:
    """Exit codes, signals, restarts, and what hides from its service: the census reads the ids that count inside."""
    write(project / "watch.toml", PIDNS + """
        [service.web]
        run = "setsid sh -c 'echo $$ >> hidden; exec sleep 1000' & (setsid sleep 1000 &); exec sleep 1000"
        watch = ["trigger"]
        [service.exits]
        run = "exit 3"
        restart = "never"
        [service.killed]
        run = "kill -ABRT $$"
        restart = "never"
        [build.a]
        run = "test $(ps -o pid= -p 1) = 1 && ls -l /proc/$$/exe"
        watch = ["trigger"]
    """)  # fmt: skip
    write(project / "trigger", "1")
    live = start()
    assert live.wait("service_crashed", "service.exits")["exit_code"] == 3
    assert live.wait("service_crashed", "service.killed")["exit_code"] == 134
    live.wait("build_succeeded", "build.a")
    live.wait("service_ready", "service.web")
    supervisor = front_to_supervisor(live)[-1]
    before = inside(supervisor) - {supervisor}
    assert len(before) == 3
    write(project / "trigger", "2")
    live.wait("service_ready", "service.web", times=2)
    live.wait("build_succeeded", "build.a", times=2)
    ends(lambda: not any(is_there(pid) for pid in before))
    assert live.stop() == 130


def test_a_crash_of_a_service_is_answered_by_a_new_one(project: Path, start: Start) -> None:
    write(project / "watch.toml", PIDNS + '[service.web]\nrun = "exec sleep 1000"\n')
    live = start()
    live.wait("service_ready", "service.web")
    supervisor = front_to_supervisor(live)[-1]
    (first,) = inside(supervisor) - {supervisor}
    os.kill(first, signal.SIGSEGV)
    assert live.wait("service_crashed", "service.web")["exit_code"] == 139
    live.wait("service_ready", "service.web", times=2)
    assert live.stop(signal.SIGTERM) == 143


# Root without the right to make namespaces needs one of users, and so does who is not root at all. Both are played
# inside of another namespace of users, where the files are still one's own.
AS_OTHERS = {
    "root without rights": ("setpriv", "--bounding-set", "-sys_admin"),
    "not root": ("unshare", "--user", f"--map-user={os.getuid() or 4711}", f"--map-group={os.getgid() or 4711}"),
}


@pytest.mark.parametrize("who", AS_OTHERS)
def test_it_needs_no_privileges_where_user_namespaces_are_allowed(project: Path, who: str) -> None:
    if os.getuid() != 0 and who != "not root":
        pytest.skip("only root can give up rights")
    write(project / "secret", "x").chmod(0)
    write(project / "watch.toml", PIDNS + """
        [build.a]
        run = '''
        touch made && id -u > id && stat -c %u made > owner
        grep CapEff /proc/1/status > rights
        test $(ps -o pid= -p 1) = 1'''
        watch = ["src"]
    """)  # fmt: skip
    command = [*AS_OTHERS[who], *PROCWATCH, "--no-watch"]
    done = subprocess.run(
        command, cwd=project, env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "owner").read_text() == (project / "id").read_text()
    assert (project / "made").stat().st_uid == os.getuid()
    if who == "not root":
        assert int((project / "rights").read_text().split()[1], 16) == 0


def test_where_it_is_forbidden_the_line_is_told_and_nothing_is_started(project: Path) -> None:
    write(project / "watch.toml", PIDNS + '[service.web]\nrun = "touch started; exec sleep 1000"\n')
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set -sys_admin "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", *PROCWATCH], cwd=project,
        env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    told, line, squiggle, summary = done.stderr.splitlines()
    assert told.startswith('watch.toml:2:13: project: isolation = "pidns" is not possible here: a namespace of users')
    assert "user.max_user_namespaces is 0, which forbids user namespaces" in told
    assert (line, squiggle) == ('   2 | isolation = "pidns"', "     |             ^^^^^^^")
    assert summary == "1 error; nothing was started"
    assert not (project / "started").exists()
