"""Root without the right to open what permissions forbid, so that tests of permissions hold for root too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# capset(2): version 3 of the structures; the two rights that let root pass over permissions.
_VERSION = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Inside, this thread and those it starts may open only what permissions allow."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    rights = (ctypes.c_uint32 * 6)()
    if libc.capget(header, rights) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    effective = rights[0]
    rights[0] = effective & ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    if libc.capset(header, rights) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    try:
        yield
    finally:
        rights[0] = effective
        libc.capset(header, rights)
