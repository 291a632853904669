"""Where one HTTP/1.1 message ends and the next begins, in bytes that come in pieces. Pure: no socket, no clock.

Rule 1: a boundary that is told is sure. Whatever is not understood, is malformed, or could be read in two ways raises
        NotUnderstood, and the connection is passed on byte by byte from then on.
Rule 2: no byte is changed or kept back; of a body nothing is looked at but how long it is.
Rule 3: what is kept of a message is its head, and no more than MAX_HEAD_BYTES of it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

# Servers refuse more than 8 KiB (nginx, Apache) to 64 KiB (uvicorn); a longer head is passed on without being read.
MAX_HEAD_BYTES = 64 * 1024
# A line of a chunk's size with its extensions, and all trailers: more is nothing that is seen in the field.
_MAX_LINE_BYTES = 8 * 1024
# More digits are no length that anything could send.
_MAX_DIGITS = 18

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST = re.compile(rb"(%b) [^\s\0]+ HTTP/1\.([01])\r\n" % _TOKEN)
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n\0]*)?\r\n")
_REQUEST_BEGINS = re.compile(rb"(?:%b(?: [^\s\0]*(?: [HTP/1.0]*\r?)?)?)?" % _TOKEN)
_STATUS_BEGINS = re.compile(rb"H[TP/1. \d]*(?: [^\r\n\0]*\r?)?")
_FIELDS = re.compile(rb"(?:%b:[^\r\n\0]*\r\n)*" % _TOKEN)
# Looked for in a head in lower case: a fifth of the time that a search without regard to case takes.
_MATTERS = re.compile(rb"\n(content-length|transfer-encoding|connection|upgrade|expect):([^\r]*)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\r\n\0]*)?\r\n")
# RFC 9110, 9.2.2: what may be sent again though nobody knows whether it was done the first time.
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
# How the body of a message is told to end; else its length in bytes.
_IN_CHUNKS, _WITH_CONNECTION = -1, -2
# Kept-alive connections carry the same few kinds of heads over and over.
_KINDS = 128

Fields = tuple[tuple[bytes, bytes], ...]


class NotUnderstood(Exception):  # noqa: N818 - nothing is wrong: it is passed on as it is
    """From here on nobody knows where a message ends."""


class Request(NamedTuple):
    """What of a request's head says how it goes on, and how its answer is to be read.

    `may_upgrade`: after its answer the connection may speak something else (Upgrade, CONNECT). `is_last`: no other
    request comes on this connection. `expects`: its body waits for an interim answer.
    """

    method: bytes
    may_upgrade: bool
    is_last: bool
    expects: bool

    @property
    def is_idempotent(self) -> bool:
        """Whether it does the same when it is sent twice."""
        return self.method in _IDEMPOTENT


class _Messages:
    """Messages one behind the other: a head, and a body of a known length or in chunks."""

    __slots__ = ("_body_bytes", "_chunks", "_is_in_body", "_part")

    def __init__(self) -> None:
        # The beginning of a head, or of a line between chunks, that is not whole yet.
        self._part = b""
        self._is_in_body = False
        self._body_bytes = 0
        self._chunks = False

    @property
    def is_between(self) -> bool:
        """Whether the last message is whole and nothing has come of the next one."""
        return not self._is_in_body and not self._part

    def _end(self, data: bytes, at: int) -> int:
        """Where in `data` the body ends that goes on or begins at `at`; -1: later."""
        while True:
            if self._body_bytes:
                taken = min(self._body_bytes, len(data) - at)
                self._body_bytes -= taken
                at += taken
            if self._body_bytes:
                return -1
            if not self._chunks:
                self._is_in_body = False
                return at
            if (at := self._next_chunk(data, at)) < 0:
                return -1

    def _next_chunk(self, data: bytes, at: int) -> int:
        """Where the chunk that comes next begins; -1 as long as the line with its size is not whole.

        Its length is taken together with the line end behind it. The last chunk is taken with its trailers.
        """
        known = len(self._part)
        text = self._part + data[at : at + _MAX_LINE_BYTES]
        end = text.find(b"\n") + 1
        found = _CHUNK.fullmatch(text, 0, end) if end else None
        if end and found is None:
            raise NotUnderstood
        size = int(found[1], 16) if found else -1
        if size == 0:
            # Where there are no trailers the empty line follows at once.
            empty = text.find(b"\r\n\r\n", end - 2)
            end = empty + 4 if empty >= 0 else 0
            if end and not _FIELDS.fullmatch(text, text.find(b"\n") + 1, empty + 2):
                raise NotUnderstood
        if not end:
            if len(text) >= _MAX_LINE_BYTES:
                raise NotUnderstood
            self._part = text
            return -1
        self._part = b""
        if size == 0:
            self._chunks = False
        else:
            self._body_bytes = size + 2
        return at + end - known

    def _head(self, data: bytes, at: int, first: re.Pattern[bytes], begins: re.Pattern[bytes]) -> tuple[bytes, int]:
        """The head that goes on at `at` without its empty line, and where it ends; (b"", -1) if that comes later.

        `first` is what its first line has to be, `begins` what that can be as long as it is not whole.
        """
        known = len(self._part)
        if not known:
            end = data.find(b"\r\n\r\n", at)
            if 0 <= end <= at + MAX_HEAD_BYTES:
                return data[at : end + 2], end + 4
        text = self._part + data[at : at + MAX_HEAD_BYTES]
        end = text.find(b"\r\n\r\n", max(0, known - 3))
        if 0 <= end <= MAX_HEAD_BYTES:
            self._part = b""
            return text[: end + 2], at + end + 4 - known
        is_right = first.match(text) if b"\n" in text else begins.fullmatch(text)
        if len(text) >= MAX_HEAD_BYTES or not is_right:
            raise NotUnderstood
        self._part = text
        return b"", -1

    def _begin_body(self, length: int) -> None:
        if length == _IN_CHUNKS:
            self._chunks = True
        else:
            self._body_bytes = length
        self._is_in_body = True


class Requests(_Messages):
    """What a client sends."""

    __slots__ = ()

    def read(self, data: bytes, at: int) -> tuple[Request | None, int]:
        """Go on at `at`: the request whose head has become whole, if one has, and where it ends; -1: later."""
        if self._is_in_body:
            return None, self._end(data, at)
        if not self._part:
            while data.startswith(b"\r\n", at):  # clients of old put an empty line behind a body
                at += 2
            if at == len(data):
                return None, at
        head, at = self._head(data, at, _REQUEST, _REQUEST_BEGINS)
        if at < 0:
            return None, at
        first = _REQUEST.match(head)
        if not first:
            raise NotUnderstood
        request, length = _asked(first[1], first[2], _fields(head, first.end()))
        if not length:
            return request, at
        self._begin_body(length)
        return request, self._end(data, at)


class Answers(_Messages):
    """What a server sends; each answer is read with the request that it answers."""

    __slots__ = ("status",)

    def __init__(self) -> None:
        super().__init__()
        # Of the answer that is being read; interim ones (1xx) have answers behind them.
        self.status = 0

    def read(self, data: bytes, at: int, request: Request) -> int:
        """Go on at `at`: where the answer or interim answer ends; -1: later.

        An answer that ends with its connection, or after which another protocol is spoken, raises NotUnderstood.
        """
        if self._is_in_body:
            return self._end(data, at)
        head, at = self._head(data, at, _STATUS, _STATUS_BEGINS)
        if at < 0:
            return at
        first = _STATUS.match(head)
        if not first:
            raise NotUnderstood
        self.status = int(first[2])
        length = _answered(first[1], self.status, _fields(head, first.end()), request)
        if length == _WITH_CONNECTION:
            raise NotUnderstood
        if not length:
            return at
        self._begin_body(length)
        return self._end(data, at)


def begins_request(data: bytes) -> bool:
    """Whether this is how a request of HTTP/1.1 begins."""
    try:
        Requests().read(data, 0)
    except NotUnderstood:
        return False
    return bool(data)


def _fields(head: bytes, at: int) -> Fields:
    """The fields that matter, in lower case."""
    if not _FIELDS.fullmatch(head, at):
        raise NotUnderstood
    return tuple(_MATTERS.findall(head.lower(), at - 1))


@lru_cache(_KINDS)
def _asked(method: bytes, version: bytes, fields: Fields) -> tuple[Request, int]:
    """What a request's head says, and the length of its body."""
    length = _length(fields, version)
    words = _words(fields)
    is_last = b"close" in words or (version == b"0" and b"keep-alive" not in words)
    names = {name for name, _ in fields}
    request = Request(method, method == b"CONNECT" or b"upgrade" in names, is_last, b"expect" in names)
    return request, max(length, 0) if length != _IN_CHUNKS else length


@lru_cache(_KINDS)
def _answered(version: bytes, status: int, fields: Fields, request: Request) -> int:
    """The length of an answer's body."""
    if status < 200:
        return _WITH_CONNECTION if status == 101 else 0
    words = _words(fields)
    is_last = request.is_last or b"close" in words or (version == b"0" and b"keep-alive" not in words)
    if is_last or (request.method == b"CONNECT" and status < 300):
        return _WITH_CONNECTION
    return 0 if request.method == b"HEAD" or status in (204, 304) else _length(fields, version)


def _length(fields: Fields, version: bytes) -> int:
    """What the head says of the length of the body; _WITH_CONNECTION if it says nothing."""
    lengths = [value.strip(b" \t") for name, value in fields if name == b"content-length"]
    codings = [value.strip(b" \t") for name, value in fields if name == b"transfer-encoding"]
    if not lengths and not codings:
        return _WITH_CONNECTION
    if codings:
        if lengths or version == b"0" or codings != [b"chunked"]:
            raise NotUnderstood
        return _IN_CHUNKS
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > _MAX_DIGITS:
        raise NotUnderstood
    return int(lengths[0])


def _words(fields: Fields) -> list[bytes]:
    """What the field `connection` lists."""
    return [word.strip(b" \t") for name, value in fields if name == b"connection" for word in value.split(b",")]
