"""What was asked and answered on one connection: where it is between two requests, and what may be sent again. Pure.

Rule 1: it only looks on, and never changes what is passed. What it does not understand makes it blind for good.
Rule 2: a request may be sent again only if that can harm nobody: see `kept`.
"""

from __future__ import annotations

from collections import deque

from procwatch.runtime.http_boundary import Answers, NotUnderstood, Request, Requests

# What is kept of a request that may be sent again; browsers' and tools' requests without a body are far shorter.
MAX_KEPT_BYTES = 64 * 1024


class Exchange:
    """`is_http`: what was spoken so far is HTTP/1.1. `is_blind`: nothing is known of what is spoken now."""

    __slots__ = ("_answered", "_answers", "_asked", "_is_deciding", "_requests", "_sent", "_was_again", "is_http")

    def __init__(self) -> None:
        self.is_http = False
        self._requests: Requests | None = Requests()
        self._answers = Answers()
        self._asked: deque[Request] = deque()
        self._answered = False
        # The next answer decides whether HTTP goes on (Upgrade, CONNECT).
        self._is_deciding = False
        self._sent: bytes | None = None
        self._was_again = False

    @property
    def is_blind(self) -> bool:
        """Whether bytes are only passed on."""
        return self._requests is None

    @property
    def is_between(self) -> bool:
        """Whether all that was asked is answered, and nothing has come of a next request."""
        return self._requests is not None and self._requests.is_between and not self._asked

    def ask(self, data: bytes, *, may_begin: bool) -> int:
        """Look at what a client has sent: up to where it may be passed on now.

        That is up to a boundary where an answer has to come first: one that decides what is spoken from then on, or any
        where the instance is to get no further request (`may_begin`).
        """
        if self.is_between:
            self._sent, self._was_again = b"", False
        end = self._read(data, may_begin=may_begin)
        if self._sent is not None:
            self._keep(data[:end])
        return end

    def answer(self, data: bytes) -> None:
        """Look at what an instance has sent."""
        self._sent = None
        at = 0
        try:
            while self._requests is not None and 0 <= at < len(data):
                if not self._asked:
                    raise NotUnderstood
                at = self._answers.read(data, at, self._asked[0])
                if at >= 0 and self._answers.status >= 200:
                    self._answered = True
                    self._close(self._requests, self._asked.popleft())
        except NotUnderstood:
            self.go_blind()

    @property
    def kept(self) -> bytes | None:
        """All that was sent since the last answer, as long as another instance can have it; else None.

        For when the instance has *reset* the connection, so that it has not read all of it. No byte of an answer has
        come, it is at most 64 KiB, it was not sent twice yet, and each request in it is idempotent by its method (RFC
        9110, 9.2.2), or its head is not whole, so that nothing can have been done.
        """
        return None if self._was_again else b"" if self.is_between else self._sent

    @property
    def was_answered(self) -> bool:
        """Whether this is a kept connection: an instance may close it at any time between two requests."""
        return self._answered

    def again(self) -> bytes | None:
        """What is kept, once, to be sent to another instance."""
        kept = self.kept
        self._was_again = True
        return kept

    def go_blind(self) -> None:
        """Look no more: from now on bytes are only passed on."""
        self.is_http = self.is_http and not self._is_deciding
        self._requests = None
        self._asked.clear()
        self._sent = None
        self._is_deciding = False

    def _read(self, data: bytes, *, may_begin: bool) -> int:
        at = 0
        try:
            while self._requests is not None and at < len(data):
                if self._requests.is_between and (self._is_deciding or (self._asked and not may_begin)):
                    return at
                request, end = self._requests.read(data, at)
                if request is not None:
                    self._asked.append(request)
                    self.is_http = True
                    self._is_deciding = request.may_upgrade
                at = end if end >= 0 else len(data)
        except NotUnderstood:
            self.go_blind()
        return len(data)

    def _keep(self, data: bytes) -> None:
        assert self._sent is not None
        self._sent += data
        is_safe = all(request.is_idempotent for request in self._asked)
        if self._requests is None or not is_safe or len(self._sent) > MAX_KEPT_BYTES:
            self._sent = None

    def _close(self, requests: Requests, request: Request) -> None:
        """A request has its answer."""
        self._is_deciding = self._is_deciding and bool(self._asked)
        if request.expects and not self._asked and not requests.is_between:
            raise NotUnderstood  # the client may send its body now, or leave it out


def unavailable(name: str) -> bytes:
    """The answer in place of a service that does not run."""
    text = f"procwatch: {name} does not run\n".encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + text
