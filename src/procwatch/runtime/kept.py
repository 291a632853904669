"""Keep what is known of files by their paths: `.procwatch/fingerprints`, small and quick to read.

Rule 1: a file that is damaged, of another version or missing holds nothing; one that cannot be written is not there.
Rule 2: it is replaced whole, so that a procwatch that is killed leaves the one before.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from procwatch.sums import blake2b

# Of a folder: the length of its path, and how many files follow; of a file: the lengths of its name, and of its value.
_FOLDER = struct.Struct("<II")
_FILE = struct.Struct("<HH")

_MAGIC = b"procwatch fingerprints 1\n"
_SUM_BYTES = 16


def save(file: Path, values: Iterable[tuple[str, bytes]]) -> None:
    """Write them; paths of one folder that follow one another share its name."""
    body = bytearray()
    folder, names = "", list[bytes]()
    for path, value in values:
        head, _, name = path.rpartition("/")
        if head != folder and names:
            _put(body, folder, names)
            names = []
        folder = head
        encoded = os.fsencode(name)
        names.append(_FILE.pack(len(encoded), len(value)) + encoded + value)
    if names:
        _put(body, folder, names)
    draft = file.with_name(f"{file.name}.new")
    with suppress(OSError):  # the disk is full, or the folder has gone: the next start reads all files
        with draft.open("wb") as out:
            out.write(_MAGIC + _sum(body))
            out.write(body)
        draft.replace(file)


def load(file: Path) -> dict[str, bytes]:
    """What was written last."""
    try:
        data = file.read_bytes()
    except OSError:
        return {}
    start = len(_MAGIC) + _SUM_BYTES
    if data[:start] != _MAGIC + _sum(memoryview(data)[start:]):
        return {}
    found: dict[str, bytes] = {}
    while start < len(data):
        length, count = _FOLDER.unpack_from(data, start)
        start += _FOLDER.size + length
        folder = os.fsdecode(data[start - length : start])
        prefix = f"{folder}/" if folder else ""
        for _ in range(count):
            name_length, value_length = _FILE.unpack_from(data, start)
            start += _FILE.size
            middle, end = start + name_length, start + name_length + value_length
            found[prefix + os.fsdecode(data[start:middle])] = data[middle:end]
            start = end
    return found


def _put(body: bytearray, folder: str, names: list[bytes]) -> None:
    encoded = os.fsencode(folder)
    body += _FOLDER.pack(len(encoded), len(names)) + encoded
    body += b"".join(names)


def _sum(body: bytearray | memoryview) -> bytes:
    return blake2b(body, digest_size=_SUM_BYTES).digest()
