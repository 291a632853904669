"""Patterns of `watch` and `ignore`, and where they could still match."""

from __future__ import annotations

from pathlib import Path

import pytest

from procwatch.config.globs import expand, ignore_lines
from procwatch.errors import ProcwatchError
from procwatch.runtime.patterns import ignore_patterns, watch_patterns
from procwatch.runtime.places import Base, is_within, parent_of

PLACE = Base("/home/someone/shop")


def matches(pattern: str, path: str) -> bool:
    return any(one.matches(path) for one in watch_patterns(PLACE, [pattern]))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("Cargo.toml", "Cargo.toml", True),
        ("Cargo.toml", "sub/Cargo.toml", False),
        ("src", "src/deep/down.rs", True),
        ("src/", "src/a.rs", True),
        ("src", "src2/a.rs", False),
        ("./src", "src/a.rs", True),
        ("src/../lib", "lib/a", True),
        (".", "anything/at/all", True),
        (".", "../outside", False),
        ("..", "../beside/it", True),
        ("..", "inside", True),
        ("../trigger", "../trigger", True),
        ("../trigger", "trigger", False),
        ("../shop/src", "src/a.rs", True),
        ("*.rs", "a.rs", True),
        ("*.rs", "deep/down/a.rs", True),
        ("*.rs", "../a.rs", False),
        ("./*.rs", "a.rs", True),
        ("./*.rs", "src/a.rs", False),
        ("src/*.rs", "src/a.rs", True),
        ("src/*.rs", "src/sub/a.rs", False),
        ("src/**/*.rs", "src/a.rs", True),
        ("src/**/*.rs", "src/a/b/c.rs", True),
        ("src/**", "src/a/b", True),
        ("**/*.rs", "a.rs", True),
        ("**/*.rs", "../a.rs", False),
        ("src/g*n", "src/gen/below/it.rs", True),
        ("file?.txt", "file1.txt", True),
        ("file[0-9].txt", "filea.txt", False),
        ("file[!0-9].txt", "filea.txt", True),
        ("../*.rs", "../a.rs", True),
        ("../*.rs", "../lib/a.rs", False),
        ("../*.rs", "a.rs", False),
        ("../lib/**/*.rs", "../lib/x/a.rs", True),
        ("../**/*.rs", "src/a.rs", True),
        ("../../*/x", "../x", True),
        ("src/{a,b}.rs", "src/b.rs", True),
        ("src/{a,b}.rs", "src/c.rs", False),
        ("#notes/*", "#notes/a", True),
        ("src/[", "src/[", False),
    ],
)
def test_a_watch_pattern_matches_as_the_contract_says(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("gen", "a/gen/b", True),
        ("*.log", "../lib/x.log", True),
        ("**/gen/", "../lib/gen/x", True),
        ("/gen", "a/gen/b", False),
        ("/gen", "../gen/b", False),
        ("./gen", "gen/b", True),
        ("../lib/*.o", "../lib/a.o", True),
        ("gen/", "gen", False),
    ],
)
def test_an_ignore_pattern_is_gitignore_syntax_wildcard_or_not(pattern: str, path: str, expected: bool) -> None:
    assert any(one.matches(path) for one in ignore_patterns(PLACE, [pattern])) is expected


@pytest.mark.parametrize(
    ("pattern", "expanded"),
    [
        ("plain", ("plain",)),
        ("{a,b}", ("a", "b")),
        ("x{a,b}y{c,d}", ("xayc", "xayd", "xbyc", "xbyd")),
        ("{a,{b,c}d}", ("a", "bd", "cd")),
        ("a{,.bak}", ("a", "a.bak")),
        ("{a}", ("{a}",)),
        ("{a", ("{a",)),
        ("a}{b,c}", ("a}b", "a}c")),
        ("{{a,b}", ("{a", "{b")),
        ("{x{a,b}}", ("{xa}", "{xb}")),
    ],
)
def test_braces_are_written_out(pattern: str, expanded: tuple[str, ...]) -> None:
    assert expand(pattern) == expanded


def test_braces_that_stand_for_too_many_patterns_are_refused() -> None:
    with pytest.raises(ProcwatchError, match="must be a pattern that stands for at most 1000"):
        expand("{a,b}" * 40)


def test_a_range_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ProcwatchError, match=r'pattern "\[z-a\]\*" must be a path, or a pattern in'):
        watch_patterns(PLACE, ["[z-a]*"])


@pytest.mark.parametrize("name", ["page[id].tsx", "b{x,y}.txt", "!x", "[user-id].tsx", "a*"])
def test_the_exact_name_of_an_existing_file_is_that_very_path(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (pattern,) = watch_patterns(Base(str(tmp_path)), [name])
    assert (pattern.literal, pattern.negated) == (name, False)
    assert not pattern.matches("pagei.tsx")


def test_the_exact_name_of_an_existing_folder_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "app/[id]").mkdir(parents=True)
    (pattern,) = watch_patterns(Base(str(tmp_path)), ["app/[id]"])
    assert pattern.matches("app/[id]/page.tsx")
    assert not pattern.matches("app/i/page.tsx")


def test_what_is_doubtful_to_python_is_no_warning() -> None:
    assert watch_patterns(PLACE, ["[[:alpha:]]*"])
    assert ignore_lines("[[:alpha:]]*\n[z-a]\n")


@pytest.mark.parametrize(
    ("pattern", "folder", "expected"),
    [
        ("src/**/*.rs", "", True),
        ("src/**/*.rs", "..", True),
        ("src/**/*.rs", "src/a/b", True),
        ("src/**/*.rs", "node_modules", False),
        ("src/*/x", "src/a", True),
        ("src/*/x", "src/a/b", False),
        ("*.rs", "any/where", True),
        ("*.rs", "../lib", False),
        ("a/b/c", "a/b", True),
        ("a/b/c", "a/x", False),
        ("../lib/*.rs", "..", True),
        ("../lib/*.rs", "../lib", True),
        ("../lib/*.rs", "../other", False),
        ("../lib/*.rs", "src", False),
    ],
)
def test_a_folder_is_left_out_where_nothing_can_match(pattern: str, folder: str, expected: bool) -> None:
    (one,) = watch_patterns(PLACE, [pattern])
    assert one.leads_into(folder) is expected


@pytest.mark.parametrize(
    ("pattern", "folder", "names"),
    [
        ("src/lib/*.rs", "", {"src"}),
        ("src/lib/*.rs", "src", {"lib"}),
        ("src/lib/*.rs", "src/lib", None),
        ("src/lib/*.rs", "..", {"shop"}),
        ("../a/trigger", "..", {"a"}),
        ("../a/trigger", "", set()),
        ("*.rs", "", None),
        ("src", "src", None),
    ],
)
def test_only_the_names_on_the_way_to_a_match_count(pattern: str, folder: str, names: set[str] | None) -> None:
    (one,) = watch_patterns(PLACE, [pattern])
    assert one.names(folder) == names


@pytest.mark.parametrize(
    ("path", "absolute"),
    [
        ("", "/home/someone/shop"),
        ("src/a", "/home/someone/shop/src/a"),
        ("..", "/home/someone"),
        ("../x/y", "/home/someone/x/y"),
        ("../../..", "/"),
    ],
)
def test_a_place_has_one_name(path: str, absolute: str) -> None:
    assert PLACE.absolute(path) == absolute
    assert PLACE.relative(absolute) == path
    assert is_within(path, parent_of(path))


def test_the_way_down_from_above_leads_back_into_the_project() -> None:
    assert PLACE.join("../..", "someone") == ".."
    assert PLACE.join("..", "shop") == ""
    assert PLACE.join("..", "other") == "../other"
