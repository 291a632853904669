"""When a batch ends: soon after one save, later while more come or a file is still being written, never too late."""

from __future__ import annotations

import pytest

from procwatch.core.model import WatchSettings
from procwatch.runtime.batches import Batch, Restless, lag_s
from procwatch.runtime.inputs import Readers, Seen

SOON_S, UNFINISHED_S, MANY_S = 0.001, 0.1, 0.1


def seen(*paths: str, unfinished: bool = False, closed: tuple[str, ...] = ()) -> Seen:
    readers = Readers(paths, {"build.api": paths}, {})
    return Seen(readers, frozenset(paths if unfinished else ()), frozenset(closed), has_new_folders=False)


def read_by(name: str, *paths: str) -> Seen:
    return Seen(Readers(paths, {name: paths}, {}), frozenset(), frozenset(), has_new_folders=False)


def restless(path: str = "noise", until_s: float = 10.0, for_s: float = 3.0) -> Restless:
    """What knows that this path has changed without a pause for so long."""
    known = Restless()
    for step in range(round(for_s * 10) + 1):
        known.note([path], until_s - for_s + step / 10)
    return known


def batch(quiet_s: float | None = None, max_wait_s: float = 0.5) -> Batch:
    return Batch(WatchSettings(quiet_s=quiet_s, max_wait_s=max_wait_s))


def test_one_save_ends_soon_after_its_last_change() -> None:
    one = batch()
    one.add(seen("a"), 10.0)
    one.add(seen("a"), 10.001)
    assert one.ends_at_s() == pytest.approx(10.001 + SOON_S)
    assert one.message().paths == ("a",)


@pytest.mark.parametrize(("files", "quiet_s"), [(1, 0.001), (2, 0.001), (3, 0.03), (20, 0.03), (21, 0.1), (500, 0.1)])
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


# --- bursts that are longer than a batch ------------------------------------------------------------------------------


def test_another_file_soon_after_a_batch_is_of_the_same_burst_and_is_waited_for_longer() -> None:
    settings = WatchSettings()
    first = Batch(settings)
    first.add(seen("a"), 10.0)
    second = first.next(settings)
    second.add(seen("b"), 10.09)
    assert second.ends_at_s() == pytest.approx(10.09 + MANY_S)
    third = second.next(settings)
    third.add(seen("a", "b", "c"), 10.2)
    assert third.ends_at_s() == pytest.approx(10.2 + 0.03), "that was too late to be the same burst"


def test_the_same_file_again_is_a_save_like_any_other() -> None:
    settings = WatchSettings()
    first = Batch(settings)
    first.add(seen("a"), 10.0)
    second = first.next(settings)
    second.add(seen("a"), 10.02)
    assert second.ends_at_s() == pytest.approx(10.02 + SOON_S)


def test_after_gits_lock_more_is_waited_for() -> None:
    one = batch()
    one.add(seen("a"), 10.0)
    one.hold(11.0)
    assert one.ends_at_s() == pytest.approx(11.0 + MANY_S)


def test_with_polling_a_burst_ends_only_after_a_look_without_news() -> None:
    settings = WatchSettings(poll_s=0.2)
    one = Batch(settings)
    one.add(seen("a"), 10.0)
    assert one.ends_at_s() == pytest.approx(10.0 + SOON_S), "a single save does not wait"
    one.add(seen("b", "c"), 10.0)
    assert one.ends_at_s() == pytest.approx(10.0 + 0.25)
    assert lag_s(WatchSettings(poll_s=0.2, engine="inotify")) == 0.0


def test_what_had_to_end_says_for_whom_more_is_to_come() -> None:
    settings = WatchSettings(max_wait_s=0.05)
    one = Batch(settings)
    for number in range(6):
        one.add(read_by("build.api", f"{number}"), 10.0 + number / 100)
    one.add(read_by("build.web", "noise"), 10.05)
    assert one.ends_at_s() == pytest.approx(10.05)
    assert one.has_cut_short("build.api", 10.06)
    assert not one.has_cut_short("build.other", 10.06)
    assert not one.has_cut_short("build.api", 10.05 + MANY_S)


# --- what changes all the time ----------------------------------------------------------------------------------------


def test_a_path_that_changes_all_the_time_holds_up_no_other() -> None:
    one = Batch(WatchSettings(), restless())
    one.add(read_by("build.noisy", "noise"), 10.0)
    assert one.ends_at_s() == pytest.approx(10.0 + SOON_S)
    one.add(read_by("build.api", "a", "b", "c"), 10.001)
    for step in range(10):
        one.add(read_by("build.noisy", "noise"), 10.01 + step / 100)
    assert one.ends_at_s() == pytest.approx(10.001 + 0.03)
    assert one.message().paths == ("a", "b", "c", "noise"), "but it is told"
    assert one.concerns("build.api")
    assert not one.concerns("build.noisy"), "nobody waits until it stops"


def test_even_alone_it_is_given_time_to_be_written_but_no_other_waits_for_that() -> None:
    one = Batch(WatchSettings(), restless())
    one.add(seen("noise", unfinished=True), 10.0)
    assert one.ends_at_s() == pytest.approx(10.0 + UNFINISHED_S)
    one.add(seen("a"), 10.01)
    one.add(seen("noise", unfinished=True), 10.011)
    assert one.ends_at_s() == pytest.approx(10.01 + SOON_S)


def test_alone_it_is_told_as_often_as_before() -> None:
    one = Batch(WatchSettings(max_wait_s=0.5), restless())
    for step in range(600):
        one.add(seen("noise"), 10.0 + step / 1000)
    assert one.ends_at_s() == pytest.approx(10.5)


def test_it_goes_on_counting_as_the_beginning_of_no_burst() -> None:
    settings = WatchSettings()
    one = Batch(settings, restless())
    one.add(seen("noise"), 10.0)
    next_one = one.next(settings)
    next_one.add(seen("a"), 10.01)
    assert next_one.ends_at_s() == pytest.approx(10.01 + SOON_S)


def test_a_pause_ends_it() -> None:
    known = restless(until_s=10.0)
    assert "noise" in known
    known.note(["noise"], 11.5)
    assert "noise" not in known


def test_a_folder_of_ever_new_files_is_told_after_a_while() -> None:
    known = Restless()
    for step in range(320):
        known.note([f"src/cache/{step}", f"{step}"], step / 10)
    assert known.to_tell(["src/cache/319", "319"]) == ("src/cache/",)
    assert "src/cache/319" not in known


def test_the_folder_of_a_file_that_changes_all_the_time_is_not_told_too() -> None:
    known = restless("src/noise", for_s=40.0)
    known.note(["src/a"], 10.05)
    assert known.to_tell(["src/noise", "src/a"]) == ("src/noise",)


def test_the_user_is_told_of_a_path_later() -> None:
    assert not restless(for_s=9.0).to_tell(["noise", "other"])
    one = Batch(WatchSettings(), restless(for_s=11.0))
    one.add(seen("a", "noise"), 10.05)
    assert one.message().restless == ("noise",)
