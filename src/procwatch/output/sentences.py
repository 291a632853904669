"""One notice in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from procwatch.core.messages import EventName, Notice
from procwatch.output.words import changed, duration, listed

# Failures, crashes and errors: told even with -q, and at once.
URGENT: frozenset[EventName] = frozenset(
    {
        "build_failed",
        "build_loop",
        "config_rejected",
        "crash_loop",
        "limit_exceeded",
        "not_ready",
        "rolled_back",
        "service_crashed",
        "verify_failed",
    }
)
# Told at once, unless -q.
TOLD_AT_ONCE: frozenset[EventName] = frozenset({"always_changing", "config_reloaded"})


def of(notice: Notice) -> str:
    """The sentence, not yet safe for a terminal: reasons and paths come as they are."""
    return _SENTENCES[notice.event](notice)


def recall(failures: Sequence[tuple[Notice, float]]) -> str:
    """`build.api failed 32 s ago (exit 101); service.api stays on run 7`, for each (notice, age in seconds)."""
    what = ", ".join(f"{notice.name} failed {duration(age_s)} ago{_in_brackets(notice)}" for notice, age_s in failures)
    return what + _then(*dict.fromkeys(notice.effect for notice, _ in failures))


def _how(notice: Notice) -> str:
    return notice.reason or f"exit {notice.exit_code}"


def _in_brackets(notice: Notice) -> str:
    """` (exit 101)`; with brackets of its own it needs none around it: `: killed by SIGKILL (out of memory?)`."""
    how = _how(notice)
    return f": {how}" if "(" in how else f" ({how})"


def _after(notice: Notice) -> str:
    return "" if notice.duration_s is None else f" after {duration(notice.duration_s)}"


def _why(notice: Notice) -> str:
    return f": {notice.reason}" if notice.reason else ""


def _then(*effects: str | None) -> str:
    told = ", ".join(effect for effect in effects if effect)
    return f"; {told}" if told else ""


def _numbers(notice: Notice) -> str:
    """` (run 7, process 4242, exit 0)`, as far as known."""
    known = (("run", notice.run), ("process", notice.pid), ("exit", notice.exit_code))
    told = ", ".join(f"{word} {number}" for word, number in known if number is not None)
    return f" ({told})" if told else ""


def _ended(what: str) -> Callable[[Notice], str]:
    """`service.api crashed (exit 1) after 3.2 s; restart in 0.4 s`."""

    def sentence(notice: Notice) -> str:
        how = _in_brackets(notice)
        told = f"{_after(notice)}{how}" if how.startswith(":") else f"{how}{_after(notice)}"
        return f"{notice.name} {what}{told}{_then(notice.effect)}"

    return sentence


def _because(what: str) -> Callable[[Notice], str]:
    """`service.api keeps crashing: five in a row; tried every 10 s`."""
    return lambda notice: f"{notice.name} {what}{_why(notice)}{_then(notice.effect)}"


def _how_cancelled(notice: Notice) -> str:
    """A run that was outdated when it ended has not been stopped."""
    return "ended for nothing" if (notice.reason or "").startswith("outdated") else "stopped"


def _refused(notice: Notice) -> str:
    """The problems, in lines as at a start, then what follows from them."""
    return "\n".join(filter(None, (notice.reason or "the configuration is wrong", notice.effect)))


def _not_ready(notice: Notice) -> str:
    waited = "" if notice.duration_s is None else f" (after {duration(notice.duration_s)})"
    return f"{notice.name} is not ready{_why(notice)}{waited}{_then(notice.effect)}"


def _loop(notice: Notice) -> str:
    missing = [path for path in notice.paths if path not in (notice.reason or "")]
    files = f" ({listed(missing)})" if missing else ""
    return f"{notice.name} changes what it watches{files}{_why(notice)}{_then(notice.effect)}"


def _always_changing(notice: Notice) -> str:
    """`a.log changes all the time, and build.api watches it; if nobody edits it, leave it out: ignore = ["a.log"]`."""
    one = len(notice.paths) == 1
    verb, whom, them = ("changes", "it", "it") if one else ("change", "them", "them")
    watch = "watches" if len(notice.names) == 1 else "watch"
    when = notice.reason or "all the time"
    told = f"{listed(notice.paths)} {verb} {when}, and {listed(notice.names)} {watch} {whom}"
    return f"{told}; if nobody edits {them}, leave {them} out: ignore = {json.dumps(_anchored(notice.paths))}"


def _anchored(paths: Sequence[str]) -> list[str]:
    """Paths as patterns of just these: one without a slash would match at any depth."""
    return [path if "/" in path.rstrip("/") else f"./{path}" for path in paths]


def _fixed(notice: Notice) -> str:
    return f"{notice.name} fixed {notice.reason or ''}".rstrip()


def _build_started(notice: Notice) -> str:
    cause = f": {changed(notice.paths)}" if notice.paths else ""
    return f"{notice.name} runs{_numbers(notice)}{cause}"


def _service_stopped(notice: Notice) -> str:
    if notice.reason:
        return f"{notice.name} {notice.reason}{_numbers(notice)}{_after(notice)}{_then(notice.effect)}"
    return f"{notice.name} stopped{_numbers(notice)}{_after(notice)}"


def _took(what: str) -> Callable[[Notice], str]:
    def sentence(notice: Notice) -> str:
        took = "" if notice.duration_s is None else f" in {duration(notice.duration_s)}"
        return f"{notice.name} {what}{took}{_numbers(notice)}{_why(notice)}{_then(notice.effect)}"

    return sentence


_SENTENCES: Mapping[EventName, Callable[[Notice], str]] = MappingProxyType(
    {
        "files_changed": lambda notice: f"{changed(notice.paths)}: {listed(notice.names)}",
        "build_started": _build_started,
        "build_succeeded": _took("succeeded"),
        "build_failed": _ended("failed"),
        "build_cancelled": lambda notice: _because(_how_cancelled(notice))(notice),
        "build_skipped": _because("has nothing to do"),
        "build_fixed": _fixed,
        "service_started": _took("started"),
        "service_ready": _took("is ready"),
        "service_switched": _took("switched"),
        "service_stopped": _service_stopped,
        "service_crashed": _ended("crashed"),
        "not_ready": _not_ready,
        "verify_failed": _ended("failed verify"),
        "rolled_back": _because("went back"),
        "crash_loop": _because("keeps crashing"),
        "build_loop": _loop,
        "limit_exceeded": _because("is over its limit"),
        "config_reloaded": lambda notice: f"the configuration was read again{_then(notice.effect)}",
        "config_rejected": _refused,
        "always_changing": _always_changing,
        "stopping": lambda _notice: "stopping",
    }
)
