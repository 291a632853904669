"""The socket of sd_notify takes any message from anybody, and only READY=1 on a line of its own is readiness."""

from __future__ import annotations

import asyncio
import socket

from hypothesis import given
from hypothesis import strategies as st

from procwatch.runtime.notify import NotifySocket

_PARTS = [
    b"READY=1", b"READY=0", b"READY=11", b"READY=", b"ready=1", b" READY=1", b"STATUS=", b"STATUS=half done", b"\n",
    b"\n", b"\0", b"=", b"STOPPING=1", b"MAINPID=1", b"WATCHDOG=1", b"STATUS=\xff\xfe", b"\r", b"EXTEND_TIMEOUT_USEC=1",
]  # fmt: skip
MESSAGE = st.lists(st.sampled_from(_PARTS) | st.binary(max_size=4), max_size=12).map(b"".join)


@given(st.lists(MESSAGE, max_size=4))
def test_any_messages_are_taken_and_only_a_line_ready_1_counts(messages: list[bytes]) -> None:
    async def scene() -> tuple[bool, str]:
        loop = asyncio.get_running_loop()
        failures: list[dict[str, object]] = []
        loop.set_exception_handler(lambda _loop, context: failures.append(context))
        notify = NotifySocket()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                for message in (*messages, b"STATUS=the last one"):
                    sender.sendto(message, notify.path)
            while notify.status != "the last one":  # noqa: ASYNC110 - nothing tells, and all before it is read first
                await asyncio.sleep(0)
        finally:
            notify.close()
        assert failures == []
        return notify.ready.is_set(), notify.status

    ready, _ = asyncio.run(scene())
    assert ready == any(b"READY=1" in message.split(b"\n") for message in messages)


@given(MESSAGE)
def test_a_status_of_any_bytes_is_text(message: bytes) -> None:
    async def scene() -> str:
        notify = NotifySocket()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(message + b"\nREADY=1", notify.path)
            await notify.ready.wait()
        finally:
            notify.close()
        return notify.status

    asyncio.run(scene()).encode()
