"""The judges of answers: what may be passes, and each thing that must not be is seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos import answers
from tests.chaos.answers import Gap, Runs
from tests.chaos.clients import Request
from tests.chaos.life import Life

WEB = "service.web"
DOORS = {"web": "web", "shop": "shop"}


def event(second: float, kind: str, run: int, **more: Any) -> dict[str, Any]:
    return {"at": f"2026-01-31T12:00:{second:06.3f}Z", "event": kind, "name": WEB, "run": run, "pid": run, **more}


# The first instance, and a second one that takes over from it.
TOLD = [
    event(1, "service_started", 1), event(2, "service_ready", 1), event(10, "build_succeeded", 1, name="build.app"),
    event(11, "service_started", 2), event(12, "service_ready", 2), event(13, "service_stopped", 1),
]  # fmt: skip
START_S = answers.when(event(0, "", 0))


# What each has noted of itself.
BEGUN = [{"life": 1, "name": WEB, "run": run, "versions": {"app": "1 good"}} for run in (1, 2)]


def life(events: list[dict[str, Any]]) -> Life:
    return cast("Life", SimpleNamespace(number=1, events=events))


def request(
    began_s: float, run: int | None, version: str = "1 good", *, kept: bool = False, door: str = "web"
) -> Request:
    at_s = START_S + began_s
    answer = {"life": 1, "name": WEB, "run": run, "versions": {"app": version}, "at": at_s + 0.01}
    return Request(door, kept, at_s, at_s + 0.02, answer if run else None, "" if run else "ConnectionResetError")


def strange(*requests: Request, version: str = "1 good") -> list[str]:
    begun = [one | {"versions": {"app": version}} for one in BEGUN]
    return list(answers.strange(requests, Runs([life(TOLD)], begun), [], ["shop"], lambda _run, _until_s: True))


def test_what_each_instance_answers_in_its_time_passes() -> None:
    late = request(20, 1, kept=True)  # a connection that is kept open belongs to the old one until it is closed
    assert strange(request(3, 1), request(11.5, 1), request(12.5, 2), late) == []


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        (request(3, 7), "never told to be started"),
        (request(11.2, 2), "not in charge yet"),
        (request(20, 1), "replaced at"),
        (request(20, 2, "2 good"), "began with"),
    ],
)
def test_an_answer_that_must_not_be_is_seen(answered: Request, words: str) -> None:
    (found,) = strange(answered)
    assert words in found


@pytest.mark.parametrize(
    ("version", "words"), [("2 broken", "from a build that has failed"), ("2 wrong", "which verify must have refused")]
)
def test_an_answer_from_what_must_not_serve_is_seen(version: str, words: str) -> None:
    (found,) = strange(request(20, 2, version), version=version)
    assert words in found


def test_a_version_that_goes_back_is_seen_unless_that_was_told() -> None:
    def backwards(events: list[dict[str, Any]]) -> list[str]:
        begun = [one | {"versions": {"app": f"{9 - int(str(one['run']))} good"}} for one in BEGUN]
        runs = Runs([life(events)], begun)
        return list(answers.backwards(runs, []))

    assert len(backwards(TOLD)) == 1
    assert backwards([*TOLD[:3], event(10, "rolled_back", 1), *TOLD[3:]]) == []


def test_what_is_lost_needs_a_gap() -> None:
    gap = Gap("web", START_S + 5, START_S + 6, "")
    assert answers.lost([request(5.5, None)], DOORS, [gap], []) == []
    assert len(answers.lost([request(7, None)], DOORS, [gap], [])) == 1
    assert len(answers.lost([request(5.5, None, door="shop")], DOORS, [gap], [])) == 1


def test_an_idle_connection_may_be_closed_by_who_has_it_but_not_behind_a_proxy() -> None:
    closed = [Request(door, True, 0.0, 0.0, None, "closed", closed=True) for door in DOORS]
    (found,) = answers.lost(closed, DOORS, [], ["shop"])
    assert "at shop" in found


def test_a_start_without_a_cause_is_seen() -> None:
    needs = {WEB: ["build.app"]}
    assert list(answers.needless(life(TOLD), needs, {})) == []
    again = [event(14, "service_started", 3)]
    assert len(list(answers.needless(life(TOLD + again), needs, {}))) == 1
    assert list(answers.needless(life(TOLD + again), needs, {WEB: 1})) == []
