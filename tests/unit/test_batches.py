"""When a batch ends: soon after one save, later while more come or a file is still being written, never too late."""

from __future__ import annotations

import pytest

from procwatch.core.model import WatchSettings
from procwatch.runtime.batches import Batch
from procwatch.runtime.inputs import Readers, Seen

SOON_S, UNFINISHED_S = 0.002, 0.1


def seen(*paths: str, unfinished: bool = False, closed: tuple[str, ...] = ()) -> Seen:
    readers = Readers(paths, {"build.api": paths}, {})
    return Seen(readers, frozenset(paths if unfinished else ()), frozenset(closed), has_new_folders=False)


def batch(quiet_s: float | None = None, max_wait_s: float = 0.5) -> Batch:
    return Batch(WatchSettings(quiet_s=quiet_s, max_wait_s=max_wait_s))


def test_one_save_ends_soon_after_its_last_change() -> None:
    one = batch()
    one.add(seen("a"), 10.0)
    one.add(seen("a"), 10.001)
    assert one.ends_at_s() == pytest.approx(10.001 + SOON_S)
    assert one.message().paths == ("a",)


@pytest.mark.parametrize(("files", "quiet_s"), [(1, 0.002), (2, 0.002), (3, 0.03), (20, 0.03), (21, 0.1), (500, 0.1)])
def test_many_files_are_waited_for_longer(files: int, quiet_s: float) -> None:
    many = batch()
    for number in range(files):
        many.add(seen(f"{number}"), 10.0)
    assert many.ends_at_s() == pytest.approx(10.0 + quiet_s)


def test_a_quiet_time_of_the_users_own_holds_for_any_number() -> None:
    one = batch(quiet_s=0.25)
    one.add(seen("a"), 10.0)
    assert one.ends_at_s() == pytest.approx(10.25)


def test_a_file_that_is_being_written_holds_the_batch_open_until_it_is_closed() -> None:
    one = batch()
    one.add(seen("a", unfinished=True), 10.0)
    assert one.ends_at_s() == pytest.approx(10.0 + UNFINISHED_S)
    one.add(seen(closed=("a",)), 10.03)
    assert one.ends_at_s() == pytest.approx(10.03 + SOON_S), "it may be moved to its own name only now"


def test_a_file_that_is_written_again_and_again_holds_it_open_only_for_a_time() -> None:
    one = batch()
    for number in range(20):
        one.add(seen("a", unfinished=True), 10.0 + number / 100)
    assert one.ends_at_s() == pytest.approx(10.19 + SOON_S)


def test_a_change_that_is_complete_ends_the_waiting_for_its_file_alone() -> None:
    one = batch()
    one.add(seen("a", "b", unfinished=True), 10.0)
    one.add(seen("a"), 10.01)
    assert one.ends_at_s() == pytest.approx(10.0 + UNFINISHED_S)
    one.add(seen("b"), 10.02)
    assert one.ends_at_s() == pytest.approx(10.02 + SOON_S)


def test_a_closed_file_that_was_not_waited_for_changes_nothing() -> None:
    one = batch()
    one.add(seen(closed=("a",)), 9.0)
    assert one.is_empty
    one.add(seen("a"), 10.0)
    one.add(seen(closed=("a", "b")), 10.001)
    assert one.ends_at_s() == pytest.approx(10.0 + SOON_S)


def test_nothing_holds_it_open_beyond_the_longest_wait() -> None:
    one = batch(max_wait_s=0.05)
    for number in range(20):
        one.add(seen(f"{number}", unfinished=True), 10.0 + number / 100)
    assert one.ends_at_s() == pytest.approx(10.05)
