"""The reference of watch.toml in Markdown, made from the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from procwatch.config.fields import OneOf, is_later
from procwatch.config.patterns import MAX_PATTERNS
from procwatch.config.schema import (
    BuildHooksTable,
    BuildTable,
    HealthTable,
    LogTable,
    NeedTable,
    ProjectTable,
    ReadyTable,
    RestartTable,
    ServiceHooksTable,
    ServiceTable,
    StopTable,
    Table,
    WatchTable,
    schema_json,
)
from procwatch.config.text import MAX_BYTES
from procwatch.config.values import MAX_NAME_CHARS

_INTRO = f"""\
# watch.toml

This page is made from `src/procwatch/config/schema.py`; `procwatch schema` prints the same as JSON Schema.

watch.toml is TOML 1.0 in UTF-8, at most {MAX_BYTES // 1024} KiB. Unknown keys are errors. The file is looked for in the
current folder and in the folders above; in a folder that has only a Procfile, that is what runs.

- **Names** of builds, services and groups begin with a letter or digit, have letters, digits, `_`, `.` and `-`, and at
  most {MAX_NAME_CHARS} characters.
- **Durations** are seconds as a number, or a string with a unit: `"250ms"`, `"5s"`, `"2m"`, `"1h"`.
- **Commands** are a string, which goes through `project.shell`, or a list of one program and its arguments.
- **Paths** and **patterns** are relative to the folder of watch.toml, whatever `dir` says. A pattern without `*`, `?`
  or `[` is that very path, and so is the exact name of a file or folder that exists; all else is the syntax of
  .gitignore. `{{a,b}}` is written out, into at most {MAX_PATTERNS} patterns in all. A backslash or a leading `/` is an
  error.
- `watch.local.toml` beside watch.toml is merged over it: tables merge, all else replaces. A probe of one kind replaces
  one of another kind.
- `[defaults.service]` and `[defaults.build]` hold values for every table that does not say otherwise, merged in the
  same way.

## Variables

`${{NAME}}` and `${{NAME:-default}}` are replaced when the file is loaded; the default also counts where the variable is
empty, and may not hold braces. The value comes from procwatch's environment, then `project.env`, then
`project.env_file`. `$$` is a dollar, any other dollar stays; an unset variable without a default is an error. A number
or a boolean may be written as a string with a variable: `port = "${{DB_PORT:-5432}}"`. A value of `project.env` may use
the others, in any order but not in a circle, and the env files; a name in `project.env_file` may use `project.env` and
the files before it.

Commands that are strings are the shell's business and never changed. In commands that are lists, variables are replaced
for each run, from the environment that the command is given.

The environment of a command, highest first: what procwatch assigns (`PROCWATCH_*`, `PORT`, `LISTEN_*`), the table's
`env`, its `env_file`, procwatch's own environment, `project.env`, `project.env_file`. On a terminal FORCE_COLOR,
CLICOLOR_FORCE, CARGO_TERM_COLOR and PY_COLORS are set below all of these, unless NO_COLOR is set.

Env files have lines `NAME=value`, with `export`, quotes and comments as usual. A `$` in a value is an ordinary
character. They are read again for each run.

## Procfile

`procfile = "Procfile"` takes each line `name: command` as a service, and `release:` as `build.release`, which runs once
before the others. `PORT` is 5000 for the first line, 5100 for the second and so on, or counted from `PORT` in the env
file or the environment; it does not depend on what is started. With `-c web=2,worker=3` there are `web.1`, `web.2`,
`worker.1` and so on instead, with ports one apart; `web` then means all of them, and with `-c web=0` none.

## Names in lists

In `needs` a bare name is allowed where only a build or only a service has it. In a group such a name stands for both,
and in `project.default` for the service, as in `procwatch start`.
"""

_HEALTH = """\
One of `http`, `tcp` and `run`, asked while the service is ready. After `failures` tries in a row that have failed the
service is stopped as `stop` says. That counts as a crash, for the reason that the last try met: `crashed` runs,
`restart` says whether and when it is started again (`policy = "never"`: not), and it has run for `stable` only if it
was well for so long. Fewer failures in a row are not told. While the next version is being prepared (`pre_start`) what
a try finds is not used; while the service is being stopped, or is ending as it has said itself, it is not asked.\
"""

_SECTIONS: tuple[tuple[str, str, type[Table]], ...] = (
    ("[project]", "", ProjectTable),
    ("[watch]", "", WatchTable),
    ("[build.NAME]", "", BuildTable),
    ("[service.NAME]", "", ServiceTable),
    ("needs", "An entry of `needs` is a name, or a table with these keys.", NeedTable),
    ("ready", "One of `http`, `tcp`, `run`, `log`, `notify` and `delay`, and how often it is tried.", ReadyTable),
    ("health", _HEALTH, HealthTable),
    ("restart", 'A string is the policy alone: `restart = "never"`.', RestartTable),
    ("stop", 'A string is the signal alone: `stop = "SIGINT"`. A build gets SIGTERM and two seconds.', StopTable),
    ("log", "", LogTable),
    ("hooks of a build", "Each is a command, a list of commands, or an empty string for none.", BuildHooksTable),
    ("hooks of a service", "Each is a command, a list of commands, or an empty string for none.", ServiceHooksTable),
)
_GROUPS = """
## [groups]

`NAME = ["web", "build.assets"]`: a name for a list of builds, services and other groups, usable wherever names are.

The table `[alerts]` is not supported yet.
"""


def markdown() -> str:
    """The whole page."""
    schema = schema_json()
    pages = [_INTRO]
    pages += ["\n".join(_section(title, text, table, schema)) for title, text, table in _SECTIONS]
    return "\n".join(pages) + _GROUPS


def _section(title: str, text: str, table: type[Table], schema: dict[str, Any]) -> Iterator[str]:
    """One table of keys, then those that are still to come."""
    properties = _properties(schema["$defs"][table.__name__])
    yield f"## {title}\n"
    if text:
        yield f"{text}\n"
    yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
    for key, field in table.model_fields.items():
        if not is_later(field):
            described = f"{field.description}".replace("|", "\\|")
            yield f"| `{key}` | {_type(properties[key], schema)} | {_default(field)} | {described} |"
    if still := list(_still_to_come(table)):
        yield f"\nNot supported yet: {', '.join(still)}."
    yield ""


def _still_to_come(table: type[Table]) -> Iterator[str]:
    """Keys, and words of keys, that are refused."""
    for key, field in table.model_fields.items():
        if is_later(field):
            yield f"`{key}`"
        for choice in field.metadata:
            if isinstance(choice, OneOf):
                yield from (f'`{key} = "{word}"`' for word in choice.later)


def _properties(definition: dict[str, Any]) -> dict[str, Any]:
    """The keys of a table; where a word may stand for it, the table is the first alternative."""
    whole = definition["anyOf"][0] if "anyOf" in definition else definition
    found: dict[str, Any] = whole["properties"]
    return found


def _type(declared: dict[str, Any], schema: dict[str, Any]) -> str:
    """The type of a key in words."""
    if "title" in declared:
        return str(declared["title"])
    if "enum" in declared.get("anyOf", [{}])[0]:  # or a variable
        declared = declared["anyOf"][0]
    if "enum" in declared:
        return ", ".join(f'`"{word}"`' for word in declared["enum"])
    if declared.get("type") == "array":
        return f"list of {_type(declared['items'], schema).replace(' or', 's or')}s"
    if "$ref" in declared or declared.get("type") == "object":
        return "table"
    if "anyOf" in declared:
        return "name or table" if any("$ref" in each for each in declared["anyOf"]) else "string"
    return str(declared["type"])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None or isinstance(field.default, Table):
        return ""
    return f"`{json.dumps(field.default)}`"


if __name__ == "__main__":
    print(markdown(), end="")
