"""Many, slow and hostile clients of one terminal: the service and all others go on."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from procwatch.control.client import AnswerError, Client, connect
from tests.behaviour.conftest import Start
from tests.behaviour.test_attach import running
from tests.rig.live import DEADLINE_S, Live

# Prints without end, as fast as it can, and what it has read in between.
FLOOD = r"""
import os, select, tty
tty.setcbreak(0)
line = b"%09d a line as programs print them, again and again\n"
count = 0
while True:
    os.write(1, b"".join(line % n for n in range(count, count + 100)))
    count += 100
    if select.select([0], [], [], 0)[0]:
        typed = os.read(0, 100)
        if typed == b"q":
            os.write(1, b"the last word")
            while True:
                os.read(0, 100)
"""


class Attached:
    """A client that is attached: what it was sent, as far as it has read that."""

    def __init__(self, project: Path) -> None:
        self.client = connect(project)
        self.client.send("attach", {"name": "web", "rows": 24, "columns": 80})
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.output = bytearray()
        self.until("attached")

    def call(self, method: str, params: dict[str, Any]) -> None:
        self.client.call(method, params, DEADLINE_S, self._take)

    def type(self, keys: bytes) -> None:
        self.call("type", {"data": base64.b64encode(keys).decode()})

    def read(self) -> None:
        messages = self.client.receive()
        assert messages is not None, "it was let go"
        for message in messages:
            if "method" in message:
                self._take(message["method"], message["params"])

    def _take(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "output":
            self.output += base64.b64decode(params["data"])
        else:
            self.told.append((method, dict(params)))

    def until(self, method: str) -> dict[str, Any]:
        while not (found := [params for each, params in self.told if each == method]):
            self.read()
        return found[0]

    def until_output(self, text: bytes) -> None:
        while text not in self.output:
            self.read()


@pytest.fixture
def flooded(project: Path, start: Start) -> Live:
    toml = '[service.web]\nrun = ["python", "-u", "app.py"]\ntty = true\nstop = { grace = "1s" }\n'
    return running(project, start, FLOOD, toml + 'log = { file = false, terminal = "none" }\n')


def test_a_client_that_is_too_slow_is_told_what_it_misses_and_sees_the_newest(project: Path, flooded: Live) -> None:
    slow, quick = Attached(project), Attached(project)
    while len(quick.output) < 5_000_000:  # more than all buffers on the way to the slow one
        quick.read()
    slow.client.send("type", {"data": base64.b64encode(b"q").decode()})
    assert slow.until("skipped")["bytes"] > 0
    slow.until_output(b"the last word")
    quick.until_output(b"the last word")
    slow.client.close()
    quick.client.close()


def test_one_who_reads_nothing_harms_nobody(project: Path, flooded: Live) -> None:
    deaf = [Attached(project) for _ in range(20)]
    good = Attached(project)
    asker = connect(project)
    for _ in range(50):
        assert asker.call("status", {}, DEADLINE_S)["units"][0]["state"] == "ready"
        good.read()
    for one in deaf:
        one.client.close()
    good.type(b"q")
    good.until_output(b"the last word")
    assert Path(f"/proc/{flooded.supervisor()}").exists()
    resident = int(Path(f"/proc/{flooded.supervisor()}/statm").read_text().split()[1]) * 4096
    assert resident < 150 * 1024 * 1024
    asker.close()
    good.client.close()


def refusal(client: Client, method: str, params: dict[str, Any]) -> int:
    with pytest.raises(AnswerError) as refused:
        client.call(method, params, DEADLINE_S)
    return refused.value.fault.code


def test_nonsense_is_refused_and_the_stay_goes_on(project: Path, start: Start) -> None:
    running(project, start, 'print("up")\nwhile True: print("got", input())\n')
    client = connect(project)
    for method in ("type", "resize", "detach"):
        assert refusal(client, method, {}) == 1
    for params in ({}, {"name": 3}, {"name": "web", "rows": 0.5}, {"name": "web", "rows": 24}, {"name": "web", "x": 1}):
        assert refusal(client, "attach", params) in (2, -32602)
    one = Attached(project)
    assert refusal(one.client, "attach", {"name": "web"}) == 4
    for data in ("?", "YQ", 3, "ä", "YQ==\n"):
        assert refusal(one.client, "type", {"data": data}) == -32602
    for size in ({"rows": 10_001, "columns": 1}, {"rows": True, "columns": 80}, {"rows": -1, "columns": 80}):
        assert refusal(one.client, "resize", size) == -32602
    one.call("resize", {"rows": 1, "columns": 1})
    one.call("resize", {})
    one.type(b"still here\r")
    one.until_output(b"got still here")
    client.close()
    one.client.close()


def test_what_is_typed_and_never_read_holds_up_nobody(project: Path, start: Start) -> None:
    live = running(project, start, "import time, tty; tty.setraw(0); print('deaf'); time.sleep(1000)")
    one, asker = Attached(project), connect(project)
    full = base64.b64encode(b"x" * 60_000).decode()
    for _ in range(30):  # with `attach` one less than what is answered at a time: `detach` is still heard
        one.client.send("type", {"data": full})
    assert asker.call("status", {}, DEADLINE_S)["units"][0]["state"] == "ready"
    one.call("detach", {})
    one.client.close()
    asker.close()
    assert live.stop() == 130


def test_a_client_that_breaks_off_in_the_middle_is_forgotten(project: Path, start: Start) -> None:
    running(project, start, 'while True: print("got", input())\n')
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(project / ".procwatch/control.sock"))
            call = {"jsonrpc": "2.0", "id": 1, "method": "attach", "params": {"name": "web", "rows": 5, "columns": 5}}
            connection.sendall(json.dumps(call).encode() + b'\n{"jsonrpc": "2.0", "method": "type"')
    one = Attached(project)
    one.type(b"hello\r")
    one.until_output(b"got hello")
    one.client.close()


def test_the_size_of_those_who_have_gone_does_not_count(project: Path, start: Start) -> None:
    running(project, start, 'import os\nwhile True: input(); print("size", *os.get_terminal_size())\n')
    small = connect(project)
    small.send("attach", {"name": "web", "rows": 5, "columns": 5})
    assert small.receive()
    one = Attached(project)
    one.type(b"\r")
    one.until_output(b"size 5 5")
    small.close()
    told = one.output.count(b"size")
    while b"size 80 24" not in one.output:  # until procwatch has noticed that the other one has gone
        one.type(b"\r")
        told += 1
        while one.output.count(b"size") < told:
            one.read()
    one.client.close()
