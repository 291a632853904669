"""Paths and patterns of a file in another folder, as the main folder sees them.

Rule 1: a `home` is a folder below the main one, without characters that mean something in patterns; "" is the main one.
"""

from __future__ import annotations

import posixpath
from pathlib import Path

from procwatch.config import globs


def path(home: str, text: str) -> str:
    """A path: absolute ones stay."""
    return text if not home or text.startswith("/") else posixpath.normpath(f"{home}/{text}")


def watched(folder: Path, home: str, text: str) -> tuple[str, ...]:
    """An entry of `watch`, as one or, with braces, more; one that cannot be read stays as it is."""
    if not home:
        return (text,)
    try:
        ones = globs.watched(folder / home, text)
        return tuple(path(home, one) if is_path else _glob(home, one) for one, is_path in ones)
    except globs.PatternError:
        return (text,)


def ignored(home: str, text: str) -> tuple[str, ...]:
    """The same for an entry of `ignore`."""
    if not home:
        return (text,)
    try:
        return tuple(_glob(home, one) for one in globs.expand(text))
    except globs.PatternError:
        return (text,)


def _glob(home: str, text: str) -> str:
    """gitignore syntax: without a slash, but one at its end, it matches at any depth."""
    sign = "!" if text.startswith("!") else ""
    body = text[len(sign) :]
    if "/" not in body.rstrip("/"):
        return f"{sign}{home}" if body.rstrip("/") == "." else f"{sign}{home}/**/{body}"
    folders = home.split("/")
    while body.startswith(("./", "../")):
        step, body = body.split("/", 1)
        if step == ".." and folders and folders[-1] != "..":
            folders.pop()
        elif step == "..":
            folders.append("..")
    return sign + "/".join((*folders, body))
