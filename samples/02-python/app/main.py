"""An ASGI application without a framework; uvicorn serves it."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from app.greeting import greeting

Message = dict[str, Any]


async def app(scope: Message, _: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    """Answer every HTTP request with the greeting; other kinds of connection are not ours."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])  # uvicorn then refuses a websocket
    body = f"{greeting('world')} (process {os.getpid()})\n".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


# What is wrong shows when the module is imported, as the build does, and not only when somebody asks.
greeting("start")
