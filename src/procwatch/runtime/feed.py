"""Turn an engine's events into what was found on the disk, in a thread of its own, and keep the engine on its folders.

Rule 1: new folders are looked at once the engine is armed for them, if need be once more: what is made in between is
found.
Rule 2: events are a hint. Some time after them everything is looked at once more, which finds what was lost; while
nothing happens, nothing is done.
Rule 3: nothing ends the thread but `stop`, or a stop of all looking; a fault is handed on and told, never swallowed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from procwatch.frozen import frozen, record
from procwatch.runtime.engines import Engine, EventsLostError, QueueOverflowError, Silence, WatchedFolder
from procwatch.runtime.inputs import Inputs, Seen
from procwatch.runtime.stopping import Stop, Stopped

# Once events that count have stopped for so long, everything is looked at once: an engine may have lost something
# without knowing (watchfiles does not say when the kernel's queue has run over), or a mount have hidden a folder.
_SWEEP_AFTER_S = 1.0

# So often in a row that look gives way to what happens meanwhile. Then it is done, be it late for a save.
_GIVES_WAY = 10

# The share of one processor that sweeps take at most, however long each takes and however often something happens;
# more where the user has asked for polling.
_SWEEP_SHARE = 0.05
_POLL_SHARE = 0.5

# How often folders are looked at that the engine does not watch, or not reliably.
_POLL_LEFT_S = 1.0

# So many losses within a short time mean that the engine does not work here: then everything is looked at instead.
_MAX_LOSSES = 5
_LOSSES_WITHIN_S = 10.0


@frozen
class Listener:
    """What the feed calls, always in its own thread: `failed` is for a fault that ended it.

    `looked`: all that had happened when `look` was called has been found, and handed to `found`. `renewed`: what `use`
    has given is gone by, and every folder of it is watched.
    """

    armed: Callable[[], None]
    found: Callable[[Seen], None]
    tell: Callable[[str], None]
    failed: Callable[[Exception], None]
    looked: Callable[[], None]
    renewed: Callable[[], None]


class _HappenedError(Exception):
    """Something has happened, which is to be looked at first."""


class _GiveWay(Stop):
    """Ends a look at everything when something happens."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def look(self) -> None:
        """Raise _HappenedError if something has."""
        if self._engine.has_news():
            raise _HappenedError


@record
class _Question:
    """Whether all that has happened has been looked at, by these inputs."""

    inputs: Inputs
    answered: threading.Event
    is_all: bool = False


@frozen
class _Next:
    """What to go by from now on."""

    inputs: Inputs
    engine: Engine | None
    poll_s: float | None


class Feed:
    """The thread. `poll_s`: look at everything at these intervals; None: only after events."""

    def __init__(self, inputs: Inputs, engine: Engine, listener: Listener, poll_s: float | None) -> None:
        self._inputs = inputs
        self._engine = engine
        self._listener = listener
        self._poll_s = poll_s
        self._armed: frozenset[WatchedFolder] = frozenset()
        self._told: set[str] = set()
        self._losses: list[float] = []
        self._sweep_at_s: float | None = None
        # What the engine does not watch, and when that is looked at next.
        self._left: frozenset[str] = frozenset()
        self._left_at_s: float | None = None
        self._is_urgent = False
        self._gave_way = 0
        # Something has happened, and `found` may be about to be called; to be read from any thread.
        self.is_looking = False
        self._swept_s = 0.0
        self._sweep_took_s = 0.0
        self._is_stopping = threading.Event()
        self._is_asked = threading.Event()
        self._next: _Next | None = None
        self._questions: deque[_Question] = deque()
        self._questions_lock = threading.Lock()
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="procwatch-watch", daemon=True)

    def start(self) -> None:
        """Begin; `armed` is called once every folder is watched."""
        self._thread.start()

    def look(self) -> None:
        """Look at everything now, whatever the engine has told; then `looked` is called."""
        self._is_asked.set()
        self._engine.wake()

    def catch_up(self, inputs: Inputs) -> bool:
        """Return when all that has happened by now has been looked at, by these inputs; whether that is sure to be all.

        To be called from another thread.
        """
        question = _Question(inputs, threading.Event())
        with self._questions_lock:
            if self._has_ended:
                return False
            self._questions.append(question)
        self._engine.wake()
        question.answered.wait()
        return question.is_all

    def use(self, inputs: Inputs, engine: Engine | None, poll_s: float | None) -> None:
        """Go by these from now on; without an `engine` by the one that there is. Then `renewed` is called.

        To be called again only after that.
        """
        self._next = _Next(inputs, engine, poll_s)
        self._engine.wake()

    def stop(self) -> None:
        """End; blocks until the thread has ended, which a look at the disk may delay."""
        self._is_stopping.set()
        self._engine.wake()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._learn()
            self._arm()
            self._inputs.trust(partial(self.catch_up, self._inputs))
            self._listener.armed()
            while not self._is_stopping.is_set():
                self._turn()
        except Stopped:  # all is being stopped: nobody waits for what was being looked at
            pass
        except Exception as error:  # nobody is above a thread: the listener raises it where it is seen
            self._listener.failed(error)
        finally:
            self._engine.close()
            with self._questions_lock:
                self._has_ended = True
            self._answer(len(self._questions), is_all=False)

    def _learn(self) -> None:
        """Look at everything for the first time, each folder being watched before it is looked into, where possible."""
        watched: set[WatchedFolder] = set()
        adds = True

        def watch(folder: WatchedFolder) -> None:
            nonlocal adds
            try:
                if adds and self._engine.add(folder):
                    watched.add(folder)
            except EventsLostError:
                watched.clear()
                adds = False

        self._inputs.learn(watch)
        self._armed = frozenset(watched)

    def _turn(self) -> None:
        """Wait for one thing to happen and take it in."""
        asked = len(self._questions)  # by then; of what happened after that the others are told next time
        try:
            events = self._engine.wait(self._wait_s())
        except QueueOverflowError:  # as often as that happens, but with pauses: looking at everything costs time
            self._armed, self._is_urgent = frozenset(), True
            self._plan_sweep(0.0)
            return
        except EventsLostError as loss:
            self._recover(str(loss))
            return
        if events.places:
            self.is_looking = True
            self._take(self._inputs.look(events))
            self.is_looking = False
        self._answer(asked, is_all=self._knows_all())
        if self._next is not None:
            self._renew(self._next)
        if self._is_asked.is_set():
            self._is_asked.clear()
            self._sweep()
            self._listener.looked()
        elif self._sweep_at_s is not None and time.monotonic() >= self._sweep_at_s:
            self._sweep_if_quiet()
        elif self._left_at_s is not None and time.monotonic() >= self._left_at_s:
            self._look_at_left()

    def _knows_all(self) -> bool:
        return self._engine.tells_all and not self._left and self._poll_s is None and not self._is_urgent

    def _answer(self, count: int, *, is_all: bool) -> None:
        for question in [self._questions.popleft() for _ in range(count)]:
            question.is_all = is_all and question.inputs is self._inputs
            question.answered.set()

    def _renew(self, given: _Next) -> None:
        """Look with the new rules at what has changed since the last look with the old ones, and watch by them."""
        self._next = None
        self._inputs = given.inputs
        if given.engine is not None:
            self._engine.close()
            self._engine, self._armed = given.engine, frozenset()
            self._poll_s = given.poll_s
        self._take(self._inputs.sweep())
        self._arm()
        self._inputs.trust(partial(self.catch_up, self._inputs))
        self._listener.renewed()

    def _take(self, seen: Seen) -> None:
        """Hand on what was seen, follow new folders, and see to it that everything is looked at once more."""
        if (seen.readers.paths or seen.has_new_folders) and not self._is_urgent:
            self._plan_sweep(_SWEEP_AFTER_S)
        if seen.readers.paths or seen.unfinished or seen.closed:
            self._listener.found(seen)
        if seen.has_new_folders:
            self._arm()

    def _sweep_if_quiet(self) -> None:
        """In 100,000 files it takes a second: a save meanwhile comes first, and then it is begun anew, later."""
        if self._is_urgent or self._gave_way == _GIVES_WAY:
            self._sweep()
            return
        try:
            self._sweep(_GiveWay(self._engine))
        except _HappenedError:
            self._gave_way += 1
            self._plan_sweep(_SWEEP_AFTER_S)

    def _sweep(self, stop: Stop | None = None) -> None:
        started_s = time.monotonic()
        seen = self._inputs.sweep(stop)
        self._swept_s = time.monotonic()
        self._sweep_took_s = self._swept_s - started_s
        self._sweep_at_s, self._is_urgent, self._gave_way = None, False, 0
        self._take(seen)
        self._arm()
        if self._poll_s is not None:
            self._plan_sweep(self._poll_s)

    def _look_at_left(self) -> None:
        """Look at what the engine does not watch."""
        started_s = time.monotonic()
        self._take(self._inputs.look_into(self._left))
        now_s = time.monotonic()
        self._left_at_s = max(started_s + _POLL_LEFT_S, now_s + (now_s - started_s) / _SWEEP_SHARE)

    def _plan_sweep(self, delay_s: float) -> None:
        """Set when everything is looked at next; later than asked for if looking takes long."""
        now_s = time.monotonic()
        share = _SWEEP_SHARE if self._poll_s is None else _POLL_SHARE
        wanted_s = now_s + (delay_s if self._poll_s is None else min(delay_s, self._poll_s))
        self._sweep_at_s = max(wanted_s, self._swept_s + self._sweep_took_s / share)

    def _wait_s(self) -> float | None:
        if self._is_asked.is_set() or self._next is not None or self._questions:
            return 0.0
        planned_s = [at_s for at_s in (self._sweep_at_s, self._left_at_s) if at_s is not None]
        return max(0.0, min(planned_s) - time.monotonic()) if planned_s else None

    def _arm(self) -> None:
        """Put the engine on the folders, until looking at them again shows no others."""
        while not self._is_stopping.is_set() and (folders := self._inputs.folders()) != self._armed:
            try:
                left = self._engine.watch(folders)
            except EventsLostError:  # a folder vanished on the way: look which are left, and try again
                left, self._armed, new = frozenset(), frozenset(), None
            else:
                new = {folder.real for folder in folders - self._armed}
                self._armed = folders
            seen = self._inputs.sweep() if new is None else self._inputs.look_into(new)
            self._fall_back(left)
            if seen.readers.paths:
                self._listener.found(seen)
        for line in self._inputs.denied():
            self._say(line)
        if self._poll_s is not None and self._sweep_at_s is None:
            self._plan_sweep(self._poll_s)

    def _fall_back(self, left: frozenset[str]) -> None:
        """Look at intervals at what the engine does not watch, and say so."""
        self._left = left if self._poll_s is None else frozenset()  # else all is looked at
        if not self._left:
            self._left_at_s = None
            return
        self._left_at_s = self._left_at_s or time.monotonic() + _POLL_LEFT_S
        many = "1 folder is" if len(left) == 1 else f"{len(left)} folders are"
        reason = self._engine.why_not() or "some folders cannot be watched, by their permissions or names"
        self._say(f"{reason}; {many} looked at every {_POLL_LEFT_S:g} s instead", once_for=reason)

    def _recover(self, reason: str) -> None:
        """Events were lost: find by looking what they told of, and arm anew."""
        now_s = time.monotonic()
        self._losses = [at_s for at_s in self._losses if at_s > now_s - _LOSSES_WITHIN_S] + [now_s]
        if len(self._losses) > _MAX_LOSSES:
            self._say(
                f"watching fails again and again ({reason}); everything is looked at every {_POLL_LEFT_S:g} s instead"
            )
            self._engine.close()
            self._engine = Silence()
            self._poll_s = _POLL_LEFT_S
        self._armed = frozenset()
        self._take(self._inputs.sweep())
        self._arm()

    def _say(self, line: str, once_for: str | None = None) -> None:
        """Tell the user, once; a line with a number in it once for what it is about."""
        about = once_for or line
        if about not in self._told:
            self._told.add(about)
            self._listener.tell(line)
