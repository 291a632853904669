"""Hypothesis profiles, the signals and the environment that every test's processes begin with, and the workers.

`suite` is the same every time; `deep` (`make fuzz`) searches on with new seeds.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("suite", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile(
    "deep", max_examples=2000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# A shell starts what it puts in the background with SIGINT and SIGQUIT ignored (nohup: SIGHUP), and children inherit
# that: a test's programs would never hear them.
for _number, _default in (
    (signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL), (signal.SIGHUP, signal.SIG_DFL)
):  # fmt: skip
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _default)

# Each procwatch that a test starts would compile all of its modules, which is 40 % of its start. (Of an environment for
# images of containers, where nothing is to be left behind.)
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Of `-n auto`: tests wait for processes about as long as they compute. None: the environment says how many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else min(2 * cores, cores + 8)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first: at the end all workers are to end together."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
