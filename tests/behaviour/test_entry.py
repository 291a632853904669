"""The first and last moments of procwatch: interrupted while it is loaded, and without standard descriptors."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.live import DEADLINE_S, clean_environment, left_over, write

INTERRUPTED = """
import importlib.abc, os, signal, sys
class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "procwatch.begin":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["procwatch", "start"]
from procwatch.__main__ import main
main()
"""


def test_ctrl_c_while_procwatch_is_loaded_ends_it_without_a_traceback(project: Path) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=project, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "--json >&-"])
def test_it_runs_and_ends_as_ever_without_a_standard_descriptor(project: Path, closed: str) -> None:
    write(project / "watch.toml", '[service.web]\nrun = "echo hello; touch up; exec sleep 1000"\n')
    with (project / "errors").open("wb") as errors:
        procwatch = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {sys.executable} -m procwatch start {closed}"],
            cwd=project, env=clean_environment(), stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    while not (project / "up").exists():
        assert procwatch.poll() is None
    procwatch.send_signal(signal.SIGINT)
    procwatch.communicate(timeout=DEADLINE_S)
    assert procwatch.returncode == 130
    assert (project / "errors").read_bytes() == b""
    assert left_over(project) == {}
