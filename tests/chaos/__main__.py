"""`python -m tests.chaos [SEED...]`: play seeds of chaos; without any, new ones until the time is over."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.chaos.report import report
from tests.chaos.story import Story
from tests.chaos.switching import Switching
from tests.chaos.tale import Tale

_STORIES: Mapping[str, type[Tale]] = {Story.name: Story, Switching.name: Switching}


def main() -> int:
    """Exit status 0: every seed has held; 1: one has not, and its story is told."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("seeds", type=int, nargs="*", metavar="SEED")
    parser.add_argument("--seconds", type=float, default=24.0, help="of chaos in each seed (default: %(default)g)")
    parser.add_argument(
        "--total", type=float, default=300.0, help="seconds in which new seeds begin, where none is given"
    )
    parser.add_argument("--brief", action="store_true", help="one round and one start again, as in the test suite")
    parser.add_argument("--only", choices=_STORIES, help="one story; without it each seed is played in both")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell each move as it is made")
    options = parser.parse_args()
    bad = 0
    for seed in options.seeds or _new_seeds(options.total):
        for name, story in _STORIES.items():
            if options.only in (None, name):
                sys.stdout.write(f"seed {seed} {name} ... ")
                sys.stdout.flush()
                bad += not _play(story, seed, options)
    return 1 if bad else 0


def _new_seeds(total_s: float) -> Iterator[int]:
    end_s = time.monotonic() + total_s
    while time.monotonic() < end_s:
        yield random.SystemRandom().randrange(1_000_000)


def _play(kind: type[Tale], seed: int, options: argparse.Namespace) -> bool:
    """Whether everything held; else the folder is left for a look at it."""
    since_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="procwatch-chaos-") as name:
        story = kind(
            seed, Path(name), (lambda line: print(line, flush=True)) if options.verbose else lambda _line: None
        )
        play = story.play_briefly if options.brief else story.play
        faults = play(options.seconds)
        took_s = time.monotonic() - since_s
        if not faults:
            print(f"held ({len(story.diary.entries)} moves, {took_s:.0f} s, usage {story.usages})", flush=True)
            return True
        kept = Path(tempfile.mkdtemp(prefix=f"procwatch-chaos-{seed}-"))
        (kept / "story").write_text("\n".join(story.tell()) + "\n")
        for life in story.lives:
            (kept / f"screen.{life.number}").write_bytes(bytes(life.screen))
        print(report(story, options.seconds, brief=options.brief))
        print(f"the whole story, and the screens: {kept}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
