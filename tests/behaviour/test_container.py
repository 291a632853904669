"""procwatch as process 1 of a container: here of a process-id namespace, with its own mounts where that is tested."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig.live import DEADLINE_S, before_the_next_look, clean_environment, left_over, supervisor_of, write
from tests.rig.needs import need_linux

TOML = """
[service.db]
run = "trap 'echo db >> ends; exit' TERM; touch db-up; while :; do sleep 0.02; done"
[service.api]
run = "trap 'echo api >> ends; exit' TERM; touch api-up; while :; do sleep 0.02; done"
needs = ["service.db"]
"""
# What `docker exec` does: a process that comes from outside and leaves an orphan to process 1.
VISIT = "(sleep 0.05 & echo visited >> visits) &"


class Container:
    """`before` is a shell command that is run inside first; `pid` is the id of its process 1 as seen from here."""

    def __init__(self, folder: Path, *args: str, before: str = "true") -> None:
        inside = f'{before}; exec "$@"'
        command = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "sh", "-c", inside, "sh"]
        self.errors = folder.parent / "errors"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, sys.executable, "-m", "procwatch", "start", *args], cwd=folder, env=clean_environment(),
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        (pid,) = children(self.process.pid)
        return pid

    def ended(self) -> int:
        """The exit status of process 1, as unshare passes it on."""
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end\n{self.errors.read_text()}") from None

    def until(self, found: Callable[[], object], what: str) -> None:
        end_s = time.monotonic() + DEADLINE_S
        while not found():
            assert time.monotonic() < end_s, f"{what} did not come\n{self.errors.read_text()}"
            assert self.process.poll() is None, f"it has ended\n{self.errors.read_text()}"
            before_the_next_look()


Begin = Callable[..., Container]


@pytest.fixture
def container(project: Path) -> Iterator[Begin]:
    need_linux()
    probe = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "true"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("a process-id namespace takes root, or a container that allows it")
    write(project / "watch.toml", TOML)
    begun: list[Container] = []

    def begin(*args: str, before: str = "true") -> Container:
        begun.append(Container(project, *args, before=before))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            for pid in children(one.process.pid):
                os.kill(pid, signal.SIGKILL)
            one.process.wait(DEADLINE_S)
    assert not left_over(project)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def up(container: Container, project: Path) -> None:
    container.until((project / "api-up").exists, "service.api")


def test_the_first_sigterm_stops_in_order(project: Path, container: Begin) -> None:
    one = container()
    up(one, project)
    os.kill(one.pid, signal.SIGTERM)
    assert one.ended() == 143
    assert (project / "ends").read_text() == "api\ndb\n"


def test_the_second_signal_kills_at_once(project: Path, container: Begin) -> None:
    write(project / "watch.toml", TOML.replace("exit' TERM", "' TERM").replace("echo db >> ends; ", ""))
    one = container()
    up(one, project)
    os.kill(one.pid, signal.SIGTERM)
    one.until((project / "ends").exists, "the signal for service.api")
    since_s = time.monotonic()
    one.until(lambda: time.monotonic() > since_s + 0.3, "the moment after")
    os.kill(one.pid, signal.SIGTERM)
    assert one.ended() == 143


def test_orphans_of_others_are_reaped(project: Path, container: Begin) -> None:
    one = container()
    up(one, project)
    for _ in range(3):
        visit = ["nsenter", "--target", str(one.pid), "--pid", "--mount", f"--wd={project}", "sh", "-c", VISIT]
        subprocess.run(visit, check=True, timeout=DEADLINE_S)
    one.until(lambda: (project / "visits").read_text().count("visited") == 3, "the visits")
    one.until(lambda: len(children(one.pid)) == 1, "the end of all orphans")
    supervisor = supervisor_of(one.pid)
    os.kill(one.pid, signal.SIGTERM)
    one.until(lambda: not Path(f"/proc/{supervisor}").exists() or one.process.poll() is None, "the end")
    assert one.ended() == 143


def test_orphans_of_services_are_reaped(project: Path, container: Begin) -> None:
    write(project / "watch.toml", '[service.a]\nrun = "(sleep 0.01 & sleep 0.02 &); touch api-up; exec sleep 1000"\n')
    one = container()
    up(one, project)
    supervisor = supervisor_of(one.pid)
    one.until(lambda: len(children(supervisor)) == 1, "the end of all orphans")


@pytest.mark.parametrize(("run", "code"), [("true", 0), ("exit 3", 1)])
def test_the_exit_status_is_that_of_the_work(project: Path, container: Begin, run: str, code: int) -> None:
    write(project / "watch.toml", f'[build.a]\nrun = "{run}"\n')
    assert container("--no-watch").ended() == code


def test_a_supervisor_that_is_killed_ends_the_container(project: Path, container: Begin) -> None:
    one = container()
    up(one, project)
    os.kill(supervisor_of(one.pid), signal.SIGKILL)
    assert one.ended() == 137
    assert "procwatch was killed by SIGKILL" in one.errors.read_text()


READ_ONLY = "mount --make-rprivate /; mount --bind {0} {0}; mount -o remount,bind,ro {0}"


def test_it_runs_where_nothing_can_be_written(tmp_path: Path, project: Path, container: Begin) -> None:
    """The project, and /tmp too: no logs, no socket, no lock; the services run, and all of that is told."""
    write(project / "watch.toml", '[service.a]\nrun = "echo hello from a; exec sleep 1000"\n')
    one = container(before=f"{READ_ONLY.format(project)}; {READ_ONLY.format('/tmp')}")
    one.until(lambda: "service.a started" in one.errors.read_text(), "the service")
    told = one.errors.read_text()
    assert "hello from a" in told
    assert "cannot be written" in told
    assert "Traceback" not in told
    assert "internal error" not in told
    os.kill(one.pid, signal.SIGTERM)
    assert one.ended() == 143


def test_a_root_that_cannot_be_written_is_no_obstacle_where_the_project_can(project: Path, container: Begin) -> None:
    before = f"mount --make-rprivate /; mount --bind {project} {project}; mount -o remount,bind,ro /"
    one = container(before=before)
    up(one, project)
    assert (project / ".procwatch/control.sock").is_socket()
    os.kill(one.pid, signal.SIGTERM)
    assert one.ended() == 143
