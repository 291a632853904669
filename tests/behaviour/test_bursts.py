"""Many files that change together: how often they are built, and what each build saw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import Event, Live, clean_environment, write
from tests.rig.needs import need_linux

# Each run notes its number and how many files of each version it saw.
COUNT = "find src -name '*.txt' -exec cat {} + | sort | uniq -c | tr -s ' \\n' ' '"
RUN = f"{COUNT} | sed s/^/$PROCWATCH_RUN/ >> saw; echo >> saw"

# Writes so many files slowly; the pause is too long for it to be taken for one save, and too short for a person.
SLOWLY = """
import pathlib, sys, time
for number in range(int(sys.argv[2])):
    pathlib.Path(sys.argv[1], f"made{number}.txt").write_text("new\\n")
    time.sleep(0.005)
"""

# Writes one file for ever.
ALWAYS = """
import pathlib, sys, time, itertools
for number in itertools.count():
    pathlib.Path(sys.argv[1]).write_text(f"{number}\\n")
    time.sleep(0.02)
"""


@pytest.fixture(params=["inotify", "watchfiles", "poll"])
def watch(request: pytest.FixtureRequest) -> str:
    """The settings of each engine."""
    if request.param == "inotify":
        need_linux()
    return f'[watch]\nengine = "{request.param}"\n' + ("poll = 0.1\n" if request.param == "poll" else "")


def begin(project: Path, start: Start, watch: str, files: int) -> Live:
    write(project / "watch.toml", f'{watch}[build.app]\nrun = """{RUN}"""\nwatch = ["src"]\n')
    fill(project, files, "old")
    live = start()
    live.wait("build_succeeded")
    return live


def fill(project: Path, files: int, version: str) -> None:
    for number in range(files):
        write(project / f"src/folder{number // 20}/{number}.txt", f"{version}\n")


def saw(project: Path, run: int) -> list[str]:
    """The files that a run saw: count, version, count, version."""
    lines = [line.split() for line in (project / "saw").read_text().splitlines() if line]
    return next(words[1:] for words in lines if words[0] == str(run))


def git(project: Path, *args: str) -> None:
    who = [word for key in ("user.name", "user.email") for word in ("-c", f"{key}=tests")]
    env = {**clean_environment(), "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *who, *args], cwd=project, check=True, env=env, capture_output=True)


def write_by(script: str, *args: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, args)])


def test_a_checkout_of_two_thousand_files_is_built_once_or_twice_and_never_used_half(
    project: Path, start: Start, watch: str
) -> None:
    write(project / ".gitignore", "saw\n.procwatch/\n")
    fill(project, 2000, "new")
    git(project, "init", "-q", "-b", "new")
    git(project, "add", "src")
    git(project, "commit", "-q", "-m", "new")
    git(project, "checkout", "-q", "-b", "old")
    fill(project, 2000, "old")
    git(project, "commit", "-q", "-a", "-m", "old")
    live = begin(project, start, watch, 2000)
    for version in ("new", "old"):
        check_out(live, project, version)


def check_out(live: Live, project: Path, version: str) -> None:
    mark = live.mark()
    git(project, "checkout", "-q", version)
    last = live.until(lambda: used_with(live, project, mark, ["2000", version]), f"a build of all that is {version}")
    assert live.seen("build_succeeded", after=mark) == [last], "what was only half there is not used"
    assert len(live.seen("build_started", after=mark)) <= 2


def used_with(live: Live, project: Path, mark: int, files: list[str]) -> object:
    """The build that has seen just these files, and counts."""
    used = live.seen("build_succeeded", after=mark)
    return next((one for one in used if saw(project, one["run"]) == files), None)


def test_what_is_written_slowly_is_not_built_file_by_file(project: Path, start: Start, watch: str) -> None:
    live = begin(project, start, watch, 1)
    mark = live.mark()
    write_by(SLOWLY, project / "src", 500).wait()
    live.until(lambda: used_with(live, project, mark, ["500", "new", "1", "old"]), "a build of all")
    assert len(live.seen("build_started", after=mark)) < 20, "two, unless the writer was kept from writing for a while"


@pytest.mark.long
def test_a_path_that_changes_all_the_time_is_named_and_holds_up_nobody(project: Path, start: Start) -> None:
    noisy = '[build.noisy]\nrun = "true"\nwatch = ["noise"]\n'
    # Without that, a batch would be held open for longer than a test waits.
    watch = '[watch]\nquiet = "1s"\nmax_wait = "2m"\n'
    write(project / "watch.toml", f'{watch}{noisy}[build.app]\nrun = "true"\nwatch = ["src"]\n')
    live = start()
    live.wait("build_succeeded", times=2)
    writing = write_by(ALWAYS, project / "noise")
    try:
        live.until(lambda: (project / "noise").exists(), "the noise")
        # As many as come in 4 s, when it holds up nobody any more; and in 11 s, when the user is told of it.
        for number in (200, 550):
            live.until(lambda: int((project / "noise").read_text() or 0) > number, "noise for some time")  # noqa: B023
            save_amid_noise(live, project, number)
        told = live.wait("always_changing")
        assert (told["paths"], told["names"]) == (["noise"], ["build.noisy"])
        ignored = (project / "watch.toml").read_text().replace("[build.noisy]", '[build.noisy]\nignore = ["./noise"]')
        write(project / "watch.toml", ignored)
        live.wait("config_reloaded")
        save_amid_noise(live, project, 1)
        assert save_amid_noise(live, project, 2)["paths"] == ["src/a"], "the remedy helps"
        assert len(live.seen("always_changing")) == 1
    finally:
        writing.kill()
        writing.wait()


def save_amid_noise(live: Live, project: Path, number: int) -> Event:
    """Save what the other build watches: its batch."""
    mark = live.mark()
    write(project / "src/a", f"{number}\n")
    live.wait("build_started", "build.app", after=mark)
    return next(event for event in live.seen("files_changed", after=mark) if "src/a" in event["paths"])
