"""The messages of the control socket: JSON-RPC 2.0, one object a line, UTF-8 (docs/control.md).

Rule 1: whatever bytes come in, the answer is a request or a `Fault`; nothing else is raised.
Rule 2: a message is one line, and its length is bounded on both sides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

# Counts up when an old client would misunderstand a new supervisor, or the other way round.
PROTOCOL = 1
# A thousand names of 64 characters fit; nobody's request needs more, and a supervisor must not be filled up.
MAX_REQUEST_BYTES = 128 * 1024
# Faults of JSON-RPC itself; ours are the exit statuses of the command line (errors.ExitCode).
NO_JSON, NO_REQUEST, NO_METHOD, WRONG_PARAMS, BROKEN = -32700, -32600, -32601, -32602, -32603

Id = int | str | None


class Fault(Exception):  # noqa: N818 - what JSON-RPC calls an error object
    """A request that gets no result: `code`, `message` for people, `data` for programs; `id` of a bad request."""

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None, *, id: Id = None) -> None:  # noqa: A002
        self.code = code
        self.message = message
        self.data = data
        self.id = id
        super().__init__(message)


class Request(NamedTuple):
    """A call; with `id` None nobody waits for an answer."""

    method: str
    params: dict[str, Any]
    id: Id = None
    is_call: bool = True


def read_request(line: bytes) -> Request:
    """The request in one line. Raises Fault, with the request's id as far as it could be read."""
    message = _read(line)
    if not isinstance(message, dict):
        what = "a batch of requests is not supported; send one a line" if isinstance(message, list) else "not an object"
        raise Fault(NO_REQUEST, what)
    identity = message.get("id")
    if not _is_id(identity):
        raise Fault(NO_REQUEST, 'not a request: "id" must be a string, a number or null')
    if message.get("jsonrpc") != "2.0":
        raise Fault(NO_REQUEST, 'not a request: "jsonrpc" must be "2.0"', id=identity)
    method, params = message.get("method"), message.get("params", {})
    if not isinstance(method, str):
        raise Fault(NO_REQUEST, 'not a request: "method" must be a string', id=identity)
    if not isinstance(params, dict):
        raise Fault(WRONG_PARAMS, '"params" must be an object', id=identity)
    return Request(method, params, identity, "id" in message)


def _is_id(identity: object) -> bool:
    return identity is None or (isinstance(identity, int | str) and not isinstance(identity, bool))


def read_reply(line: bytes) -> dict[str, Any]:
    """A result, error or notification. Raises Fault for what is none of them."""
    message = _read(line)
    if not isinstance(message, dict) or not message.keys() & {"result", "error", "method"}:
        raise Fault(NO_REQUEST, "not an answer of procwatch")
    return message


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits is a ValueError too, and so are bytes that are not UTF-8.
        raise Fault(NO_JSON, f"not JSON: {str(error)[:200]}") from error


def call(method: str, params: Mapping[str, Any], identity: Id) -> bytes:
    """A request as a line."""
    return _line({"jsonrpc": "2.0", "id": identity, "method": method, "params": params})


def result(identity: Id, value: object) -> bytes:
    """The answer to a request as a line."""
    return _line({"jsonrpc": "2.0", "id": identity, "result": value})


def error(identity: Id, fault: Fault) -> bytes:
    """A request's fault as a line."""
    told: dict[str, Any] = {"code": fault.code, "message": fault.message}
    if fault.data:
        told["data"] = fault.data
    return _line({"jsonrpc": "2.0", "id": identity, "error": told})


def notification(method: str, params: Mapping[str, Any]) -> bytes:
    """One item of a stream as a line."""
    return _line({"jsonrpc": "2.0", "method": method, "params": params})


def _line(message: Mapping[str, Any]) -> bytes:
    # Escaped to ASCII: a name that is not UTF-8 goes through as the surrogates that Python holds it in.
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
