"""A web application without any library: what uvicorn and gunicorn call."""

import os

GREETING = "Hello"


async def app(scope, _receive, send):
    """ASGI, for uvicorn."""
    if scope["type"] != "http":
        return
    text = _text()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def wsgi(_environ, start_response):
    """WSGI, for gunicorn."""
    text = _text()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


def _text():
    return f"{GREETING}, world (process {os.getpid()})\n".encode()
