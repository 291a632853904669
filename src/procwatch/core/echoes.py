"""Name what changes by itself: all the time, or each time that procwatch has started something for it.

Rule 1: it is only told. Whoever saves as soon as a service has started looks the same, and must be served as ever; a
build that changes what it watches while it runs is known for sure, and `builds` stops that loop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from procwatch.core import messages as msg
from procwatch.core.draft import Draft
from procwatch.core.state import Echo

# A change so soon after something was started for the change before may be its doing.
_WAKE_S = 2.0
# So many times in a row it is told: hardly anybody saves one file ten times, each within two seconds of what follows.
_ROUNDS = 10


def note(draft: Draft, event: msg.FilesChanged, affected: Collection[str]) -> None:
    """A batch has come, of which these units read something."""
    read = {name: frozenset((*event.readers.get(name, ()), *event.touched.get(name, ()))) for name in affected}
    if event.restless:
        _tell(draft, event.restless, read)
    cause = _last_start(draft)
    echoes = {name: echo for name in affected if (echo := _listen(draft, name, read[name], cause)) is not None}
    kept = {name: echo for name, echo in draft.state.echoes.items() if name not in affected}
    draft.state = replace(draft.state, echoes={**kept, **echoes})
    for echo in echoes.values():
        if echo.count >= _ROUNDS:
            reason = f"after each of the last {_ROUNDS} {'starts' if echo.cause in draft.services else 'runs'} of"
            _tell(draft, sorted(echo.paths), read, f"{reason} {echo.cause}")


def _listen(draft: Draft, name: str, paths: frozenset[str], cause: tuple[str, int] | None) -> Echo | None:
    """What this change may come from, and for how many times in a row."""
    if cause is None or (name in draft.builds and draft.builds[name].activity != "idle"):
        return None
    before = draft.state.echoes.get(name)
    if before is None or before.cause != cause[0] or before.paths.isdisjoint(paths):
        return Echo(paths, *cause, count=1)
    return before if before.number == cause[1] else Echo(before.paths & paths, *cause, count=before.count + 1)


def _last_start(draft: Draft) -> tuple[str, int] | None:
    """Of what may have changed something just now, what was started last: name, and number of the run or instance."""
    since_s = draft.now_s - _WAKE_S
    builds, services = draft.builds.items(), draft.services.items()
    starts = [
        (one.started_s, name, one.run) for name, one in builds if one.activity != "idle" or one.ended_s >= since_s
    ]
    instances = [(one.candidate.started_s, name, one.candidate.instance) for name, one in services if one.candidate]
    instances += [(one.started_s, name, one.instance) for name, one in services]
    starts += [start for start in instances if start[0] >= since_s]
    return max(starts)[1:] if starts else None


def _tell(draft: Draft, paths: Collection[str], read: Mapping[str, frozenset[str]], reason: str | None = None) -> None:
    """Name these paths, each once, and who reads them."""
    untold = tuple(path for path in paths if path not in draft.state.named)
    names = tuple(name for name, own in read.items() if any(_is_among(path, own) for path in untold))
    if untold and names:
        draft.state = replace(draft.state, named=draft.state.named.union(untold))
        draft.actions.append(msg.Notice("always_changing", paths=untold, names=names, reason=reason))


def _is_among(path: str, own: frozenset[str]) -> bool:
    """Whether a path, or what is in a folder, is one of these."""
    return any(one.startswith(path) for one in own) if path.endswith("/") else path in own
