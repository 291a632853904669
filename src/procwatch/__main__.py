"""Entry point of the `procwatch` command and of `python -m procwatch`.

Rule 1: before anything else is imported, what could go wrong meanwhile is taken care of.
"""

import gc
import os
import signal
import sys


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    # Until `start` has its own handlers, Ctrl-C ends procwatch like any program: at once and without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_missing()
    gc.disable()  # what is imported stays: nothing in it is garbage
    if _is_start(sys.argv[1:]):
        from procwatch.runtime import detach
        from procwatch.runtime.guardian import stand_guard

        if detach.is_asked(sys.argv[1:]):
            detach.leave()
        stand_guard()
    from procwatch.later import put_off

    put_off()
    from procwatch.entry import main as run

    run()


def _is_start(words: list[str]) -> bool:
    """Whether the command is `start`: `logs start` is not."""
    while words and words[0].startswith("-"):
        words = words[2 if words[0] in ("-f", "--file") else 1 :]
    return words[:1] == ["start"]


def _open_missing() -> None:
    """Standard descriptors that are closed lead nowhere: else the next file to be opened would get their number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
