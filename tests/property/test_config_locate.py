"""Whatever tomllib reads, `locate` knows where it stands."""

from __future__ import annotations

import datetime as dt
import json
import math
import tomllib
from collections.abc import Iterator

import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from procwatch.config.locate import KeyPath, LimitError, Place, Places, locate

# Documents take long to make; a third of what the profile asks for is enough.
FEW = settings(max_examples=settings().max_examples // 3)
NAMES = st.one_of(
    st.text("abcXYZ019_-", min_size=1, max_size=6),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(["a.b", "[x]", "#", '"', "'", "=", "a b", "", "\n", '"""']),
)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(['"""', "'''", "]", "}", "# no comment", "\\", "a\nb", "[x]\ny = 1"]),
    st.datetimes(min_value=dt.datetime(1900, 1, 1)),
    st.dates(min_value=dt.date(1900, 1, 1)),
    st.times(),
)
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=3), max_leaves=12
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)
# Bits of which a text looks like TOML, mostly without being it.
BITS = st.sampled_from(
    ["[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", " ", "#", '"', "'", '"""', "'''", "\\", "a", "b.c", "1", "\r"]
)


def paths(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Every key and every entry of a list, with its value."""
    if path:
        yield path, value
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, inner in below:
        yield from paths(inner, (*path, part))


def at(text: str, place: Place) -> str:
    line = text.split("\n")[place.line - 1]
    return line[place.column - 1 : place.column - 1 + place.width]


def assert_all_located(text: str) -> None:
    places = locate(text)
    for path, value in paths(tomllib.loads(text)):
        if isinstance(path[-1], str):
            assert tomllib.loads(f"{at(text, places.keys[path])} = 0") == {path[-1]: 0}
        assert_value_located(text, places, path, value)


def assert_value_located(text: str, places: Places, path: KeyPath, value: object) -> None:
    place = places.values.get(path)
    if place is None:
        assert isinstance(value, dict) or (isinstance(value, list) and (*path, 0) in places.values), path
        return
    shown = at(text, place)
    if shown.startswith("[") and isinstance(value, dict):
        header = [name for name, _ in paths(tomllib.loads(shown))][-1]
        names = [part for part in path if isinstance(part, str)]
        assert [part for part in header if isinstance(part, str)] == names
    else:
        try:
            assert tomllib.loads(f"x = {shown}")["x"] == value
        except tomllib.TOMLDecodeError:
            line = text.split("\n")[place.line - 1]
            assert shown.startswith(("[", "{", '"""', "'''")), "only these go on in the next line"
            assert place.column - 1 + place.width == len(line.rstrip())


@FEW
@given(DOCUMENTS)
def test_every_key_and_value_of_what_tomli_w_writes_is_located(document: dict[str, object]) -> None:
    assert_all_located(tomli_w.dumps(document))


@FEW
@given(DOCUMENTS)
def test_every_key_and_value_is_located_in_long_strings_of_many_lines(document: dict[str, object]) -> None:
    assert_all_located(tomli_w.dumps(document, multiline_strings=True))


@st.composite
def handwritten(draw: st.DrawFn) -> str:
    """A document as people write it: comments, blanks, dotted keys, inline tables, headers in any order."""
    lines: list[str] = []
    names = draw(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=4))
    for index, name in enumerate(names):
        style = draw(st.sampled_from(["header", "list", "dotted header", "bare"]))
        tables = {"header": f"[{name}]", "list": f"[[{name}]]", "dotted header": f'[ {name} . "x y" ]', "bare": ""}
        for _ in range(draw(st.integers(1, 3)) if style == "list" else 1):
            lines += [f"# {name}", tables[style]] if tables[style] else []
            if tables[style] or index == 0:
                lines += draw(pairs())
            if style == "list" and draw(st.booleans()):
                lines += [f"\t[{name}.below] # of the last one", *draw(pairs())]
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


@st.composite
def pairs(draw: st.DrawFn) -> list[str]:
    """Keys with values in all the ways they can be written."""
    lines = []
    for number in range(draw(st.integers(0, 4))):
        key = draw(
            st.sampled_from([f"k{number}", f'"k{number}"', f"'k {number}'", f"d{number}.e . 'f'", f'"\\u0041{number}"'])
        )
        value = draw(st.recursive(written_scalars(), written_containers, max_leaves=6))
        lines.append(f"{draw(blanks())}{key}{draw(blanks())}={draw(blanks())}{value}{draw(blanks())}{draw(comments())}")
    return lines


def blanks() -> st.SearchStrategy[str]:
    return st.sampled_from(["", " ", "\t", "  "])


def comments() -> st.SearchStrategy[str]:
    return st.sampled_from(["", "# x", '#"', "# ]", "# a = 1"])


def written_scalars() -> st.SearchStrategy[str]:
    return st.one_of(
        st.text(max_size=5).filter(lambda text: text.isprintable() and text.isascii()).map(json.dumps),
        st.sampled_from(
            ["''", "'#'", "'\\'", '""', '"\\""', "'''a\n'b'''", "''''''", '"""\n"x"""', '""""a"""""', '"""\\\n"""']
        ),
        st.sampled_from(
            ["1", "-1.5e3", "+inf", "0xff", "1_000", "true", "1979-05-27 07:32:00", "07:32:00", "1979-05-27"]
        ),
    )


def written_containers(below: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def inline(values: list[str]) -> str:
        return "{ " + ", ".join(f"i{at}.j = {value}" for at, value in enumerate(values)) + " }"

    lists = st.tuples(st.lists(below, max_size=3), st.sampled_from([", ", ",\n", " , # x ]\n\n"])).map(
        lambda drawn: "[" + drawn[1].join(drawn[0]) + ("\n]" if "\n" in drawn[1] else "]")
    )
    return lists | st.lists(below, max_size=3).map(inline)


@FEW
@given(handwritten())
def test_every_key_and_value_of_what_people_write_is_located(text: str) -> None:
    assert_all_located(text)


@FEW
@given(st.lists(BITS, max_size=60).map("".join))
def test_a_text_that_only_looks_like_toml_has_places_in_its_lines(text: str) -> None:
    lines = text.split("\n")
    try:
        places = locate(text)
    except LimitError as error:
        places = Places({(): error.place})
    for place in [*places.keys.values(), *places.values.values()]:
        assert 1 <= place.line <= len(lines)
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1
        assert place.width >= 1
    if is_toml(text):
        assert_all_located(text)


def is_toml(text: str) -> bool:
    try:
        document = tomllib.loads(text)
    except ValueError:
        return False
    return not any(isinstance(value, float) and math.isnan(value) for _, value in paths(document))
