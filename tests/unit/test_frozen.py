"""`frozen` and `record` make what `dataclass(slots=True)` makes, with and without `frozen=True`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import Any

import pytest

from procwatch.frozen import field, frozen, record


class Make:
    """A way to make classes, with the `field` that belongs to it."""

    def __init__(self, make: Callable[[type[Any]], type[Any]], own_field: Callable[..., Any]) -> None:
        self.make, self.field = make, own_field

    def __call__(self, cls: type[Any]) -> type[Any]:
        return self.make(cls)


BOTH = pytest.mark.parametrize(
    "make",
    [Make(frozen, field), Make(dataclass(frozen=True, slots=True), dataclasses.field)],
    ids=["frozen", "dataclass"],
)


def _classes(make: Make) -> tuple[type[Any], type[Any]]:
    class Point:
        """A base."""

        x: int
        y: int = 2
        tags: dict[str, int] = make.field(default_factory=dict)

        @property
        def sum(self) -> int:
            return self.x + self.y

    base = make(Point)

    class Named(base):  # type: ignore[misc, valid-type]
        y: int = 5
        name: str = "n"

    return base, make(Named)


@BOTH
def test_values_come_by_place_by_name_and_by_default(make: Make) -> None:
    point, named = _classes(make)
    assert (point(1).y, point(1, y=3).y, point(x=1).sum) == (2, 3, 3)
    assert named(1, 2, {}, "m").name == "m"
    assert (named(1).y, named(1).name, named(1).sum) == (5, "n", 6)
    assert point(1).tags is not point(1).tags
    assert [one.name for one in fields(named)] == ["x", "y", "tags", "name"] == list(named.__match_args__)


@BOTH
def test_equality_needs_the_same_class(make: Make) -> None:
    point, named = _classes(make)
    assert point(1) == point(1) != point(2)
    assert point(1, 5) != named(1)
    assert point(1) != (1, 2, {})


@BOTH
def test_hash_and_repr(make: Make) -> None:
    class Pair:
        a: str
        b: object = ()
        c: int = make.field(default=0, compare=False)

    class Nothing:
        pass

    pair, nothing = make(Pair), make(Nothing)
    assert pair("x", c=1) == pair("x", c=2)
    assert len({pair("x"), pair("x", (), 1), pair("y"), nothing(), nothing()}) == 3
    assert repr(pair("x")).endswith("Pair(a='x', b=(), c=0)")
    assert repr(nothing()).endswith("Nothing()")


@BOTH
def test_nothing_can_be_set(make: Make) -> None:
    point, _ = _classes(make)
    one = point(1)
    for name in ("x", "z"):
        with pytest.raises((FrozenInstanceError, TypeError)):  # a class within a function: dataclass trips over itself
            setattr(one, name, 3)
    with pytest.raises((FrozenInstanceError, TypeError)):
        del one.x
    assert one.x == 1
    assert not hasattr(one, "__dict__")


@BOTH
def test_a_copy_with_changes(make: Make) -> None:
    point, named = _classes(make)
    before = named(1, name="m")
    assert replace(before, x=2) == named(2, 5, {}, "m")
    assert type(replace(before, x=2)) is named
    with pytest.raises(TypeError):
        replace(point(1), z=3)


@BOTH
@pytest.mark.parametrize(
    ("given", "named"), [((), {}), ((1, 2, {}, 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1, "z": 1})]
)
def test_wrong_arguments_are_a_type_error(make: Make, given: tuple[object, ...], named: dict[str, object]) -> None:
    point, _ = _classes(make)
    with pytest.raises(TypeError):
        point(*given, **named)


@BOTH
def test_it_can_be_matched(make: Make) -> None:
    point, _ = _classes(make)
    match point(1, 7):
        case point(1, y):
            assert y == 7
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize(
    "make",
    [Make(record, field), Make(dataclass(slots=True), dataclasses.field)],
    ids=["record", "dataclass"],
)
def test_the_fields_of_a_record_can_be_set(make: Make) -> None:
    point, named = _classes(make)
    one = named(1, name="m")
    one.x, one.name = 3, "n"
    assert one == named(3) != named(1)
    assert replace(one, y=1) == named(3, 1)
    with pytest.raises(AttributeError):
        one.z = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(point(1))


def test_what_it_does_not_know_is_refused() -> None:
    class Half:
        x: int = dataclasses.field(init=False)

    class Later:
        x: int

        def __post_init__(self) -> None:
            """To be called by a dataclass."""

    for cls in (Half, Later):
        with pytest.raises(TypeError, match="make this a dataclass"):
            frozen(cls)


@BOTH
def test_fields_are_described_with_their_defaults(make: Make) -> None:
    _, named = _classes(make)
    x, y, tags, name = fields(named)
    assert (x.default, y.default, name.default) == (dataclasses.MISSING, 5, "n")
    assert (tags.default, tags.default_factory) == (dataclasses.MISSING, dict)
    assert [one.type for one in (x, y, tags, name)] == ["int", "int", "dict[str, int]", "str"]


def test_dataclasses_is_imported_only_when_it_is_used() -> None:
    code = "import sys\nfrom procwatch.frozen import frozen\n@frozen\nclass One:\n x: int = 0\n"
    code += "assert One() == One(0)\nassert 'dataclasses' not in sys.modules\n"
    code += "from dataclasses import replace\nassert replace(One(), x=1) == One(1)\n"
    subprocess.run([sys.executable, "-c", code], check=True)
