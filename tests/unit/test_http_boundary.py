"""Where messages of HTTP/1.1 end, and which of them are better left alone."""

from __future__ import annotations

import pytest

from procwatch.runtime.exchange import MAX_KEPT_BYTES, Exchange
from procwatch.runtime.http_boundary import MAX_HEAD_BYTES, Answers, NotUnderstood, Request, Requests, begins_request

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def request(head: bytes) -> Request:
    """What is read from the head of a request."""
    found = Requests().read(head + b"\r\n", 0)[0]
    assert found is not None
    return found


ASKED = request(GET[:-2])
HEAD = request(b"HEAD / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "message",
    [
        GET,
        b"GET http://a/ HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost:x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-LENGTH:\t3 \r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA;x=y\r\n0123\r\n\r\n89\r\n00\r\nA: b\r\nC: d\r\n\r\n",
    ],
)  # fmt: skip
def test_a_request_ends_where_it_ends_however_it_is_cut(message: bytes) -> None:
    for first in range(len(message)):
        for second in range(first, len(message)):
            requests = Requests()
            at = [requests.read(piece, 0)[1] for piece in (message[:first], message[first:second]) if piece]
            assert all(end == -1 for end in at)
            assert requests.read(message[second:] + GET, 0)[1] == len(message) - second
            assert requests.is_between


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        (OK, ASKED),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", ASKED),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ASKED),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ASKED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", HEAD),
        (b"HTTP/1.1 200 OK\r\n\r\n", HEAD),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx", ASKED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", ASKED),
    ],
)
def test_an_answer_ends_where_it_ends_however_it_is_cut(message: bytes, asked: Request) -> None:
    for first in range(len(message)):
        answers = Answers()
        assert not first or answers.read(message[:first], 0, asked) == -1
        assert answers.read(message[first:] + OK, 0, asked) == len(message) - first
        assert answers.is_between


POST = b"POST / HTTP/1.1\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "message",
    [
        b"\x16\x03\x01", b"SSH-2.0-OpenSSH_9\r\n", b"*1\r\n$4\r\nPING\r\n", b"PRI * HTTP/2.0\r\n\r\n",
        b"GET /\r\n", b"GET / HTTP/1.2\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\n\n",
        POST + b"Host: x\n\r\n\r\n", POST + b"Host : x\r\n\r\n", POST + b" folded\r\n\r\n", POST + b"Host: \0\r\n\r\n",
        POST + b"no colon\r\n\r\n", POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        POST + b"Content-Length: 1, 1\r\n\r\n", POST + b"Content-Length: +1\r\n\r\n", POST + b"Content-Length:\r\n\r\n",
        POST + b"Content-Length: 9999999999999999999\r\n\r\n", CHUNKED + b"Content-Length: 1\r\n\r\n",
        CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNKED + b"\r\nx\r\n", CHUNKED + b"\r\n1\n",
        CHUNKED + b"\r\n-1\r\n", CHUNKED + b"\r\n\r\n", CHUNKED + b"\r\n0\r\nbad trailer\r\n\r\n",
        POST + b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_not_understood(message: bytes) -> None:
    with pytest.raises(NotUnderstood):
        Requests().read(message, 0)
    with pytest.raises(NotUnderstood):
        read_byte_by_byte(message)


def read_byte_by_byte(message: bytes) -> None:
    """As it may come over a slow line."""
    requests = Requests()
    for number in range(len(message)):
        requests.read(message[number : number + 1], 0)


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"GET / HTTP/1.1\r\n"),
        (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n", b"GET / HTTP/1.1\r\n"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", b"GET / HTTP/1.1\r\n"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", b"GET / HTTP/1.1\r\nUpgrade: x\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n"),
        (OK, b"GET / HTTP/1.1\r\nConnection: close\r\n"),
        (OK, b"GET / HTTP/1.0\r\n"),
        (b"ICY 200 OK\r\n\r\n", b"GET / HTTP/1.1\r\n"),
        (b"<html>", b"GET / HTTP/1.1\r\n"),
    ],
)
def test_after_an_answer_that_ends_its_connection_nothing_is_understood(message: bytes, asked: bytes) -> None:
    with pytest.raises(NotUnderstood):
        Answers().read(message, 0, request(asked))


def test_interim_answers_end_but_do_not_answer() -> None:
    answers = Answers()
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK
    at = answers.read(data, 0, ASKED)
    assert answers.status == 100
    at = answers.read(data, at, ASKED)
    assert answers.status == 103
    assert answers.read(data, at, ASKED) == len(data)
    assert answers.status == 200


def test_empty_lines_before_a_request_belong_to_nothing() -> None:
    requests = Requests()
    assert requests.read(b"\r\n\r\n", 0) == (None, 4)
    assert requests.is_between
    assert requests.read(b"\r\n" + GET, 0)[1] == len(GET) + 2


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01", b"hello\r\n"])
def test_what_is_no_request_does_not_begin_like_one(data: bytes) -> None:
    assert not begins_request(data)
    assert begins_request(GET)
    assert begins_request(GET[:2])


# --- an exchange -----------------------------------------------------------------------------------------------------


def test_an_exchange_is_between_two_requests_when_all_is_answered() -> None:
    exchange = Exchange()
    assert exchange.is_between
    assert exchange.ask(GET + GET[:3], may_begin=True) == len(GET) + 3
    exchange.answer(OK)
    assert not exchange.is_between
    exchange.ask(GET[3:], may_begin=True)
    exchange.answer(OK[:-1])
    assert not exchange.is_between
    exchange.answer(OK[-1:])
    assert exchange.is_between
    assert not exchange.is_blind


def test_a_next_request_may_have_to_wait_for_the_answer() -> None:
    exchange = Exchange()
    post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    assert exchange.ask(post[:-1], may_begin=True) == len(post) - 1
    assert exchange.ask(post[-1:] + GET, may_begin=False) == 1
    assert exchange.ask(GET, may_begin=False) == 0
    exchange.answer(OK)
    assert exchange.ask(GET, may_begin=False) == len(GET)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", OK])
def test_who_expected_to_be_told_to_go_on_may_do_as_it_likes(answer: bytes) -> None:
    exchange = Exchange()
    exchange.ask(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", may_begin=True)
    exchange.answer(answer)
    assert exchange.is_blind
    assert exchange.is_http


def test_who_was_told_to_go_on_is_understood() -> None:
    exchange = Exchange()
    exchange.ask(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", may_begin=True)
    exchange.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    exchange.ask(b"abc", may_begin=True)
    exchange.answer(OK)
    assert exchange.is_between


@pytest.mark.parametrize("answer", [OK, b"junk"])
def test_an_answer_that_nobody_asked_for_makes_blind(answer: bytes) -> None:
    exchange = Exchange()
    exchange.answer(answer)
    assert exchange.is_blind
    assert exchange.ask(b"anything", may_begin=False) == 8


@pytest.mark.parametrize(
    ("sent", "again"),
    [
        (GET, GET),
        (GET[:7], GET[:7]),
        (b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", None),
        (b"PATCH / HTTP/1.1\r\n\r\n", None),
        (GET + GET, GET + GET),
        (GET + b"POST / HTTP/1.1\r\n", GET + b"POST / HTTP/1.1\r\n"),
        (GET + b"POST / HTTP/1.1\r\n\r\n", None),
        (GET + GET[:1], GET + GET[:1]),
        (b"PUT / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n" + bytes(MAX_KEPT_BYTES), None),
        (b"\0", None),
    ],
)
def test_only_idempotent_requests_may_be_sent_again(sent: bytes, again: bytes | None) -> None:
    at_once, in_pieces = Exchange(), Exchange()
    at_once.ask(sent, may_begin=True)
    for number in range(len(sent)):
        in_pieces.ask(sent[number : number + 1], may_begin=True)
    for exchange in (at_once, in_pieces):
        assert exchange.again() == again
        assert exchange.again() is None


def test_nothing_is_sent_again_once_an_answer_has_begun() -> None:
    exchange = Exchange()
    exchange.ask(GET, may_begin=True)
    exchange.answer(b"H")
    assert exchange.again() is None
