"""Who needs whom: cycles with their path, an order to start in, and everything that some names need.

Rule 1: `edges` maps a name to the names that it needs; names that are needed but have no entry need nothing.
Rule 2: iterative throughout, so that a graph of any depth is handled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Edges = Mapping[str, tuple[str, ...]]


class _Walk(NamedTuple):
    """A depth-first walk: names in the order in which they were left, and the first cycle met."""

    left: tuple[str, ...]
    cycle: tuple[str, ...] | None


def _walk(edges: Edges, roots: Iterable[str]) -> _Walk:
    """Visit everything below `roots`; stops at the first cycle."""
    left: dict[str, None] = {}
    for root in roots:
        path: dict[str, None] = {root: None} if root not in left else {}
        pending = [iter(edges.get(root, ()))] if path else []
        while pending:
            below = next((name for name in pending[-1] if name not in left), None)
            if below is None:
                pending.pop()
                left[path.popitem()[0]] = None
            elif below in path:
                names = list(path)
                return _Walk(tuple(left), (*names[names.index(below) :], below))
            else:
                path[below] = None
                pending.append(iter(edges.get(below, ())))
    return _Walk(tuple(left), None)


def cycle(edges: Edges) -> tuple[str, ...] | None:
    """A path that leads back to its start, such as ("build.a", "service.b", "build.a"), or None."""
    return _walk(edges, edges).cycle


def order(edges: Edges) -> tuple[str, ...]:
    """Every name after all that it needs, otherwise in the order given; a ValueError if there is a cycle."""
    walk = _walk(edges, edges)
    if walk.cycle:
        raise ValueError(" -> ".join(walk.cycle))
    return walk.left


def closure(edges: Edges, names: Iterable[str]) -> frozenset[str]:
    """The names and everything that they need, directly or not."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(edges.get(name, ()))
    return frozenset(found)
