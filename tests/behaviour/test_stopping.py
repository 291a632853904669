"""How procwatch ends: signals, graces, what is left, and the exit status."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import DEADLINE_S, Live, clean_environment, left_over, write
from tests.rig.obey import alive


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_everything_and_is_the_exit_status(
    project: Path, start: Start, number: signal.Signals, code: int
) -> None:
    write(project / "watch.toml", '[service.web]\nrun = "(setsid sleep 1000 &) ; sleep 1000 & exec sleep 1000"\n')
    live = start()
    pid = live.wait("service_ready")["pid"]
    assert live.stop(number) == code
    assert not alive(pid)


def test_at_the_end_even_what_has_hidden_from_its_tree_is_ended(project: Path, start: Start) -> None:
    """In a session of its own, without parents and without an environment nothing tells where it came from."""
    hide = "(env -i setsid sh -c 'echo $$ > hidden; exec sleep 1000' &)"
    write(project / "watch.toml", f'[service.web]\nrun = "{hide}; exec sleep 1000"\n')
    live = start()
    live.until(lambda: (project / "hidden").exists() and (project / "hidden").read_text(), "the hidden process")
    live.wait("service_ready")
    assert live.stop() == 130
    assert not alive(int((project / "hidden").read_text()))


def end_by_a_second_ctrl_c(live: Live) -> int:
    """Ask again until it is heard: within 0.2 s of the first it is taken for the same one."""

    def heard() -> bool:
        live.process.send_signal(signal.SIGINT)
        return live.process.poll() is not None

    live.until(heard, "the end")
    return live.ended()


def test_a_second_ctrl_c_kills_at_once(project: Path, start: Start) -> None:
    stubborn = 'trap "touch asked" INT TERM; while :; do sleep 1; done'
    write(project / "watch.toml", f"[service.web]\nrun = '{stubborn}'\nstop = {{ grace = '1000s' }}\n")
    live = start()
    live.wait("service_ready")
    live.process.send_signal(signal.SIGINT)
    live.until((project / "asked").exists, "the stop signal")
    assert end_by_a_second_ctrl_c(live) == 130


def test_a_service_that_ignores_its_stop_signal_is_killed_after_its_grace(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.web]
run = 'trap "" TERM; while :; do sleep 1; done'
stop = { grace = "200ms" }
""")  # fmt: skip
    live = start()
    pid = live.wait("service_ready")["pid"]
    assert live.stop(signal.SIGTERM) == 143
    assert live.wait("service_stopped")["exit_code"] == 137
    assert not alive(pid)


def test_a_second_ctrl_c_ends_hooks_too_and_starts_no_more(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.web]
run = "exec sleep 1000"
hooks = { pre_stop = "touch asked; exec sleep 1000", post_stop = "touch after" }
""")  # fmt: skip
    live = start()
    live.wait("service_ready")
    live.process.send_signal(signal.SIGINT)
    live.until((project / "asked").exists, "pre_stop")
    assert end_by_a_second_ctrl_c(live) == 130
    assert not (project / "after").exists()


def test_what_ends_while_everything_stops_is_no_crash(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.db]
run = "while ! test -e asked; do sleep 0.05; done; exit 3"
hooks = { crashed = "touch hook" }
[service.api]
needs = ["service.db"]
run = 'trap "touch asked; until test -e go; do sleep 0.05; done; exit 0" TERM; while :; do sleep 0.05; done'
""")  # fmt: skip
    live = start()
    live.wait("service_ready", "service.api")
    live.process.send_signal(signal.SIGTERM)
    assert live.wait("service_stopped", "service.db")["exit_code"] == 3
    write(project / "go", "")
    assert live.ended() == 143
    assert not live.seen("service_crashed")
    assert not (project / "hook").exists()


def test_what_a_crashed_service_has_left_keeps_its_grace_when_everything_stops(project: Path, start: Start) -> None:
    write(project / "left.py", """
import pathlib, signal, time
def end(*_):
    pathlib.Path("asked").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
    pathlib.Path("done").touch()
    raise SystemExit
signal.signal(signal.SIGTERM, end)
pathlib.Path("up").touch()
time.sleep(1000)
""")  # fmt: skip
    write(project / "watch.toml", """
[service.web]
run = ["sh", "-c", "python left.py & while ! test -e crash; do sleep 0.05; done; exit 3"]
""")  # fmt: skip
    live = start()
    live.wait("service_ready")
    live.until((project / "up").exists, "the child")
    write(project / "crash", "")
    live.until((project / "asked").exists, "its stop signal")
    live.process.send_signal(signal.SIGTERM)
    live.wait("stopping")
    write(project / "go", "")
    assert live.ended() == 143
    assert (project / "done").exists()


def test_nohup_lets_it_outlive_its_terminal(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[service.web]\nrun = "exec sleep 1000"\nwatch = ["trigger"]\n')
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        live = start()
    finally:
        signal.signal(signal.SIGHUP, before)
    live.wait("service_ready")
    live.process.send_signal(signal.SIGHUP)
    write(project / "trigger", "")
    live.wait("service_ready", times=2)
    assert live.stop() == 130


# What breaks, and how: each raises RuntimeError("broken") in another place.
BROKEN = """
import sys, threading
from procwatch.entry import main
from procwatch.core import messages as msg
from procwatch.output.channel import Channel
from procwatch.runtime import engine, instances, watcher
def fail(*_args, **_more):
    raise RuntimeError("broken")
feed, broken = Channel.feed, []
Channel.feed = lambda self, data: fail() if broken else feed(self, data)
def fail_once_ready(call):
    def tell(self, event):
        call(self, event)
        if isinstance(event, msg.InstanceReady):
            BREAK
    return tell
engine.Engine.tell = fail_once_ready(engine.Engine.tell)
sys.argv = ["procwatch", "start"]
main()
"""


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("instances.Instances.stop = fail; self.tell(msg.FilesChanged(('x',), {}, {event.name: ('x',)}))", "internal"),
        ("engine.plan = fail", "internal"),
        ("broken.append(True)", "internal"),
        ("engine.asyncio.get_running_loop().call_soon(fail)", "internal"),
        ("threading.Thread(target=fail).start()", "internal"),
        ("watcher.Watcher._is_locked = fail; open('src', 'w')", "watching has failed"),
    ],
    ids=["effect", "planner", "output", "callback", "thread", "watching"],
)
def test_whatever_fails_is_told_once_and_everything_ends(project: Path, how: str, told: str) -> None:
    write(project / "watch.toml", """
[service.web]
run = "while :; do echo line; sleep 0.05; done"
watch = ["src"]
[service.other]
run = "setsid sleep 1000 & exec sleep 1000"
""")  # fmt: skip
    script = BROKEN.replace("BREAK", how)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project, env=clean_environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count(told) == 1, done.stdout + done.stderr
    assert "broken" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert left_over(project) == {}


def test_a_stop_that_takes_long_names_who_holds_it_up_and_what_comes_next(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.db]
run = 'trap "" INT; while :; do sleep 1; done'
stop = { signal = "SIGINT", grace = "3s" }
""")  # fmt: skip
    live = start(json_events=False)
    live.shows("service.db started")
    live.process.send_signal(signal.SIGTERM)
    live.shows("service.db has not ended 1 s after SIGINT; SIGKILL in 2 s; Ctrl-C again to kill now")
    assert live.ended() == 143
    assert live.text().count("has not ended") == 1


def test_the_stop_signal_is_the_one_that_was_asked_for(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.web]
run = "exec python wait.py"
ready = { log = "^up$" }
stop = { signal = "INT" }
""")  # fmt: skip
    write(project / "wait.py", """
import pathlib, signal, time
signal.signal(signal.SIGINT, lambda *_: (pathlib.Path("got").touch(), exit(0)))
print("up", flush=True)
time.sleep(1000)
""")  # fmt: skip
    live = start()
    live.wait("service_ready")
    live.stop(signal.SIGTERM)
    assert (project / "got").exists()


def test_ctrl_c_does_not_wait_for_a_file_that_takes_long_to_read(project: Path, start: Start) -> None:
    with (project / "large").open("wb") as file:
        file.truncate(1 << 40)  # of holes: to read it takes a quarter of an hour
    write(project / "watch.toml", """
        [build.app]
        run = "true"
        watch = ["large"]

        [service.web]
        run = "exec sleep 1000"
    """)  # fmt: skip
    live = start()
    live.wait("service_ready")
    assert live.stop() == 130
    assert live.seen("build_started") == []


def test_ctrl_c_does_not_wait_for_a_hook_that_only_tells(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[build.app]
run = "exit 1"
watch = ["src"]
hooks = { build_failed = "touch telling; exec sleep 1000" }
""")  # fmt: skip
    live = start()
    live.until((project / "telling").exists, "the hook")
    assert live.stop() == 130
