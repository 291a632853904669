"""Whether anything is still to happen, and the end of everything.

Rule 1: services stop before what they need; procwatch ends when nothing of them is left.
"""

from __future__ import annotations

from dataclasses import replace

from procwatch.core import life
from procwatch.core import messages as msg
from procwatch.core.draft import Draft
from procwatch.core.state import ALIVE, Phase


def at_rest(draft: Draft) -> bool:
    """Nothing runs that will end, nothing is being read, and all that is due is held by something that stays."""
    if any(state.check or state.activity != "idle" or state.pause == "on" for state in draft.builds.values()):
        return False
    moving = ALIVE - {Phase.READY}
    return not any(state.check or state.phase in moving or state.others for state in draft.services.values())


def end_by_itself(draft: Draft) -> None:
    """Without watching, when nothing serves and nothing can come any more, procwatch has done its work."""
    if any(state.phase in ALIVE | {Phase.BACKOFF} for state in draft.services.values()):
        return
    failed = any(state.failure is not None or state.due for state in draft.builds.values())
    failed = failed or any(state.phase is Phase.FAILED or state.due for state in draft.services.values())
    draft.state = replace(draft.state, exit_code=1 if failed else 0)
    shut_down(draft)


def shut_down(draft: Draft) -> None:
    """Stop what nothing that runs needs any more; leave when all is stopped."""
    for name, state in draft.builds.items():
        if state.activity == "running":
            draft.set_build(name, activity="stopping")
            draft.actions.append(msg.StopBuild(name, state.run))
        elif state.activity == "verifying":
            draft.set_build(name, activity="idle")
    for name in reversed(list(draft.services)):
        users = [user for user in draft.dependents.get(name, ()) if draft.is_alive(user)]
        if users:
            draft.holds[name] = f"stops after {users[0]}"
        elif draft.services[name].phase is not Phase.STOPPING or draft.services[name].draining:
            draft.step(name, life.Stop())
    if not draft.state.ended and not any(draft.is_alive(name) for name in (*draft.builds, *draft.services)):
        draft.state = replace(draft.state, ended=True)
        draft.actions.append(msg.End(draft.state.exit_code or 0))
