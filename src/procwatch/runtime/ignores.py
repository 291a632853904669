"""Say what ignore files and the built-in list leave out: .gitignore, .ignore and .git/info/exclude, nested ones too.

Rule 1: as git does it: what is in an ignored folder is ignored, and no `!` in a file takes it back.
Rule 2: a `.ignore` beats every .gitignore; of several files of a kind, the nearest that says something decides.
Rule 3: `above` is a path that is watched by name: neither it nor its folders are ignored, what is below it may be.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from threading import RLock

from procwatch.config.globs import Lines, Search, ignore_lines
from procwatch.frozen import frozen
from procwatch.runtime.places import Base, is_ancestor, is_outside, parent_of

# Version control, procwatch's own folder, and what editors write beside the files that they save: vim (swap files,
# 4913, backups), nano, emacs, JetBrains, the macOS Finder, kate, gedit.
BUILT_IN = (
    ".git", ".hg", ".svn", ".procwatch",
    ".*.sw[a-z]", ".*.sw[a-z]x", ".sw[a-z]", "4913", "*~", r"\#*#", ".#*",
    "*___jb_tmp___", "*___jb_old___", "*___jb_bak___", ".DS_Store", ".*.kate-swp", ".goutputstream-*",
)  # fmt: skip

# A change of one of these names may change what is watched.
RULE_FILES = frozenset({".gitignore", ".ignore", ".git"})

# More verdicts on folders than this are forgotten at once: they must not grow with every folder that ever was.
_MAX_REMEMBERED = 100_000
_Known = dict[tuple[str, str | None], bool]

_NO_LINES = Lines()

_Seen = tuple[int, int, int] | None
# Of a file by its name: true in the sense of Python or not.
Test = Callable[[str], object]
_Verdict = Callable[[str], bool]


@cache
def _built_in() -> Lines:
    """Read when first needed: many projects watch nothing."""
    return ignore_lines("\n".join(BUILT_IN))


@frozen
class _Layer:
    """The rules that a folder adds to those of the folders above it."""

    folder: str
    ignore: Lines
    gitignore: Lines
    exclude: Lines


class IgnoreFiles:
    """The rule files of the folders that were asked about, read when first needed. Safe in several threads."""

    def __init__(self, place: Base, *, enabled: bool) -> None:
        self._place = place
        self._enabled = enabled
        self._lock = RLock()
        self.epoch = 0
        self._forget()

    def ignores(self, folder: str, above: str | None = None) -> bool:
        """Whether the rule files leave out a folder, or one that it is in."""
        return self._enabled and _any_up(folder, above, self._by_files, self._known_by_files)

    def ignores_in(self, folder: str, above: str | None = None) -> Test:
        """Whether they leave out a file in `folder`, by its name; as long as `epoch` is the same."""
        if not self._enabled:
            return nothing
        if self.ignores(folder, above):
            return _everything
        with self._lock:
            layers = _in_order(self._stack(folder))
        if not layers:
            return nothing
        searches: list[tuple[str, Search, bool]] = []
        for top, lines in layers:
            inner = self._place.below(folder, top)
            searches += [(f"{inner}/" if inner else "", search, verdict) for search, verdict in lines.searches()]
        if not searches:
            return nothing

        def is_ignored(name: str) -> bool:
            for prefix, search, verdict in searches:
                if search(prefix + name):
                    return verdict
            return False

        return is_ignored

    def is_built_in(self, folder: str, above: str | None = None) -> bool:
        """Whether the built-in list leaves out a folder, or one that it is in."""
        return _any_up(folder, above, _by_list, self._known_by_list)

    def built_in_in(self, folder: str, above: str | None = None) -> Test:
        """Whether it leaves out a file in `folder`, by its name."""
        if self.is_built_in(folder, above):
            return _everything
        ((search, _),) = _built_in().searches()  # there is no `!` in it
        return search

    def refresh(self, folders: Iterable[str] = ("",)) -> bool:
        """Look whether a rule file that was read, or was missing, has changed; if so, forget all. `epoch` counts it.

        `folders`: absolute paths; only in and below these.
        """
        with self._lock:
            within = tuple(f"{folder if folder != '/' else ''}/" for folder in folders)
            changed = any(_look(path) != seen for path, seen in self._seen.items() if path.startswith(within))
            if changed:
                self._forget()
            return changed

    def forget(self) -> None:
        """Read everything again when it is next needed: a rule file had an event."""
        with self._lock:
            self._forget()

    def extra_folders(self) -> tuple[tuple[str, frozenset[str]], ...]:
        """Folders outside of what is walked that hold rule files, and the names in them that count."""
        if not self._enabled:
            return ()
        tops = self._tops()
        if tops is None:
            return ()
        git = _common_folder(_git_folder(self._place.absolute(tops[-1])))
        return (*((top, RULE_FILES) for top in tops), (self._place.relative(f"{git}/info"), frozenset({"exclude"})))

    def git_folder(self) -> str | None:
        """The absolute path of the repository's own folder, where `index.lock` appears; None without a repository."""
        tops = self._tops()
        return None if tops is None else _git_folder(self._place.absolute(tops[-1]))

    def _tops(self) -> tuple[str, ...] | None:
        """The folders from the project's up to that of its repository."""
        with self._lock:
            tops = [""]
            while not self._is_repository(tops[-1]):
                if self._place.absolute(tops[-1]) == "/":
                    return None
                tops.append(parent_of(tops[-1]))
            return tuple(tops)

    def _forget(self) -> None:
        self.epoch += 1
        self._seen: dict[str, _Seen] = {}
        self._stacks: dict[str, tuple[_Layer, ...]] = {}
        self._known_by_files: _Known = {}
        self._known_by_list: _Known = {}

    def _by_files(self, folder: str) -> bool:
        """What the last line that matches says, in the file that counts most."""
        with self._lock:
            layers = _in_order(self._stack(parent_of(folder)))
        for top, lines in layers:
            verdict = lines.of_folder(self._place.below(folder, top))
            if verdict is not None:
                return verdict
        return False

    def _stack(self, folder: str) -> tuple[_Layer, ...]:
        """The rules that hold in `folder`, the nearest first. A repository's own folder ends what comes from above."""
        known = self._stacks.get(folder)
        if known is None:
            known = (self._layer(folder),)
            if not self._is_repository(folder) and self._belongs_together(parent_of(folder), folder):
                known += self._stack(parent_of(folder))
            self._stacks[folder] = known
        return known

    def _belongs_together(self, parent: str, folder: str) -> bool:
        """Whether rules of `parent` hold in `folder`: below the project always, above it within a repository."""
        if folder and not is_outside(folder):
            return True
        absolute = self._place.absolute(parent)
        while not self._is_repository(parent):
            if absolute == "/":
                return False
            parent, absolute = parent_of(parent), self._place.absolute(parent_of(parent))
        return True

    def _layer(self, folder: str) -> _Layer:
        absolute = self._place.absolute(folder)
        git = _git_folder(absolute) if self._is_repository(folder) else None
        exclude = self._read(f"{_common_folder(git)}/info/exclude") if git else _NO_LINES
        return _Layer(folder, self._read(f"{absolute}/.ignore"), self._read(f"{absolute}/.gitignore"), exclude)

    def _is_repository(self, folder: str) -> bool:
        path = f"{self._place.absolute(folder)}/.git"
        if path not in self._seen:
            self._seen[path] = _look(path)
        return self._seen[path] is not None

    def _read(self, path: str) -> Lines:
        """The lines of a rule file; one that is missing or cannot be read has none, and is looked at again."""
        self._seen[path] = seen = _look(path)
        if seen is None:
            return _NO_LINES
        try:
            return ignore_lines(os.fsdecode(Path(path).read_bytes()))
        except OSError:  # no rules can be had from it; git goes on without it too
            return _NO_LINES


def _in_order(layers: Sequence[_Layer]) -> list[tuple[str, Lines]]:
    """The rules that say anything, with their folders, those that count most first."""
    every = [(layer.folder, layer.ignore) for layer in layers]
    every += [(layer.folder, layer.gitignore) for layer in layers]
    every += [(layer.folder, layer.exclude) for layer in layers]
    return [(folder, lines) for folder, lines in every if lines]


def nothing(_name: str) -> bool:
    """Of no file."""
    return False


def _everything(_name: str) -> bool:
    return True


def _by_list(folder: str) -> bool:
    return _built_in().of_folder(folder.rpartition("/")[2]) is True


def _any_up(folder: str, above: str | None, verdict: _Verdict, known: _Known) -> bool:
    """Whether a folder or one that it is in is left out, not counting `above` and the folders that it is in."""
    if not folder or is_ancestor(folder) or folder == above:
        return False
    found = known.get((folder, above))
    if found is None:
        found = _any_up(parent_of(folder), above, verdict, known) or verdict(folder)
        if len(known) >= _MAX_REMEMBERED:
            known.clear()
        known[folder, above] = found
    return found


def _look(path: str) -> _Seen:
    """What tells one version of a rule file from the next. `.git` is there or not: its times mean nothing."""
    try:
        found = os.stat(path)  # noqa: PTH116 - called for every folder; Path costs five times as much
    except OSError:  # missing, or out of reach: either way it says nothing
        return None
    if stat.S_ISDIR(found.st_mode):
        return (0, 0, 0) if path.endswith("/.git") else None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _git_folder(folder: str) -> str:
    """The `.git` of a repository: in a worktree or submodule it is a file that says where the real one is."""
    git = Path(folder, ".git")
    try:
        kind, _, target = git.read_text(errors="surrogateescape").partition(":")
    except OSError:  # the usual case: it is a folder
        return str(git)
    return str(Path(folder, target.strip())) if kind == "gitdir" else str(git)


def _common_folder(git: str) -> str:
    """Where a repository keeps what all of its worktrees share."""
    try:
        return str(Path(git, Path(git, "commondir").read_text(errors="surrogateescape").strip()))
    except OSError:  # not a worktree
        return git
