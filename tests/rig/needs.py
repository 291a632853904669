"""What a test needs of the machine besides Python: without it a clear skip, or a failure where nothing is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_REMEDY = "`make tools` installs what it can"


def need_commands(*names: str) -> None:
    """Skip the test unless all these commands are in the PATH."""
    if missing := [name for name in names if shutil.which(name) is None]:
        _lack(f"not in the PATH: {', '.join(missing)}")


def need_file(path: Path) -> None:
    """Skip the test unless this file or folder, which setting up makes, is there."""
    if not path.exists():
        _lack(f"not there: {path}")


def need_linux() -> None:
    """Skip the test on other systems: what it tests is not there."""
    if sys.platform != "linux":
        pytest.skip("only Linux has this")


def need_namespaces() -> None:
    """Skip the test where this user may not make namespaces, as in most containers."""
    need_linux()
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"]
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespaces can be made here")


def need_crates(folder: Path) -> None:
    """Skip the test unless the crates of this folder's Cargo.lock are on the machine."""
    need_commands("cargo")
    fetch = ["cargo", "fetch", "--quiet", "--locked", "--offline"]
    if subprocess.run(fetch, cwd=folder, capture_output=True, check=False).returncode != 0:
        _lack("the crates of the sample's Cargo.lock are not on this machine")


def _lack(reason: str) -> None:
    """PROCWATCH_NO_SKIP=1 (as in .ci/run) makes a failure of it."""
    if os.environ.get("PROCWATCH_NO_SKIP") == "1":
        pytest.fail(f"{reason}; {_REMEDY}", pytrace=False)
    pytest.skip(f"{reason}; {_REMEDY}")
