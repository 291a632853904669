"""Services that others need: whether one counts as there, and whether it is about to change.

Rule 1: what needs a service that is outdated by the same change waits until that has been switched, or cannot be.
"""

from __future__ import annotations

from procwatch.core import replicas
from procwatch.core.draft import Draft, Standing
from procwatch.core.model import Need, Service
from procwatch.core.state import Phase

_IN_MOTION = frozenset({
    Phase.PREPARING, Phase.SWITCHING, Phase.OVERLAPPING, Phase.VERIFYING, Phase.RETIRING, Phase.FAILING, Phase.STOPPING,
})  # fmt: skip
# While what is to follow is made ready beside an instance, that one stands as it stood before.
_BESIDE = frozenset({Phase.SWITCHING, Phase.OVERLAPPING})


def unmet(draft: Draft, need: Need, standings: dict[str, Standing], *, settled: bool) -> str | None:
    """Why a needed service does not count as there yet, or None; `settled`: nor while it is about to switch."""
    state = draft.services.get(need.name)
    if state is None or not state.wanted:  # excepted, or stopped by hand
        return None
    enough = {Phase.READY} if need.until == "ready" else {Phase.READY, Phase.STARTING, Phase.VERIFYING}
    serves = state.phase in enough or (state.phase in _BESIDE and (state.ready or need.until == "started"))
    if serves and not (settled and _is_moving(draft, draft.project.services[need.name], standings)):
        return None
    if state.phase in {Phase.BACKOFF, Phase.FAILED} or (state.phase is Phase.STOPPED and not state.due):
        return f"waits for {need.name}, which {'has ended' if state.phase is Phase.STOPPED else 'crashed'}"
    return f"waits for {need.name}"


def _is_moving(draft: Draft, service: Service, standings: dict[str, Standing]) -> bool:
    """Whether it is about to be started or switched, or is being so, without anybody's help."""
    state = draft.services[service.name]
    if state.phase in _IN_MOTION or state.check:
        return True
    if not state.wanted:
        return False
    if draft.worst((need.name for need in service.build_needs), standings) == "busy":
        return True
    wanted = draft.wanted_basis(service, standings)
    return wanted is not None and wanted not in (state.basis, state.refused) and not replicas.stuck(draft, service)
