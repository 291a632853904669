"""Env files (.env): the only door to python-dotenv's parsing.

Rule 1: no line is dropped in silence: what is neither understood nor blank nor a comment is a problem with its place.
"""

from __future__ import annotations

import io
from pathlib import Path

from procwatch.config.text import read_text
from procwatch.errors import ConfigError, Problem


def read_env_file(path: Path, label: str | None = None) -> dict[str, str]:
    """The variables of a .env file; a ConfigError with all lines that are wrong.

    `export NAME=value`, quotes, empty values and comments are understood. A value is what it says: unlike in a shell
    `$` is an ordinary character, as it is for foreman and `docker run --env-file`.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415 - many projects have no .env file

    text = read_text(path, label or str(path), allow_bom=True)
    if "\0" in text.text:
        line = text.text[: text.text.index("\0")].count("\n") + 1
        raise ConfigError((text.problem("found the character U+0000", line),))
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for binding in parse_stream(io.StringIO(text.text, newline="")):
        if binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
        elif binding.key is not None or binding.error:
            said = binding.original.string
            blank = said[: len(said) - len(said.lstrip())]
            line = binding.original.line + blank.count("\n")
            problems.append(text.problem(_env_fault(said), line))
    if problems:
        raise ConfigError(tuple(problems))
    return values


def _env_fault(said: str) -> str:
    """What is wrong with a line of a .env file."""
    value = said.partition("=")[2].strip()
    if value[:1] in ("'", '"') and value.count(value[0]) == 1:
        return "this value has an opening quote but no closing one"
    return "expected NAME=value"
