"""`frozen` and `record` make what `dataclass(slots=True)` makes, with and without `frozen=True`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from procwatch.frozen import frozen, record

Make = Callable[[type[Any]], type[Any]]
BOTH = pytest.mark.parametrize("make", [frozen, dataclass(frozen=True, slots=True)], ids=["frozen", "dataclass"])


def _classes(make: Make) -> tuple[type[Any], type[Any]]:
    class Point:
        """A base."""

        x: int
        y: int = 2
        tags: dict[str, int] = field(default_factory=dict)

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
        c: int = field(default=0, compare=False)

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


@pytest.mark.parametrize("make", [record, dataclass(slots=True)], ids=["record", "dataclass"])
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
        x: int = field(init=False)

    class Later:
        x: int

        def __post_init__(self) -> None:
            """To be called by a dataclass."""

    for cls in (Half, Later):
        with pytest.raises(TypeError, match="make this a dataclass"):
            frozen(cls)
