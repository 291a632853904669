"""What is known of every build and service at one moment; the planner replaces it whole.

Rule 1: frozen. Times are monotonic seconds that came in as data.
Rule 2: what can be derived (who waits for whom, what is outdated) is not stored here but asked of `core.standing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from procwatch.core.messages import Outcome
from procwatch.core.model import Release, Releases
from procwatch.frozen import field, frozen


class Phase(StrEnum):
    """Where a service is in its life; `core.service` has the table of what leads from one to the next."""

    STOPPED = "stopped"  # nothing runs: not started yet, stopped, or ended by itself
    PREPARING = "preparing"  # pre_start runs, nothing else does
    STARTING = "starting"  # an instance runs and its probe has not succeeded yet
    READY = "ready"
    SWITCHING = "switching"  # pre_start for the next instance runs while the old one serves
    OVERLAPPING = "overlapping"  # the next instance starts, or is verified, beside the one that serves
    VERIFYING = "verifying"  # an instance could serve, and verify looks at it before it does; nothing else runs
    RETIRING = "retiring"  # the old instance is being stopped, the next one follows
    LEAVING = "leaving"  # an instance runs that has said that it ends by itself
    FAILING = "failing"  # something is wrong with the instance: it is being stopped, then it counts as crashed
    STOPPING = "stopping"
    BACKOFF = "backoff"  # crashed, waits for the delay
    FAILED = "failed"  # crashed, and the policy says never


# Phases in which something of the service runs.
ALIVE = frozenset(Phase) - {Phase.STOPPED, Phase.BACKOFF, Phase.FAILED}

# What an instance was, or should be, started with: (source, value) pairs, such as ("build.api", its key).
Basis = tuple[tuple[str, str], ...]

# The source of the part that is what it runs and the env files that it reads.
DEFINITION = "definition"
# The source of the part that counts touches and restarts that were asked for.
ASKED = "asked"
# The source of a part that is in no wanted basis: the instance was started from what failed runs may have disturbed.
DISTURBED = "disturbed"


def is_disturbed(basis: Basis | None) -> bool:
    """Whether it is not sure what an instance of this basis was started from."""
    return basis is not None and any(source == DISTURBED for source, _ in basis)


@frozen
class Fault:
    """What is wrong with an instance that is stopped for it, and since when."""

    reason: str
    since_s: float


@frozen
class Candidate:
    """An instance that runs beside the one in charge, to take over from it; `cause` and `why` as in `ServiceState`."""

    instance: int
    basis: Basis
    started_s: float
    cause: tuple[str, ...]
    why: str
    pid: int | None = None
    verifying: bool = False


@frozen
class ServiceState:
    """One service. `instance` is the one in charge, they count from 1; 0 is none yet. `newest`: the last number given.

    `candidate`: what is to take over (OVERLAPPING only). `others`: instances beside the one in charge that are being
    stopped: retired ones, and candidates that were given up.

    `basis`: of the instance in charge. `prepared`: the basis whose pre_start has succeeded and waits for its start.
    `refused`: a basis whose pre_start failed, or whose candidate did: not tried again before something is new, or the
    back-off has passed where nothing else can be started; `refusal` says why. `verified`: the basis for which verify
    has succeeded; `unverified`: how it failed, of an instance that serves all the same.
    `generation` counts switches, not restarts after a crash; needs with `restart = true` look at it. `asks` counts
    touches of its own `watch`, and restarts that a user asked for. `wanted`: nobody has stopped it by hand. `due`: it
    is to be started, or restarted, with or without anything new. `changed`: paths that the next instance will be
    started for; `cause`: those that this one was, and `why` in words. `problem`: why no instance could be started now,
    in words. `probed`: its probe has succeeded, and verify is put off. `leaving_s`: when the instance said that it ends
    by itself. `fault`: why it is failing. `draining`: before it is stopped its clients are let finish.

    `releases`: those that the instance in charge was started from; `is_proven`: one that was started from them has
    served. `beside`: of the candidate, and of those that go, by their numbers. `history`: those before, that have been
    proven. `pinned`: those that it has been taken back to.
    """

    phase: Phase = Phase.STOPPED
    wanted: bool = True
    due: bool = True
    instance: int = 0
    newest: int = 0
    pid: int | None = None
    candidate: Candidate | None = None
    others: frozenset[int] = frozenset()
    basis: Basis | None = None
    going_to: Basis | None = None
    prepared: Basis | None = None
    refused: Basis | None = None
    refusal: str = ""
    verified: Basis | None = None
    unverified: str | None = None
    switching: bool = False
    generation: int = 0
    asks: int = 0
    changed: tuple[str, ...] = ()
    cause: tuple[str, ...] = ()
    why: str = ""
    digest: str | None = None
    problem: str | None = None
    check: int = 0
    news: bool = True
    started_s: float = 0.0
    ready: bool = False
    probed: bool = False
    leaving_s: float | None = None
    fault: Fault | None = None
    draining: bool = False
    crashes: int = 0
    timer: int = 0
    releases: Releases = ()
    beside: Mapping[int, Releases] = field(default_factory=dict)
    is_proven: bool = False
    history: tuple[Releases, ...] = ()
    pinned: Releases = ()


Activity = Literal["idle", "running", "verifying", "stopping"]


@frozen
class BuildState:
    """One build. `run` counts from 1; 0 is none yet.

    Due work: `due` (look again, and run if it must), `force` (run whatever the key says), `adopt` (take what is on
    disk as good), `asked` (by a user, for a run that begins after that), `changed` (paths that made it due), `news`
    (changes that no check has seen), `check` (number of the check under way, 0 is none), `looked` (`digest` and
    `touched` are of now), `digest` (of its own inputs).

    The run under way: `run_key`, `run_digest` (what it was started with), `run_paths` (the changes that it was started
    for, `why` in words), `run_changed` (paths whose content changed since), `edited_s` (when the last of them did),
    `outcome` (its end, until the inputs are known to be the same).

    What it came to: `key` (of the last success), `clean` (nothing ran since that success that may have disturbed what
    it wrote), `releases` (its outputs at successes that counted, the newest last), `tried` (key of the last outcome
    that was used), `failure` (in words, if that one failed), `failures` (in a row), `ended_s` (when that outcome came),
    `stops` (outdated runs in a row), `offered` (an outdated success that is used all the same), `wavered` (its last run
    was dropped because the inputs changed meanwhile, and back).

    Of the loop guard: `rounds` and `suspects` (completed runs in a row in which these paths changed), `pause` (whether
    the wait before the round that decides is still to come, goes on, or is over) and `timer` (its number).
    """

    activity: Activity = "idle"
    due: bool = True
    force: bool = False
    adopt: bool = False
    asked: bool = False
    changed: tuple[str, ...] = ()
    news: bool = True
    check: int = 0
    looked: bool = False
    touched: bool = False
    digest: str | None = None
    run: int = 0
    run_key: str | None = None
    run_digest: str | None = None
    run_paths: tuple[str, ...] = ()
    why: str = ""
    run_changed: frozenset[str] = frozenset()
    started_s: float = 0.0
    edited_s: float = 0.0
    outcome: Outcome | None = None
    duration_s: float = 0.0
    key: str | None = None
    clean: bool = False
    releases: tuple[Release, ...] = ()
    tried: str | None = None
    failure: str | None = None
    failures: int = 0
    ended_s: float = 0.0
    stops: int = 0
    offered: bool = False
    wavered: bool = False
    rounds: int = 0
    suspects: frozenset[str] = frozenset()
    pause: Literal["to come", "on", "over"] = "to come"
    timer: int = 0

    @property
    def judged(self) -> str | None:
        """The key of the outcome in force: at another one it has to run."""
        return self.tried if self.failure is not None else self.key


@frozen
class Remembered:
    """What an earlier supervisor left about a build: its last success, and whether its last run was that success.

    `release`: the number of that success's outputs. `releases`: those that are there. `is_whole`: what that success
    made is still there, and so is its release.
    """

    key: str | None
    clean: bool
    run: int
    release: int | None = None
    releases: tuple[Release, ...] = ()
    is_whole: bool = True


@frozen
class RememberedService:
    """What an earlier supervisor left about a service: `history` and `pinned` as in ServiceState."""

    history: tuple[Releases, ...] = ()
    pinned: Releases = ()


@frozen
class Echo:
    """Changes of `paths` that came soon after `cause` was started for the one before, `count` times in a row.

    `number`: the run or instance after which the last of them came.
    """

    paths: frozenset[str]
    cause: str
    number: int
    count: int


@frozen
class State:
    """Everything. Only the builds and services that take part have an entry; `checks` numbers the checks.

    `absent`: what an earlier supervisor left of the builds that do not take part; `before`: what it left of services.
    `paused`: units whose changes are only collected. `excepted`: units that are not to take part though others need
    them, for which they count as there.
    `removed`: units that the configuration has no more, until they have ended; `numbers`: of those that are forgotten
    by now, the last run or instance, and the last timer. `watching`: files are watched, so that something can always
    still happen. `echoes`: of units whose files may be changed by what they lead to; `named`: paths that the user has
    been told of as changing by themselves. `exit_code`: None until a stop was asked for, then what procwatch is to
    end with.
    """

    builds: Mapping[str, BuildState]
    services: Mapping[str, ServiceState]
    absent: Mapping[str, Remembered] = field(default_factory=dict)
    before: Mapping[str, RememberedService] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    excepted: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    numbers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    watching: bool = True
    echoes: Mapping[str, Echo] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    begun: bool = False
    checks: int = 0
    exit_code: int | None = None
    ended: bool = False
