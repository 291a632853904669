"""Where the socket and the lock of a project's supervisor are: in `.procwatch`, or in the user's runtime folder.

Rule 1: client and supervisor come to the same places in the same order, from the project's folder alone.
Rule 2: a runtime folder counts only if nobody but this user can write to it.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from procwatch.sums import blake2b

# What a folder of ours is called in a project; the same word in config.find, which knows nothing of sockets.
OWN_FOLDER = ".procwatch"
SOCKET = "control.sock"
# sun_path holds 108 bytes on Linux and 104 on macOS, with the null byte at the end.
MAX_SOCKET_BYTES = 107 if sys.platform == "linux" else 103


def own_folder(project: Path) -> Path:
    """The project's own folder, which may not be there."""
    return project / OWN_FOLDER


def socket_paths(project: Path) -> Iterator[Path]:
    """Where the socket can be, the likeliest first; in the project only where the path is short enough."""
    own = own_folder(project) / SOCKET
    if len(os.fsencode(own)) <= MAX_SOCKET_BYTES:
        yield own
    yield runtime_folder() / f"{_identity(project)}.sock"


def runtime_lock(project: Path) -> Path:
    """The lock of a project whose folder cannot be written."""
    return runtime_folder() / f"{_identity(project)}.lock"


def runtime_folder() -> Path:
    """The user's folder for what lasts as long as a login; it may not be there."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(given) and is_private(Path(given)):  # noqa: PTH117 - of a string that may be empty
        return Path(given) / "procwatch"
    return Path("/tmp") / f"procwatch-{os.getuid()}"  # noqa: S108 - made private and checked by `is_private`


def make_runtime_folder() -> Path:
    """The runtime folder, made if it is not there. Raises OSError where it is somebody else's."""
    folder = runtime_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_private(folder):
        raise PermissionError(1, "it can be written by others", str(folder))
    return folder


def is_private(folder: Path) -> bool:
    """Whether it is a real folder of this user that nobody else can look into."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _identity(project: Path) -> str:
    """The same for every path to the project's folder."""
    return blake2b(os.fsencode(os.path.realpath(project)), digest_size=8).hexdigest()
