"""Whatever log files hold: each log's lines in their order, all by their times, and the end is found from behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.core.model import LogPolicy
from procwatch.output import past as past_module
from procwatch.output import runs as runs_module
from procwatch.output.events import stamp
from procwatch.output.logfile import LogFile, before
from procwatch.output.past import Past
from procwatch.output.runs import Placed, Reader, merged, text_of, without_first

START_S = 1_769_860_800.0
FIRST = stamp(START_S).encode()
# Short steps and few of them, so that times meet; a clock that is set back; lines that have no time.
STEPS = st.sampled_from([0, 0, 0, 1, 1, 2, 500, 1000, -3])
TEXTS = st.binary(max_size=8).map(lambda text: text.replace(b"\n", b" "))
LINES = st.lists(st.tuples(STEPS, TEXTS, st.booleans() | st.just(True)), max_size=40)
Line = tuple[bytes, bytes]


def dated(lines: list[tuple[int, bytes, bool]]) -> tuple[bytes, list[Line]]:
    """What the file holds, and the time and the text of each line."""
    at_ms = 0
    data, known = b"", list[Line]()
    for step, text, has_time in lines:
        at_ms += step
        mark = stamp(START_S + at_ms / 1000).encode()
        if has_time or not known:
            data += mark + b" " + text + b"\n"
            known.append((mark, text))
        else:
            data += b"?" + text + b"\n"
            known.append((known[-1][0], b"?" + text))
    return data, known


def flat(portions: Iterator[list[Placed]]) -> list[tuple[int, bytes, bytes]]:
    return [
        (number, run[1][:-1], text)
        for portion in portions
        for number, run in portion
        for text in text_of(run).split(b"\n")[:-1]
    ]


def lost(count: int | None) -> None:
    pytest.fail(f"{count} bytes lost")


@contextmanager
def small(size: int, block: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(past_module, "_STEP_BYTES", size)
        patch.setattr(runs_module, "_SMALL_BYTES", block)
        yield


@contextmanager
def on_disk(logs: Sequence[bytes], cuts: Sequence[int]) -> Iterator[list[Past]]:
    """Each log in several files, cut at lines' ends."""
    with tempfile.TemporaryDirectory() as folder:
        pasts = []
        for index, data in enumerate(logs):
            lines = [line + b"\n" for line in data.split(b"\n")[:-1]]
            places = sorted({min(cut, len(lines)) for cut in cuts})
            parts = [b"".join(lines[begin:end]) for begin, end in zip([0, *places], [*places, None], strict=True)]
            path = Path(folder) / f"service.s{index}.log"
            for number, part in enumerate(reversed(parts)):
                (path.with_name(f"{path.name}.{number}") if number else path).write_bytes(part)
            pasts.append(Past(path, lost))
        for past in pasts:
            past.look()
        yield pasts
        for past in pasts:
            past.close()


@given(lines=LINES, cuts=st.lists(st.integers(0, 2000)), small_bytes=st.integers(1, 200))
def test_a_log_is_its_lines_and_their_times_however_it_is_cut(
    lines: list[tuple[int, bytes, bool]], cuts: list[int], small_bytes: int
) -> None:
    data, known = dated(lines)
    ends = [0, *(place + 1 for place in range(len(data)) if data[place] == 10)]
    places = sorted({0, len(data), *(max(end for end in ends if end <= cut % (len(data) + 1)) for cut in cuts)})
    reader = Reader()
    runs = []
    with small(100, small_bytes):
        for begin, end in pairwise(places):
            runs += reader.read(data[begin:end], b"")
    found = [(run[1][:-1], text) for run in runs for text in text_of(run).split(b"\n")[:-1]]
    assert found == known
    keys = [run[0] for run in runs]
    assert keys == sorted(keys)


LOGS = st.lists(LINES, max_size=4)
CUTS = st.lists(st.integers(0, 40), max_size=3)


@given(logs=LOGS, cuts=CUTS, size=st.integers(30, 300), block=st.integers(1, 300))
def test_several_are_merged_by_their_times_and_keep_their_order(
    logs: list[list[tuple[int, bytes, bool]]], cuts: list[int], size: int, block: int
) -> None:
    made = [dated(lines) for lines in logs]
    expected: list[tuple[bytes, int, int, bytes, bytes]] = []
    for number, (_, known) in enumerate(made):
        latest = b""
        for index, (at, text) in enumerate(known):
            latest = max(latest, at)
            expected.append((latest, number, index, at, text))
    with small(size, size), on_disk([data for data, _ in made], cuts) as pasts:
        found = flat(merged([past.runs(block, unfinished=True) for past in pasts]))
    for number, (_, known) in enumerate(made):
        assert [(at, text) for of, at, text in found if of == number] == known
    times = dict.fromkeys(range(len(made)), b"")
    keys = []
    for number, at, _ in found:
        times[number] = max(times[number], at)
        keys.append(times[number])
    assert keys == sorted(keys)
    assert len(found) == len(expected)


@given(logs=LOGS, cuts=CUTS, size=st.integers(1, 300), count=st.integers(0, 60))
def test_the_last_lines_are_those_of_all_that_there_is(
    logs: list[list[tuple[int, bytes, bool]]], cuts: list[int], size: int, count: int
) -> None:
    made = [dated([(abs(step), text, True) for step, text, _ in lines])[0] for lines in logs]
    with small(size, size):
        with on_disk(made, cuts) as pasts:
            whole = flat(merged([past.runs(unfinished=True) for past in pasts]))
        with on_disk(made, cuts) as pasts:
            found = sum(past.go_back(count, lambda data: data.count(b"\n"), unfinished=True) for past in pasts)
            runs = merged([past.runs(unfinished=True) for past in pasts])
            last = flat(without_first(max(0, found - count), runs))
    assert len(last) == min(count, len(whole))
    # Which of several lines of one moment comes first is not promised.
    assert [at for _, at, _ in last] == [at for _, at, _ in whole][len(whole) - len(last) :]
    for number in range(len(made)):
        mine = [(at, text) for of, at, text in whole if of == number]
        kept = [(at, text) for of, at, text in last if of == number]
        assert kept == mine[len(mine) - len(kept) :]


@given(lines=LINES, cuts=CUTS, size=st.integers(30, 300), since_ms=st.integers(-10, 4000))
def test_from_a_moment_on_it_is_all_that_is_not_earlier(
    lines: list[tuple[int, bytes, bool]], cuts: list[int], size: int, since_ms: int
) -> None:
    data, known = dated([(abs(step), text, True) for step, text, _ in lines])
    at = stamp(START_S + since_ms / 1000).encode()
    with small(size, size), on_disk([data], cuts) as (past,):
        past.go_to_moment(at)
        found = flat(merged([past.runs(unfinished=True)]))
    assert [(when, text) for _, when, text in found] == [one for one in known if one[0] >= at]


@given(steps=st.lists(st.tuples(st.sampled_from(["write", "look", "hold"]), st.integers(1, 9)), max_size=60))
def test_a_follower_gets_each_line_or_is_told_how_many_bytes_have_gone(steps: list[tuple[str, int]]) -> None:
    gone: list[int] = []
    found: list[bytes] = []
    written = 0
    with tempfile.TemporaryDirectory() as folder:
        file = LogFile(Path(folder) / "logs" / "service.api.log", LogPolicy(100, 1))
        past = Past(file.path, lambda count: gone.append(count or -1))

        def look() -> None:
            past.look()
            found.extend(text for _, _, text in flat(merged([past.runs(unfinished=False)])))

        file.append(FIRST + b" 000\n", 1)
        with file.path.open("rb") as opened:
            has_notes = before(opened.fileno()) is not None
        look()
        for step, count in (*steps, ("look", 1)):
            if step == "write":
                for _ in range(count):
                    written += 1
                    file.append(FIRST + b" %03d\n" % written, 1)
            elif step == "look":
                look()
            else:
                past.hold()
        past.close()
        file.close()
    assert found == sorted(set(found))
    if has_notes:
        assert len(found) + sum(gone) / 29 == written + 1
    # So few lines make one new file at most, and the one before stays.
    is_gentle = all(step != "write" or count <= 3 for step, count in steps)
    if is_gentle and all("write" not in (one, other) or one != other for (one, _), (other, _) in pairwise(steps)):
        assert not gone
