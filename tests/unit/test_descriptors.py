"""The limit of open files is raised for many services, never for what is started, and the last ones are kept back."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator

import pytest

from procwatch.runtime import descriptors


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A soft limit as a shell gives it; afterwards all is as before."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(descriptors, "_inherited", None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def childs() -> int:
    with descriptors.handing_on():
        return int(subprocess.run(["sh", "-c", "ulimit -Sn"], capture_output=True, text=True, check=True).stdout)


def test_a_few_services_need_no_more_than_there_is() -> None:
    descriptors.make_room(10)
    assert (soft(), childs()) == (256, 256)


def test_room_for_many_is_not_handed_on() -> None:
    descriptors.make_room(300)
    assert soft() >= 256 + 300 * 3
    assert childs() == 256
    assert soft() >= 256 + 300 * 3


def test_what_is_kept_for_long_leaves_the_low_numbers_free() -> None:
    descriptors.make_room(300)
    kept = [descriptors.lift(os.open(os.devnull, os.O_RDONLY)) for _ in range(600)]
    try:
        assert min(kept) >= 256
        assert not any(map(os.get_inheritable, kept))
        assert childs() == 256
    finally:
        for descriptor in kept:
            os.close(descriptor)


def test_the_last_ones_are_kept_back() -> None:
    descriptors.make_room(1)
    kept: list[int] = []
    try:
        while (newest := os.open(os.devnull, os.O_RDONLY)) < 256 - descriptors.RESERVE:
            kept.append(descriptors.lift(newest))
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            descriptors.lift(newest)
        kept += [os.open(os.devnull, os.O_RDONLY) for _ in range(descriptors.RESERVE)]
    finally:
        for descriptor in kept:
            os.close(descriptor)


def test_a_hard_limit_that_is_hardly_higher_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 300))
    asked: list[object] = []
    monkeypatch.setattr(resource, "setrlimit", lambda *limits: asked.append(limits))
    descriptors.make_room(300)
    assert not asked
    monkeypatch.undo()
