"""The boundary reader against h11: whatever both understand ends at the same byte; whatever comes never fails."""

from __future__ import annotations

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from procwatch.runtime.http_boundary import Answers, NotUnderstood, Requests

METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"M-SEARCH")
names = st.from_regex(rb"X-[A-Za-z0-9-]{1,8}", fullmatch=True)
values = st.from_regex(rb"[a-zA-Z0-9,;= \t\x80-\xff]{0,20}", fullmatch=True)
others = st.lists(st.tuples(names, values), max_size=4)
bodies = st.binary(max_size=60)


def chunked(parts: list[bytes], extension: bytes, trailers: list[tuple[bytes, bytes]]) -> bytes:
    """A body in chunks."""
    made = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts if part)
    return made + b"0\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in trailers) + b"\r\n"


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """Fields and a body that belongs to them."""
    fields = draw(others)
    match draw(st.sampled_from(("none", "length", "chunks"))):
        case "length":
            body = draw(bodies)
            fields.insert(draw(st.integers(0, len(fields))), (b"Content-Length", b"%d" % len(body)))
        case "chunks":
            extension = draw(st.sampled_from((b"", b";a=b", b"; a")))
            body = chunked(draw(st.lists(bodies, max_size=3)), extension, draw(others))
            fields.insert(draw(st.integers(0, len(fields))), (b"tRansfer-encoding", b"chunked"))
        case _:
            body = b""
    return b"".join(b"%b: %b\r\n" % pair for pair in fields) + b"\r\n" + body


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request that is right."""
    return b"%b /%b HTTP/1.1\r\nHost: x\r\n" % (draw(st.sampled_from(METHODS)), b"p" * draw(st.integers(0, 9))) + draw(
        framed()
    )


@st.composite
def cuts(draw: st.DrawFn, of: st.SearchStrategy[list[bytes]]) -> tuple[list[bytes], list[bytes]]:
    """Messages, and all of them in pieces."""
    messages = draw(of)
    data = b"".join(messages)
    at = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return messages, [data[start:end] for start, end in zip([0, *at], [*at, len(data)], strict=True) if start < end]


def ends_of(pieces: list[bytes]) -> list[int]:
    """Where the boundary reader sees requests end, until it does not understand."""
    reader, found, before = Requests(), [], 0
    try:
        for piece in pieces:
            at = 0
            while at < len(piece):
                _, end = reader.read(piece, at)
                if end < 0:
                    break
                at = end
                found.append(before + at)
            before += len(piece)
    except NotUnderstood:
        pass
    return found


def h11_end(data: bytes, *, role: type[h11.CLIENT] | type[h11.SERVER]) -> int | None:
    """Where h11 sees the first message of this end; None: not yet. Raises RemoteProtocolError."""
    ours = h11.Connection(role, max_incomplete_event_size=1 << 20)
    if role is h11.CLIENT:
        ours.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        ours.send(h11.EndOfMessage())
    ours.receive_data(data)
    while True:
        event = ours.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return None
        if isinstance(event, h11.EndOfMessage):
            return len(data) - len(ours.trailing_data[0])


@given(cuts(st.lists(requests(), min_size=1, max_size=4)))
def test_requests_end_where_they_were_put_together(made: tuple[list[bytes], list[bytes]]) -> None:
    messages, pieces = made
    total, expected = 0, []
    for message in messages:
        assert h11_end(message, role=h11.SERVER) == len(message)
        total += len(message)
        expected.append(total)
    assert ends_of(pieces) == expected


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A request with something put in, left out or replaced, which may still be right."""
    data = draw(requests())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 3))
        piece = draw(st.sampled_from((
            b"", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b"\0", b"0", b"9", b"a", b"-", b"+", b",", b";",
            b"\x0b", b"\x80", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"0x1",
        )))  # fmt: skip
        data = data[:at] + piece + data[at + cut :]
    return data


@given(spoilt())
@example(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n")
def test_where_a_boundary_is_told_h11_sees_it_or_refuses(data: bytes) -> None:
    found = ends_of([data])
    empty = len(data) - len(data.lstrip(b"\r\n"))
    ends = [end for end in found if end > empty]
    try:
        theirs = h11_end(data, role=h11.SERVER)
    except h11.RemoteProtocolError:
        return
    if ends:
        assert theirs == ends[0]


@given(spoilt(), st.lists(st.integers(0, 200), max_size=6))
def test_a_boundary_does_not_depend_on_how_the_bytes_are_cut(data: bytes, at: list[int]) -> None:
    at = sorted(min(one, len(data)) for one in at)
    pieces = [data[start:end] for start, end in zip([0, *at], [*at, len(data)], strict=True) if start < end]
    whole, cut = ends_of([data]), ends_of(pieces)
    # Empty lines in front of a request are told as they come.
    assert [end for end in cut if data[:end].strip(b"\r\n")] == [end for end in whole if data[:end].strip(b"\r\n")]


@given(framed(), st.sampled_from((200, 201, 301, 404, 500)), st.lists(st.integers(0, 200), max_size=6))
def test_answers_end_where_h11_sees_them_end(rest: bytes, status: int, at: list[int]) -> None:
    data = b"HTTP/1.1 %d Words\r\n" % status + rest
    asked = Requests().read(b"GET / HTTP/1.1\r\n\r\n", 0)[0]
    assert asked is not None
    at = sorted(min(one, len(data)) for one in at)
    reader, before, found = Answers(), 0, None
    try:
        for start, end in zip([0, *at], [*at, len(data)], strict=True):
            if start < end and (ended := reader.read(data[start:end], 0, asked)) >= 0:
                found = before + ended
            before = end
    except NotUnderstood:
        # It says nothing of its length, and so ends with its connection.
        assert b"\r\nContent-Length:" not in data
        assert b"chunked" not in data
        return
    assert found == h11_end(data, role=h11.CLIENT) == len(data)


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_any_bytes_at_all_are_read_or_not_understood(pieces: list[bytes]) -> None:
    ends_of(pieces)
    asked = Requests().read(b"GET / HTTP/1.1\r\n\r\n", 0)[0]
    assert asked is not None
    answers = Answers()
    try:
        for piece in pieces:
            if piece:
                answers.read(piece, 0, asked)
    except NotUnderstood:
        pass
