"""Modules of the standard library that others import, and that none of them uses in a start or a plain command: 7 ms.

Rule 1: whoever imports one of them need not know: it is loaded when something of it is asked for.
Rule 2: loading goes the usual way, with Python's own locks, whichever threads ask.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from types import ModuleType
from typing import Any

# Each with what imports it, and what for.
_NAMES = (
    "inspect",  # asyncio and dataclasses: signatures. It loads all that reads source: ast, dis, tokenize
    "ipaddress",  # urllib.parse, which pathlib imports: addresses in brackets
    "linecache",  # traceback: lines of source
    "locale",  # subprocess: pipes of text
    "textwrap",  # traceback: groups of exceptions
)
_lock = allocate_lock()


class _Later(ModuleType):
    """Stands for a module until something of it is asked for."""

    def __getattr__(self, attribute: str) -> Any:
        from importlib import import_module  # noqa: PLC0415 - mostly it is not needed

        name = self.__name__
        with _lock:
            if sys.modules.get(name) is self:
                del sys.modules[name]
        return getattr(import_module(name), attribute)


def put_off() -> None:
    """Have those that are not there already come later."""
    for name in _NAMES:
        sys.modules.setdefault(name, _Later(name))
