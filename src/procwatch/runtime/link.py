"""A client's connection, and that to the instance which serves it: bytes go both ways, and the instance may change.

Rule 1: bytes are passed on as they come, none changed. What one side does not take is not read from the other: a link
        holds back no more than two pieces for each direction.
Rule 2: the instance is exchanged only between two requests, where nothing has been asked that is not answered.
Rule 3: what ended is passed on as an end, what broke as a reset: nothing that was cut off looks complete.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import Protocol

from procwatch.runtime.exchange import Exchange, unavailable
from procwatch.runtime.http_boundary import begins_request
from procwatch.runtime.side import LOOPBACKS, PIECE_BYTES, Side, reset_at_close, was_reset
from procwatch.runtime.turns import READ, WRITE, Turns

# A client that is kept between two requests without an instance: nginx' and Apache's defaults are 75 and 5 s.
KEPT_S = 60.0
# After an instance has ended its half, for what the client may still have to say. The kernel gives a closed socket as
# long (tcp_fin_timeout).
HALF_CLOSED_S = 60.0
# After an answer that ends its connection, until the client has read it and closes: a close with bytes of the client
# unread would reset it, and the end of the answer would be lost.
LINGER_S = 2.0


class Front(Protocol):
    """The public port that links come from."""

    turns: Turns
    name: str

    def choose(self) -> int | None:
        """The port of an instance that serves."""

    def serves(self, port: int, /) -> bool:
        """Whether the instance at this port is in charge."""

    def attached(self, port: int, /) -> None:
        """A link has gone to this instance."""

    def detached(self, port: int, /) -> None:
        """A link has left this instance."""

    def moved(self) -> None:
        """A link has left an instance that is not in charge any more, and its client is kept."""

    def wait(self, link: Link, /) -> None:
        """Nobody serves: attach it, or have it give up, later on."""

    def limit(self, link: Link, at_s: float, /) -> None:
        """Call `expire` at this time (monotonic seconds), unless it is served before."""

    def served(self, link: Link, /) -> None:
        """It has an instance: it waits for nothing."""

    def gone(self, link: Link, /) -> None:
        """It has been closed."""


class Link:
    """From the accepted connection until both are closed. `port` is the instance's; 0 while there is none."""

    __slots__ = (
        "_again", "_client", "_exchange", "_front", "_held", "_instance", "_is_broken", "_is_closed", "_is_lingering",
        "_is_waiting", "_loopback", "port",
    )  # fmt: skip

    def __init__(self, front: Front, sock: socket.socket) -> None:
        self._front = front
        self._client = Side(sock, self._on_client)
        self._instance: Side | None = None
        self.port = 0
        # Which of the addresses is tried.
        self._loopback = 0
        self._exchange = Exchange()
        # What the client has sent and no instance has got: there is none yet, or it may not get more.
        self._held = b""
        # What an instance has got already, and the next one is to get.
        self._again = b""
        self._is_waiting = self._is_lingering = self._is_broken = self._is_closed = False

    # --- what the front asks for -------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Go to an instance that serves, or wait for one."""
        self._is_waiting = False
        port = self._front.choose()
        if port is None:
            self._wait()
        else:
            self._loopback = 0
            self._connect(port)
        self._settle()

    def leave_stale(self) -> None:
        """Its instance is not in charge any more: leave it, if this is between two requests."""
        if self._instance is None or self._front.serves(self.port):
            return
        if self._instance.is_connecting:
            self._drop_instance()
            self.attach()
        elif self._is_between:
            self._leave()
        self._settle()

    def expire(self) -> None:
        """Its limit has come."""
        if self._is_waiting or (self._instance is not None and self._instance.is_connecting):
            self._give_up()
        elif self._is_broken:
            reset_at_close(self._client.sock)
            self.close()
        else:
            self.close()
        self._settle()

    def close(self) -> None:
        """Close both connections."""
        if self._is_closed:
            return
        self._is_closed = True
        self._drop_instance()
        self._client.close(self._front.turns)
        self._front.gone(self)

    # --- the client --------------------------------------------------------------------------------------------------

    def _on_client(self, events: int) -> None:
        if self._is_closed:
            return
        if events & WRITE:
            self._flush(self._client)
        if events & READ and not self._is_closed:
            self._read_client()
        self._settle()

    def _read_client(self) -> None:
        try:
            data = self._client.read()
        except OSError:
            self._client_broke()
            return
        if data is None:
            return
        if not data:
            self._client_ended()
        elif self._is_lingering:
            return  # nobody is there to hear it
        elif self._instance is None or self._instance.is_connecting or self._held:
            self._held += data
            if self._instance is None and not self._is_waiting:
                self.attach()
        else:
            self._to_instance(data)

    def _client_ended(self) -> None:
        self._client.has_ended = True
        self._close_if_done()
        if self._instance is not None and not self._held:
            self._end_if_flushed(self._instance, self._client)

    def _close_if_done(self) -> None:
        """Close if the client has ended, all is answered, and it has got the answers."""
        is_nobody_asked = self._instance is None and not self._held and not self._again
        is_done = is_nobody_asked or self._is_lingering or (self._exchange.is_http and self._is_between)
        if self._client.has_ended and is_done and not self._client.unsent:
            self.close()

    def _client_broke(self) -> None:
        if self._instance is not None:
            reset_at_close(self._instance.sock)
        self.close()

    def _to_instance(self, data: bytes) -> None:
        """Send what it may have of this, and hold the rest."""
        assert self._instance is not None
        is_first = self._exchange.is_between
        kept = b"" if is_first else self._exchange.kept
        end = self._exchange.ask(data, may_begin=self._front.serves(self.port))
        if end < len(data):
            data, self._held = data[:end], data[end:]
        cannot_be_sent_again = kept is not None and self._exchange.kept is None
        if cannot_be_sent_again and self._exchange.was_answered and self._has_gone(self._instance, is_first):
            # What nobody has got yet can be given to anybody, for the last time now.
            self._drop_instance()
            self._again = (kept or b"") + data
            self.attach()
        elif data:
            self._send(self._instance, data)
            if self._instance is not None and self._instance.has_ended:
                self._limit(HALF_CLOSED_S)

    # --- the instance ------------------------------------------------------------------------------------------------

    def _connect(self, port: int) -> None:
        """Begin a connection to this port on the loopback that is next."""
        family, host = LOOPBACKS[self._loopback]
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # no descriptor is free, or there is no IPv6
            self._refused(port)
            return
        sock.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._instance = side = Side(sock, lambda events: self._on_instance(side, events))
        side.is_connecting = True
        self.port = port
        self._front.attached(port)
        sock.connect_ex((host, port))
        self._look_at_connect(side)

    def _look_at_connect(self, side: Side) -> None:
        """On the loopback the outcome is there at once: asked again, connect(2) tells it."""
        place = (LOOPBACKS[self._loopback][1], self.port)
        code = side.sock.connect_ex(place)
        if code in (errno.EALREADY, errno.EINPROGRESS):
            return
        # A port that nobody has and that clients are given, too, can meet itself.
        if code not in (0, errno.EISCONN) or side.sock.getsockname()[:2] == place:
            port = self.port
            reset_at_close(side.sock)
            self._drop_instance()
            self._refused(port)
            return
        side.is_connecting = False
        self._front.served(self)
        again, self._again = self._again, b""
        if again:
            self._send(side, again)
        self._release()

    def _refused(self, port: int) -> None:
        """Try the other loopback, then wait: whoever served has just ended, or does not listen yet."""
        if self._loopback + 1 < len(LOOPBACKS):
            self._loopback += 1
            self._connect(port)
        else:
            self._wait()

    def _wait(self) -> None:
        self._is_waiting = True
        self._front.wait(self)

    def _on_instance(self, side: Side, events: int) -> None:
        if side is not self._instance:
            return  # it was left in this very turn
        if side.is_connecting:
            self._look_at_connect(side)
        else:
            if events & WRITE:
                self._flush(side)
            if events & READ and side is self._instance:
                self._read_instance(side)
        self._settle()

    def _read_instance(self, side: Side) -> None:
        try:
            data = side.read()
        except OSError:
            self._instance_broke(side)
            return
        if data is None:
            return
        if not data:
            side.has_ended = True
            if side.is_reset or (not side.is_shut and was_reset(side.sock)):
                self._instance_broke(side)
            else:
                self._instance_ended(side)
            return
        self._exchange.answer(data)
        self._send(self._client, data)
        if self._is_closed:
            return
        if self._is_between and not self._front.serves(self.port):
            self._leave()
        elif self._held:
            self._release()

    def _instance_ended(self, side: Side) -> None:
        if self._exchange.is_http and self._is_between:
            self._leave()
        elif self._exchange.is_http:
            self._drop_instance()
            self._linger()
        else:
            self._exchange.go_blind()  # no answer comes that could tell where the next question may begin
            self._end_if_flushed(self._client, side)
            self._limit(HALF_CLOSED_S)
            self._release()

    def _instance_broke(self, side: Side) -> None:
        if self._exchange.is_http and self._is_between:
            self._leave()
        elif again := self._exchange.again():
            self._drop_instance()
            self._again = again
            self.attach()
        else:
            reset_at_close(side.sock)
            self._drop_instance()
            self._break_client()

    def _has_gone(self, side: Side, is_first: bool) -> bool:
        """Whether the instance has closed a kept connection meanwhile, and read nothing of a request."""
        try:
            return not side.sock.recv(1, socket.MSG_PEEK) and (is_first or was_reset(side.sock))
        except BlockingIOError:
            return False
        except OSError:
            return True

    # --- both --------------------------------------------------------------------------------------------------------

    @property
    def _is_between(self) -> bool:
        """Whether the instance has got and answered all requests, and nothing of a next one."""
        return self._exchange.is_between and not (self._instance is not None and self._instance.unsent)

    def _release(self) -> None:
        """Send what was held, if it may go now."""
        held, self._held = self._held, b""
        if held and not self._is_closed:
            self._to_instance(held)
        if self._client.has_ended and not self._held and self._instance is not None:
            self._end_if_flushed(self._instance, self._client)

    def _leave(self) -> None:
        """Let go of the instance; the client is kept, and goes to another with its next request.

        One that has not said anything goes at once: its server may be the one that speaks first.
        """
        if not self._front.serves(self.port):
            self._front.moved()
        self._drop_instance()
        if self._client.has_ended and not self._held:
            self._close_if_done()
        elif self._held or not self._exchange.is_http:
            self.attach()
        else:
            self._limit(KEPT_S)

    def _drop_instance(self) -> None:
        if self._instance is None:
            return
        self._instance.close(self._front.turns)
        self._instance = None
        port, self.port = self.port, 0
        self._front.detached(port)

    def _send(self, side: Side, data: bytes) -> None:
        try:
            side.send(data)
        except OSError:
            self._cannot_send(side)

    def _cannot_send(self, side: Side) -> None:
        if side is self._client:
            self._client_broke()
        elif side.has_ended:
            self._instance_broke(side)
        else:
            # What it said before is still to be read, and then how it ended.
            side.unsent = b""
            side.is_reset = True

    def _flush(self, side: Side) -> None:
        data, side.unsent = side.unsent, b""
        if data:
            self._send(side, data)
        if side.unsent or self._is_closed:
            return
        if side is self._client:
            self._client_has_all(side)
        elif self._client.has_ended and not self._held and side is self._instance:
            self._end_if_flushed(side, self._client)

    def _client_has_all(self, side: Side) -> None:
        if self._is_broken:
            reset_at_close(side.sock)
            self.close()
        elif self._is_lingering:
            self._linger()
        elif self._instance is not None and self._instance.has_ended:
            self._end_if_flushed(side, self._instance)
        else:
            self._close_if_done()

    def _end_if_flushed(self, side: Side, other: Side) -> None:
        """Pass the other's end on behind all that it has sent; close when both have ended."""
        if side.unsent:
            return
        side.shut()
        if side.has_ended and not other.unsent:
            self.close()

    def _linger(self) -> None:
        """The last answer has come: have the client read all of it, then close."""
        self._is_lingering = True
        self._limit(LINGER_S if not self._client.unsent else HALF_CLOSED_S)
        if self._client.unsent:
            return
        if self._client.has_ended:
            self.close()
        else:
            self._client.shut()

    def _break_client(self) -> None:
        """Reset the client's connection, behind what the instance had sent before it broke."""
        if self._client.unsent:
            self._is_broken = True
            self._limit(HALF_CLOSED_S)
        else:
            reset_at_close(self._client.sock)
            self.close()

    def _give_up(self) -> None:
        """Nobody has served for too long: say so where that can be said."""
        self._is_waiting = False
        self._drop_instance()
        if not self._again and not begins_request(self._held):
            self.close()
            return
        self._held = self._again = b""
        self._send(self._client, unavailable(self._front.name))
        if not self._is_closed:
            self._linger()

    def _limit(self, seconds: float) -> None:
        if not self._is_closed:
            self._front.limit(self, time.monotonic() + seconds)

    def _settle(self) -> None:
        """Watch for what can be done next. A side is read only if the other has taken all that came before."""
        if self._is_closed:
            return
        client, instance = self._client, self._instance
        wanted = WRITE if client.unsent else 0
        has_room = len(self._held) < PIECE_BYTES and not (instance is not None and instance.unsent)
        if has_room and not client.has_ended and not self._is_broken:
            wanted |= READ
        client.watch(self._front.turns, wanted)
        if instance is None:
            return
        wanted = WRITE if instance.unsent or instance.is_connecting else 0
        if not instance.has_ended and not instance.is_connecting and not client.unsent:
            wanted |= READ
        instance.watch(self._front.turns, wanted)
