"""A short seed of each story of chaos; `make chaos` plays longer ones, and new ones each time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.report import report
from tests.chaos.story import Story
from tests.chaos.switching import Switching
from tests.chaos.tale import Tale, moves


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the programs write down who they are from /proc")
@pytest.mark.parametrize(("kind", "seed", "seconds"), [(Story, 4, 2.5), (Switching, 7, 5.0)])
def test_after_chaos_all_comes_right_and_nothing_is_left_or_lost(
    tmp_path: Path, kind: type[Tale], seed: int, seconds: float
) -> None:
    story = kind(seed, tmp_path)
    if story.play_briefly(seconds):
        pytest.fail(report(story, seconds, brief=True), pytrace=False)


def test_the_same_seed_makes_the_same_moves_and_another_one_others() -> None:
    def first(seed: int) -> list[object]:
        return [move for move, _ in zip(moves(seed, "round 1", Story.moves), range(50), strict=False)]

    assert first(1) == first(1)
    assert first(1) != first(2)
