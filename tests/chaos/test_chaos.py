"""A short seed of chaos; `make chaos` plays longer ones, and new ones each time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.report import report
from tests.chaos.story import Story
from tests.chaos.tale import moves

_SEED, _SECONDS = 4, 2.5


@pytest.mark.skipif(sys.platform != "linux", reason="the programs write down who they are from /proc")
def test_after_chaos_all_comes_right_and_nothing_is_left_or_lost(tmp_path: Path) -> None:
    story = Story(_SEED, tmp_path)
    if story.play_briefly(_SECONDS):
        pytest.fail(report(story, _SECONDS, brief=True), pytrace=False)


def test_the_same_seed_makes_the_same_moves_and_another_one_others() -> None:
    def first(seed: int) -> list[object]:
        return [move for move, _ in zip(moves(seed, "round 1", Story.moves), range(50), strict=False)]

    assert first(1) == first(1)
    assert first(1) != first(2)
