"""The samples that need Python alone: started, changed, broken and repaired as a reader does it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import left_over, write
from tests.rig.sample import Beside, becomes, copy, edit, serves, started


def environment(pid: int) -> dict[str, str]:
    """What a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_02_python_serves_on_while_the_application_cannot_be_imported(project: Path, start: Start) -> None:
    port = copy("02-python", project)
    live = start()
    first = becomes(live, port, "service.web", "Hello, world")

    mark = live.mark()
    edit(project / "app/greeting.py", "Hello", "Good morning")
    second = becomes(live, port, "service.web", "Good morning, world", after=mark)
    assert second.pid != first.pid

    mark = live.mark()
    edit(project / "app/greeting.py", '{name}"', "{name}")
    failed = live.wait("build_failed", "build.check", after=mark)
    assert "SyntaxError" in "".join(failed["output"])
    assert serves(live, port, "Good morning, world") == second

    edit(project / "app/greeting.py", "{name}", '{name}"')
    live.wait("build_succeeded", "build.check", after=mark)
    assert serves(live, port, "Good morning, world") == second

    # Had the last good content restarted it, the next start would not be the first since then.
    edit(project / "app/greeting.py", "Good morning", "Good evening")
    becomes(live, port, "service.web", "Good evening, world", after=mark)
    assert started(live, mark) == ["service.web"]
    assert live.stop() == 130


def test_04_procfile_starts_each_with_its_port_after_the_release(project: Path, start: Start) -> None:
    port = copy("04-procfile", project)
    live = start()
    live.wait("service_ready", "service.web")
    live.wait("service_ready", "service.worker")
    assert serves(live, port, "Hello from .env").pid == live.seen("service_ready", "service.web")[0]["pid"]
    worker = environment(live.seen("service_ready", "service.worker")[0]["pid"])
    assert (worker["PORT"], worker["GREETING"]) == (str(port + 100), "Hello from .env")
    kinds = [event["event"] for event in live.events]
    assert kinds.index("build_succeeded") < kinds.index("service_started")


def test_04_procfile_keeps_its_processes_while_the_release_fails(project: Path, start: Start) -> None:
    port = copy("04-procfile", project)
    live = start()
    live.wait("service_ready", "service.worker")
    serves(live, port, "Hello from .env")

    mark = live.mark()
    edit(project / ".env", "Hello from .env", "Good morning")
    for name in ("service.web", "service.worker"):
        live.wait("service_ready", name, after=mark)
    second = serves(live, port, "Good morning")
    worker = live.seen("service_ready", "service.worker", after=mark)[0]["pid"]
    assert environment(worker)["GREETING"] == "Good morning"

    mark = live.mark()
    edit(project / ".env", '"Good morning"', "")
    failed = live.wait("build_failed", "build.release", after=mark)
    assert "GREETING is not set" in "".join(failed["output"])
    assert serves(live, port, "Good morning") == second

    edit(project / ".env", "GREETING=", 'GREETING="Good morning"')
    live.wait("build_succeeded", "build.release", after=mark)
    assert serves(live, port, "Good morning") == second

    # Had the last good content restarted them, the next start would not be the first since then.
    edit(project / ".env", "Good morning", "Good evening")
    for name in ("service.web", "service.worker"):
        live.wait("service_ready", name, after=mark)
    serves(live, port, "Good evening")
    assert started(live, mark) == ["service.web", "service.worker"]
    assert live.stop() == 130


def test_04_procfile_runs_as_many_of_a_process_as_asked_for(project: Path, start: Start) -> None:
    port = copy("04-procfile", project)
    live = start("-c", "web=2", json_events=False)
    for number in (port, port + 1):
        live.shows(f"listening on 127.0.0.1:{number}")
    one, two = (serves(live, number, "Hello from .env") for number in (port, port + 1))
    live.shows(f"line 1 of the worker with port {port + 100}")
    assert one.pid != two.pid
    assert [environment(pid)["PROCWATCH_NAME"] for pid in (one.pid, two.pid)] == ["service.web.1", "service.web.2"]


def test_05_hooks_a_failing_test_keeps_the_old_version_and_every_hook_tells(
    project: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A reader's pytest has few plugins; ours has some that take a second to load.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    port = copy("05-hooks", project)
    log = project / "hooks.log"
    live = start()

    def noted(hook: str, times: int) -> None:
        """Wait for the line of a hook that runs beside what comes next, so that the order of lines is known."""
        live.until(lambda: log.read_text().count(f"{hook} ") == times, f"{hook} in hooks.log ({times} times)")

    becomes(live, port, "service.shop", "tea and cake: 8")
    noted("post_start", 1)

    mark = live.mark()
    edit(project / "shop.py", '"cake": 5', '"cake": 6')
    second = becomes(live, port, "service.shop", "tea and cake: 9", after=mark)
    noted("post_start", 2)

    mark = live.mark()
    edit(project / "shop.py", '"tea": 3', '"tea": 0')
    failed = live.wait("build_failed", "build.check", after=mark)
    noted("build_failed", 1)
    assert "test_nothing_is_free" in "".join(failed["output"])
    assert serves(live, port, "tea and cake: 9") == second

    edit(project / "shop.py", '"tea": 0', '"tea": 4')
    third = becomes(live, port, "service.shop", "tea and cake: 10", after=mark)
    assert started(live, mark) == ["service.shop"]
    noted("post_start", 3)

    mark = live.mark()
    os.kill(third.pid, signal.SIGKILL)
    fourth = becomes(live, port, "service.shop", "tea and cake: 10", after=mark)
    noted("post_start", 4)
    noted("crashed", 1)
    assert len({second.pid, third.pid, fourth.pid}) == 3
    assert live.stop() == 130

    lines = log.read_text().splitlines()
    good = ["pre_build build.check", "post_build build.check exit 0"]
    failing = ["pre_build build.check", "build_failed build.check exit 1"]
    assert [line for line in lines if "build.check" in line] == [*good, *good, *failing, *good]
    of_shop = [line for line in lines if "service.shop" in line]
    first = ["pre_start service.shop", "post_start service.shop"]
    stop = ["pre_stop service.shop", "post_stop service.shop exit 143"]
    restart = ["pre_start service.shop", *stop, "post_start service.shop"]
    assert of_shop[:10] == [*first, *restart, *restart]
    # `crashed` runs beside the new start.
    assert sorted(of_shop[10:13]) == [
        "crashed service.shop exit 137",
        "post_start service.shop",
        "pre_start service.shop",
    ]
    assert of_shop[13:] == stop


@pytest.fixture
def outside(project: Path) -> Iterator[Beside]:
    """The other watcher of 06-trigger-file; it has built once, and takes in changes from now on."""
    copy("06-trigger-file", project)
    watcher = Beside(["watchfiles", "sh build-and-touch.sh", "src"], project)
    watcher.shows("built out/page.py")
    yield watcher
    watcher.stop()


def test_06_trigger_file_restarts_when_the_other_watcher_has_built(
    project: Path, outside: Beside, start: Start
) -> None:
    port = int((project / "watch.toml").read_text().partition("\nport = ")[2].split()[0])
    live = start()
    first = becomes(live, port, "service.web", "Hello, world")
    live.until(outside.watches_files, "the other watcher's inotify")

    mark = live.mark()
    edit(project / "src/page.py", "Hello", "Good morning")
    second = becomes(live, port, "service.web", "Good morning, world", after=mark)
    assert second.pid != first.pid

    mark = live.mark()
    edit(project / "src/page.py", 'world"', "world")
    outside.shows("SyntaxError")
    assert serves(live, port, "Good morning, world") == second

    edit(project / "src/page.py", "Good morning, world", 'Good evening, world"')
    third = becomes(live, port, "service.web", "Good evening, world", after=mark)
    assert third.pid != second.pid
    assert started(live, mark) == ["service.web"]

    mark = live.mark()
    (project / "out/built").touch()
    fourth = becomes(live, port, "service.web", "Good evening, world", after=mark)
    assert fourth.pid != third.pid
    assert live.stop() == 130
    assert not left_over(project)


def test_07_monorepo_restarts_whom_a_change_concerns_and_takes_in_new_folders(project: Path, start: Start) -> None:
    port = copy("07-monorepo", project)
    live = start()
    first = becomes(live, port, "service.shop.web", "Hello from shop")
    live.wait("service_ready", "service.mail.web")
    log = project / ".procwatch/logs/service.mail.web.log"
    live.until(lambda: log.exists() and "mail of the monorepo" in log.read_text(), "what the main file changes")

    mark = live.mark()
    edit(project / "libs/greeting/text.txt", "Hello", "Good morning")
    second = becomes(live, port, "service.shop.web", "Good morning from shop", after=mark)
    assert second.pid != first.pid
    assert started(live, mark) == ["service.shop.web"]

    mark = live.mark()
    edit(project / "services/mail/templates/welcome.txt", "customer", "friend")
    live.wait("service_switched", "service.mail.web", after=mark)
    assert serves(live, port, "Good morning from shop") == second

    write(project / "services/chat/watch.toml", '[service.web]\nrun = "exec sleep 1000"\nneeds = ["greeting"]\n')
    live.wait("service_ready", "service.chat.web")
    edit(project / "services/shop/watch.toml", "needs =", "neds =")
    reason = live.wait("config_rejected")["reason"]
    assert reason.startswith(
        'services/shop/watch.toml:9:1: service "shop.web": unknown key "neds"; did you mean "needs"?'
    )
    edit(project / "services/shop/watch.toml", "neds =", "needs =")
    (project / "services/chat/watch.toml").unlink()
    live.wait("service_stopped", "service.chat.web")
    assert serves(live, port, "Good morning from shop") == second
    assert live.stop() == 130
