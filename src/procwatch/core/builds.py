"""What happens to one build: its inputs were read, it started, it ended, and whether that end counts.

Rule 1: an outcome counts only if the inputs are still those that the run was started with (or the run could not be
        waited for any longer, see `_counts_all_the_same`).
Rule 2: content decides, not time: the same key as in the last success starts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from procwatch.core import messages as msg
from procwatch.core import releases
from procwatch.core.draft import STOPS_LIMIT, Draft
from procwatch.core.model import Build, Release
from procwatch.core.state import BuildState, is_disturbed

# "the loop is found after five rounds" (contract, Change).
LOOP_ROUNDS = 5
# From here on a change of the suspected paths alone does not stop the run: only completed runs are rounds.
_SUSPECTED_ROUNDS = 2
# Before the round that decides nothing runs for so long: somebody who saves all the time shows himself by a change in
# it, and a build that changes what it watches does not.
LOOP_PAUSE_S = 1.0


def note_changes(draft: Draft, name: str, paths: tuple[str, ...]) -> None:
    """Files that this build reads have changed."""
    state = draft.builds[name]
    draft.set_build(name, due=True, news=True, looked=False, changed=joined(state.changed, paths))
    for user in draft.services_below(name):
        draft.set_service(user, refused=None)  # "after a failure any save or touch tries again"


def note_check(draft: Draft, event: msg.InputsChecked) -> None:
    """The inputs have been read; with `news` since, they will be read again before anything follows from it."""
    state = draft.builds[event.name]
    if event.check != state.check:
        return
    running = state.activity in {"running", "verifying"}
    touched = event.touched or (state.touched and not state.looked)
    after = replace(state, check=0, digest=event.digest, looked=not state.news, touched=touched)
    if running:
        after = replace(after, run_changed=after.run_changed | set(event.changed))
    elif event.changed:  # events may tell of these later
        changed = joined(state.changed, event.changed)
        after = replace(after, rounds=0, suspects=frozenset(), pause="to come", changed=changed)
    draft.put_build(event.name, after)
    if state.activity == "running" and after.looked and state.due:
        _judge_running(draft, draft.project.builds[event.name], event)


def note_lost(draft: Draft, names: Iterable[str]) -> None:
    """Releases have gone: nothing can go back to them any more, and the build runs, to make the newest again."""
    for name in names:
        if name in draft.builds:
            draft.set_build(name, releases=draft.builds[name].releases[-1:], due=True, force=True)


def _judge_running(draft: Draft, build: Build, event: msg.InputsChecked) -> None:
    """A change came during the run: is the run outdated by it, and is it to be stopped?"""
    state = draft.builds[build.name]
    if event.digest == state.run_digest:
        draft.set_build(build.name, due=False, force=False, changed=())
        if not state.run_changed:
            _skipped(draft, build.name, state, "the same content as when this run started")
        return
    draft.set_build(build.name, edited_s=draft.now_s)
    own_doing = state.rounds >= _SUSPECTED_ROUNDS and state.suspects.issuperset(event.changed)
    if build.on_change == "restart" and state.stops < STOPS_LIMIT and not own_doing:
        stop(draft, build.name, _because(state.changed))


def stop(draft: Draft, name: str, reason: str) -> None:
    """Stop the run under way; it stays due."""
    state = draft.builds[name]
    draft.actions.append(msg.StopBuild(name, state.run))
    draft.set_build(
        name, activity="stopping", due=True, looked=False, stops=state.stops + 1, changed=_still_to_build(state)
    )
    draft.actions.append(
        msg.Notice("build_cancelled", name, run=state.run, reason=reason, duration_s=draft.now_s - state.started_s)
    )


def must_run(draft: Draft, build: Build) -> bool:
    """Whether a due build whose inputs are known is to be run; where not, it is due no more and says why."""
    state = draft.builds[build.name]
    key = draft.wanted_key(build)
    unchanged = key is not None and key == state.key
    parked = state.rounds >= LOOP_ROUNDS and not state.touched  # what it wrote itself is still being told
    clean = state.clean or parked or _is_kept_apart(draft, build)
    if (state.adopt and not build.outputs) or (unchanged and clean and not state.force and not state.adopt):
        # Where it is not clean, the last run has failed or was stopped.
        known = f"run {state.run}" if state.clean else "its last success"
        reason = f"the same content as in {known}" if unchanged and state.run else "taken as it is"
        _settle(draft, build.name, key=key, clean=state.clean or state.adopt, failure=None)
        _skipped(draft, build.name, state, reason)
        _fixed(draft, build.name, state)
        return False
    if state.failure is not None and key == state.tried and not state.touched and not state.force:
        # An echo of what the failed run wrote itself, seen after its end: nobody has edited anything.
        draft.set_build(build.name, due=False, changed=(), looked=False)
        return False
    return True


def _is_kept_apart(draft: Draft, build: Build) -> bool:
    """Whether nobody sees what a run disturbs: all that is started from this build has a release."""
    return bool(build.outputs) and not any(user in draft.builds for user in draft.dependents.get(build.name, ()))


def _settle(draft: Draft, name: str, *, key: str | None, clean: bool, failure: str | None) -> None:
    draft.set_build(
        name, due=False, force=False, adopt=False, changed=(), looked=False, touched=False, key=key, clean=clean,
        tried=key, failure=failure,
    )  # fmt: skip
    _remember(draft, name)


def _remember(draft: Draft, name: str) -> None:
    state = draft.builds[name]
    release = state.releases[-1].number if state.releases else None
    draft.actions.append(msg.Remember(name, state.key, state.clean, state.run, release))


def _skipped(draft: Draft, name: str, state: BuildState, reason: str) -> None:
    draft.actions.append(msg.Notice("build_skipped", name, reason=reason, paths=state.changed))


def start(draft: Draft, build: Build) -> None:
    """Start a run at the key that its inputs have now."""
    name, state = build.name, draft.builds[build.name]
    run = state.run + 1
    for other in draft.below(name):
        if other in draft.builds and draft.builds[other].offered:
            draft.set_build(other, offered=False)
    draft.set_build(
        name, activity="running", due=False, force=False, run=run, run_key=draft.wanted_key(build),
        run_digest=state.digest, run_paths=state.changed, run_changed=frozenset(), started_s=draft.now_s,
        edited_s=draft.now_s, outcome=None, clean=False, looked=False, touched=False, changed=(), offered=False,
        pause="to come", asked=False, why=_why(build, state), adopt=False,
    )  # fmt: skip
    draft.actions.append(msg.Notice("build_started", name, run=run, paths=state.changed))
    _remember(draft, name)
    draft.actions.append(msg.StartBuild(name, run, state.changed, state.adopt))


def _why(build: Build, state: BuildState) -> str:
    """What made it run, in words; files are told by `changed`."""
    if state.asked:
        return "asked for"
    if state.adopt:
        return "taken as it is"
    if state.changed:
        return _because(state.changed)
    if state.force or state.judged is None:
        return "first run"
    return f"{' or '.join(need.name for need in build.build_needs) or 'what it needs'} has changed"


def must_pause(draft: Draft, build: Build) -> str | None:
    """Why a build that could run waits a moment: it is about to be found in a loop, and may be wrongly suspected."""
    state = draft.builds[build.name]
    if state.rounds < LOOP_ROUNDS - 1 or state.pause == "over":
        return None
    if state.pause == "to come":
        draft.set_build(build.name, pause="on", timer=state.timer + 1)
        draft.actions.append(msg.SetTimer(build.name, state.timer + 1, LOOP_PAUSE_S))
    return f"waits {LOOP_PAUSE_S:g} s to see whether anybody else changes {min(state.suspects)}"


def note_pause_over(draft: Draft, event: msg.TimerFired) -> None:
    """Nothing has run for a moment: what has changed meanwhile, somebody else has changed."""
    state = draft.builds[event.name]
    if event.timer == state.timer and state.pause == "on":
        draft.set_build(event.name, pause="over", looked=False, news=True)


def _still_to_build(state: BuildState) -> tuple[str, ...]:
    """Of a run whose outcome is not used: the changes that it was started for, and those that came since."""
    return joined(state.run_paths, _since_start(state))


def _since_start(state: BuildState) -> tuple[str, ...]:
    """What has changed since the run began: events have told of it, or the check has found it before them."""
    return joined(state.changed, tuple(sorted(state.run_changed)))


def note_finish(draft: Draft, event: msg.BuildFinished) -> None:
    """The run has ended. Its outcome waits until the inputs have been read once more."""
    state = draft.builds[event.name]
    if event.run != state.run or state.activity not in {"running", "stopping"}:
        return
    if state.activity == "stopping" or isinstance(event.outcome, msg.Cancelled):
        draft.set_build(event.name, activity="idle", due=True, looked=False, news=True, changed=_still_to_build(state))
        _discard(draft, event.name, event.outcome)
        return
    draft.set_build(
        event.name, activity="verifying", outcome=event.outcome, duration_s=event.duration_s, looked=False, news=True
    )


def judge(draft: Draft, build: Build, needs_fresh: bool) -> None:
    """Use the outcome of a run that has ended, or drop it because it is outdated."""
    state = draft.builds[build.name]
    same = state.digest == state.run_digest and draft.wanted_key(build) == state.run_key
    # Content that went another way and back may have been read on the way; a second time is the build's own doing.
    current = same and (not state.run_changed or state.wavered)
    rounds, suspects = _count_round(state)
    draft.set_build(
        build.name, activity="idle", rounds=rounds, suspects=suspects, outcome=None, wavered=same and not current
    )
    if build.manual or (current and (needs_fresh or state.stops >= STOPS_LIMIT)):
        draft.set_build(build.name, due=False, changed=(), stops=0, offered=not needs_fresh and not build.manual)
        _use(draft, build, state, state.run_key)
        if state.run_changed:
            _distrust(draft, build.name)
    elif rounds >= LOOP_ROUNDS:
        _park(draft, build, state, min(suspects))
    elif _counts_all_the_same(state):
        draft.set_build(build.name, offered=isinstance(state.outcome, msg.Succeeded), stops=0)
        _use(draft, build, state, state.run_key, "without the edits that kept coming meanwhile; it runs again")
        _distrust(draft, build.name)
        draft.set_build(build.name, due=True, looked=False, news=True, changed=_since_start(state))
    else:
        draft.set_build(build.name, due=True, looked=False, stops=state.stops + 1, changed=_still_to_build(state))
        _discard(draft, build.name, state.outcome)
        reason = f"outdated when it ended: {_because(tuple(sorted(state.run_changed)), _why_not_fresh(draft, build))}"
        draft.actions.append(
            msg.Notice("build_cancelled", build.name, run=state.run, reason=reason, duration_s=state.duration_s)
        )
    if state.asked:
        force(draft, build.name)


def force(draft: Draft, name: str) -> None:
    """A user asks for a run: it comes as soon as it can, whatever the key says."""
    draft.set_build(name, asked=True, due=True, force=True, adopt=False, news=True, looked=False)


def _counts_all_the_same(state: BuildState) -> bool:
    """Whether an outdated outcome is used because edits that never end would otherwise starve the build.

    Three outdated runs in a row, and the next one is used if edits still came in its second half; if they had ceased
    by then the run that follows has the last word, and an outdated one after that is used in any case.
    """
    late = state.edited_s > state.started_s + state.duration_s / 2
    return state.stops > STOPS_LIMIT or (state.stops == STOPS_LIMIT and late)


def _count_round(state: BuildState) -> tuple[int, frozenset[str]]:
    """Completed runs in a row during which the same paths changed their content, and those paths."""
    again = state.suspects & state.run_changed
    if again:
        return state.rounds + 1, again
    return (1, state.run_changed) if state.run_changed else (0, frozenset())


def _park(draft: Draft, build: Build, state: BuildState, path: str) -> None:
    """It changes what it watches each time: what it made last counts, and only an edit from outside goes on."""
    draft.set_build(build.name, due=False, changed=(), stops=0)
    reason = f"{path} changed during each of the last {LOOP_ROUNDS} runs"
    effect = f"{build.name} waits for the next edit; is {path} what it writes? then take it out of watch"
    draft.actions.append(
        msg.Notice("build_loop", build.name, run=state.run, reason=reason, effect=effect, paths=(path,))
    )
    _use(draft, build, state, draft.wanted_key(build))
    _distrust(draft, build.name)


def _distrust(draft: Draft, name: str) -> None:
    """What it came to may be of other content than its key says: the next save, or start of procwatch, builds again."""
    draft.set_build(name, clean=False)
    _remember(draft, name)


def _use(draft: Draft, build: Build, state: BuildState, key: str | None, but: str | None = None) -> None:
    """The outcome counts; `but` says what a success lacks."""
    match state.outcome:
        case msg.Succeeded(release):
            _succeed(draft, build, state, key, but, release)
        case msg.Failed() as failed:
            _fail(draft, build, state, failed, key)


def _discard(draft: Draft, name: str, outcome: msg.Outcome | None) -> None:
    """The outcome does not count: nor does the release that it has made."""
    if isinstance(outcome, msg.Succeeded) and outcome.release and outcome.release not in draft.builds[name].releases:
        draft.actions.append(msg.DropReleases(name, (outcome.release.number,)))


def _take(draft: Draft, state: BuildState, name: str, release: Release | None) -> bool:
    """The outputs of a success that counts; whether they are the same as those of the last one."""
    if release is None or release in state.releases[-1:]:
        return release is not None
    # The same outputs get another number only where those before have been removed.
    is_again = bool(state.releases) and release.digests == state.releases[-1].digests
    draft.set_build(name, releases=(*(state.releases[:-1] if is_again else state.releases), release))
    draft.actions.append(msg.TakeRelease(name, release.number))
    return is_again


def _succeed(
    draft: Draft, build: Build, state: BuildState, key: str | None, but: str | None, release: Release | None
) -> None:
    name, run = build.name, state.run
    draft.set_build(name, ended_s=draft.now_s)
    same = _take(draft, state, name, release) or (release is None and key is not None and key == state.key)
    _settle(draft, name, key=key, clean=True, failure=None)
    unpinned = releases.unpin(draft, name)
    for user in draft.services_below(name):
        below = draft.services[user]
        if not same:
            draft.set_service(user, changed=joined(below.changed, state.run_paths))
        if below.problem:
            draft.set_service(user, news=True)  # the build may have made what was missing
    stays = tuple(user for user in _running_below(draft, name) if user not in unpinned) if same else ()
    words = ", ".join(f"{user} stays on run {draft.services[user].instance}" for user in stays)
    draft.actions.append(
        msg.Notice(
            "build_succeeded", name, run=run, exit_code=0, duration_s=state.duration_s, reason=but,
            effect=f"{words} (the same content)" if stays else None, names=stays,
        )
    )  # fmt: skip
    _fixed(draft, name, state)


def _fixed(draft: Draft, name: str, before: BuildState) -> None:
    """It is well, by a run or as its inputs are again what they were: failures in a row are over."""
    if before.failures:
        times = "one failure" if before.failures == 1 else f"{before.failures} failures"
        draft.set_build(name, failures=0)
        draft.actions.append(msg.Notice("build_fixed", name, run=before.run, reason=f"after {times}"))


def _fail(draft: Draft, build: Build, state: BuildState, failed: msg.Failed, key: str | None) -> None:
    name, run = build.name, state.run
    words = failed.exit.words if failed.step == "run" else f"{failed.step} {failed.exit.words}"
    draft.set_build(
        name, due=False, force=False, changed=(), clean=False, tried=key, failure=words, failures=state.failures + 1,
        touched=False, looked=False, ended_s=draft.now_s,
    )  # fmt: skip
    draft.actions.append(
        msg.Notice(
            "build_failed",
            name,
            run=run,
            exit_code=failed.exit.code,
            duration_s=state.duration_s,
            reason=words,
            effect=_what_stays(draft, name),
        )
    )
    if build.hooks.get("build_failed"):
        draft.actions.append(
            msg.RunHook(name, "build_failed", run, failed.exit, state.duration_s, changed=state.run_paths)
        )


def _running_below(draft: Draft, name: str) -> tuple[str, ...]:
    """The services that need a build, and serve what it has come to before."""
    services = {user: draft.services[user] for user in draft.services_below(name)}
    return tuple(user for user, state in services.items() if state.ready and not is_disturbed(state.basis))


def _what_stays(draft: Draft, name: str) -> str | None:
    """What a failure means for the services below: who stays on what, who goes on waiting."""
    services = draft.services_below(name)
    stays = [f"{user} stays on run {draft.services[user].instance}" for user in services if draft.is_alive(user)]
    waits = [f"{user} {_what_it_does(draft, user)}" for user in services if not draft.is_alive(user)]
    return ", ".join(stays + waits) or None


def _what_it_does(draft: Draft, user: str) -> str:
    """What becomes of a service that does not run while one of its builds has failed."""
    service = draft.project.services[user]
    is_first = draft.services[user].basis is None
    if is_first and draft.earlier_basis(service, draft.standings()) is not None:
        return "starts from an earlier release"
    return "waits for it"


def joined(first: tuple[str, ...], then: tuple[str, ...]) -> tuple[str, ...]:
    """Both lists of paths, each path once."""
    return tuple(dict.fromkeys((*first, *then)))


def _why_not_fresh(draft: Draft, build: Build) -> str:
    """What a run lacked whose own inputs have stayed the same."""
    standings = draft.standings()
    other = next((need.name for need in build.build_needs if standings[need.name] != "fresh"), None)
    return f"{other} is not what it was" if other else "its inputs changed"


def _because(paths: tuple[str, ...], otherwise: str = "its inputs changed") -> str:
    """The paths that changed, in words."""
    if not paths:
        return otherwise
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more} changed"
