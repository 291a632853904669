"""Whatever links lead where: all units looked at together find whatever each of them finds alone, and keep it up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from procwatch.core.model import Build, Project
from procwatch.runtime.engines import Events
from procwatch.runtime.inputs import Inputs

FOLDERS = ("a", "a/b", "c", "c/a", "../far")
LINKS = ("a/link", "c/link", "link", "../far/link", "lib")
TARGETS = ("a", "a/b", "c", "../far", "nothing", ".")
PATTERNS = ("**/*.rs", "a", "a/**", "c/**/*.rs", "li*/**", "lib", "*/x.rs", "link/x.rs", "*/link/**", "../far/*.rs")

units = st.lists(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2), min_size=1, max_size=3)
links = st.dictionaries(st.sampled_from(LINKS), st.sampled_from(TARGETS), max_size=4)


def lay_out(root: Path, made: Mapping[str, str]) -> None:
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "x.rs").write_text(folder)
    for name, target in made.items():
        swap(root, name, target)


def swap(root: Path, name: str, target: str) -> None:
    link = root / name
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(root / target, link.parent))


def project(root: Path, *watched: list[str]) -> Project:
    builds = {
        f"build.{index}": Build(f"build.{index}", "make", watch=tuple(each)) for index, each in enumerate(watched)
    }
    return Project("shop", str(root), builds, {})


def found(shop: Project) -> dict[str, set[str]]:
    """What each unit finds that is looked at alone."""
    return {
        name: set(Inputs(Project("shop", shop.folder, {name: build}, {})).sweep().readers.readers.get(name, ()))
        for name, build in shop.builds.items()
    }


@given(units, links, links)
@settings(max_examples=80, deadline=None)
def test_all_units_together_find_what_each_finds_alone(
    watched: list[list[str]], first: dict[str, str], then: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(os.path.realpath(place), "shop")
        lay_out(root, first)
        shop = project(root, *watched)
        inputs = Inputs(shop)
        readers = inputs.sweep().readers.readers
        for name, alone in found(shop).items():
            assert alone <= set(readers.get(name, ()))
        learned = Inputs(shop)
        learned.learn()
        assert learned.check_all(shop.builds) == Inputs(shop).check_all(shop.builds)
        for name, target in then.items():
            swap(root, name, target)
            places = frozenset({os.path.realpath((root / name).parent) + "/" + Path(name).name})
            inputs.look(Events(places))
            inputs.look_into(folder.real for folder in inputs.folders())
        assert inputs.sweep().readers.paths == ()
        gone = [root / "a", *(root / "a").rglob("*")]
        shutil.rmtree(root / "a")
        inputs.look(Events(frozenset(map(str, gone))))
        assert inputs.sweep().readers.paths == ()
