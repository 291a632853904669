"""Put what all files of a unit hold into one digest, which is known at once when one of them is another.

Rule 1: each file weighs something, which its path, its content and the link that it is decide; a digest is of the sum.
Rule 2: that two sets of files have one digest does not happen by accident.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from procwatch.runtime.fingerprints import Reading, digest_of, signature_of
from procwatch.runtime.walk import link_of, marks
from procwatch.sums import blake2b

# Of a path and a link, before both: so no two files weigh the same.
_LENGTHS = struct.Struct("<II")
_WEIGHT_BYTES = 32
# Weights are counted up to here, and then from 0 again.
WEIGHTS = 1 << (8 * _WEIGHT_BYTES)


def difference(before: Mapping[str, Reading], after: Mapping[str, Reading]) -> tuple[set[str], bool]:
    """The paths whose content is another than before, and whether anything was written."""
    changed, touched = set[str](), False
    for path, new in after.items():
        old = before.get(path)
        if old is new:
            continue
        if old is None or _essence(old) != _essence(new):
            changed.add(path)
        touched = touched or old is None or signature_of(old) != signature_of(new)
    gone = [path for path in before if path not in after]
    return changed.union(gone), touched or bool(gone)


def weigh(files: Mapping[str, Reading], *, counts_writes: bool) -> int:
    """All files together, below `WEIGHTS`; `counts_writes`: one that was written again weighs something else."""
    weight = 0
    for path, reading in files.items():
        signature = signature_of(reading)
        name, target = path.encode("utf-8", "surrogateescape"), link_of(signature)
        piece = _LENGTHS.pack(len(name), len(target)) + name + target + digest_of(reading)
        if counts_writes:
            seen = marks(signature)
            piece += repr((seen.mtime_ns, seen.size, seen.inode)).encode()
        weight += int.from_bytes(blake2b(piece, digest_size=_WEIGHT_BYTES).digest(), "big")
    return weight % WEIGHTS


def digest(written: str, links: Mapping[str, str], weight: int) -> str:
    """Of the files' weight, what stands about the unit in the configuration, and where links on the way lead."""
    total = blake2b(digest_size=16)
    _feed(total, written)
    for link, text in links.items():
        _feed(total, link, text)
    _feed(total, weight.to_bytes(_WEIGHT_BYTES, "big"))
    return total.hexdigest()


def _essence(reading: Reading) -> tuple[bytes, bytes]:
    return digest_of(reading), link_of(signature_of(reading))


def _feed(total: blake2b, *parts: str | bytes) -> None:
    """Add parts so that no two lists of parts give the same sum: each with its length before it."""
    data = [part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part for part in parts]
    total.update(b"".join([piece for part in data for piece in (len(part).to_bytes(8, "big"), part)]))
