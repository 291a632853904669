"""`tty = true` and `procwatch attach`: a service on a terminal, and a person who types into it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig import screen
from tests.rig.live import DEADLINE_S, Live, clean_environment, write
from tests.rig.needs import need_commands
from tests.rig.screen import Screen

Person = Callable[..., Screen]
DETACH = "\x1d"
TOML = f"""
[service.web]
run = [{sys.executable!r}, "-u", "app.py"]
tty = true
stop = {{ grace = "1s" }}
"""
# Answers each line; tells its size when it is asked, and when that changes.
APP = r"""
import os, signal, sys, threading
def say(*words):
    os.write(1, b"%s\n" % " ".join(map(str, words)).encode())
def size():
    columns, rows = os.get_terminal_size()
    say(f"size {rows}x{columns}")
def hear():
    while number := signal.sigwait(HEARD):
        size() if number == signal.SIGWINCH else say("interrupted")
# By a thread: a handler would not be called between the look for signals and the wait for a line.
HEARD = {signal.SIGWINCH, signal.SIGINT}
signal.signal(signal.SIGWINCH, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
threading.Thread(target=hear, daemon=True).start()
say("terminal", [os.isatty(n) for n in (0, 1, 2)], os.environ["TERM"])
size()
while True:
    line = input("> ")
    if line.startswith("exit"):
        sys.exit(int(line[4:]))
    say("pid" if line == "pid" else "echo", os.getpid() if line == "pid" else line)
"""


@pytest.fixture
def person(project: Path) -> Iterator[Person]:
    """Somebody who calls procwatch on a terminal of their own."""
    made: list[Screen] = []

    def call(*args: str, **more: object) -> Screen:
        made.append(screen.procwatch(project, *args, **more))
        return made[-1]

    yield call
    for one in made:
        one.close()


def running(project: Path, start: Start, app: str = APP, toml: str = TOML) -> Live:
    write(project / "app.py", app)
    write(project / "watch.toml", toml)
    live = start(json_events=False)
    live.shows("service.web started")
    return live


def attached(person: Person, *args: str, **more: object) -> Screen:
    one = person("attach", "web", *args, **more)
    one.shows("attached to service.web")
    return one


# --- the terminal of the service -------------------------------------------------------------------------------------


def test_a_service_has_the_room_that_its_lines_have_on_procwatch_s_screen(project: Path, person: Person) -> None:
    write(project / "app.py", APP)
    write(project / "watch.toml", TOML)
    own = person("start", size=(30, 100))
    own.shows("terminal [True, True, True] xterm")
    prefix = len("12:00:00 procwatch | ")
    own.shows(f"size 30x{100 - prefix}")
    own.resize(20, 70)
    own.shows(f"size 20x{70 - prefix}")
    own.type("\x03")
    assert own.ended() == 130
    log = (project / ".procwatch/logs/service.web.log").read_bytes()
    assert b"size 20x" in log
    assert b"\r" not in log


def test_without_any_terminal_it_is_one_of_the_usual_size_and_kind(project: Path, start: Start) -> None:
    write(project / "app.py", APP)
    write(project / "watch.toml", TOML)
    live = start(json_events=False, env={"TERM": ""})
    live.shows("terminal [True, True, True] xterm-256color")
    live.shows("size 24x80")


def test_a_probe_that_runs_a_command_is_on_no_terminal(project: Path, start: Start) -> None:
    live = running(project, start, toml=TOML + 'ready = { run = "test ! -t 0 && test ! -t 1" }\n')
    assert live.stop() == 130


# --- a stay ----------------------------------------------------------------------------------------------------------


def test_a_debugger_s_prompt_that_waits_is_seen_and_answered(project: Path, start: Start, person: Person) -> None:
    app = "x = 41\nbreakpoint()\nprint('the answer is', x)\nimport time; time.sleep(1000)\n"
    live = running(project, start, app)
    live.shows("-> print('the answer is', x)")
    one = attached(person)
    one.shows("(Pdb) ")
    one.type("x = 42\r")
    one.type("continue\r")
    one.shows("the answer is 42\r\n")
    live.shows("web       | the answer is 42\n")
    one.type(DETACH)
    assert one.ended() == 0
    assert "detached; service.web goes on" in one.text


def test_node_s_debugger_is_seen_and_answered(project: Path, start: Start, person: Person) -> None:
    need_commands("node")
    write(project / "app.js", "let x = 41\ndebugger\nconsole.log('the answer is', x)\nsetInterval(() => {}, 1000)\n")
    toml = '[service.web]\nrun = ["node", "inspect", "--port=0", "app.js"]\ntty = true\nstop = { grace = "1s" }\n'
    running(project, start, toml=toml)
    one = attached(person)
    one.shows("Break on start in app.js:1")
    one.type("cont\r")
    one.shows("break in app.js:2")
    one.type("exec x = 42\r")
    one.type("cont\r")
    one.shows("the answer is 42")
    one.type(DETACH)
    assert one.ended() == 0


def test_detaching_leaves_the_service_as_it_is_and_gives_the_terminal_back(
    project: Path, start: Start, person: Person
) -> None:
    live = running(project, start)
    one = attached(person)
    assert not one.is_as_before()
    one.type("pid\r")
    one.shows("pid ")
    one.type("one more line\r" + DETACH)
    assert one.ended() == 0
    assert one.is_as_before()
    live.shows("echo one more line")
    again = attached(person)
    again.shows("echo one more line\r\n")  # what it has printed lately
    again.type("pid\r")
    again.until(lambda: len(pids(again)) == 2, "its id")
    assert len(set(pids(again))) == 1


def pids(one: Screen) -> list[str]:
    return re.findall(r"^pid (\d+)\r$", one.text, re.MULTILINE)


def test_ctrl_c_is_the_service_s(project: Path, start: Start, person: Person) -> None:
    live = running(project, start)
    one = attached(person)
    one.shows("> ")
    one.type("\x03")
    one.shows("interrupted")
    one.type("still here\r")
    one.shows("echo still here")
    assert live.process.poll() is None
    assert one.process.poll() is None


def test_other_keys_can_detach(project: Path, start: Start, person: Person) -> None:
    running(project, start)
    one = attached(person, "--detach-keys", "ctrl-p,ctrl-q")
    one.type("a" + DETACH + "\x10\x10b\r")
    one.shows("echo a")
    assert one.process.poll() is None
    one.type("\x10\x11")
    assert one.ended() == 0


def test_all_who_are_attached_see_and_type(project: Path, start: Start, person: Person) -> None:
    running(project, start)
    first, second = attached(person, size=(40, 120)), attached(person, size=(30, 150))
    second.shows("size 30x120")  # the smallest of both
    first.type("from the first\r")
    second.shows("echo from the first")
    second.type("from the second\r")
    first.shows("echo from the second")
    first.resize(25, 90)
    second.shows("size 25x90")
    first.type(DETACH)
    assert first.ended() == 0
    second.shows("size 30x150")
    second.process.kill()
    third = attached(person, size=(50, 130))
    third.shows("size 50x130")


def test_a_stay_goes_on_with_the_next_instance(project: Path, start: Start, person: Person) -> None:
    live = running(project, start)
    one = attached(person)
    one.type("exit 3\r")
    one.shows("run 1 has ended (exit 3)")
    one.shows("run 2 has begun")
    live.shows("service.web", times=2)
    one.shows("> ", times=2)
    one.type("hello\r")
    one.shows("echo hello")


# --- its ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_it_and_the_terminal_is_given_back(
    project: Path, start: Start, person: Person, number: signal.Signals
) -> None:
    running(project, start)
    one = attached(person)
    one.process.send_signal(number)
    assert one.ended() == 128 + number
    assert one.is_as_before()


def test_what_a_program_has_switched_is_switched_back(project: Path, start: Start, person: Person) -> None:
    running(project, start, r"""
import tty, time
tty.setraw(0)
print("\x1b[?1049h\x1b[?25l\x1b[?1000;1006h\x1b[?2004h\x1b[?2004l\x1b=\x1b[31mfull screen", end="", flush=True)
time.sleep(1000)
""")  # fmt: skip
    one = attached(person)
    one.shows("full screen")
    before = len(one.text)
    one.resize(31, 101)
    one.type(DETACH)
    assert one.ended() == 0
    # It was switched before this one came, who has got text and colours only.
    assert "\x1b[?" not in one.text[before:]
    assert one.is_as_before()


def test_what_it_switches_while_it_is_seen_is_switched_back(project: Path, start: Start, person: Person) -> None:
    running(project, start, r"""
input("go? ")
print("\x1b[?1049h\x1b[?25l\x1b[?1000;1006h\x1b[?2004h\x1b[?2004l\x1b=\x1b[31mfull screen", end="", flush=True)
input()
""")  # fmt: skip
    one = attached(person)
    one.type("\r")
    one.shows("full screen")
    before = len(one.text)
    one.process.send_signal(signal.SIGTERM)
    assert one.ended() == 143
    end = one.text[before:]
    assert set(re.findall(r"\x1b\[\?\d+[hl]", end)) == {f"\x1b[?{mode}" for mode in ("1049l", "25h", "1000l", "1006l")}
    assert end.endswith("\x1b>\x1b[0m")


def test_a_service_that_is_stopped_lets_its_clients_go(project: Path, start: Start, person: Person) -> None:
    running(project, start)
    one = attached(person)
    assert call(project, "stop", "web").returncode == 0
    assert one.ended() == 0
    assert "detached from service.web: stopped by hand" in one.text
    assert one.is_as_before()
    late = person("attach", "web")
    assert late.ended() == 1
    assert "service.web does not run (stopped by hand); `procwatch start web` starts it" in late.text


def test_an_end_that_is_not_restarted_is_an_end(project: Path, start: Start, person: Person) -> None:
    running(project, start, toml=TOML + 'restart = "never"\n')
    one = attached(person)
    one.type("exit 3\r")
    assert one.ended() == 1
    assert "detached from service.web: it has crashed and is not restarted" in one.text
    assert one.is_as_before()


def test_a_configuration_that_takes_the_terminal_away_is_an_end(project: Path, start: Start, person: Person) -> None:
    live = running(project, start)
    one = attached(person)
    write(project / "watch.toml", TOML.replace("tty = true", "tty = false"))
    assert one.ended() == 0
    assert "detached from service.web: it is not to run on a terminal any more" in one.text
    assert one.is_as_before()
    write(project / "watch.toml", TOML)
    live.shows("terminal [True, True, True]", times=2)
    again = attached(person)
    again.type("hello\r")
    again.shows("echo hello")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGKILL, 1)])
def test_the_end_of_procwatch_is_an_end(
    project: Path, start: Start, person: Person, number: signal.Signals, status: int
) -> None:
    live = running(project, start)
    one = attached(person)
    os.kill(live.supervisor(), number)
    assert one.ended() == status
    assert one.is_as_before()
    assert "detached from service.web: procwatch ends" in one.text or "procwatch has gone" in one.text
    live.ended()


def test_a_supervisor_that_is_stopped_can_be_left(project: Path, start: Start, person: Person) -> None:
    live = running(project, start)
    one = attached(person)
    os.kill(live.supervisor(), signal.SIGSTOP)
    one.type("nobody hears this\r" + DETACH)
    assert one.ended() == 0
    assert one.is_as_before()
    os.kill(live.supervisor(), signal.SIGCONT)


# --- without a terminal, and refusals --------------------------------------------------------------------------------


def call(folder: Path, *args: str, given: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "procwatch", *args], cwd=folder, env={**clean_environment(), **env}, input=given,
        capture_output=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip


def test_a_script_sends_its_input_and_gets_the_answer(project: Path, start: Start) -> None:
    live = running(project, start)
    done = call(project, "attach", "web", given=b"one\ntwo\n")
    assert done.returncode == 0
    assert done.stderr.startswith(b"procwatch: attached to service.web (run 1)\n")
    live.shows("echo two")
    assert b"echo one\r\n" in done.stdout
    assert b"procwatch" not in done.stdout


def test_much_input_is_sent_as_fast_as_it_is_taken(project: Path, start: Start) -> None:
    app = """
import os, tty
tty.setraw(0)
os.write(1, b"up\\n")
count = 0
while count < 500_000:
    count += len(os.read(0, 4096))
os.write(1, b"all of it\\n")
os.read(0, 1)
"""
    live = running(project, start, app)
    live.shows("up")
    assert call(project, "attach", "web", given=b"x" * 500_000).returncode == 0
    live.shows("all of it")


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("plain", 2, "service.plain does not run on a terminal; say `tty = true` in its table of watch.toml"),
        ("wep", 2, 'there is no service or group "wep"; did you mean "web"?'),
        ("both", 2, '"both" is not one service; attach to one at a time'),
    ],
)
def test_what_cannot_be_attached_to_is_refused(project: Path, start: Start, name: str, status: int, said: str) -> None:
    running(project, start, toml=TOML + '[service.plain]\nrun = "exec sleep 1000"\n[groups]\nboth = ["web", "plain"]\n')
    done = call(project, "attach", name)
    assert (done.returncode, done.stderr.decode()) == (status, f"procwatch: {said}\n")


def test_a_service_is_not_attached_to_itself(project: Path, start: Start) -> None:
    running(project, start)
    done = call(project, "attach", "web", PROCWATCH_NAME="service.web")
    assert done.returncode == 4
    assert b"this runs inside of service.web" in done.stderr


def test_without_a_supervisor_and_with_wrong_keys_it_is_told(project: Path) -> None:
    write(project / "watch.toml", TOML)
    assert call(project, "attach", "web").returncode == 3
    done = call(project, "attach", "web", "--detach-keys", "ctrl-1")
    assert done.returncode == 2
    assert b'"ctrl-1" is no key' in done.stderr


def test_a_terminal_that_has_gone_is_an_end_even_if_no_signal_tells(project: Path, start: Start) -> None:
    running(project, start)
    deaf = "trap '' HUP; exec \"$@\""
    one = Screen(project, "sh", "-c", deaf, "sh", sys.executable, "-m", "procwatch", "attach", "web")
    one.shows("attached to service.web")
    one.close_window()
    one.process.wait(DEADLINE_S)
    one.close()
