"""What a build has made is kept, whole, and services run from there: real builds, crashes, kills, full disks."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.core.messages import Succeeded
from procwatch.core.model import Build, Release
from procwatch.runtime.releases import ReleaseStore
from tests.behaviour.conftest import Start
from tests.rig.live import Live, clean_environment, write

# What a service runs: it notes which version it is, says so, and stays.
PROGRAM = '#!/bin/sh\necho "VERSION $0" >> "$PROCWATCH_PROJECT/started"\necho up\nexec sleep 1000\n'
TOML = """
[build.app]
run = "test \\"$(cat version)\\" != broken || exit 2; mkdir -p out; sed s/VERSION/$(cat version)/ program > out/app; chmod +x out/app"
watch = ["version"]
outputs = ["out"]

[service.web]
run = ["${PROCWATCH_RELEASE}/out/app"]
needs = ["build.app"]
ready = { log = "up" }
"""  # noqa: E501


def write_project(project: Path, toml: str = TOML) -> None:
    write(project / "program", PROGRAM)
    write(project / "version", "one\n")
    write(project / "watch.toml", toml)


def running(project: Path, start: Start, toml: str = TOML) -> Live:
    """Started, built, ready."""
    write_project(project, toml)
    live = start()
    live.wait("service_ready", "service.web")
    return live


def started(project: Path) -> list[str]:
    """Version and release of each instance."""
    lines = (project / "started").read_text().splitlines()
    return [line.replace(f"{project}/.procwatch/releases/", "").removesuffix("/out/app") for line in lines]


def numbers(project: Path, build: str = "app") -> list[int]:
    """The releases that there are, and nothing else."""
    found = {entry.name for entry in (project / ".procwatch/releases" / build).iterdir()} - {"current"}
    kept = sorted(int(name) for name in found if name.isdecimal())
    assert found == {name for number in kept for name in (str(number), f"{number}.json")}
    return kept


def current(project: Path, build: str = "app") -> str:
    return str((project / ".procwatch/releases" / build / "current").readlink())


def test_each_success_is_a_release_and_the_service_is_started_from_it(project: Path, start: Start) -> None:
    live = running(project, start)
    write(project / "version", "two\n")
    live.wait("service_switched", "service.web")
    assert started(project) == ["one app/1", "two app/2"]
    assert numbers(project) == [1, 2]
    assert current(project) == "2"
    environment = Path(f"/proc/{live.seen('service_ready')[-1]['pid']}/environ").read_bytes().split(b"\0")
    folder = str(project / ".procwatch/releases/app/2").encode()
    assert {b"PROCWATCH_RELEASE=" + folder, b"PROCWATCH_RELEASE_APP=" + folder} <= set(environment)


def test_the_same_outputs_are_no_new_release_and_move_nothing(project: Path, start: Start) -> None:
    live = running(project, start, TOML.replace('["version"]', '["version", "other"]'))
    write(project / "other", "new\n")
    same = live.wait("build_succeeded", "build.app", times=2)
    assert same["effect"] == "service.web stays on run 1 (the same content)"
    assert numbers(project) == [1]
    live.stop()
    assert started(project) == ["one app/1"]


def test_a_crash_during_a_long_build_starts_the_same_release_at_once(project: Path, start: Start) -> None:
    slow = TOML.replace(
        "mkdir -p out;", "rm -rf out; mkdir -p out; test ! -e slow || { mkfifo -m 600 gate; cat gate; };"
    )
    live = running(project, start, slow)
    write(project / "slow", "")
    write(project / "version", "two\n")
    live.until(lambda: (project / "gate").exists(), "the build is in the middle of writing its outputs")
    os.kill(live.seen("service_ready")[-1]["pid"], signal.SIGKILL)
    live.wait("service_ready", times=2)
    assert not live.seen("build_succeeded", after=live.events.index(live.seen("service_crashed")[-1]))
    assert started(project) == ["one app/1", "one app/1"]
    (project / "gate").write_text("go on\n")
    live.wait("service_switched")
    assert started(project)[2:] == ["two app/2"]


def test_a_missing_output_is_a_failure_that_names_it(project: Path, start: Start) -> None:
    write_project(project, TOML.replace('["out"]', '["out", "dist/*.js"]'))
    live = start()
    failed = live.wait("build_failed")
    assert (failed["exit_code"], failed["reason"]) == (1, 'outputs cannot be kept: "dist/*.js" is missing')
    write(project / "dist/a.js", "")
    write(project / "version", "one\n")
    live.wait("service_ready")
    assert numbers(project) == [1]


def test_what_a_build_makes_never_makes_it_stale_but_what_needs_it(project: Path, start: Start) -> None:
    write(project / ".gitignore", "gen\n")
    write(project / "source", "1\n")
    toml = '[build.gen]\nrun = "mkdir -p gen; cp source gen/code"\nwatch = ["source", "gen/**"]\noutputs = ["gen"]\n'
    toml += '[build.app]\nrun = "cat gen/code >> seen"\nneeds = ["gen"]\n'
    write(project / "watch.toml", toml)
    live = start()
    live.wait("build_succeeded", "build.app")
    write(project / "source", "2\n")
    live.wait("build_succeeded", "build.app", times=2)
    write(project / "gen/code", "by hand\n")
    live.wait("build_succeeded", "build.app", times=3)
    live.stop()
    assert (project / "seen").read_text() == "1\n2\nby hand\n"
    assert len(live.seen("build_started", "build.gen")) == 2


def test_numbers_go_on_after_a_restart_and_only_so_many_are_kept(project: Path, start: Start) -> None:
    toml = TOML.replace('outputs = ["out"]', 'outputs = ["out"]\nkeep = 2')
    live = running(project, start, toml)
    write(project / "version", "two\n")
    live.wait("service_switched")
    live.stop()
    live = start()
    live.wait("service_ready")
    assert numbers(project) == [1, 2], "built again, of the same content"
    for times, version in enumerate(("three", "four"), 1):
        write(project / "version", f"{version}\n")
        live.wait("service_switched", times=times)
    folder = project / ".procwatch/releases/app"
    live.until(lambda: len(list(folder.iterdir())) == 5 and numbers(project) == [3, 4], "3 and 4, and current")
    assert started(project)[-1] == "four app/4"


def test_a_first_start_with_a_broken_source_serves_the_newest_good_release(project: Path, start: Start) -> None:
    running(project, start).stop()
    write(project / "version", "broken\n")
    live = start()
    live.wait("service_ready")
    failed = live.seen("build_failed")[-1]
    assert failed["effect"] == "service.web starts from an earlier release"
    assert started(project) == ["one app/1", "one app/1"]
    write(project / "version", "two\n")
    live.wait("service_switched")
    assert started(project)[-1] == "two app/2"


def test_at_start_changed_builds_again_what_has_been_deleted(project: Path, start: Start) -> None:
    toml = TOML.replace("watch =", 'at_start = "changed"\nwatch =')
    running(project, start, toml).stop()
    live = start()
    live.wait("service_ready")
    assert not live.seen("build_started")
    live.stop()
    for gone in ("out/app", "out", ".procwatch/releases/app/1", ".procwatch/releases"):
        path = project / gone
        path.unlink() if path.is_file() else shutil.rmtree(path)
        live = start()
        live.wait("service_ready")
        assert bool(live.seen("build_started")) == (gone != "out/app"), "a folder is there though a file in it is not"
        live.stop()


@pytest.fixture
def slow_copy(project: Path) -> Iterator[Path]:
    """A file so large that its copy takes a while."""
    path = project / "large"
    with path.open("wb") as file:
        for _ in range(25):
            file.write(os.urandom(8_000_000))
    yield path
    path.unlink()


def test_killed_in_the_middle_of_a_copy_the_next_start_is_clean_and_serves(
    project: Path, start: Start, slow_copy: Path
) -> None:
    live = running(project, start)
    toml = TOML.replace('outputs = ["out"]', f'outputs = ["out", "{slow_copy.name}"]')
    write(project / "watch.toml", toml)
    folder = project / ".procwatch/releases/app"
    live.until(lambda: (folder / "2.new" / slow_copy.name).exists(), "a copy under way")
    os.kill(live.supervisor(), signal.SIGKILL)
    live.ended()
    assert (folder / "2.new").exists()
    write(project / "version", "broken\n")
    live = start()
    live.wait("service_ready")
    live.until(lambda: numbers(project) == [1] if not list(folder.glob("*.new")) else False, "nothing half done")
    assert started(project) == ["one app/1", "one app/1"]


def test_a_change_in_the_middle_of_a_copy_makes_no_release_of_what_is_outdated(
    project: Path, start: Start, slow_copy: Path
) -> None:
    toml = TOML.replace('outputs = ["out"]', f'outputs = ["out", "{slow_copy.name}"]')
    write_project(project, toml)
    live = start()
    folder = project / ".procwatch/releases/app"
    live.until(lambda: (folder / "1.new" / slow_copy.name).exists(), "a copy under way")
    write(project / "version", "two\n")
    live.wait("build_cancelled")
    live.wait("service_ready")
    live.stop()
    assert [line.split()[0] for line in started(project)] == ["two"]
    assert len(numbers(project)) == 1


@pytest.fixture
def small_disk(project: Path) -> Iterator[Path]:
    """The project's releases on a file system of 2 MiB."""
    folder = project / ".procwatch/releases"
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.usefixtures("small_disk")
def test_on_a_full_disk_the_build_fails_and_says_so_and_all_stays(project: Path, start: Start) -> None:
    live = running(project, start)
    pid = live.seen("service_ready")[-1]["pid"]
    write(project / "program", PROGRAM + "#" * 3_000_000)
    write(project / "version", "two\n")
    failed = live.wait("build_failed")
    assert failed["reason"] == "outputs cannot be kept: no space left on device (out/app)"
    assert failed["effect"] == "service.web stays on run 1"
    assert numbers(project) == [1]
    os.kill(pid, 0)
    write(project / "program", PROGRAM)
    write(project / "version", "three\n")
    live.wait("service_switched")
    assert started(project) == ["one app/1", "three app/2"]


def test_a_file_that_is_larger_than_allowed_is_a_failed_build(project: Path, start: Start) -> None:
    """The limit is on the size of any file that procwatch itself writes: 1 MiB."""
    write_project(project)
    write(project / "program", PROGRAM + "#" * 3_000_000)
    big = TOML.replace('run = "test', 'run = "ulimit -f unlimited; test')
    write(project / "watch.toml", big)
    live = start(under="ulimit -S -f 2048")
    assert live.wait("build_failed")["reason"] == "outputs cannot be kept: file too large (out/app)"
    assert numbers(project) == []


def test_a_damaged_or_missing_list_of_a_release_counts_as_no_release(project: Path, start: Start) -> None:
    running(project, start).stop()
    folder = project / ".procwatch/releases/app"
    for content in (b"{", b"[]", json.dumps({"version": 1, "digests": 3}).encode()):
        (folder / f"{max(numbers(project))}.json").write_bytes(content)
        live = start()
        live.wait("service_ready")
        assert live.seen("build_started")
        live.stop()
    assert started(project)[-1] == "one app/4"


def test_at_start_never_keeps_what_is_there(project: Path, start: Start) -> None:
    write_project(project, TOML.replace("watch =", 'at_start = "never"\nwatch ='))
    write(project / "out/app", PROGRAM.replace("VERSION", "made-elsewhere")).chmod(0o755)
    live = start()
    live.wait("service_ready")
    assert started(project) == ["made-elsewhere app/1"]
    write(project / "version", "two\n")
    live.wait("service_switched")
    assert started(project)[1:] == ["two app/2"]


def test_a_need_that_uses_some_outputs_is_not_moved_by_the_others(project: Path, start: Start) -> None:
    toml = TOML.replace("chmod +x", "cp notes out/notes; chmod +x").replace('["version"]', '["version", "notes"]')
    toml = toml.replace('["out"]', '["out/app", "out/notes"]')
    toml = toml.replace('needs = ["build.app"]', 'needs = [{ name = "app", uses = ["out/app"] }]')
    write(project / "notes", "1\n")
    live = running(project, start, toml)
    write(project / "notes", "2\n")
    live.wait("build_succeeded", "build.app", times=2)
    write(project / "version", "two\n")
    live.wait("service_switched")
    live.stop()
    assert started(project) == ["one app/1", "two app/3"]


def test_hooks_and_probes_of_a_service_are_told_its_release(project: Path, start: Start) -> None:
    toml = TOML.replace('log = "up"', 'run = "echo ready $PROCWATCH_RELEASE >> told"')
    toml += "".join(
        f'hooks.{hook} = "echo {hook} $PROCWATCH_RELEASE >> told"\n'
        for hook in ("pre_start", "post_start", "post_stop")
    )
    live = running(project, start, toml)
    write(project / "version", "two\n")
    live.wait("service_switched")
    live.stop()
    lines = (project / "told").read_text().splitlines()
    told = [(line.split()[0], line.rpartition("/")[2]) for line in lines]
    assert set(told[:3]) == {("pre_start", "1"), ("ready", "1"), ("post_start", "1")}
    assert told[3:5] == [("pre_start", "2"), ("post_stop", "1")]
    assert set(told[5:]) == {("ready", "2"), ("post_start", "2"), ("post_stop", "2")}


def test_an_included_file_finds_its_outputs_as_from_its_own_folder(project: Path, start: Start) -> None:
    write_project(project / "parts/shop")
    write(project / "watch.toml", '[project]\ninclude = ["parts/*/watch.toml"]\n')
    write(project / "started", "")
    live = start()
    live.wait("service_ready", "service.shop.web")
    assert numbers(project, "shop.app") == [1]
    assert (project / ".procwatch/releases/shop.app/1/parts/shop/out/app").exists()
    environ = Path(f"/proc/{live.seen('service_ready')[-1]['pid']}/environ")
    environment = live.until(environ.read_bytes, "its environment")  # there is none for a moment at each exec
    assert f"PROCWATCH_RELEASE_SHOP_APP={project}/.procwatch/releases/shop.app/1/parts/shop\0".encode() in environment


# --- going back ------------------------------------------------------------------------------------------------------


def ask(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command on this project."""
    return subprocess.run(
        [sys.executable, "-m", "procwatch", *words],
        cwd=project, env=clean_environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_rollback_holds_through_crashes_restarts_and_a_new_procwatch_until_a_build_succeeds(
    project: Path, start: Start
) -> None:
    live = running(project, start, TOML.replace("watch =", 'at_start = "changed"\nwatch ='))
    write(project / "version", "two\n")
    live.wait("service_switched")
    done = ask(project, "rollback", "web")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("service.web went back: ready (run 3, process ")
    told = live.wait("rolled_back", "service.web")
    assert told["effect"] == "it goes on with release 1 of build.app until one of its builds succeeds"
    (unit,) = json.loads(ask(project, "status", "web", "--json").stdout)["units"][-1:]
    assert (unit["outdated"], unit["reason"]) == (True, "went back to release 1 of build.app")
    assert unit["releases"] == {"build.app": 1}
    assert ask(project, "wait", "web").returncode == 1
    os.kill(live.seen("service_ready")[-1]["pid"], signal.SIGKILL)
    live.wait("service_ready", times=4)
    assert ask(project, "restart", "web").returncode == 0
    os.kill(live.supervisor(), signal.SIGKILL)
    live.ended()
    live = start()
    live.wait("service_ready")
    assert [line.split()[1] for line in started(project)] == ["app/1", "app/2", "app/1", "app/1", "app/1", "app/1"]
    write(project / "version", "three\n")
    live.wait("service_switched")
    assert started(project)[-1] == "three app/3"
    assert current(project) == "3"


def test_rollback_says_what_cannot_be(project: Path, start: Start) -> None:
    toml = TOML + '[service.plain]\nrun = "exec sleep 1000"\n'
    running(project, start, toml)
    for words, code, said in (
        (("web",), 1, "service.web cannot go back: it has run from no other releases that are still there"),
        (("web", "--to", "7"), 2, "service.web cannot go back: build.app has no release 7; there are: 1"),
        (("plain",), 1, 'none of the builds that it needs has "outputs", so there are no releases'),
        (("build.app",), 2, "build.app is a build; only a service can go back"),
        (("nobody",), 2, '"nobody"'),
    ):
        done = ask(project, "rollback", *words)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert said in done.stderr


def test_rollback_to_a_number(project: Path, start: Start) -> None:
    live = running(project, start)
    for times, version in enumerate(("two", "three"), 1):
        write(project / "version", f"{version}\n")
        live.wait("service_switched", times=times)
    assert ask(project, "rollback", "web", "--to", "1").returncode == 0
    assert ask(project, "rollback", "web", "--to", "2").returncode == 0
    assert [line.split()[0] for line in started(project)] == ["one", "two", "three", "one", "two"]


def test_a_release_that_never_becomes_ready_goes_back_by_itself(project: Path, start: Start) -> None:
    probe = "grep -qv bad $PROCWATCH_RELEASE/out/version && grep -q $PROCWATCH_RELEASE/ started"
    toml = TOML.replace('log = "up"', f'run = "{probe}", deadline = "3s"')
    live = running(project, start, toml.replace("chmod", "cp version out/version; chmod"))
    write(project / "version", "bad\n")
    live.wait("not_ready", "service.web")
    told = live.wait("rolled_back", "service.web")
    assert told["reason"] == "release 2 of build.app did not become ready"
    live.wait("service_ready", times=2)
    assert [line.split()[1] for line in started(project)] == ["app/1", "app/2", "app/1"]
    write(project / "version", "good\n")
    live.wait("service_ready", times=3)
    assert started(project)[-1] == "good app/3"
    assert len(live.seen("rolled_back")) == 1


def test_a_release_that_ends_at_once_goes_back_by_itself(project: Path, start: Start) -> None:
    live = running(project, start)
    write(project / "program", "#!/bin/sh\nexit 3\n")
    write(project / "version", "two\n")
    live.wait("rolled_back")
    live.wait("service_ready", times=2)
    assert live.seen("service_crashed")[0]["exit_code"] == 3
    assert started(project) == ["one app/1", "one app/1"]


# --- the store itself ------------------------------------------------------------------------------------------------


def test_all_of_a_release_is_on_the_disk_before_it_has_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out/deep/app", "app")
    happened: list[str] = []
    to_disk, rename = os.fsync, Path.rename

    def name(path: Path) -> str:
        return "/".join(path.relative_to(tmp_path / ".procwatch").parts[1:]) or "releases"

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path != tmp_path / ".procwatch":
            happened.append(f"sync {name(path)}")
        to_disk(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        happened.append(f"rename {name(path)} {target.name}")
        return rename(path, target)

    async def make() -> Release | None:
        store = ReleaseStore(tmp_path, tmp_path / ".procwatch", lambda line: None)
        outcome = await store.make(Build("build.app", run="true", outputs=("out",)))
        assert isinstance(outcome, Succeeded)
        store.take("build.app", 1)
        return outcome.release

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    assert asyncio.run(make()) == Release(1, _digests(tmp_path))
    assert happened == [
        "sync releases", "sync app/1.new/out/deep/app", "sync app/1.new/out/deep", "sync app/1.new/out",
        "sync app/1.new", "sync app/1.json.new", "rename app/1.json.new 1.json", "rename app/1.new 1", "sync app",
        "rename app/current.new current",
    ]  # fmt: skip


def _digests(folder: Path) -> dict[str, str]:
    """What was written of the first release."""
    digests: dict[str, str] = json.loads((folder / ".procwatch/releases/app/1.json").read_text())["digests"]
    return digests


def test_what_a_run_leaves_running_is_ended_if_its_outputs_cannot_be_kept(project: Path, start: Start) -> None:
    toml = '[build.app]\nrun = "sleep 1000 & echo $! > pid"\noutputs = ["out"]\nwatch = ["version"]\n'
    write(project / "watch.toml", toml)
    write(project / "version", "")
    live = start()
    live.wait("build_failed")
    assert not Path(f"/proc/{(project / 'pid').read_text().strip()}").exists()


def test_with_overlap_the_old_instance_serves_on_from_its_own_release(project: Path, start: Start) -> None:
    toml = TOML.replace('outputs = ["out"]', 'outputs = ["out"]\nkeep = 1')
    toml += 'switch = "overlap"\nverify = "echo $PROCWATCH_RELEASE >> verified; test ! -e refuse"\n'
    live = running(project, start, toml)
    write(project / "refuse", "")
    write(project / "version", "two\n")
    refused = live.wait("verify_failed", "service.web")
    assert refused["effect"] == "service.web stays on run 1"
    live.until(lambda: numbers(project) == [1, 2], "the release that serves is not removed")
    (project / "refuse").unlink()
    write(project / "version", "three\n")
    live.wait("service_switched")
    live.stop()
    assert started(project) == ["one app/1", "two app/2", "three app/3"]
    assert [line.rpartition("/")[2] for line in (project / "verified").read_text().split()] == ["1", "2", "3"]
    assert not live.seen("rolled_back")


def test_with_replace_a_release_that_is_not_verified_goes_back(project: Path, start: Start) -> None:
    live = running(project, start, TOML + 'verify = "! grep -q two $PROCWATCH_RELEASE/out/app"\n')
    write(project / "version", "two\n")
    told = live.wait("rolled_back", "service.web")
    assert told["reason"] == "release 2 of build.app was not verified"
    live.wait("service_ready", times=3)
    assert started(project) == ["one app/1", "two app/2", "one app/1"]
