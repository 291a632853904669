"""The types of the keys of watch.toml: each with its check, its JSON Schema and its name in the reference.

Rule 1: what a value means is decided in `values.py`; here it is only told to pydantic.
Rule 2: a key whose feature is still to come is declared with `later`, a value with `OneOf(later=...)`: given, it is
refused with "not supported yet", never accepted and ignored.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, get_args

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from procwatch.config import values

# What the JSON Schema says of a key of a later feature: no value is right.
_NO_VALUE: Mapping[str, Any] = MappingProxyType({"not": {}})


class NotSupportedYetError(ValueError):
    """A key, or with `word` one value of a key, whose feature does not exist yet."""

    def __init__(self, word: str | None = None) -> None:
        self.word = word
        super().__init__("not supported yet")


def key(description: str, *, default: object = None) -> Any:
    """A key with its meaning; the default is what a user would write, None if there is none."""
    return Field(default=default, description=description)


def later(description: str) -> Any:
    """A key of a feature that does not exist yet."""
    return Field(default=None, description=description, json_schema_extra=dict(_NO_VALUE))


def is_later(field: FieldInfo) -> bool:
    """Whether a key belongs to a feature that does not exist yet."""
    return field.json_schema_extra == _NO_VALUE


def _refuse(value: object) -> None:
    # A key that is left out has its default checked too.
    if value is not None:
        raise NotSupportedYetError


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the words of a Literal; `later` are those whose feature does not exist yet."""

    later: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check before pydantic does, for an error in our words."""
        options = get_args(source)

        def check(value: object) -> object:
            if isinstance(value, str) and value in self.later:
                raise NotSupportedYetError(value)
            if not isinstance(value, str) or value not in options:
                quoted = [f'"{option}"' for option in options]
                raise ValueError(f"{', '.join(quoted[:-1])} or {quoted[-1]}")
            return value

        return core_schema.no_info_before_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The words, or a variable that stands for one."""
        return {"anyOf": [handler(schema), _VARIABLE]}


def _json(title: str, **schema: object) -> WithJsonSchema:
    return WithJsonSchema({"title": title, **schema})


# A variable is a string until it is expanded.
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_FILLED = {"type": "string", "pattern": r"\S"}
_UNITS = r"[0-9]+(\.[0-9]+)?(ms|s|m|h)$|\$\{"
_SECONDS = [
    {"type": "number", "minimum": 0, "maximum": values.MAX_DURATION_S},
    {"type": "string", "pattern": f"^{_UNITS}"},
]
_SPAN = [
    {"type": "number", "exclusiveMinimum": 0, "maximum": values.MAX_DURATION_S},
    {"type": "string", "pattern": rf"^(?!0+(\.0+)?[a-z]+$){_UNITS}"},
]
_SIZE = [
    {"type": "integer", "minimum": values.MIN_SIZE_BYTES, "maximum": values.MAX_SIZE_BYTES},
    {"type": "string", "pattern": r"^[0-9]{1,15}(KiB|MiB|GiB)$|\$\{"},
]
_COMMAND = [_FILLED, {"type": "array", "prefixItems": [_FILLED], "items": {"type": "string"}, "minItems": 1}]
_COMMANDS = [{"type": "string"}, {"type": "array", "items": {"anyOf": _COMMAND}}]
_NAME = {"type": "string", "pattern": values.NAME_PATTERN, "maxLength": values.MAX_NAME_CHARS}
# With or without SIG, in any case.
_SIGNALS = "|".join(
    "".join(f"[{char}{char.lower()}]" if char.isalpha() else char for char in name.removeprefix("SIG"))
    for name in signal.Signals.__members__
)
# Not empty, not absolute, without a backslash.
_PATTERN = r"(?!!?/)(?!!?\s*$)[^\\]*$|\$\{"


def _number(title: str, least: int, most: int) -> WithJsonSchema:
    return _json(title, anyOf=[{"type": "integer", "minimum": least, "maximum": most}, _VARIABLE])


Later = Annotated[Any, PlainValidator(_refuse), WithJsonSchema(dict(_NO_VALUE))]
Text = Annotated[str, BeforeValidator(values.text)]
FilledText = Annotated[str, BeforeValidator(values.filled_text), WithJsonSchema(dict(_FILLED))]
Name = Annotated[str, StringConstraints(pattern=values.NAME_PATTERN, max_length=values.MAX_NAME_CHARS)]
ProjectName = Annotated[Name, _json("name", anyOf=[_NAME, _VARIABLE])]
Flag = Annotated[bool, BeforeValidator(values.flag), _json("true or false", anyOf=[{"type": "boolean"}, _VARIABLE])]
Yes = Annotated[bool, BeforeValidator(values.true), _json("true", anyOf=[{"const": True}, _VARIABLE])]
Count = Annotated[int, BeforeValidator(values.count), _number("number", 1, values.MAX_COUNT)]
Replicas = Annotated[int, BeforeValidator(values.replicas), _number("number", 1, values.MAX_REPLICAS)]
Keep = Annotated[int, BeforeValidator(values.keep), _number("number", 0, values.MAX_KEEP)]
Size = Annotated[int, BeforeValidator(values.size), _json("size", anyOf=_SIZE)]
Status = Annotated[int, BeforeValidator(values.http_status), _number("number", *values.HTTP_STATUSES)]
Port = Annotated[int, BeforeValidator(values.port), _number("port", 1, values.MAX_PORT)]
Duration = Annotated[float, BeforeValidator(values.duration), _json("duration", anyOf=_SECONDS)]
Span = Annotated[float, BeforeValidator(values.span), _json("duration", anyOf=_SPAN)]
Quiet = Annotated[
    float | None,
    PlainValidator(values.quiet),
    _json('"auto" or duration', anyOf=[{"const": "auto"}, *_SECONDS]),
]
Poll = Annotated[
    float | None,
    PlainValidator(values.poll),
    _json("false or duration", anyOf=[{"const": False}, *_SPAN]),
]
Signal = Annotated[
    str,
    BeforeValidator(values.signal_name),
    _json("signal", type="string", pattern=rf"^([Ss][Ii][Gg])?({_SIGNALS})$|\$\{{"),
]
Color = Annotated[
    str,
    BeforeValidator(values.colour),
    _json("color", anyOf=[{"enum": list(values.COLOURS)}, _VARIABLE]),
]
Regex = Annotated[str, BeforeValidator(values.regex), _json("regular expression", **_FILLED)]
Pattern = Annotated[str, BeforeValidator(values.pattern), _json("pattern", type="string", pattern=f"^{_PATTERN}")]
Output = Annotated[str, BeforeValidator(values.output), _json("pattern", type="string", pattern=f"^(?!!){_PATTERN}")]
Ignore = Annotated[
    str, BeforeValidator(values.ignore_pattern), _json("pattern", type="string", pattern=f"^(?!#){_PATTERN}")
]
Command = Annotated[str | tuple[str, ...], PlainValidator(values.command), _json("command", anyOf=_COMMAND)]
Commands = Annotated[
    tuple[str | tuple[str, ...], ...],
    PlainValidator(values.commands),
    _json("command or list of commands", anyOf=_COMMANDS),
]
Tcp = Annotated[
    values.Address | None,
    PlainValidator(values.tcp_address),
    _json(
        "true, port or address",
        anyOf=[
            {"const": True},
            {"type": "integer", "minimum": 1, "maximum": values.MAX_PORT},
            {"type": "string", "pattern": r"^\S+:[0-9]{1,5}$|\$\{"},
        ],
    ),
]
_SOCKET = {"type": "string", "pattern": r":[0-9]{1,5}$|/|\.sock$|\$\{"}
_NAMED_SOCKETS = {
    "type": "object",
    "patternProperties": {values.NAME_PATTERN: _SOCKET},
    "additionalProperties": False,
}
Socket = Annotated[values.SocketAddress, PlainValidator(values.socket_address)]
# A string is told to be no list.
Sockets = Annotated[
    Annotated[list[Socket], Tag("[]")] | Annotated[dict[Name, Socket], Tag("{}")],
    Discriminator(lambda value: "{}" if isinstance(value, dict) else "[]"),
    _json("list of addresses, or table", anyOf=[{"type": "array", "items": _SOCKET}, _NAMED_SOCKETS]),
]
PublicAddress = Annotated[
    values.SocketAddress,
    PlainValidator(values.tcp_socket),
    _json("address", type="string", pattern=r"^\S+:[0-9]{1,5}$|\$\{"),
]
Http = Annotated[
    values.Target | None,
    PlainValidator(values.http_target),
    _json("path or address", type="string", pattern=r"^/|^https?://|\$\{"),
]
VariableName = Annotated[
    str, BeforeValidator(values.variable_name), WithJsonSchema({"type": "string", "pattern": "^[^=]+$"})
]
Variables = dict[VariableName, Text]
