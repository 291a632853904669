"""A stop that is asked for in the same moment in which something is to start: procwatch ends all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.live import DEADLINE_S, clean_environment, write

# The engine finds the stop in its queue right behind the event that makes it start something.
SCRIPT = """
import sys
from procwatch.entry import main
from procwatch.core import messages as msg
from procwatch.runtime.engine import Engine

tell = Engine.tell

def tell_and_stop(self, event):
    tell(self, event)
    if isinstance(event, msg.EVENT):
        tell(self, msg.StopAsked(130))

Engine.tell = tell_and_stop
sys.argv = ["procwatch", "start"]
sys.exit(main())
"""


@pytest.mark.parametrize("after", ["Begun", "InputsChecked", "BuildFinished", "InstanceStarted"])
def test_a_stop_right_behind_what_starts_something_ends_procwatch(project: Path, after: str) -> None:
    write(project / "watch.toml", """
        [build.api]
        run = 'true'
        watch = ['src/**']

        [service.api]
        run = 'exec sleep 1000'
        needs = ['build.api']
    """)  # fmt: skip
    write(project / "src/main", "one")
    script = SCRIPT.replace("msg.EVENT", f"msg.{after}")
    done = subprocess.run(
        (sys.executable, "-c", script), cwd=project, env=clean_environment(), stdin=subprocess.DEVNULL,
        capture_output=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
