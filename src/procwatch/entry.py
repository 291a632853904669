"""Run the command line and tell what goes wrong.

Rule 1: the only place that catches a ProcwatchError; no traceback reaches a user.
Rule 2: plain command lines go past click, which takes 20 ms to import: `cli` says the same of them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys

from procwatch.errors import ExitCode, ProcwatchError, printable
from procwatch.options import plain_ask, plain_logs, plain_start


def main() -> None:
    """Entry point of the `procwatch` command."""
    sys.exit(_run())


def _run() -> int:
    """Run the command and tell its errors, unless nobody can be told."""
    try:
        return _run_and_tell()
    except (OSError, SystemExit) as error:
        return _lost_output(error)


def _run_and_tell() -> int:
    """Run the command; errors are told here, and only here."""
    try:
        status = _command()
        if sys.stdout is not None:  # it is None where it was closed from the beginning
            sys.stdout.flush()
    except ProcwatchError as error:
        if sys.stderr is not None:
            sys.stderr.write(_told(error) + "\n")
            sys.stderr.flush()
        return error.exit_code
    return status


def _command() -> int:
    arguments = sys.argv[1:]
    if options := plain_start(arguments):
        from procwatch.begin import start  # noqa: PLC0415 - other commands do not need it

        return start(options)
    if what := plain_ask(arguments):
        _keep_imported()
        if what.command == "build":
            from procwatch.build import build  # noqa: PLC0415 - as above

            return build(what)
        from procwatch.remote import ask  # noqa: PLC0415 - as above

        return ask(what)
    if look := plain_logs(arguments):
        from procwatch.show_logs import show  # noqa: PLC0415 - other commands do not need it

        _keep_imported()
        return show(look)
    from procwatch.cli import run  # noqa: PLC0415 - see rule 2

    _keep_imported()
    return run()


def _keep_imported() -> None:
    """Have the garbage collector work, but never look at what there is by now: at the end that takes 4 ms."""
    gc.freeze()
    gc.enable()


def _lost_output(error: BaseException) -> int:
    """Output could not be written: its reader (`| head`) has gone, or the disk is full."""
    if isinstance(error, SystemExit):
        # click makes an exit with 1 of a broken pipe; all else that ends so is meant.
        if not isinstance(error.__context__, BrokenPipeError):
            raise error
        error = error.__context__
    is_gone = isinstance(error, BrokenPipeError)
    if not is_gone:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"procwatch: {_reason(error)}\n")
            sys.stderr.flush()
    # Python would complain once more when it flushes at the end.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    return 141 if is_gone else ExitCode.FAILED


def _reason(error: BaseException) -> str:
    """What the system says, and about which file."""
    where = getattr(error, "filename", None) or "cannot write"
    return f"{where}: {os.strerror(getattr(error, 'errno', None) or 0).lower()}"


def _told(error: ProcwatchError) -> str:
    """The error as the user sees it; a configuration's problems end with their count."""
    problems = getattr(error, "problems", None)
    if problems is None:
        return "procwatch: " + printable(str(error), keep="\n")
    count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    return f"{error}\n{count}; nothing was started"
