"""Which releases stay: the newest of each build, and those that something was, or is to be, started from.

Rule 1: what an instance was started from stays as long as that may be started again.
"""

from __future__ import annotations

from procwatch.core import messages as msg
from procwatch.core.draft import Draft
from procwatch.core.model import Releases, Service


def prune(draft: Draft) -> None:
    """Let go of all that are older than the newest `keep`, and that nobody needs."""
    needed: set[tuple[str, int]] = set()
    if any(state.releases for state in draft.builds.values()):
        needed.update(*(_needed(draft, service) for service in draft.active_services))
    for name, state in tuple(draft.builds.items()):
        build = draft.project.builds[name]
        newest = state.releases[-build.keep :] if build.outputs else ()
        left = tuple(one for one in state.releases if one in newest or (name, one.number) in needed)
        if left != state.releases:
            gone = tuple(one.number for one in state.releases if one not in left)
            draft.set_build(name, releases=left)
            draft.actions.append(msg.DropReleases(name, gone))


def _needed(draft: Draft, service: Service) -> Releases:
    """Those that its instance was started from, and that the next one will be."""
    state = draft.services[service.name]
    coming = (draft.releases_for(service, basis) for basis in (state.going_to, state.prepared) if basis is not None)
    return (*state.releases, *(one for releases in coming for one in releases))
