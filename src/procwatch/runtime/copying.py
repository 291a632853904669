"""Copy what a build has made: files, folders and symbolic links, with their modes and times, and know what they hold.

Rule 1: blocks, so it runs in a thread; `Stopped` is raised soon after `stop` is set, and whoever asked clears up.
Rule 2: what is told of the content is what the copy holds, read from the copy.
Rule 3: nothing here shares a file with the project's folder; hard links are made between releases only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from procwatch.config.find import FOLDER
from procwatch.frozen import field, frozen, record
from procwatch.runtime.patterns import Pattern, watch_patterns
from procwatch.runtime.places import Base
from procwatch.runtime.stopping import Stop
from procwatch.sums import blake2b

# ioctl_ficlone(2): share the blocks of a file. Elsewhere than on Linux it is no ioctl at all, and refused.
_FICLONE = 0x40049409
# Between two looks at `stop`: 50 ms of a slow disk.
_CHUNK_BYTES = 8 * 1024 * 1024
# How the system says that a file cannot be copied this way, and has to be in another.
_OTHER_WAY = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.EBADF}
# As often is a file copied again that was written to meanwhile.
_TRIES = 3
# In these a pattern looks for nothing.
_NEVER = frozenset({FOLDER, ".git", ".hg", ".svn"})


class OutputsError(Exception):
    """What was to be copied cannot be; the reason is for the user."""


@frozen
class Held:
    """What one file of a release holds, and what shows that a file elsewhere may hold the same."""

    size: int
    mtime_ns: int
    mode: int
    digest: str


@record
class Copied:
    """What a copy holds: its files by their paths, and of each entry of `outputs` a digest of all."""

    files: dict[str, Held] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


def is_there(place: Base, output: str) -> bool:
    """Whether an entry of `outputs` has anything to copy."""
    return next(_found(place, output), None) is not None


def copy_outputs(
    place: Base, outputs: Sequence[str], target: Path, *, before: Path | None, known: Mapping[str, Held], stop: Stop
) -> Copied:
    """Copy all that `outputs` name into `target`, an empty folder, under the same paths.

    `before`: an older release, and `known` what its files hold: what is the same as there becomes a hard link where
    blocks cannot be shared. Raises OutputsError, OSError (a full disk), Stopped.
    """
    copier = _Copier(place, target, before, known, stop)
    for output in outputs:
        paths = sorted(_found(place, output))
        if not paths:
            raise OutputsError(f'"{output}" is missing')
        total = blake2b(digest_size=16)
        for path in paths:
            for part in (path, *copier.copy(path)):
                data = part.encode("utf-8", "surrogateescape")
                total.update(len(data).to_bytes(8, "big") + data)
        copier.copied.digests[output] = total.hexdigest()
    copier.finish()
    return copier.copied


def sync(path: Path) -> None:
    """Have what was written to a file or folder reach the disk; a file system that knows no such thing is no matter."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.EROFS):
            raise
    finally:
        os.close(descriptor)


# --- what there is ---------------------------------------------------------------------------------------------------


def _found(place: Base, output: str) -> Iterator[str]:
    """The paths that an entry of `outputs` stands for, folders too, relative to the project."""
    for pattern in watch_patterns(place, (output,)):
        if pattern.literal is None:
            yield from _matching(place, pattern, pattern.prefix())
        elif os.path.lexists(place.absolute(pattern.literal)):
            yield pattern.literal
            yield from _below(place, pattern.literal)


def _below(place: Base, folder: str) -> Iterator[str]:
    absolute = place.absolute(folder)
    if os.path.islink(absolute) or not os.path.isdir(absolute):  # noqa: PTH112, PTH114 - called for every file
        return
    with os.scandir(absolute) as entries:
        for entry in entries:
            path = place.join(folder, entry.name)
            yield path
            if entry.is_dir(follow_symlinks=False):
                yield from _below(place, path)


def _matching(place: Base, pattern: Pattern, folder: str) -> Iterator[str]:
    absolute = place.absolute(folder)
    if not os.path.isdir(absolute):  # noqa: PTH112 - as above
        return
    with os.scandir(absolute) as entries:
        for entry in entries:
            path = place.join(folder, entry.name)
            if not entry.is_dir(follow_symlinks=False):
                if pattern.matches(path):
                    yield path
            elif entry.name not in _NEVER and pattern.leads_into(path):
                yield from _matching(place, pattern, path)


# --- the copy --------------------------------------------------------------------------------------------------------


class _Copier:
    """One copy in the making."""

    def __init__(self, place: Base, target: Path, before: Path | None, known: Mapping[str, Held], stop: Stop) -> None:
        self.copied = Copied()
        self._place = place
        self._target = str(target)
        self._before = before
        self._known = known
        self._stop = stop
        self._shares = True
        self._told: dict[str, tuple[str, ...]] = {}
        self._folders: dict[str, os.stat_result | None] = {}
        self._new: list[str] = []

    def copy(self, path: str) -> tuple[str, ...]:
        """Copy one path, unless an entry before has named it too; what it holds, as parts of a digest."""
        self._stop.look()
        if path not in self._told:
            try:
                self._told[path] = self._copy(path)
            except OSError as error:
                error.filename = error.filename or path  # a full disk does not say where it was met
                raise
        return self._told[path]

    def _copy(self, path: str) -> tuple[str, ...]:
        source = self._place.absolute(path)
        found = os.lstat(source)
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISDIR(found.st_mode):
            self._folder(path)
            self._folders[path] = found
            return ("folder", f"{mode:o}")
        self._folder(path.rpartition("/")[0])
        if stat.S_ISLNK(found.st_mode):
            text = os.readlink(source)  # noqa: PTH115 - text as it stands
            os.symlink(text, f"{self._target}/{path}")  # noqa: PTH211 - as above
            os.utime(f"{self._target}/{path}", ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
            return ("link", text)
        if not stat.S_ISREG(found.st_mode):
            return ("other",)  # a socket or a pipe: of whoever had it open
        held = self._duplicate(path, source, self._share) if self._shares else None
        held = held or self._linked(path, source, found) or self._duplicate(path, source, self._fill)
        if held is None:
            raise OutputsError(f'"{path}" is still being written')
        self.copied.files[path] = held
        return ("file", f"{mode:o}", held.digest)

    def _folder(self, path: str) -> None:
        """Make a folder of the copy, and those that it is in; modes and times come when all is in them."""
        if path and path not in self._folders:
            self._folder(path.rpartition("/")[0])
            os.mkdir(f"{self._target}/{path}", 0o700)  # noqa: PTH102
            self._folders[path] = None

    def _linked(self, path: str, source: str, found: os.stat_result) -> Held | None:
        """The same file of the release before, where it is, to look at and in its content, the same."""
        held = self._known.get(path)
        looks = (found.st_size, found.st_mtime_ns, stat.S_IMODE(found.st_mode))
        if self._before is None or held is None or (held.size, held.mtime_ns, held.mode) != looks:
            return None
        with open(source, "rb") as file:  # noqa: PTH123 - called for every file
            if self._digest(file, held.size) != held.digest:
                return None
        try:
            os.link(f"{self._before}/{path}", f"{self._target}/{path}", follow_symlinks=False)
        except OSError:  # too many links, none on this file system, or somebody has taken the old one away
            return None
        return held

    def _duplicate(self, path: str, source: str, fill: Callable[[BinaryIO, BinaryIO, int], bool]) -> Held | None:
        """A file of its own, made by `fill`; None where that cannot be done, or the file never stays as it is."""
        target = f"{self._target}/{path}"
        for _ in range(_TRIES):
            with open(source, "rb") as origin, open(target, "w+b") as copy:  # noqa: PTH123 - as above
                before = os.fstat(origin.fileno())
                if not fill(origin, copy, before.st_size):
                    return None
                if _looks(os.fstat(origin.fileno())) == _looks(before):
                    copy.seek(0)
                    digest = self._digest(copy, before.st_size)
                    held = Held(before.st_size, before.st_mtime_ns, stat.S_IMODE(before.st_mode), digest)
                    os.fchmod(copy.fileno(), held.mode)
                    os.utime(copy.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
                    self._new.append(path)
                    return held
        return None

    def _share(self, origin: BinaryIO, copy: BinaryIO, _size: int) -> bool:
        """Have the copy use the blocks of the original, until one of them is written to."""
        self._shares = _tried(lambda: fcntl.ioctl(copy.fileno(), _FICLONE, origin.fileno())) is not None
        if not self._shares:
            os.unlink(copy.name)  # noqa: PTH108 - a link may come in its place
        return self._shares

    def _fill(self, origin: BinaryIO, copy: BinaryIO, size: int) -> bool:
        """In the kernel, else through this process; no more than there was at first, as a log may grow for ever."""
        left, ends = size, (origin.fileno(), copy.fileno())
        while left:
            count = _tried(lambda: os.copy_file_range(*ends, min(left, _CHUNK_BYTES)))  # noqa: B023 - called at once
            if not count:
                break
            left -= count
            self._stop.look()
        origin.seek(size - left)
        copy.seek(size - left)
        copy.writelines(self._pieces(origin, left))
        copy.flush()
        return True

    def _digest(self, file: BinaryIO, size: int) -> str:
        total = blake2b(digest_size=16)
        for piece in self._pieces(file, size):
            total.update(piece)
        return total.hexdigest()

    def _pieces(self, file: BinaryIO, size: int) -> Iterator[bytes]:
        while size and (piece := file.read(min(size, _CHUNK_BYTES))):
            self._stop.look()
            size -= len(piece)
            yield piece

    def finish(self) -> None:
        """Files reach the disk, then the folders that name them, the inner ones first, each with its mode and times."""
        for path in self._new:
            self._stop.look()
            sync(Path(f"{self._target}/{path}"))
        for path in sorted(self._folders, key=lambda one: one.count("/"), reverse=True):
            found, target = self._folders[path] or os.stat(self._place.absolute(path)), Path(self._target, path)  # noqa: PTH116
            sync(target)
            target.chmod(stat.S_IMODE(found.st_mode))
            os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
        sync(Path(self._target))


def _looks(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _tried(way: Callable[[], int]) -> int | None:
    """What a way of copying gives; None where there is no such way here."""
    try:
        return way()
    except AttributeError:  # not on this system
        return None
    except OSError as error:
        if error.errno in _OTHER_WAY:
            return None
        raise
