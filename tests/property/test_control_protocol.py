"""Whatever bytes come in, a request or a fault comes out; what one side writes the other one reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from procwatch.control import protocol
from procwatch.control.protocol import Fault, Request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
NAMES = st.text(max_size=30) | st.just("web\udcff")


def read(line: bytes) -> Request | Fault:
    try:
        return protocol.read_request(line)
    except Fault as fault:
        return fault


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"jsonrpc":"2.0","id":' + b"9" * 10_000 + b"}")
@example(b"\xff\xfe")
def test_any_bytes_are_a_request_or_a_fault(line: bytes) -> None:
    found = read(line)
    assert isinstance(found, Request) or found.code in (protocol.NO_JSON, protocol.NO_REQUEST, protocol.WRONG_PARAMS)


@given(st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "params", "more"]), JSON | st.just("2.0")))
def test_any_object_is_a_request_or_a_fault_with_its_id(message: dict[str, object]) -> None:
    found = read(json.dumps(message).encode())
    identity = message.get("id")
    is_id = identity is None or (isinstance(identity, int | str) and not isinstance(identity, bool))
    if isinstance(found, Request):
        assert (found.method, found.id) == (message["method"], identity)
        assert found.is_call == ("id" in message)
    elif is_id and found.code != protocol.NO_JSON:
        assert found.id == identity


@given(method=NAMES, params=st.dictionaries(NAMES, JSON, max_size=3), identity=st.integers() | NAMES)
def test_a_call_is_read_as_it_was_written(method: str, params: dict[str, object], identity: int | str) -> None:
    line = protocol.call(method, params, identity)
    assert line.count(b"\n") == 1
    assert protocol.read_request(line[:-1]) == Request(method, params, identity)


@given(st.integers() | NAMES, JSON)
def test_an_answer_is_read_as_it_was_written(identity: int | str, value: object) -> None:
    assert protocol.read_reply(protocol.result(identity, value)) == {"jsonrpc": "2.0", "id": identity, "result": value}
    fault = protocol.error(identity, Fault(2, "no such name", {"near": "api"}))
    assert protocol.read_reply(fault)["error"] == {"code": 2, "message": "no such name", "data": {"near": "api"}}


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b'{"jsonrpc":"2.0"}', b"{", b"\xff"])
def test_what_is_no_answer_is_a_fault(line: bytes) -> None:
    with pytest.raises(Fault):
        protocol.read_reply(line)
