"""However output is cut into writes and files, the files hold it byte for byte, and all of it is found again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from procwatch.core.model import LogPolicy
from procwatch.output.logfile import LogFile, Mark

LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b" ") + b"\n"), max_size=30)


@contextmanager
def made(policy: LogPolicy) -> Iterator[LogFile]:
    with tempfile.TemporaryDirectory() as folder:
        file = LogFile(Path(folder) / "logs" / "service.api.log", policy)
        try:
            yield file
        finally:
            file.close()


def files(file: LogFile) -> list[bytes]:
    """The contents from the oldest to the newest."""
    numbered = {int(path.suffix[1:]): path for path in file.path.parent.glob("*.log.*")}
    paths = [numbered[number] for number in sorted(numbered, reverse=True)]
    return [path.read_bytes() for path in (*paths, file.path) if path.exists()]


def write(file: LogFile, data: bytes, cuts: list[int]) -> list[Mark]:
    places = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    marks = [file.mark]
    for begin, end in pairwise(places):
        file.append(data[begin:end], data[begin:end].count(b"\n"))
        marks.append(file.mark)
    return marks


@given(lines=LINES, cuts=st.lists(st.integers(0, 500)), size=st.integers(1, 100))
def test_the_files_from_old_to_new_are_what_was_written(lines: list[bytes], cuts: list[int], size: int) -> None:
    data = b"".join(lines)
    with made(LogPolicy(size, 1000)) as file:
        write(file, data, cuts)
        parts = files(file)
    assert b"".join(parts) == data
    longest = max((len(line) for line in lines), default=0)
    for part in parts:
        assert len(part) <= max(size, min(longest, size) + size)
    if longest <= size:
        assert all(part.endswith(b"\n") for part in parts)


@given(lines=LINES, size=st.integers(1, 100))
def test_a_file_of_whole_lines_is_never_larger_than_allowed(lines: list[bytes], size: int) -> None:
    with made(LogPolicy(size, 1000)) as file:
        for line in lines:
            file.append(line, 1)
        parts = files(file)
    assert all(len(part) <= size for part in parts)
    for part, after in pairwise(parts):
        if part.endswith(b"\n"):  # a new file is begun only where the next line finds no room
            assert len(part) + len(after.partition(b"\n")[0]) + 1 > size


@given(
    lines=LINES,
    cuts=st.lists(st.integers(0, 500)),
    policy=st.builds(LogPolicy, st.integers(1, 100), st.integers(0, 3)),
    picked=st.tuples(st.integers(0), st.integers(0)),
)
@example([b"\0\0\n"], [], LogPolicy(1, 1), (0, 1))  # a line over three files, of which the first has gone
def test_what_is_read_again_and_what_is_counted_as_gone_are_all_of_it(
    lines: list[bytes], cuts: list[int], policy: LogPolicy, picked: tuple[int, int]
) -> None:
    data = b"".join(lines)
    with made(policy) as file:
        marks = write(file, data, cuts)
        begin, end = sorted((marks[number % len(marks)] for number in picked), key=lambda mark: mark.offset)
        found = list(file.read(begin, end))
        assert len(files(file)) <= policy.keep + 1
    wanted = data[begin.offset : end.offset]
    text = b"".join(part for part in found if isinstance(part, bytes))
    assert wanted.endswith(text)
    gone = sum(part for part in found if isinstance(part, int))
    assert gone + text.count(b"\n") == wanted.count(b"\n")
    if text and len(text) < len(wanted):
        assert wanted[: -len(text)].endswith(b"\n")  # never the rest of a line whose beginning has gone


@given(lines=LINES, runs=st.integers(1, 4), size=st.integers(13, 100))
def test_a_new_start_goes_on_where_the_last_one_ended(lines: list[bytes], runs: int, size: int) -> None:
    with made(LogPolicy(size, 1000)) as first:
        for number in range(runs):
            file = LogFile(first.path, LogPolicy(size, 1000))
            for line in lines[number::runs]:
                file.append(line, 1)
            assert b"".join(part for part in file.read(Mark(), file.mark) if isinstance(part, bytes)) == b"".join(
                lines[number::runs]
            )
            file.close()
        assert b"".join(files(first)) == b"".join(line for number in range(runs) for line in lines[number::runs])
