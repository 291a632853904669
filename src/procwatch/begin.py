"""Begin `start`, or a `build` without a supervisor: what comes before the supervisor is imported.

Rule 1: nothing is imported here that a start can do without until its first service runs.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from procwatch.config.find import here
from procwatch.config.recall import Request, declared
from procwatch.errors import UsageError
from procwatch.options import Ask, Options
from procwatch.runtime import detach


def start(options: Options) -> int:
    """Read the project and run it until it is stopped; the exit status."""
    gc.disable()  # for as long as nearly all that is made stays: `app` turns it on again
    if options.detach and not detach.is_begun():
        raise UsageError("-d (--detach) must be a word of its own, without other letters")
    if options.names and not options.excepted:
        from procwatch.remote import act, running  # noqa: PLC0415 - see rule 1

        if client := running(options.file):
            with client:
                return act(client, Ask("start", options.names, options.file, as_json=options.as_json))
    request = Request(here(), options.file, os.environ, options.env_files, options.concurrency)
    known = declared(request)
    with _without_tls():
        from procwatch.app import run  # noqa: PLC0415 - see `_without_tls`

    return run(request, known, options)


@contextmanager
def _without_tls() -> Iterator[None]:
    """Import asyncio as on a system without OpenSSL, which takes 5 to 10 ms and 5 MiB; `runtime.wire` has its own."""
    if "ssl" in sys.modules:
        yield
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]  # how Python marks what cannot be imported
    try:
        yield
    finally:
        del sys.modules["ssl"]
