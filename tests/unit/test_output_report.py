"""Notices become procwatch's own lines; time is a number here, and timers go off when it passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from procwatch.core.messages import EventName, Notice
from procwatch.output import sentences
from procwatch.output.report import RECALL_S, Reporter


@dataclass
class _Timer:
    due_s: float
    act: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class _World:
    verbosity: int = 0
    color: bool = False
    now_s: float = 1000.0
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    timers: list[_Timer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reporter = Reporter(self.write, lambda: self.now_s, self.later, self.verbosity, color=self.color)

    def write(self, line: str, /, *, error: bool) -> None:
        self.lines.append(line)
        if error:
            self.errors.append(line)

    def later(self, delay_s: float, act: Callable[[], None]) -> _Timer:
        self.timers.append(_Timer(self.now_s + delay_s, act))
        return self.timers[-1]

    def tell(self, *notices: Notice) -> None:
        for notice in notices:
            self.reporter.notice(notice)

    def wait(self, seconds: float) -> None:
        """Let time pass; timers go off in their order, also those set meanwhile."""
        end_s = self.now_s + seconds
        while due := [timer for timer in self.timers if not timer.cancelled and timer.due_s <= end_s]:
            first = min(due, key=lambda timer: timer.due_s)
            self.timers.remove(first)
            self.now_s = max(self.now_s, first.due_s)
            first.act()
        self.now_s = end_s

    def settle(self) -> None:
        self.reporter.settled()

    def new_lines(self) -> list[str]:
        found, self.lines = self.lines, []
        return found


def _changed(*names: str, paths: tuple[str, ...] = ("src/main.rs",)) -> Notice:
    return Notice("files_changed", paths=paths, names=names)


def _started(name: str, run: int = 1) -> Notice:
    return Notice("build_started" if name.startswith("build") else "service_started", name, run=run)


def _built(name: str, took_s: float = 1.3) -> Notice:
    return Notice("build_succeeded", name, run=1, exit_code=0, duration_s=took_s)


def _ready(name: str, run: int = 1, took_s: float = 0.2) -> Notice:
    return Notice("service_ready", name, run=run, duration_s=took_s)


def _switched(name: str, run: int = 1, took_s: float = 0.2) -> Notice:
    return Notice("service_switched", name, run=run, duration_s=took_s)


def _failed(name: str = "build.api", effect: str | None = "service.api stays on run 7") -> Notice:
    return Notice("build_failed", name, run=8, exit_code=101, duration_s=1.3, reason="exit 101", effect=effect)


def _skipped(name: str, reason: str = "same content as its last success") -> Notice:
    return Notice("build_skipped", name, reason=reason, paths=("src/main.rs",))


FAILED = "build.api failed (exit 101) after 1.3 s; service.api stays on run 7"


# --- a change that is good -------------------------------------------------------------------------------------------


def test_a_change_is_told_when_its_build_starts_and_summed_up_when_its_service_is_ready() -> None:
    world = _World()
    world.tell(_started("service.api", 6), _ready("service.api", 6))
    world.settle()
    assert world.new_lines() == ["service.api started (ready in 0.2 s)"]
    world.tell(_changed("build.api"))
    assert world.new_lines() == []
    world.tell(_started("build.api"))
    assert world.new_lines() == ["src/main.rs changed: build.api"]
    world.tell(_built("build.api"), Notice("service_stopped", "service.api", run=6, exit_code=143))
    world.tell(_started("service.api", 7), _ready("service.api", 7), _switched("service.api", 7))
    world.settle()
    assert world.new_lines() == ["build.api succeeded in 1.3 s: service.api restarted (ready in 0.2 s)"]
    world.settle()
    world.wait(100)
    assert world.new_lines() == []


def test_several_paths_are_told_by_the_first_and_how_many_more() -> None:
    world = _World()
    world.tell(_changed("build.api", "build.web", paths=("src/main.rs", "a", "b", "c")), _started("build.api"))
    assert world.new_lines() == ["src/main.rs and 3 more changed: build.api, build.web"]


def test_several_builds_of_a_batch_make_one_line_with_the_time_of_all_of_them() -> None:
    world = _World()
    world.tell(_started("build.lib"))
    world.wait(0.6)
    world.tell(_built("build.lib", 0.6), _started("build.left"), _started("build.right"))
    world.wait(1.2)
    world.tell(_built("build.left", 1.2))
    world.wait(0.3)
    world.tell(_built("build.right", 1.5), _started("service.api"), _ready("service.api"))
    world.settle()
    assert world.new_lines() == [
        "build.left, build.lib, build.right succeeded in 2.1 s: service.api started (ready in 0.2 s)"
    ]


def test_without_services_the_success_stands_alone() -> None:
    world = _World()
    world.tell(_started("build.lib"), _built("build.lib", 0.4))
    world.settle()
    assert world.new_lines() == ["build.lib succeeded in 0.4 s"]


def test_a_service_that_takes_long_is_told_to_be_starting_and_then_to_be_there() -> None:
    world = _World()
    world.tell(_started("build.api"), _built("build.api"), _started("service.api"))
    world.wait(0.99)
    assert world.new_lines() == []
    world.wait(0.02)
    assert world.new_lines() == ["build.api succeeded in 1.3 s: service.api is starting"]
    world.wait(4)
    world.tell(_ready("service.api", took_s=5.0))
    world.settle()
    assert world.new_lines() == ["service.api started (ready in 5.0 s)"]


def test_a_service_that_is_up_is_told_though_another_build_still_runs() -> None:
    world = _World()
    world.tell(_started("build.api"), _started("build.slow"), _built("build.api"))
    world.wait(1.5)
    assert world.new_lines() == []
    world.tell(_started("service.api"), _ready("service.api"))
    world.wait(1.5)
    assert world.new_lines() == ["build.api succeeded in 1.3 s: service.api started (ready in 0.2 s)"]


def test_a_service_that_is_told_to_reload_is_not_said_to_restart() -> None:
    world = _World()
    world.tell(_started("build.api"), _built("build.api"))
    world.tell(Notice("service_switched", "service.api", run=3, reason="SIGHUP"))
    world.settle()
    assert world.new_lines() == ["build.api succeeded in 1.3 s: service.api reloaded (SIGHUP)"]


# --- nothing to do ---------------------------------------------------------------------------------------------------


def test_a_change_that_leads_to_nothing_is_one_line_that_says_why() -> None:
    world = _World()
    world.tell(_changed("build.api"), _skipped("build.api"))
    world.settle()
    assert world.new_lines() == [
        "src/main.rs changed: nothing to do (build.api: same content as its last success)"
    ]  # fmt: skip


def test_builds_with_the_same_reason_share_it() -> None:
    world = _World()
    names = ("build.a", "build.b", "build.c")
    world.tell(_changed(*names), _skipped("build.a", "same"), _skipped("build.b", "other"), _skipped("build.c", "same"))
    assert world.new_lines() == ["src/main.rs changed: nothing to do (build.a, build.c: same; build.b: other)"]


def test_where_only_some_have_nothing_to_do_those_are_told_at_the_end() -> None:
    world = _World()
    world.tell(_changed("build.a", "build.b"), _skipped("build.a", "same"), _started("build.b"))
    assert world.new_lines() == ["src/main.rs changed: build.b"]
    world.tell(_built("build.b"))
    world.settle()
    assert world.new_lines() == ["src/main.rs changed: nothing to do (build.a: same)", "build.b succeeded in 1.3 s"]


def test_a_change_that_waits_is_told_soon_and_its_end_as_well() -> None:
    world = _World()
    world.tell(_changed("build.api"))
    world.wait(0.3)
    assert world.new_lines() == ["src/main.rs changed: build.api"]
    world.tell(_skipped("build.api", "same"))
    world.settle()
    assert world.new_lines() == ["src/main.rs changed: nothing to do (build.api: same)"]


def test_at_a_start_what_is_taken_as_it_is_is_one_line_without_files() -> None:
    world = _World()
    world.tell(*(Notice("build_skipped", name, reason="taken as it is") for name in ("build.a", "build.b")))
    world.settle()
    assert world.new_lines() == ["nothing to do (build.a, build.b: taken as it is)"]


def test_a_second_change_does_not_swallow_the_first() -> None:
    world = _World()
    world.tell(_changed("build.a", paths=("a",)), _changed("build.b", paths=("b",)), _started("build.b"))
    assert world.new_lines() == ["a changed: build.a", "b changed: build.b"]


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_failure_is_told_at_once_as_an_error() -> None:
    world = _World()
    world.tell(_started("build.api"), _failed())
    assert world.errors == [FAILED]
    world.settle()
    assert world.new_lines() == [FAILED]


def test_a_failed_hook_names_its_step() -> None:
    world = _World()
    world.tell(Notice("build_failed", "build.api", exit_code=1, duration_s=0.5, reason="post_build exit 1"))
    assert world.new_lines() == ["build.api failed (post_build exit 1) after 0.5 s"]


def test_a_failure_that_other_output_followed_is_told_again_at_the_end_of_its_batch_and_only_then() -> None:
    world = _World()
    world.tell(_started("build.api"), _started("build.web"), _failed())
    world.reporter.printed()
    world.tell(_built("build.web"))
    world.settle()
    assert world.new_lines() == [FAILED, "build.web succeeded in 1.3 s", FAILED]
    world.reporter.printed()
    world.settle()
    assert world.new_lines() == []


def test_what_has_succeeded_before_a_failure_is_told_before_it() -> None:
    world = _World()
    world.tell(_started("build.lib"), _built("build.lib", 0.4), _started("build.api"), _failed())
    world.settle()
    assert world.new_lines() == ["build.lib succeeded in 0.4 s", FAILED]


def test_two_failures_of_a_batch_are_both_told_again() -> None:
    world = _World()
    world.tell(_failed("build.a", None), _failed("build.b", None))
    world.settle()
    first = ["build.a failed (exit 101) after 1.3 s", "build.b failed (exit 101) after 1.3 s"]
    assert world.new_lines() == first
    world.tell(_failed("build.a", None), _failed("build.b", None))
    world.reporter.printed()
    world.settle()
    assert world.new_lines() == [*first, *first]


def test_a_failure_is_recalled_only_while_other_output_pushes_it_away() -> None:
    world = _World()
    world.tell(_failed())
    world.settle()
    world.new_lines()
    world.wait(1000)
    assert world.new_lines() == []
    world.reporter.printed()
    world.wait(2)
    assert world.new_lines() == ["build.api failed 16 min 41 s ago (exit 101); service.api stays on run 7"]


def test_a_failure_is_recalled_at_most_every_thirty_seconds() -> None:
    world = _World()
    world.tell(_failed())
    world.settle()
    world.new_lines()
    for _ in range(640):
        world.wait(0.1)
        world.reporter.printed()
    assert world.new_lines() == [
        f"build.api failed {age} ago (exit 101); service.api stays on run 7" for age in ("30 s", "1 min 0 s")
    ]
    assert RECALL_S == 30


def test_all_that_stand_are_recalled_in_one_line() -> None:
    world = _World()
    world.tell(_failed("build.a"))
    world.wait(5)
    world.tell(_failed("build.b"))
    world.settle()
    world.new_lines()
    world.reporter.printed()
    world.wait(31)
    assert world.new_lines() == [
        "build.a failed 35 s ago (exit 101), build.b failed 30 s ago (exit 101); service.api stays on run 7"
    ]


def test_a_failed_build_that_runs_again_is_not_recalled_meanwhile() -> None:
    world = _World()
    world.tell(_failed())
    world.settle()
    world.tell(_changed("build.api"), _started("build.api", 9))
    world.reporter.printed()
    world.new_lines()
    world.wait(100)
    assert world.new_lines() == []


def test_a_success_ends_the_recall_and_says_after_how_many_failures() -> None:
    world = _World()
    world.tell(_failed())
    world.settle()
    world.new_lines()
    world.tell(_started("build.api", 9), _built("build.api"))
    world.tell(Notice("build_fixed", "build.api", run=9, reason="after 3 failures"))
    world.settle()
    assert world.new_lines() == ["build.api succeeded in 1.3 s", "build.api fixed after 3 failures"]
    world.reporter.printed()
    world.wait(100)
    assert world.new_lines() == []


def test_nothing_is_recalled_while_procwatch_stops() -> None:
    world = _World()
    world.tell(_failed())
    world.tell(Notice("stopping"))
    world.reporter.printed()
    world.settle()
    world.wait(100)
    assert world.new_lines() == [FAILED, "stopping"]


# --- services --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notice", "line"),
    [
        (
            Notice(
                "service_crashed", "service.api", run=1, exit_code=1, duration_s=3.2, reason="exit 1",
                effect="restart in 0.4 s",
            ),
            "service.api crashed (exit 1) after 3.2 s; restart in 0.4 s",
        ),
        (
            Notice("service_crashed", "service.api", exit_code=137, duration_s=3.2, effect="restart in 0.4 s",
                   reason="killed by SIGKILL (out of memory?)"),
            "service.api crashed after 3.2 s: killed by SIGKILL (out of memory?); restart in 0.4 s",
        ),
        (
            Notice(
                "not_ready", "service.api", run=1, duration_s=30.0, reason="connection refused on 127.0.0.1:8000"
            ),
            "service.api is not ready: connection refused on 127.0.0.1:8000 (after 30 s)",
        ),
        (
            Notice("not_ready", "service.api", reason="pre_start exit 1", effect="service.api stays on run 3"),
            "service.api is not ready: pre_start exit 1; service.api stays on run 3",
        ),
        (
            Notice("crash_loop", "service.api", run=5, reason="5 crashes in a row", effect="tried every 10 s"),
            "service.api keeps crashing: 5 crashes in a row; tried every 10 s",
        ),
        (
            Notice("build_loop", "build.gen", reason="a.c changed during 5 runs", effect="it waits", paths=("a.c",)),
            "build.gen changes what it watches: a.c changed during 5 runs; it waits",
        ),
        (
            Notice("build_loop", "build.gen", paths=("a.c",)),
            "build.gen changes what it watches (a.c)",
        ),
        (
            Notice("config_rejected", reason="watch.toml:3:1: unknown key"),
            "watch.toml:3:1: unknown key",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_what_goes_wrong_is_told_at_once_and_with_every_verbosity(notice: Notice, line: str, verbosity: int) -> None:
    world = _World(verbosity)
    world.tell(notice)
    assert world.errors == [line]
    world.settle()
    assert world.lines == [line]


@pytest.mark.parametrize(
    ("paths", "names", "reason", "line"),
    [
        (
            ("logs/app.log",),
            ("build.api",),
            None,
            (
                "logs/app.log changes all the time, and build.api watches it; "
                'if nobody edits it, leave it out: ignore = ["logs/app.log"]'
            ),
        ),
        (
            ("a.db", "log/\x1b"),
            ("build.api", "service.web"),
            "after each of the last 10 starts of service.web",
            (
                "a.db, log/\\x1b change after each of the last 10 starts of service.web, "
                "and build.api, service.web watch them; "
                'if nobody edits them, leave them out: ignore = ["./a.db", "log/\\u001b"]'
            ),
        ),
    ],
)
def test_what_changes_all_the_time_is_told_at_once_with_the_remedy(
    paths: tuple[str, ...], names: tuple[str, ...], reason: str | None, line: str
) -> None:
    world = _World()
    world.tell(Notice("always_changing", paths=paths, names=names, reason=reason))
    assert world.lines == [line]


def test_a_crash_ends_the_start_that_was_under_way() -> None:
    world = _World()
    world.tell(_started("build.api"), _built("build.api"), _started("service.api"))
    world.tell(Notice("service_crashed", "service.api", exit_code=1, reason="exit 1", duration_s=0.05))
    world.wait(5)
    world.settle()
    assert world.new_lines() == ["build.api succeeded in 1.3 s", "service.api crashed (exit 1) after 50 ms"]


def test_a_service_that_ends_by_itself_is_told_with_the_hint() -> None:
    world = _World()
    world.tell(
        Notice(
            "service_stopped",
            "service.api",
            run=1,
            exit_code=0,
            duration_s=0.2,
            reason="ended by itself",
            effect="hint",
        )
    )
    assert world.new_lines() == ["service.api ended by itself (run 1, exit 0) after 0.2 s; hint"]


# --- verbosity, colour, safety ---------------------------------------------------------------------------------------


def test_quiet_tells_failures_and_nothing_else() -> None:
    world = _World(verbosity=-1)
    world.tell(_changed("build.api"), _started("build.api"), _built("build.lib"), _failed(), _started("service.api"))
    world.tell(_ready("service.api"), Notice("build_fixed", "build.x", reason="after 2 failures"), Notice("stopping"))
    world.settle()
    world.wait(100)
    assert world.new_lines() == [FAILED]


def test_a_success_says_which_services_stay_and_what_it_lacks() -> None:
    world = _World()
    stays = "service.api stays on run 2 (the same content)"
    same = replace(_built("build.api"), effect=stays, names=("service.api",))
    world.tell(_started("build.api"), same)
    world.settle()
    assert world.new_lines() == [f"build.api succeeded in 1.3 s; {stays}"]
    world.tell(_started("build.api"), same, _ready("service.api-worker", 1))
    world.settle()
    assert world.new_lines() == [f"build.api succeeded in 1.3 s: service.api-worker started (ready in 0.2 s); {stays}"]
    world.tell(_started("build.api"), same, _ready("service.api", 3))
    world.settle()
    assert world.new_lines() == ["build.api succeeded in 1.3 s: service.api started (ready in 0.2 s)"]
    world.tell(_started("build.api"), replace(_built("build.api"), reason="without the last edits"))
    world.settle()
    assert world.new_lines() == ["build.api succeeded in 1.3 s (without the last edits)"]


def test_verbose_tells_every_notice_instead_of_a_summary() -> None:
    world = _World(verbosity=1)
    world.tell(_changed("build.api"), Notice("build_started", "build.api", run=7, paths=("src/main.rs",)))
    world.tell(Notice("build_cancelled", "build.api", run=7, reason="src/main.rs changed", duration_s=0.3))
    world.tell(_started("build.api", 8), _built("build.api"))
    world.tell(Notice("service_stopped", "service.api", run=6, exit_code=143))
    world.tell(Notice("service_started", "service.api", run=7, pid=42), _ready("service.api", 7))
    world.settle()
    assert world.new_lines() == [
        "src/main.rs changed: build.api",
        "build.api runs (run 7): src/main.rs changed",
        "build.api stopped: src/main.rs changed",
        "build.api runs (run 8)",
        "build.api succeeded in 1.3 s (run 1, exit 0)",
        "service.api stopped (run 6, exit 143)",
        "service.api started (run 7, process 42)",
        "service.api is ready in 0.2 s (run 7)",
    ]


def test_a_stopped_build_is_told_only_when_verbose() -> None:
    world = _World()
    world.tell(_started("build.api"), Notice("build_cancelled", "build.api", reason="src/main.rs changed"))
    world.settle()
    assert world.new_lines() == []


def test_failures_are_red_and_successes_green_only_where_colour_is_on() -> None:
    world = _World(color=True)
    world.tell(_changed("build.lib"), _started("build.lib"), _built("build.lib", 0.4), _failed())
    assert world.new_lines() == [
        "src/main.rs changed: build.lib", "\x1b[32mbuild.lib succeeded in 0.4 s\x1b[0m", f"\x1b[31m{FAILED}\x1b[0m",
    ]  # fmt: skip


def test_names_and_reasons_cannot_steer_the_terminal_or_break_the_line() -> None:
    world = _World(color=True)
    world.tell(_changed("build.api", paths=("a\x1b[2J\nb\udcff",)), _started("build.api"))
    world.tell(Notice("not_ready", "service.api", reason="no line matched /\x1b]0;x\x07/"))
    assert world.new_lines() == [
        "a\\x1b[2J\\nb\\xff changed: build.api",
        "\x1b[31mservice.api is not ready: no line matched /\\x1b]0;x\\x07/\x1b[0m",
    ]


@pytest.mark.parametrize("event", EventName.__args__)  # type: ignore[attr-defined]  # a Literal lists its values
def test_every_event_has_its_sentence(event: EventName) -> None:
    line = sentences.of(Notice(event, "build.api", names=("build.api",), reason="because"))
    assert line
    assert "None" not in line
