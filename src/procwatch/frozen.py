"""`frozen` and `record`: `dataclass(slots=True)` with and without `frozen=True`, made in a tenth of the time.

A dataclass compiles its methods from text, which takes half a millisecond each: 50 ms for those that a start needs.
Here all classes share the same methods, each with its own list of fields.

Rule 1: `dataclasses.replace` and `fields` work as with a dataclass, and mypy checks the same (`dataclass_transform`).
Rule 2: that module is imported only when it is used: with all that it needs it takes 8 ms, nearly as long as Python.
Rule 3: of a field it knows defaults and `compare`. What needs more, or `__post_init__`, stays a dataclass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

_T = TypeVar("_T")
# In place of a default where there is none; None may be one.
_NONE: Any = object()


class _Field:
    """What a class declares of one field."""

    __slots__ = ("annotation", "compare", "default", "default_factory")

    def __init__(self, default: Any, default_factory: Any, compare: bool) -> None:
        self.default, self.default_factory, self.compare = default, default_factory, compare
        self.annotation: Any = None


_Fields = Mapping[str, _Field]


def field(*, default: Any = _NONE, default_factory: Any = _NONE, compare: bool = True) -> Any:
    """A default that is made anew each time, or a field that equality leaves out: as that of `dataclasses`."""
    return _Field(default, default_factory, compare)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[_T]) -> type[_T]:
    """The class with `__init__`, equality, hash and repr from its fields, which cannot be set afterwards."""
    return _made(cls, {"__setattr__": _refuse, "__delattr__": _refuse})


@dataclass_transform(field_specifiers=(field,))
def record(cls: type[_T]) -> type[_T]:
    """The same with fields that can be set, and so without a hash."""
    return _made(cls, {"__hash__": None})


def _made(cls: type[_T], special: Mapping[str, Any]) -> type[_T]:
    own = _own_fields(cls)
    fields = _inherited(cls) | own
    kept = {name: value for name, value in vars(cls).items() if name not in {*own, "__dict__", "__weakref__"}}
    compared = [name for name, one in fields.items() if one.compare]
    values = attrgetter(*compared) if compared else lambda _: ()

    def is_equal(self: object, other: object) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def hash_of(self: object) -> int:
        return hash(values(self))

    shared: dict[str, Any] = {
        "__eq__": is_equal,
        "__hash__": hash_of,
        "__repr__": _repr,
        "__match_args__": tuple(fields),
    }
    shared |= {"__dataclass_fields__": _Described(fields), **special}
    slots = tuple(name for name in own if name not in _inherited(cls))
    metaclass: Any = type(cls)
    made = metaclass(cls.__name__, cls.__bases__, {**shared, **kept, "__slots__": slots, "__frozen_fields__": fields})
    made.__init__ = _init(made, fields)
    return made  # type: ignore[no-any-return]


def _own_fields(cls: type) -> dict[str, _Field]:
    """What the class itself declares, in its order."""
    found: dict[str, _Field] = {}
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        default = vars(cls).get(name, _NONE)
        one = default if isinstance(default, _Field) else _Field(default, _NONE, compare=True)
        if type(one.default).__module__ == "dataclasses" or hasattr(cls, "__post_init__"):
            raise TypeError(f"{cls.__name__}: make this a dataclass, or take `field` from here")
        one.annotation = annotation
        found[name] = one
    return found


def _inherited(cls: type) -> dict[str, _Field]:
    return dict(getattr(cls, "__frozen_fields__", {}))


class _Described:
    """The fields as `dataclasses` looks for them in a class, made when it does."""

    def __init__(self, fields: _Fields) -> None:
        self._fields = fields

    def __get__(self, _one: object, owner: Any) -> dict[str, Any]:
        described = _described(self._fields)
        owner.__dataclass_fields__ = described  # from now on without this
        return described


def _described(fields: _Fields) -> dict[str, Any]:
    import dataclasses  # noqa: PLC0415 - see rule 2

    found: dict[str, Any] = {}
    for name, one in fields.items():
        given = {"default": one.default, "default_factory": one.default_factory}
        made: Any = dataclasses.field(
            compare=one.compare, **{key: value for key, value in given.items() if value is not _NONE}
        )
        made.name, made.type = name, one.annotation
        made._field_type = dataclasses._FIELD  # type: ignore[attr-defined]  # noqa: SLF001 - it has no public name
        found[name] = made
    return found


def _init(made: Any, fields: _Fields) -> Callable[..., None]:
    names, known = tuple(fields), fields.keys()
    # A slot's own setter: `__setattr__` refuses.
    puts = tuple(getattr(made, name).__set__ for name in names)
    defaults = {name: one.default for name, one in fields.items() if one.default is not _NONE}
    makers = {name: one.default_factory for name, one in fields.items() if one.default_factory is not _NONE}

    def init(self: object, /, *given: Any, **named: Any) -> None:
        if not given and len(named) == len(names) and named.keys() <= known:
            given = tuple(map(named.__getitem__, names))  # as `replace` calls it: dozens of times for each save
        elif len(given) != len(names) or named:
            values = {**defaults, **dict(zip(names, given, strict=False)), **named}
            values |= {name: make() for name, make in makers.items() if name not in values} if makers else {}
            if not len(given) <= len(names) == len(values) or not named.keys() <= set(names[len(given) :]):
                raise _fault(made, names, given, named)
            given = tuple(map(values.__getitem__, names))
        for put, value in zip(puts, given):  # noqa: B905 - as many, and `strict` takes time
            put(self, value)

    return init


def _fault(made: type, names: tuple[str, ...], given: tuple[Any, ...], named: Mapping[str, Any]) -> TypeError:
    """What is wrong with the arguments, as with those of any function."""
    unknown = [name for name in named if name not in names[len(given) :]]
    if unknown or len(given) > len(names):
        what = f"an unexpected {', '.join(unknown)}" if unknown else f"more than {len(names)} values"
        return TypeError(f"{made.__name__}() got {what}")
    return TypeError(f"{made.__name__}() lacks a value for one of {', '.join(names)}")


def _repr(self: Any) -> str:
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{self.__class__.__qualname__}({values})"


def _refuse(self: object, name: str, *_value: object) -> None:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 - see rule 2

    raise FrozenInstanceError(f"{self.__class__.__name__}.{name} is frozen")
