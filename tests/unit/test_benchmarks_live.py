"""The benchmarks with real processes: marks through the FIFO, sessions and their ends, small runs from end to end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import servers, tree
from benchmarks.beacon import Ear, make_beacon
from benchmarks.ends import run_all
from benchmarks.peers import PEERS, Peer, Plan
from benchmarks.session import Session, Surroundings, call, environment, running
from benchmarks.settings import QUICK, Bench

from tests.rig.live import before_the_next_look

# For what a loaded machine may need; nothing waits so long that works.
DEADLINE_S = 30.0
# For a whole run of the benchmarks, of which this is many times the usual length.
RUN_S = 60.0


def sh(command: str) -> bytes:
    """What a shell command prints, in a bounded time."""
    return subprocess.run(
        ("sh", "-c", command), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=DEADLINE_S
    ).stdout


def until(found: Callable[[], bool], what: str) -> None:
    """Look until it is so."""
    end_s = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < end_s, f"{what} did not come"
        before_the_next_look()


@pytest.mark.parametrize("compiler", [True, False])
def test_a_beacon_tells_when_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: bool) -> None:
    if not compiler:
        monkeypatch.setattr(shutil, "which", lambda _name: None)
    beacon = make_beacon(tmp_path)
    with Ear(beacon.fifo) as ear:
        before_ns = beacon.clock()
        printed = sh(beacon.lines("talk", 3, 5))
        (mark,) = ear.wait("talk", DEADLINE_S)
        assert before_ns <= mark.at_ns <= beacon.clock()
        assert ear.wait("talk", 0.0) == ()
    assert printed == b"".join(b"L%011d %s\n" % (number, b"x" * 50) for number in range(5, 8))


def test_marks_of_others_are_kept_until_they_are_asked_for(tmp_path: Path) -> None:
    beacon = make_beacon(tmp_path)
    with Ear(beacon.fifo) as ear:
        for tag in ("one", "two", "two"):
            sh(beacon.stamp(tag))
        assert len(ear.wait("two", DEADLINE_S)) == 1
        assert ear.drop("two") == 1
        assert [mark.tag for mark in ear.wait("one", 0.0)] == ["one"]


def test_marks_of_others_without_end_do_not_lengthen_the_wait(tmp_path: Path) -> None:
    beacon = make_beacon(tmp_path)
    flood = f"exec yes 'other 1 1' > {beacon.fifo}"
    with Ear(beacon.fifo) as ear, subprocess.Popen(("sh", "-c", flood), stdin=subprocess.DEVNULL) as process:
        try:
            assert ear.wait("other", DEADLINE_S)
            assert ear.wait("one", 0.0) == ()
            ear.drop("other")  # ends, too
        finally:
            process.kill()


def session_of(script: str, tmp_path: Path) -> Session:
    """Run a script until it has told "up", end it, and give the session."""
    beacon = make_beacon(tmp_path)
    plan = Plan(("sh", "-c", script.format(stay=beacon.stay("up"))))
    (folder := tmp_path / "folder").mkdir()
    with Ear(beacon.fifo) as ear, running(plan, folder, Surroundings(beacon.clock, tmp_path / "cache")) as session:
        (mark,) = ear.wait("up", DEADLINE_S)
        assert mark.pid in session.processes()
        assert mark.at_ns > session.began_ns
    return session


@pytest.mark.parametrize("script", ["exec {stay}", "{stay} & wait", "setsid {stay} & exit 0"])
def test_nothing_of_a_session_is_left_at_its_end(tmp_path: Path, script: str) -> None:
    session = session_of(script, tmp_path)
    assert session.process.returncode is not None
    assert session.processes() == ()


def test_the_daemon_of_pm2_keeps_to_the_sessions_folder_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beacon, folder = make_beacon(tmp_path), tmp_path / "folder"
    for name, does in {
        "cargo-watch": """while [ $# -gt 0 ]; do
                              [ "$1" != -s ] || sh -c "$2" || exit 1
                              shift
                          done
                          exec sleep 1000""",
        "pm2": f'echo "$PM2_HOME" > home; setsid {beacon.stay("daemon")} &',
    }.items():
        (tool := tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (peer,) = (one for one in PEERS if one.name == "cargo-watch+pm2")
    assert peer.watch is not None
    folder.mkdir()
    around = Surroundings(beacon.clock, tmp_path / "cache")
    with Ear(beacon.fifo) as ear, running(peer.watch("true", "unused"), folder, around) as session:
        (mark,) = ear.wait("daemon", DEADLINE_S)
        assert mark.pid in session.processes()
    assert session.processes() == ()
    assert (folder / "home").read_text() == f"{folder}/.pm2\n"


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """As in a shell's background job."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_tool_hears_ctrl_c_also_below_a_program_that_ignores_it(tmp_path: Path) -> None:
    with interrupts_ignored():
        session = session_of("exec {stay}", tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert session.process.returncode == -signal.SIGINT


def test_a_version_is_not_waited_for_beyond_the_end_of_the_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "frob"
    tool.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/group\nsleep 1000 &\necho frob 1.2.3\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    began_s = time.monotonic()
    assert Peer("frob").version() == "1.2.3"
    assert time.monotonic() - began_s < DEADLINE_S
    group = int((tmp_path / "group").read_text())
    until(lambda: not lives(group), "the end of the tool's child")


def lives(group: int) -> bool:
    """Whether any process of a group lives; a zombie that nobody has waited for does not."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, of_group, *_ = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(of_group) == group and state not in "ZX":
                return True
    return False


@contextmanager
def benchmarks(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m benchmarks`, which works and prints in `folder`; however a test ends, nothing of it is left."""
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(
            (sys.executable, "-m", "benchmarks", "--quick", *words), cwd=Path(__file__).parents[2],
            env=environment({"TMPDIR": str(folder)}), stdin=subprocess.DEVNULL, stdout=printed, stderr=printed,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()  # it ends its tools
        try:
            process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(DEADLINE_S)


def test_a_quick_run_gives_a_value_for_each_save(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    words = ("--saves", "1", "--only", "saves", "--tools", "procwatch", "--json", str(target))
    with benchmarks(tmp_path, *words) as process:
        assert process.wait(RUN_S) == 0, (tmp_path / "printed").read_text()
    data = json.loads(target.read_text())
    assert data["tools"].keys() == {"procwatch"}
    assert {"processors", "kernel", "python"} <= data["machine"].keys()
    (subject,) = data["subjects"]
    (row,) = subject["rows"]
    ((built_ms,), (served_ms,)) = (row["values"][column] for column in subject["columns"])
    assert 0 < built_ms < served_ms
    assert "### saves" in (tmp_path / "printed").read_text()


def test_a_quick_run_asks_while_builds_run(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    words = ("--calls", "2", "--only", "control", "--tools", "procwatch", "--json", str(target))
    with benchmarks(tmp_path, *words) as process:
        assert process.wait(RUN_S) == 0, (tmp_path / "printed").read_text()
    (subject,) = json.loads(target.read_text())["subjects"]
    rows = {row["tool"]: row for row in subject["rows"]}
    assert [len(rows["procwatch"]["values"][column]) for column in subject["columns"]] == [2] * 5
    assert [len(rows["python -c pass"]["values"][column]) for column in subject["columns"]] == [2] * 5
    assert len(rows["procwatch, over one connection"]["values"]["status, ms"]) == 2
    assert "without an answer" not in rows["procwatch"]["note"]


def test_a_quick_run_switches_and_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    words = ("--switches", "1", "--only", "switching", "--tools", "procwatch", "--json", str(target))
    with benchmarks(tmp_path, *words) as process:
        assert process.wait(RUN_S) == 0, (tmp_path / "printed").read_text()
    (subject,) = json.loads(target.read_text())["subjects"]
    (row,) = subject["rows"]
    assert row["note"] == ""
    assert [row["values"][column] for column in subject["columns"][:2]] == [[0.0], [0.0]]


@pytest.mark.long
def test_real_servers_are_switched_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "SERVERS", [one for one in servers.SERVERS if one.needs == "uvicorn"])
    bench = Bench(replace(QUICK, restarts=2), (), make_beacon(tmp_path), tmp_path)
    result = servers.measure(bench)
    assert [row.tool for row in result.rows] == ["uvicorn, listen", "uvicorn, proxy"]
    for row in result.rows:
        assert row.note == ""
        assert row.values.keys() == set(result.columns)
        assert row.values[servers.LOST_FRESH] == row.values[servers.LOST_KEPT] == (0.0,)
        assert len(row.values[servers.SWITCH]) == 2
    assert result.rows[1].values[servers.CLOSED] == (0.0,)
    assert at_work(tmp_path) == []


def test_a_server_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name, path=None: None)
    bench = Bench(QUICK, (), make_beacon(tmp_path), tmp_path)
    notes = [row.note for row in servers.measure(bench).rows]
    assert notes == [f"no {name} here" for name in ("uvicorn", "go", "node", "cargo") for _ in range(2)]


def test_a_server_that_does_not_build_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (uvicorn,) = (one for one in servers.SERVERS if one.needs == "uvicorn")
    monkeypatch.setattr(servers, "SERVERS", [replace(uvicorn, build="gone")])
    bench = Bench(QUICK, (), make_beacon(tmp_path), tmp_path)
    notes = [row.note for row in servers.measure(bench).rows]
    assert all("gone" in note for note in notes), notes


def test_a_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    around = Surroundings(time.monotonic_ns, tmp_path / "cache")
    assert call(("sleep", "1000"), tmp_path, around, {}, limit_s=0.01).status == -signal.SIGKILL
    assert call(("sh", "-c", "echo $MORE; exit 3"), tmp_path, around, {"MORE": "more"}).status == 3
    assert (tmp_path / "answer").read_text() == "more\n"


def test_a_quick_run_asks_servers_directly_and_through_the_proxy(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    with benchmarks(tmp_path, "--only", "proxy", "--tools", "procwatch", "--json", str(target)) as process:
        assert process.wait(RUN_S) == 0, (tmp_path / "printed").read_text()
    (subject,) = json.loads(target.read_text())["subjects"]
    assert [row["tool"] for row in subject["rows"]] == ["direct", "procwatch"]
    for row in subject["rows"]:
        assert row["values"].keys() == set(subject["columns"])
        assert all(value > 0 for found in row["values"].values() for value in found)


@pytest.mark.long
def test_a_tree_is_measured_ignored_or_not_and_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_SAVES", 2)
    monkeypatch.setattr(tree, "_QUICK_SETTLE_S", 0.02)
    (peer,) = (one for one in PEERS if one.name == "procwatch")
    settings = replace(QUICK, files=(40, 80), writes=20, idle_s=0.1)
    result = tree.measure(Bench(settings, (peer,), make_beacon(tmp_path), tmp_path))
    rows = {row.tool: row for row in result.rows}
    trees = ("no files", "80 files, 90 % ignored", "40 files, 0 % ignored", "80 files, 0 % ignored")
    assert [*rows] == [
        *(f"procwatch, {name}{again}" for name in trees for again in ("", ", again")),
        "procwatch, 1,000,000 files (estimate)",
    ]
    for name in trees:
        assert rows[f"procwatch, {name}"].note == ""
        assert rows[f"procwatch, {name}, again"].values.keys() == set(result.columns)
    assert rows["procwatch, 1,000,000 files (estimate)"].note == "by the slope from 40 to 80"


@pytest.mark.parametrize(("tool", "left"), [("procwatch", 0), ("honcho", 4)])
def test_what_a_killed_tool_leaves_is_counted(tmp_path: Path, tool: str, left: int) -> None:
    (peer,) = (one for one in PEERS if one.name == tool)
    bench = Bench(replace(QUICK, ends=2), (peer,), make_beacon(tmp_path), tmp_path)
    with Ear(bench.beacon.fifo) as ear:
        found, note = run_all(peer, signal.SIGKILL, bench.place("ends"), bench, ear)
    assert [kinds.total() for kinds in found] == [left, left]
    assert note == ("all kinds" if left else "")


def test_a_run_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    with benchmarks(tmp_path, "--only", "idle", "--tools", "procwatch") as process:
        until(lambda: bool(at_work(tmp_path)), "the start of the tool")
        process.terminate()
        assert process.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert at_work(tmp_path) == []
    assert list(tmp_path.glob("bench-*")) == []


def at_work(folder: Path) -> list[str]:
    """The processes that work in a folder of the benchmarks."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(folder):
                found.append(entry.name)
    return found
