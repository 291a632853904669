"""`make run`: the tour goes by itself to its end, then until a signal, and leaves nothing."""

from __future__ import annotations

import re
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig.live import left_over
from tests.rig.sample import SAMPLES, Beside

Tour = Callable[[], Beside]
# The first words of each step, as tour.py says them.
STEPS = ("1. The start", "2. A change", "3. A mistake", "4. The repair", "Your turn")


@pytest.fixture
def tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tour]:
    """Starts `python samples/tour.py`; afterwards its temporary folder must be gone, and all it had started."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    folders: list[Path] = []
    started: list[Beside] = []

    def begin() -> Beside:
        started.append(Beside([sys.executable, str(SAMPLES / "tour.py")], tmp_path))
        return started[-1]

    yield begin
    for each in started:
        folders += [Path(found) for found in re.findall(r"edit (\S+)/app/greeting\.py", each.text)]
        each.stop()
    assert not list(temporary.iterdir())
    assert not any(left_over(folder) for folder in folders)


def test_the_tour_shows_a_change_a_mistake_and_the_repair_and_ends_with_ctrl_c(tour: Tour) -> None:
    shown = tour()
    text = shown.shows("until Ctrl-C")
    places = [text.index(step) for step in STEPS]
    assert places == sorted(places)
    assert text.index("SyntaxError") > places[2]
    answers = re.findall(r"answers: (.*), world \(process (\d+)\)", text)
    assert [words for words, _ in answers] == ["Hello", "Good morning", "Good morning", "Good evening"]
    pids = [pid for _, pid in answers]
    assert pids[1] == pids[2]
    assert len(set(pids)) == 3
    assert shown.stop(signal.SIGINT) == 0
    assert "Traceback" not in shown.text.partition("Your turn")[2]


def test_the_tour_takes_another_port_if_its_own_is_taken_and_ends_with_sigterm(tour: Tour) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8102))
            taken.listen()
        except OSError:
            pass  # somebody else has it: as good for this test
        shown = tour()
        found = re.search(r"look at (http://127\.0\.0\.1:\d+/)", shown.shows("until Ctrl-C"))
        assert found
        assert ":8102/" not in found[1]
        with urllib.request.urlopen(found[1]) as answer:
            assert answer.read().startswith(b"Good evening")
    assert shown.stop(signal.SIGTERM) == 0


def test_the_tour_can_be_ended_at_once(tour: Tour) -> None:
    shown = tour()
    shown.shows("1. The start")
    assert shown.stop(signal.SIGINT) == 0
