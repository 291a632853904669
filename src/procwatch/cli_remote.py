"""The commands that ask a running supervisor, as click sees them; what they do is in `remote`.

Rule 1: what `options.plain_ask` understands of them means the same here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from procwatch import completion
from procwatch.options import Ask

_Command = Callable[..., Any]
_Offer = Callable[[click.Context, click.Parameter, str], list[str]]


class _Duration(click.ParamType[float]):
    """Seconds, or a number with a unit, as in watch.toml."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        from procwatch.config.dollar import Expanded
        from procwatch.config.values import duration

        try:
            return duration(Expanded(value) if isinstance(value, str) else value)
        except ValueError as error:
            self.fail(f"{value!r} is not {error}", param, ctx)


_json = click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
_no_wait = click.option(
    "--no-wait", "wait", is_flag=True, flag_value=False, default=True, help="Ask for it, do not wait for the outcome."
)  # fmt: skip
_timeout = click.option(
    "--timeout", "timeout_s", type=_Duration(), metavar="T",
    help='Give up after so long (seconds, or "30s", "2m"): exit status 1.',
)  # fmt: skip


def _names(offered: _Offer, *, needed: bool) -> Callable[[_Command], _Command]:
    """NAMEs; `offered` is what a shell completes them from."""
    metavar = "NAME…" if needed else "[NAME]…"
    return click.argument("names", nargs=-1, required=needed, metavar=metavar, shell_complete=offered)


def _ask(command: str, names: tuple[str, ...], **options: Any) -> int:
    from procwatch.remote import ask

    return ask(Ask(command, names, _file(), **options))


def _file() -> Path | None:
    """What -f says."""
    file: Path | None = click.get_current_context().find_root().obj
    return file


@click.command(short_help="Stop services, or everything.")
@_names(completion.services, needed=False)
@_json
@_no_wait
@_timeout
def stop(names: tuple[str, ...], **options: Any) -> int:
    """Stop the running procwatch; with NAMEs only these services.

    A service that was stopped stays stopped, through builds and changes, until `procwatch start NAME` or `restart
    NAME`; what needs it goes on running. Without NAMEs all services are stopped in order, and procwatch ends.

    \b
    Examples:
      procwatch stop         end procwatch, and wait until it has
      procwatch stop api     only service.api
    """
    return _ask("stop", names, **options)


@click.command(short_help="Restart services.")
@_names(completion.services, needed=True)
@_json
@_no_wait
@_timeout
def restart(names: tuple[str, ...], **options: Any) -> int:
    """Restart services, and wait until they are ready; those that are stopped are started.

    While a build runs that a service needs, its restart waits for it. If such a build has failed, what ran before is
    started again. The exit status is 1 if a service does not become ready; the reason and its last lines are told.

    \b
    Examples:
      procwatch restart api                                    one service
      cargo watch -x build -s 'procwatch restart api'          from another watcher
      procwatch restart api --timeout 30s
    """
    return _ask("restart", names, **options)


@click.command(short_help="Run builds, changed or not.")
@_names(completion.builds, needed=True)
@_json
@_no_wait
@_timeout
def build(names: tuple[str, ...], **options: Any) -> int:
    """Run builds, whether anything has changed or not, and wait for the outcome.

    What a build needs is built first where it has failed; services move as after any success.

    Where no procwatch runs, this one runs them, after what they need as at a start: builds, and services, which are
    stopped at the end. Nothing else of the project is touched, nothing is watched, and Ctrl-C stops it in order.

    \b
    Examples:
      procwatch build api
      procwatch build seed       one with `manual = true`
    """
    from procwatch.build import build as have_built

    return have_built(Ask("build", names, _file(), **options))


@click.command(short_help="Go back to earlier releases.")
@_names(completion.services, needed=True)
@click.option("--to", "to", type=click.IntRange(1), metavar="N", help="To this release of the build that it needs.")
@_json
@_no_wait
@_timeout
def rollback(names: tuple[str, ...], **options: Any) -> int:
    """Restart services from the releases that they ran before, and wait until they are ready.

    They stay there, through crashes and restarts, until one of the builds that they need succeeds. Once more goes back
    further. The exit status is 1 if there is nothing to go back to, 2 if there is no release N.

    \b
    Examples:
      procwatch rollback api
      procwatch rollback api --to 12
    """
    return _ask("rollback", names, **options)


@click.command(short_help="Wait until all is up to date.")
@_names(completion.units, needed=True)
@_json
@_timeout
def wait(names: tuple[str, ...], **options: Any) -> int:
    """Take in the changes that are pending, then wait: for services until they are ready and not outdated, for builds
    until they are fresh. The exit status is 1 if one has failed.

    \b
    Examples:
      procwatch wait api --timeout 1m && pytest tests/e2e
    """
    return _ask("wait", names, **options)


@click.command(short_help="Show how builds and services stand.")
@_names(completion.units, needed=False)
@_json
def status(names: tuple[str, ...], **options: Any) -> int:
    """Show the state of each build and service: what runs, what is outdated and why.

    \b
    Examples:
      procwatch status
      procwatch status api --json | jq '.units[].state'
    """
    return _ask("status", names, **options)


@click.command(short_help="Say why something ran, or waits.")
@_names(completion.units, needed=True)
@_json
def why(names: tuple[str, ...], **options: Any) -> int:
    """Say what made a build or service run last, what it waits for, and what has gone wrong.

    \b
    Examples:
      procwatch why api
    """
    return _ask("why", names, **options)


@click.command(short_help="Collect changes, do nothing.")
@_names(completion.units, needed=False)
@_json
def pause(names: tuple[str, ...], **options: Any) -> int:
    """Do nothing about changes until `procwatch resume`; then all of them are one batch. With NAMEs only these.

    Crashed services are restarted all the same, and what is asked for by name is done.
    """
    return _ask("pause", names, **options)


@click.command(short_help="Go on after `pause`.")
@_names(completion.units, needed=False)
@_json
def resume(names: tuple[str, ...], **options: Any) -> int:
    """Do what the changes since `procwatch pause` ask for."""
    return _ask("resume", names, **options)


@click.command(name="reload", short_help="Read the configuration again.")
@_json
@_no_wait
def reload_(**options: Any) -> int:
    """Read watch.toml and what belongs to it again, and apply what differs; print that.

    procwatch does so by itself when one of these files changes, unless it was started with --no-watch. If something is
    wrong, that is told, what runs stays as it is, and the exit status is 2.
    """
    return _ask("reload", (), **options)


@click.command(short_help="Print events as they happen.")
@click.option("-n", "count", type=click.IntRange(0), default=None, metavar="N", help="Print the last N, and end.")
@click.option("--json", "as_json", is_flag=True, help="This is the form in any case: one JSON object a line.")
def events(count: int | None, **options: Any) -> int:
    """Print events as JSON, one a line: from now on until Ctrl-C, or the last N.

    \b
    Examples:
      procwatch events | jq -r 'select(.event == "build_failed").output[]'
      procwatch events -n 20
    """
    return _ask("events", (), count=count, **options)


@click.command(short_help="Type into a service's terminal.")
@click.argument("name", shell_complete=completion.services)
@click.option(
    "--detach-keys", "keys", default="ctrl-]", show_default=True, metavar="KEYS",
    help='The keys that end it and leave the service running; several as "ctrl-p,ctrl-q".',
)  # fmt: skip
def attach(name: str, keys: str) -> int:
    """Give your terminal to a service that has `tty = true`: a debugger, a prompt, a console.

    All keys go to the service, Ctrl-C too, but for the keys that detach: Ctrl-] unless --detach-keys says otherwise.
    What it has printed last is shown at first. A restart of the service is told in a line, and it goes on with the new
    one. If the input is no terminal, it is sent, and what the service answers is printed.

    \b
    Examples:
      procwatch attach web
      echo continue | procwatch attach web
    """
    from procwatch.control.attach import attach as stay
    from procwatch.control.borrowed import Keys
    from procwatch.remote import open_connection

    end = Keys(keys)
    with open_connection(_file()) as client:
        return stay(client, name, end)


ALL = (stop, restart, build, rollback, wait, status, why, pause, resume, reload_, events, attach)
