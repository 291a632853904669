"""What a person reads: prefixed lines, one summary a batch, and the error that stands last."""

from __future__ import annotations

import re
from pathlib import Path

from tests.behaviour.conftest import Start
from tests.rig.live import Live, write

BUILD = 'v=$(cat src/version); echo "building $v"; sh check.sh $v || exit 2; echo "$v" > built'
TOML = f"""
[build.api]
run = '''{BUILD}'''
watch = ["src/**"]

[service.api]
run = "echo serving $(cat built); exec sleep 1000"
needs = ["build.api"]
"""


def save(project: Path, content: str) -> None:
    write(project / "check.sh", '[ "$1" != broken ] || { echo "error: it is broken"; exit 1; }')
    write(project / "src/version", f"{content}\n")


def running(project: Path, start: Start, *args: str, env: dict[str, str] | None = None) -> Live:
    write(project / "watch.toml", TOML)
    save(project, "one")
    live = start(*args, json_events=False, env=env or {})
    live.shows("serving one")
    return live


def words(live: Live) -> list[str]:
    """The lines without their times."""
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in live.text().splitlines()]


def test_a_day_of_work_reads_well(project: Path, start: Start) -> None:
    live = running(project, start)
    live.shows("service.api started (ready in")
    save(project, "two")
    live.shows("service.api restarted (ready in")
    save(project, "broken")
    live.shows("service.api stays on run 2")
    save(project, "two")
    live.shows("fixed")
    save(project, "two")
    live.shows("nothing to do")
    live.stop()
    text = "\n".join(words(live))
    number = r"[\d.]+ m?s"
    story = [
        r"api       \| building one",
        r"api       \| serving one",
        rf"procwatch \| build.api succeeded in {number}: service.api started \(ready in {number}\)",
        r"procwatch \| src/version changed: build.api",
        r"api       \| building two",
        rf"procwatch \| build.api succeeded in {number}: service.api restarted \(ready in {number}\)",
        r"api       \| error: it is broken",
        rf"procwatch \| build.api failed \(exit 2\) after {number}; service.api stays on run 2",
        r"procwatch \| build.api fixed after one failure",
        r"procwatch \| src/version changed: nothing to do \(build.api: the same content as in run \d\)",
    ]
    at = 0
    for pattern in story:
        found = re.compile(pattern).search(text, at)
        assert found, f"{pattern!r} not found after\n{text[:at]}\n--- in\n{text[at:]}"
        at = found.end()


def test_every_line_has_its_prefix_and_no_colour_where_nobody_sees_it(project: Path, start: Start) -> None:
    live = running(project, start)
    live.stop()
    assert "\x1b" not in live.text()
    for line in live.text().splitlines():
        assert re.match(r"\d\d:\d\d:\d\d (api      |procwatch) \| ", line), line


def test_colour_is_on_and_kept_through_pipes_when_it_is_forced(project: Path, start: Start) -> None:
    live = running(project, start, env={"FORCE_COLOR": "1"})
    live.stop()
    assert re.search(r"\x1b\[\d+(;\d+)*m\d\d:\d\d:\d\d api", live.text())


def test_the_output_of_a_build_can_be_shown_only_when_it_fails(project: Path, start: Start) -> None:
    write(project / "watch.toml", TOML.replace("watch =", 'log = { terminal = "on-failure" }\nwatch ='))
    save(project, "one")
    live = start(json_events=False)
    live.shows("serving one")
    save(project, "broken")
    live.shows("stays on run 1")
    live.stop()
    assert "building one" not in live.text()
    assert live.text().index("building broken") < live.text().index("error: it is broken")


def test_quiet_tells_failures_only_and_verbose_every_event(project: Path, start: Start) -> None:
    live = running(project, start, "-q")
    save(project, "broken")
    live.shows("build.api failed (exit 2)")
    live.stop()
    assert "succeeded" not in live.text()
    live = running(project, start, "-v")
    live.shows("service.api", times=2)
    live.stop()
    assert "build.api run" in live.text() or "build_started" in live.text() or "started" in live.text()


def test_the_error_stands_last_when_its_batch_is_over(project: Path, start: Start) -> None:
    write(project / "watch.toml", TOML + """
[build.slow]
run = "until [ -e go ]; do sleep 0.02; done; echo slow is done"
watch = ["src/**"]
""")  # fmt: skip
    save(project, "broken")
    live = start(json_events=False)
    live.shows("build.api failed")
    write(project / "go", "")
    live.shows("slow is done")
    live.shows("build.api failed", times=2)
    live.stop()
    lines = [line for line in words(live) if "stopping" not in line]
    assert "build.api failed (exit 2)" in lines[-1]


def test_any_bytes_come_out_as_they_are_and_lines_stay_whole(project: Path, start: Start) -> None:
    blob = bytes(range(1, 10)) + bytes(range(11, 256)) + b"\n"
    write(project / "blob", blob * 50)
    toml = "".join(f'[service.s{n}]\nrun = "cat blob; exec sleep 1000"\n' for n in range(3))
    write(project / "watch.toml", toml)
    live = start(json_events=False)
    live.until(lambda: bytes(live.output).count(blob) == 150, "all the blobs")
    live.stop()
    for line in bytes(live.output).split(b"\n"):
        if b"| \x01" in line:
            assert re.fullmatch(rb"\d\d:\d\d:\d\d s\d        \| " + re.escape(blob[:-1]), line)


def test_a_change_that_moves_nothing_says_why(project: Path, start: Start) -> None:
    write(project / "watch.toml", """
[build.app]
run = "test $(cat src/a) != broken"
watch = ["src"]
[service.web]
run = "exec sleep 1000"
needs = ["build.app"]
watch = ["trigger"]
""")  # fmt: skip
    write(project / "src/a", "good")
    live = start(json_events=False)
    live.shows("service.web started")
    write(project / "src/a", "broken")
    live.shows("build.app failed (exit 1)")
    for times in (1, 2):
        (project / "trigger").touch()
        live.shows("trigger changed: service.web", times=times)
        live.shows("service.web is outdated: build.app failed (exit 1)", times=times)


def test_what_is_wrong_with_an_edited_watch_toml_is_told_as_at_a_start(project: Path, start: Start) -> None:
    write(project / "watch.toml", TOML)
    save(project, "one")
    live = start(json_events=False)
    live.shows("service.api started")
    write(project / "watch.toml", TOML + "wacth = 1\n")
    live.shows("1 error; what runs stays as it is")
    number = TOML.count("\n") + 1
    said = [line.split(" | ", 1)[1] for line in live.text().splitlines() if line.startswith("procwatch", 9)]
    first = next(index for index, line in enumerate(said) if line.startswith("watch.toml:"))
    assert said[first : first + 4] == [
        f'watch.toml:{number}:1: service "api": unknown key "wacth"; did you mean "watch"?',
        f"   {number} | wacth = 1",
        f"   {' ' * len(str(number))} | ^^^^^",
        "1 error; what runs stays as it is",
    ]
    write(project / "watch.toml", TOML)
    live.shows("the configuration was read again; no build or service is changed by it")
    save(project, "two")
    live.shows("service.api restarted")


def test_a_warning_names_a_pattern_that_matches_nothing(project: Path, start: Start) -> None:
    write(project / "watch.toml", TOML.replace('["src/**"]', '["src/**", "lib/**/*.rz"]'))
    save(project, "one")
    live = start(json_events=False)
    live.shows('warning: build.api: watch pattern "lib/**/*.rz" matches nothing')
