"""What the planner is told (events), what it asks for (actions), and what the world is told (notices).

Rule 1: plain frozen data; an effect answers with an event that carries the number it was given.
Rule 2: a `Notice` is the one public form of "something happened": text, `--json` and `events` are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from procwatch.core.model import Exit, Project, Release, Releases
from procwatch.frozen import field, frozen

# --- events: what happened -------------------------------------------------------------------------------------------


@frozen
class Begun:
    """The watcher is armed and the effects are ready: the first plan can be made."""


@frozen
class FilesChanged:
    """A batch of changes ended.

    `paths` are relative to the project's folder. `readers`: unit -> its changed paths, for builds that watch them and
    for whatever reads a changed env file. `touched`: the same for services whose own `watch` matches. `definitions`:
    those of the paths that the project was read from. `restless`: those that have changed all the time for a while, and
    with a slash at the end folders of them.
    """

    paths: tuple[str, ...]
    readers: Mapping[str, tuple[str, ...]]
    touched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    definitions: frozenset[str] = frozenset()
    restless: tuple[str, ...] = ()


@frozen
class InputsChecked:
    """The content of a unit's inputs: `digest` of it, and the paths whose content differs from the check before.

    `touched`: something was written since the check before, be it the same bytes. `problem`: why a service could not be
    started with them.
    """

    name: str
    check: int
    digest: str
    changed: tuple[str, ...] = ()
    touched: bool = False
    problem: str | None = None


@frozen
class Succeeded:
    """A run whose every step exited with 0. `release`: its outputs, if it has any: a new one, or the one before."""

    release: Release | None = None


@frozen
class Failed:
    """A run that ended otherwise; `step` is what failed: "run", "pre_build", "post_build", "outputs"."""

    exit: Exit
    step: str = "run"


@frozen
class Cancelled:
    """A run that was stopped because procwatch asked for it."""


Outcome = Succeeded | Failed | Cancelled


@frozen
class BuildFinished:
    """A run ended, and with any other outcome than success all that it had started is gone."""

    name: str
    run: int
    outcome: Outcome
    duration_s: float


@frozen
class HookFinished:
    """The `pre_start` hooks for an instance, or its `verify`, have ended; `exit` is of the first that failed, or 0."""

    name: str
    instance: int
    exit: Exit


@frozen
class InstanceStarted:
    """An instance's process exists."""

    name: str
    instance: int
    pid: int


@frozen
class InstanceReady:
    """Its probe has succeeded."""

    name: str
    instance: int


@frozen
class InstanceNotReady:
    """Its probe has not succeeded by the deadline; `reason` is what the last try met."""

    name: str
    instance: int
    reason: str


@frozen
class InstanceUnhealthy:
    """Its health probe has failed as often in a row as is allowed; told again at each further try that fails.

    `reason` is what the last try met, `ill_s` how long ago it was last known to be well.
    """

    name: str
    instance: int
    reason: str
    ill_s: float


@frozen
class InstanceLeaving:
    """It has said that it is about to end by itself (STOPPING=1)."""

    name: str
    instance: int


@frozen
class InstanceEnded:
    """Its leader has ended and nothing of its tree is left. Also the answer to a start that was impossible."""

    name: str
    instance: int
    exit: Exit


@frozen
class TimerFired:
    """The time that `SetTimer` asked for has passed; an older `timer` number is dropped."""

    name: str
    timer: int


@frozen
class StopAsked:
    """End everything in order. `exit_code` is what procwatch is to end with. `is_done`: nothing is left to do."""

    exit_code: int
    is_done: bool = False


@frozen
class ProjectChanged:
    """The configuration has been read again, and is another. `names` (full ones) would take part at a start.

    `watching`: files are watched, so that something can always still happen.
    """

    project: Project
    names: tuple[str, ...]
    watching: bool = True


@frozen
class ServicesAsked:
    """A user wants these services (full names) started with what they need, stopped, or restarted.

    Those that do not take part yet do from now on.
    """

    names: tuple[str, ...]
    to: Literal["start", "stop", "restart"]


@frozen
class BuildsAsked:
    """A user wants these builds (full names) run, whatever has changed."""

    names: tuple[str, ...]


@frozen
class ReleasesLost:
    """Somebody has removed the releases of these builds (full names) from the disk."""

    names: tuple[str, ...]


@frozen
class RollbackAsked:
    """A user wants these services (full names) to run from releases of before; `to`: of this number."""

    names: tuple[str, ...]
    to: int | None = None


@frozen
class PauseAsked:
    """From now on changes of these units (full names) are only collected, or that is over."""

    names: tuple[str, ...]
    paused: bool


Asked = ServicesAsked | BuildsAsked | RollbackAsked | PauseAsked
Single = (
    Begun | FilesChanged | InputsChecked | BuildFinished | HookFinished | InstanceStarted | InstanceReady
    | InstanceNotReady | InstanceUnhealthy | InstanceLeaving | InstanceEnded | TimerFired | StopAsked
    | ProjectChanged | ReleasesLost | ServicesAsked | BuildsAsked | RollbackAsked | PauseAsked
)  # fmt: skip

# What comes a hundredfold when a large project starts.
Plentiful = InputsChecked | InstanceStarted | InstanceReady


@frozen
class Together:
    """Several events, each of another unit, that came while something else was done: one plan is made for all."""

    events: tuple[Plentiful, ...]


Event = Single | Together

# --- actions: what to do ---------------------------------------------------------------------------------------------


@frozen
class CheckInputs:
    """Read the inputs of a unit; answered by `InputsChecked`.

    `settled`: before, wait until they have stopped changing, though not for ever.
    """

    name: str
    check: int
    settled: bool = False


@frozen
class StartBuild:
    """Run pre_build, run, post_build, copy the outputs; answered by `BuildFinished`.

    `changed`: the paths that caused it. `adopt`: run nothing, what is on disk is to be copied.
    """

    name: str
    run: int
    changed: tuple[str, ...] = ()
    adopt: bool = False


@frozen
class StopBuild:
    """Stop the run and its whole tree; it answers `BuildFinished` as `Cancelled`."""

    name: str
    run: int


@frozen
class RunHook:
    """Run the commands of a hook. `pre_start` and `verify` are answered by `HookFinished`, the others not at all.

    `releases`: of the instance that it is about.
    """

    name: str
    hook: str
    run: int
    exit: Exit | None = None
    duration_s: float | None = None
    changed: tuple[str, ...] = ()
    releases: Releases = ()


@frozen
class StopHook:
    """Stop the `pre_start` or the `verify` that runs for this unit; nothing answers."""

    name: str


@frozen
class StartInstance:
    """Start a service; answered by `InstanceStarted`, `InstanceReady` or `InstanceNotReady`, then `InstanceEnded`.

    Between the last two there may be `InstanceUnhealthy`, and anywhere `InstanceLeaving`. `again`: with the definition
    of the instance before, as the builds that its present one is to be used with are not there yet. `beside`: the one
    in charge serves on. `apart`: clients are kept from it until it takes over. `releases`: of the builds with outputs
    that it needs.
    """

    name: str
    instance: int
    changed: tuple[str, ...] = ()
    again: bool = False
    beside: bool = False
    apart: bool = False
    releases: Releases = ()


@frozen
class TakeOver:
    """From now on new clients are this instance's; nothing answers."""

    name: str
    instance: int


@frozen
class StopInstance:
    """`pre_stop`, the stop signal, the grace, the kill, `post_stop`; answered by `InstanceEnded`.

    `drain`: before the signal its clients are let finish what they have begun, within the grace. Asked for again
    without it, they are not waited for any more.
    """

    name: str
    instance: int
    changed: tuple[str, ...] = ()
    drain: bool = False


@frozen
class SignalInstance:
    """Send the reload signal to an instance (`switch = "signal"`); nothing answers."""

    name: str
    instance: int
    signal: str


@frozen
class SetTimer:
    """Answer with `TimerFired` after `delay_s` seconds."""

    name: str
    timer: int
    delay_s: float


@frozen
class Remember:
    """Keep for the next start what a build last succeeded with; `clean`: nothing has disturbed it since.

    `release`: the number of that success's outputs.
    """

    name: str
    key: str | None
    clean: bool
    run: int
    release: int | None = None


@frozen
class RememberService:
    """Keep for the next start which releases a service can go back to (`history`), and has gone back to (`pinned`)."""

    name: str
    history: tuple[Releases, ...]
    pinned: Releases


@frozen
class TakeRelease:
    """The release that the last run has made counts: it is the current one."""

    name: str
    number: int


@frozen
class DropReleases:
    """Remove these: they do not count, or nobody needs them any more."""

    name: str
    numbers: tuple[int, ...]


@frozen
class End:
    """Nothing is left to do: leave with this exit status."""

    exit_code: int


EventName = Literal[
    "files_changed", "build_started", "build_succeeded", "build_failed", "build_cancelled", "build_skipped",
    "build_fixed", "service_started", "service_ready", "service_switched", "service_stopped", "service_crashed",
    "not_ready", "verify_failed", "rolled_back", "crash_loop", "build_loop", "limit_exceeded", "config_reloaded",
    "config_rejected", "always_changing", "stopping",
]  # fmt: skip


@frozen
class Notice:
    """Something happened that a user or a program may want to know.

    `run` is the number of the run or instance, `exit_code` as a shell gives it, `duration_s` in seconds: of a run, of
    the time until ready, of a life until a crash. `reason` says why in words; `effect` what follows from it
    ("service.web stays on run 7"); `names` the affected units; `paths` the files, relative to the project's folder.
    """

    event: EventName
    name: str | None = None
    run: int | None = None
    exit_code: int | None = None
    duration_s: float | None = None
    reason: str | None = None
    effect: str | None = None
    paths: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    pid: int | None = None


Effect = (
    CheckInputs | StartBuild | StopBuild | RunHook | StopHook | StartInstance | StopInstance | SignalInstance
    | TakeOver | SetTimer | Remember | RememberService | TakeRelease | DropReleases | End
)  # fmt: skip
Action = Effect | Notice
