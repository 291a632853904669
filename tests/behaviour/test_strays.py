"""What a procwatch has left whose two processes were killed at once is ended by the next start, and nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procwatch.runtime import census, journal
from tests.behaviour.conftest import Start
from tests.behaviour.test_guardian import PROCESSES, ends, pids, running
from tests.rig.live import Live, clean_environment, write
from tests.rig.needs import need_linux
from tests.rig.obey import alive

pytestmark = pytest.mark.usefixtures("linux")

SLEEPER = '[service.web]\nrun = "exec sleep 1000"\n'
READY = "service.web started (ready"


@pytest.fixture
def linux() -> None:
    need_linux()


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user that no procwatch has started."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True, env=clean_environment())
    yield process
    process.kill()
    process.wait()


def kill_both(live: Live) -> None:
    """Guardian and supervisor, with nothing in between: the first is stopped, so that it cannot notice."""
    supervisor = live.supervisor()
    os.kill(live.process.pid, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(live.process.pid, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    assert live.ended() == 137


def journal_of(project: Path) -> Path:
    return project / ".procwatch/processes.jsonl"


def written(process: census.Member, **changes: Any) -> str:
    """A journal of a supervisor that has ended, with this process as its only leader."""
    own = {
        "supervisor": [process.pid, process.started - 1], "token": "t", "forks": journal.forks(),
        "boot": journal._boot(), "space": journal._space(),
    }  # fmt: skip
    leader = {"leader": [process.pid, process.started], "name": "service.old", "mark": "t-1", "pipe": 1}
    return "".join(json.dumps(entry) + "\n" for entry in (own | changes, leader))


def member(pid: int) -> census.Member:
    seen = census.look_up(pid)
    assert seen is not None
    return seen


@pytest.mark.parametrize("_time", range(3))
def test_all_that_both_have_left_is_ended_and_new_ones_serve(project: Path, start: Start, _time: int) -> None:
    """Plain, stubborn, in a session of its own, double-forked, without an environment, left by a build."""
    kill_both(running(project, start))
    old = pids(project)
    assert all(alive(pid) for pid in old)
    (project / "pids").unlink()
    again = start(json_events=False)
    again.shows("that an earlier procwatch had left")
    again.until(lambda: len(pids(project)) == PROCESSES, "the new ones")
    assert not [pid for pid in old if alive(pid)]
    assert all(alive(pid) for pid in pids(project))
    assert again.stop(signal.SIGQUIT) == 131
    assert not [pid for pid in pids(project) if alive(pid)]


def test_the_line_tells_what_was_ended_and_an_orderly_end_leaves_nothing_to_tell(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[service.web]\nrun = "echo $$ > pids; exec sleep 1000"\n')
    live = start()
    live.wait("service_ready", "service.web")
    kill_both(live)
    (old,) = pids(project)
    live = start(json_events=False)
    live.shows(f"ended 1 process (service.web ({old})) that an earlier procwatch had left")
    live.shows(READY)
    assert live.stop() == 130
    assert not journal_of(project).exists()
    live = start(json_events=False)
    live.shows(READY)
    assert "earlier procwatch" not in live.text()


def test_what_was_started_before_it_could_be_written_down_is_found_by_its_mark(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[service.web]\nrun = "echo $$ > pids; exec sleep 1000"\n')
    live = start()
    live.wait("service_ready", "service.web")
    kill_both(live)
    first, *_ = journal_of(project).read_text().splitlines(keepends=True)
    journal_of(project).write_text(first)
    (old,) = pids(project)
    start(json_events=False).shows(f"ended 1 process (unknown ({old}))")
    assert not alive(old)


@pytest.mark.parametrize(
    "changes",
    [{}, {"boot": "another"}, {"space": 1}, {"boot": ""}],
    ids=["recycled", "other boot", "other namespace", "unknown boot"],
)
def test_an_id_that_means_another_process_is_left_alone(
    project: Path, start: Start, innocent: subprocess.Popen[bytes], changes: dict[str, Any]
) -> None:
    """In the first case only the start time differs, in each of the others only what is named."""
    write(project / "watch.toml", SLEEPER)
    about = member(innocent.pid)
    if not changes:
        about = census.Member(about.pid, about.started - 1)
    write(journal_of(project), written(about, **changes))
    live = start(json_events=False)
    live.shows(READY)
    assert "earlier procwatch" not in live.text()
    assert innocent.poll() is None


def test_nothing_is_ended_while_the_supervisor_that_wrote_the_journal_lives(
    project: Path, start: Start, innocent: subprocess.Popen[bytes]
) -> None:
    """On a file system without locks two can run."""
    write(project / "watch.toml", SLEEPER)
    own = member(os.getpid())
    write(journal_of(project), written(member(innocent.pid), supervisor=[own.pid, own.started]))
    live = start(json_events=False)
    live.shows(READY)
    assert innocent.poll() is None


@pytest.mark.parametrize("forks", [-1, None], ids=["not known", "none since"])
def test_a_session_without_its_leader_counts_only_if_no_id_can_have_come_round(
    project: Path, start: Start, forks: int | None
) -> None:
    write(project / "watch.toml", SLEEPER)
    leader = subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo $! > pids"], cwd=project, env=clean_environment(), start_new_session=True
    )
    about = zombie(leader)
    (left,) = pids(project)
    write(journal_of(project), written(about, **({} if forks is None else {"forks": forks})))
    live = start(json_events=False)
    live.shows(READY)
    assert (f"ended 1 process (service.old ({left}))" in live.text()) is (forks is None)
    assert alive(left) is (forks is not None)
    if alive(left):
        os.kill(left, signal.SIGKILL)


def zombie(process: subprocess.Popen[bytes]) -> census.Member:
    """What a process was that has ended, and that is waited for only then."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    about = member(process.pid)
    process.wait()
    return about


def test_a_procwatch_that_runs_inside_what_was_left_does_not_end_itself(project: Path, start: Start) -> None:
    """As from a terminal multiplexer that a service has started."""
    write(
        project / "inside",
        f"[ -e pids ] && exit; echo $$ > pids; read go < go; exec {sys.executable} -m procwatch start --no-watch",
    )
    write(project / "watch.toml", """
        [service.shell]
        run = "exec sh inside"
        [service.other]
        run = "echo $$ >> others; exec sleep 1000"
    """)  # fmt: skip
    os.mkfifo(project / "go")
    live = start()
    live.wait("service_ready", "service.shell")
    live.wait("service_ready", "service.other")
    kill_both(live)
    (shell,) = pids(project)
    (other,) = (int(line) for line in (project / "others").read_text().split())
    write(project / "go", "now\n")
    ends(lambda: not alive(other))
    assert alive(shell)
    ends(lambda: len((project / "others").read_text().split()) == 2)
    os.kill(shell, signal.SIGINT)
    ends(lambda: not alive(shell))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\n\x00", b"[" * 9999, b'{"supervisor": [1', b"\n" * 99])
def test_a_broken_journal_is_passed_over(project: Path, start: Start, content: bytes) -> None:
    write(project / "watch.toml", SLEEPER)
    write(journal_of(project), content)
    live = start(json_events=False)
    live.shows(READY)
    assert "earlier procwatch" not in live.text()


def test_a_journal_that_cannot_be_written_is_told_and_the_project_runs(project: Path, start: Start) -> None:
    write(project / "watch.toml", SLEEPER)
    (project / ".procwatch/processes.new").mkdir(parents=True)
    live = start(json_events=False)
    live.shows("what runs could not be found after a kill of procwatch")
    live.shows(READY)


def test_a_long_journal_is_written_anew_with_what_may_be_there(tmp_path: Path) -> None:
    path = tmp_path / "processes.jsonl"
    told: list[str] = []
    kept = journal.Journal(path, told.append)
    kept.begin()
    lasting = journal.Leader("service.web", member(os.getpid()), f"{kept.token}-0", 7)
    kept.add([lasting])
    for number in range(1, 5000):
        mark = f"{kept.token}-{number}"
        kept.add([journal.Leader("build.api", census.Member(2 + number, 5), mark, 8)])
        kept.forget([mark])
    assert len(path.read_text().splitlines()) < 1100
    found = journal.read(path)
    assert found is not None
    assert lasting in found.leaders
    assert (found.process, found.token) == (member(os.getpid()), kept.token)
    kept.close(left=False)
    assert (list(tmp_path.iterdir()), told) == ([], [])
