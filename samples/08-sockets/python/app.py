"""A web application without any library: what uvicorn and gunicorn call."""

import os

GREETING = "Hello"


async def app(scope, receive, send):
    """ASGI, for uvicorn."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _text()})


def wsgi(environ, start_response):
    """WSGI, for gunicorn."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [_text()]


def _text():
    return f"{GREETING}, world (process {os.getpid()})\n".encode()
