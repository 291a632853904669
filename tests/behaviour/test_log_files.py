"""Log files of a whole procwatch: what goes into them, and what a kill or a folder in the way does to them."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from tests.behaviour.conftest import Start
from tests.rig.live import left_over, wait_for_file, write

LINE = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (.*)\n", re.MULTILINE)


def logged(project: Path, name: str) -> list[bytes]:
    content = (project / f".procwatch/logs/{name}.log").read_bytes()
    lines = LINE.findall(content)
    assert len(lines) == content.count(b"\n")
    return lines


def test_a_unit_s_file_has_all_that_it_and_its_hooks_print_shown_or_not(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[build.app]
run = "echo quiet; printf '\\\\033[2Jcleared\\\\r\\\\n'"
log = { terminal = "on-failure" }
[service.web]
run = "echo serving; exec sleep 1000"
needs = ["build.app"]
log = { terminal = "none" }
hooks = { pre_start = "echo prepared", post_stop = "printf unfinished" }
[service.none]
run = "echo hello; exec sleep 1000"
log = { file = false }
""")  # fmt: skip
    live = start()
    live.wait("service_ready", "service.web")
    live.wait("service_ready", "service.none")
    live.stop()
    assert logged(project, "build.app") == [b"quiet", b"\x1b[2Jcleared\r"]
    assert logged(project, "service.web") == [b"prepared", b"serving", b"unfinished"]
    assert sorted(path.name for path in (project / ".procwatch/logs").iterdir()) == ["build.app.log", "service.web.log"]


def test_writing_log_files_is_no_change(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[build.app]
run = "cat src >> seen"
watch = ["**"]
ignore = ["seen"]
[service.web]
run = "for n in 1 2 3; do echo $n; sleep 0.1; done; exec sleep 1000"
""")  # fmt: skip
    write(project / "src", "1\n")
    live = start()
    live.wait("service_ready", "service.web")
    live.until(lambda: len(logged(project, "service.web")) == 3, "three lines")
    write(project / "src", "2\n")
    live.wait("build_succeeded", times=2)
    live.stop()
    assert [event["paths"] for event in live.seen("files_changed")] == [["src"]]
    assert len(live.seen("build_started")) == 2


def test_what_is_in_the_way_of_the_folder_is_told_and_when_it_has_gone_too(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.web]
run = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done"
""")  # fmt: skip
    blocker = write(project / ".procwatch/logs", "a file\n")
    live = start(json_events=False)
    live.shows("service.web.log cannot be written (Not a directory)")
    live.shows("line 3")
    blocker.unlink()
    live.shows("service.web.log is written again; it lacks")
    live.shows("line ", times=live.text().count("line ") + 3)
    live.stop()
    found = re.search(r"is written again; it lacks ([\d,]+) line", live.text())
    assert found
    missing = int(found[1].replace(",", ""))
    lines = logged(project, "service.web")
    assert lines == [b"line %d" % number for number in range(missing + 1, missing + 1 + len(lines))]
    assert lines[-1].decode() in live.text()
    assert live.text().count("cannot be written") == 1


def test_a_killed_procwatch_leaves_whole_lines_and_the_next_one_goes_on_below(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[service.web]
run = ["python", "-c", "import pathlib\\nfor n in range(100_000_000):\\n print(f'{n:063}')\\n n == 200_000 and pathlib.Path('far').touch()"]
""")  # noqa: E501  # fmt: skip
    live = start(env={"PYTHONUNBUFFERED": ""})
    wait_for_file(project / "far", live.process)
    supervisor = int(Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children").read_text().split()[0])
    os.kill(supervisor, signal.SIGKILL)
    live.ended()
    live.until(lambda: not left_over(project), "the end of what it had started")
    path = project / ".procwatch/logs/service.web.log"
    content = path.read_bytes()
    whole, _, rest = content.rpartition(b"\n")
    numbers = [int(line) for line in LINE.findall(whole + b"\n")]
    assert len(numbers) == whole.count(b"\n") + 1
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    write(project / "watch.toml", '[service.web]\nrun = "echo again; exec sleep 1000"\n')
    after = start()
    after.wait("service_ready")
    after.stop()
    assert path.read_bytes() == content + (b"\n" if rest else b"") + path.read_bytes()[-31:]
    assert path.read_bytes().endswith(b"Z again\n")
