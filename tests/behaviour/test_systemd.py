"""Under systemd: what it is told, by whom, and what is kept from those that procwatch starts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import DEADLINE_S, write
from tests.rig.needs import need_linux, need_namespaces

ROOT = Path(__file__).parents[2]
TOML = """
[build.api]
run = "test ! -e broken"
watch = ["src"]
[service.api]
run = "env > env; exec sleep 1000"
needs = ["build.api"]
[service.db]
run = "exec sleep 1000"
"""


class Systemd:
    """The socket that systemd would have, and what has come, each message with the process that has sent it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[tuple[int, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(DEADLINE_S)

    def hears(self, line: str, times: int = 1) -> None:
        """Wait until a message has come so many times."""
        end_s = time.monotonic() + DEADLINE_S
        while [message for _, message in self.messages].count(line) < times:
            assert time.monotonic() < end_s, f"{line} did not come: {self.messages}"
            data, ancillary, _, _ = self._socket.recvmsg(4096, 100)
            sender = struct.unpack("3i", ancillary[0][2])[0]
            self.messages.append((sender, data.decode()))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Systemd]:
    need_linux()
    address = str(tmp_path / "notify") if request.param == "path" else f"@procwatch-test-{os.getpid()}"
    made = Systemd(address)
    yield made
    made.close()


def test_it_tells_how_it_is_doing_and_the_message_comes_from_the_process_that_was_started(
    project: Path, start: Start, systemd: Systemd
) -> None:
    write(project / "watch.toml", TOML)
    write(project / "src", "1")
    live = start(env={"NOTIFY_SOCKET": systemd.address})
    systemd.hears("READY=1")
    systemd.hears("STATUS=2 of 2 services ready")
    write(project / "broken", "")
    write(project / "src", "2")
    systemd.hears("STATUS=build.api failed, 2 of 2 services ready")
    live.process.send_signal(signal.SIGTERM)
    systemd.hears("STOPPING=1")
    assert live.ended() == 143
    assert {sender for sender, _ in systemd.messages} == {live.process.pid}
    assert [message for _, message in systemd.messages].count("READY=1") == 1


def test_a_build_that_fails_at_first_is_told_and_does_not_hold_up_the_start(
    project: Path, start: Start, systemd: Systemd
) -> None:
    write(project / "watch.toml", TOML)
    write(project / "src", "1")
    write(project / "broken", "")
    start(env={"NOTIFY_SOCKET": systemd.address})
    systemd.hears("READY=1")
    systemd.hears("STATUS=build.api failed, 1 of 2 services ready")


def test_the_watchdog_is_fed_and_nothing_of_it_is_inherited(project: Path, start: Start, systemd: Systemd) -> None:
    write(project / "watch.toml", TOML)
    write(project / "src", "1")
    start(env={"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "100000"})
    systemd.hears("READY=1")
    systemd.hears("WATCHDOG=1", times=5)
    environment = (project / "env").read_text()
    assert "PROCWATCH=1" in environment
    assert "NOTIFY_SOCKET" not in environment
    assert "WATCHDOG" not in environment


def test_the_watchdog_of_another_process_is_none_of_its_business(project: Path, start: Start, systemd: Systemd) -> None:
    write(project / "watch.toml", TOML)
    write(project / "src", "1")
    start(env={"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    systemd.hears("READY=1")
    assert "WATCHDOG=1" not in [message for _, message in systemd.messages]


def test_it_tells_from_inside_of_a_namespace_too(project: Path, start: Start, systemd: Systemd) -> None:
    need_namespaces()
    write(project / "watch.toml", '[project]\nisolation = "pidns"\n' + TOML)
    write(project / "src", "1")
    live = start(env={"NOTIFY_SOCKET": systemd.address})
    systemd.hears("READY=1")
    assert systemd.messages[0][0] == live.process.pid


@pytest.mark.parametrize("address", ["/nowhere/at/all", "@nobody-listens", "relative"])
def test_a_socket_that_nobody_has_is_no_obstacle(project: Path, start: Start, address: str) -> None:
    write(project / "watch.toml", TOML)
    write(project / "src", "1")
    live = start(env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"})
    live.wait("service_ready", "service.api")
    assert live.stop(signal.SIGTERM) == 143


def unit_file() -> str:
    """The unit file in the docs."""
    found = re.search(r"```ini\n(.*?)```", (ROOT / "docs/deploy.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_unit_file_in_the_docs_is_right(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd here")
    shutil.copy(sys.executable, tmp_path / "procwatch")
    text = unit_file().replace("/opt/shop/.venv/bin/procwatch", str(tmp_path / "procwatch"))
    text = text.replace("/opt/shop", str(tmp_path)).replace("User=shop", "User=root")
    unit = write(tmp_path / "shop.service", text)
    verify = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, "")
