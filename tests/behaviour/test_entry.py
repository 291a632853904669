"""The first and last moments of procwatch: what it loads, interrupted meanwhile, and without standard descriptors."""

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


@pytest.mark.parametrize("command", ["remote", "show_logs"])
def test_a_command_imports_nothing_that_takes_long(command: str) -> None:
    code = f"import sys, procwatch.entry, procwatch.{command}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"click", "pydantic", "asyncio", "pathspec", "watchfiles", "tomllib", "subprocess", "logging"}
    heavy |= {"dataclasses", "inspect", "hashlib"}
    assert not heavy & set(done.stdout.split())


def test_collecting_garbage_leaves_out_what_was_imported_and_goes_on(project: Path) -> None:
    code = (
        "import atexit, gc, sys; atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1000));"
        "sys.argv = ['procwatch', 'logs']; from procwatch.__main__ import main; main()"
    )
    write(project / "watch.toml", '[service.web]\nrun = "exec sleep 1000"\n')
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


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
