"""What a seed that did not hold tells: its faults, what was done, the last output, and how to play it again."""

from __future__ import annotations

from tests.chaos.tale import Tale

_LAST_LINES = 40
_LAST_ENTRIES = 150


def report(story: Tale, seconds: float, *, brief: bool) -> str:
    """All of it, as one text."""
    told = story.tell()
    options = f"--only {story.name} --seconds {seconds:g}{' --brief' if brief else ''}"
    screen = bytes(story.lives[-1].screen).decode(errors="replace").splitlines() if story.lives else []
    return "\n".join(
        [
            f"chaos: seed {story.seed} of {story.name} did not hold",
            *(f"FAULT {fault[:1500]}" for fault in story.faults),
            f"--- what was done (*), and what procwatch told (the last {_LAST_ENTRIES} of {len(told)})",
            *told[-_LAST_ENTRIES:],
            f"--- the end of its screen, life {len(story.lives)}",
            *(line[:200] for line in screen[-_LAST_LINES:]),
            f"--- again: .venv/bin/python -m tests.chaos {story.seed} {options}",
        ]
    )
