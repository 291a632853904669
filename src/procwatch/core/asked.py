"""What users ask for by name while procwatch runs: start, stop, restart, build, rollback, pause.

Rule 1: what is asked for overrules back-off, keys and pauses, never the graph: builds under way are waited for.
Rule 2: a service that was stopped by hand stays stopped until somebody starts it; what needs it goes on running.
"""

from __future__ import annotations

from dataclasses import replace

from procwatch.core import builds, life, releases, replicas
from procwatch.core import messages as msg
from procwatch.core.draft import Draft
from procwatch.core.model import Service
from procwatch.core.state import ALIVE, Phase


def note(draft: Draft, event: msg.Asked) -> None:
    """Write down what is wanted; the planner does it as the graph allows."""
    if draft.state.exit_code is not None:
        return
    event = replace(event, names=tuple(name for name in event.names if _is_known(draft, name)))
    match event:
        case msg.ServicesAsked(names, "stop"):
            for name in names:
                if name in draft.services:
                    draft.set_service(name, wanted=False, due=False)
        case msg.ServicesAsked(names, to):
            _start(draft, names, again=to == "restart")
        case msg.BuildsAsked(names):
            _build(draft, names)
        case msg.RollbackAsked(names, to):
            for name in names:
                releases.roll_back(draft, name, to)
        case msg.PauseAsked(names, paused):
            changed = draft.state.paused | set(names) if paused else draft.state.paused - set(names)
            draft.state = replace(draft.state, paused=changed)


def _is_known(draft: Draft, name: str) -> bool:
    """Whether the configuration still has it: it may have changed since the name was looked up."""
    return name in draft.project.units and name not in draft.state.removed


def _start(draft: Draft, names: tuple[str, ...], *, again: bool) -> None:
    """These, and the services that they need, unless they run; `again`: these also if they do."""
    draft.join(names)
    for name in draft.needed(names):
        if name not in draft.services:
            continue
        state = draft.services[name]
        runs = state.phase in ALIVE - {Phase.STOPPING, Phase.FAILING}
        is_fresh_start = not runs or not state.wanted
        if is_fresh_start or (again and name in names):
            asks = state.asks + (again and name in names and runs)
            draft.set_service(name, wanted=True, due=True, asks=asks, refused=None, crashes=0, news=True)


def _build(draft: Draft, names: tuple[str, ...]) -> None:
    """These, and first those of their needs that have failed."""
    draft.join(names)
    failed = {other for name in names for other in draft.above(draft.project.builds[name])}
    failed = {other for other in failed if draft.builds[other].failure is not None}
    for name in (*names, *failed):
        if draft.builds[name].activity == "idle":
            builds.force(draft, name)
        else:
            draft.set_build(name, asked=True)


def stop_unwanted(draft: Draft, service: Service) -> None:
    """Stop a service that is not wanted any more, after those that need it and are not wanted either."""
    state = draft.services[service.name]
    if state.phase in {Phase.STOPPED, Phase.STOPPING}:
        return
    users = [user for user in draft.dependents.get(service.name, ()) if user in draft.services]
    users = [user for user in users if not draft.services[user].wanted and draft.is_alive(user)]
    if users:
        draft.holds[service.name] = f"stops after {users[0]}"
        return
    draft.step(service.name, life.Stop(drain=replicas.may_drain(draft, service)))
