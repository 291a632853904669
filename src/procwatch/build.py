"""`build`: ask the supervisor that runs for the project; where none does, be one until the builds have ended.

Rule 1: what only a supervisor needs is imported when there is none.
"""

from __future__ import annotations

from procwatch.control.client import NoSupervisorError
from procwatch.options import Ask, Options
from procwatch.remote import act, running


def build(what: Ask) -> int:
    """Have builds run, and wait for the outcome; the exit status. Raises ProcwatchError."""
    if client := running(what.file):
        with client:
            return act(client, what)
    if not what.wait:
        raise NoSupervisorError(
            "no procwatch runs for this project that --no-wait could ask; without it the builds are run here and now"
        )
    from procwatch.begin import start  # noqa: PLC0415 - see rule 1
    from procwatch.runtime.guardian import stand_guard  # noqa: PLC0415 - see rule 1

    stand_guard()
    return start(Options(file=what.file, watch=False, as_json=what.as_json, once=what))
