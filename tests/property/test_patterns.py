"""Ignore files against git itself, and what must hold for all patterns."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procwatch.config.globs import expand
from procwatch.runtime.ignores import IgnoreFiles
from procwatch.runtime.patterns import ignore_patterns, watch_patterns
from procwatch.runtime.places import Base, parent_of

NAMES = st.sampled_from(["a", "b", "ab", "a.b", "b.a"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
SEGMENTS = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*.b", "?", "[ab]", "[!a]"])
GLOBS = st.builds(
    lambda lead, segments, tail: lead + "/".join(segments) + tail,
    st.sampled_from(["", "/", "!", "!/"]),
    st.lists(SEGMENTS, min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)
LINES = st.lists(GLOBS, max_size=4)
PLACE = Base("/nowhere/shop")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")
@settings(max_examples=60, deadline=None)
@given(top=LINES, nested=LINES, excluded=LINES, paths=st.sets(PATHS, min_size=1, max_size=12))
def test_ignore_files_mean_what_they_mean_to_git(
    top: list[str], nested: list[str], excluded: list[str], paths: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        git(root, "init", "-q")
        (root / ".gitignore").write_text("\n".join(top) + "\n")
        (root / ".git" / "info" / "exclude").write_text("\n".join(excluded) + "\n")
        files = make_files(root, paths)
        if (root / "a").is_dir():
            (root / "a" / ".gitignore").write_text("\n".join(nested) + "\n")
        ignores = IgnoreFiles(Base(str(root)), enabled=True)
        ours = {path for path in files if ignores.ignores_in(parent_of(path))(path.rpartition("/")[2])}
        assert ours == ignored_by_git(root, files)


def make_files(root: Path, paths: set[str]) -> list[str]:
    """Create those of the paths that do not get in each other's way."""
    made = []
    for path in sorted(paths, key=lambda path: -path.count("/")):
        if not (root / path).exists():
            try:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                continue
            (root / path).touch()
            made.append(path)
    return made


def git(root: Path, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def ignored_by_git(root: Path, files: list[str]) -> set[str]:
    listed = git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    return set(files) - set(listed)


@given(glob=GLOBS, path=PATHS)
def test_no_folder_is_left_out_in_which_a_path_matches(glob: str, path: str) -> None:
    for pattern in watch_patterns(PLACE, [glob.removeprefix("!")]):
        folder = parent_of(path)
        while pattern.matches(path) and folder:
            assert pattern.leads_into(folder)
            names = pattern.names(folder)
            assert names is None or path[len(folder) + 1 :].partition("/")[0] in names
            folder = parent_of(folder)


@given(glob=GLOBS, path=PATHS, below=PATHS)
def test_what_matches_a_folder_matches_all_below_it(glob: str, path: str, below: str) -> None:
    for pattern in ignore_patterns(PLACE, [glob]):
        if pattern.matches(path, is_dir=True):
            assert pattern.matches(f"{path}/{below}")


@given(glob=GLOBS, path=PATHS)
def test_a_pattern_means_the_same_seen_from_above(glob: str, path: str) -> None:
    inside = "./" + glob.removeprefix("!").removeprefix("/")
    (here,) = watch_patterns(PLACE, [inside])
    (above,) = watch_patterns(PLACE, ["../shop/" + inside.removeprefix("./")])
    assert here.matches(path) == above.matches(path)


TREES = st.recursive(
    st.text("ab*/", max_size=3),
    lambda inner: st.lists(
        st.one_of(inner, st.lists(inner, min_size=2, max_size=3).map(lambda parts: "{" + ",".join(parts) + "}")),
        max_size=3,
    ).map("".join),
    max_leaves=6,
)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is the oracle")
@settings(max_examples=60, deadline=None)
@given(text=TREES)
def test_braces_mean_what_they_mean_to_bash(text: str) -> None:
    done = subprocess.run(
        ["bash", "-fc", f"printf '%s\\n' x{text}"], capture_output=True, text=True, check=True, env={"PATH": "/bin"}
    )
    assert expand(f"x{text}") == tuple(dict.fromkeys(done.stdout.splitlines()))
