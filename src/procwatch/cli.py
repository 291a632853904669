"""The command line: options, help and exit statuses. What a command does is elsewhere.

Rule 1: nothing heavy is imported here; `start` alone loads the supervisor.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import click

from procwatch import __version__, completion
from procwatch.cli_remote import ALL
from procwatch.config.find import here
from procwatch.errors import ExitCode, UsageError, printable
from procwatch.options import LogOptions, Options

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_EXIT_STATUS = """\b
Exit status:
  0    done
  1    a build or service failed
  2    usage, an unknown name, or watch.toml
  3    no supervisor runs here
  4    refused: already running, not yours
  128+n  ended by signal n (130 after Ctrl-C)
"""


def _file_option(command: Any) -> Any:
    """`-f FILE`, accepted before and after the command; the later one wins."""
    found: Any = click.option(
        "-f", "--file", "file", type=click.Path(path_type=Path), default=None, metavar="FILE", expose_value=False,
        callback=_keep_file, help="The watch.toml to use; without it the nearest one, here or in a folder above.",
    )(command)  # fmt: skip
    return found


def _keep_file(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.find_root().obj = value


def _project_options(command: Any) -> Any:
    """The options that change what is read."""
    concurrency = click.option(
        "-c", "--concurrency", "concurrency", metavar="NAME=N,…",
        help="How many of each service: web=2,worker=3; web=0 leaves web out.",
    )  # fmt: skip
    env = click.option(
        "-e", "--env-file", "env_files", multiple=True, metavar="FILE",
        help="An env file to read instead of project.env_file; may be given more than once, the later one wins.",
    )  # fmt: skip
    found: Any = _file_option(env(concurrency(command)))
    return found


@click.group(context_settings=_CONTEXT, epilog=_EXIT_STATUS)
@click.version_option(__version__, "-V", "--version", prog_name="procwatch")
@_file_option
def cli() -> None:
    """Watch, build and run what watch.toml declares; never take down the version that works.

    procwatch runs your builds when the files they watch change, and moves a service to the new version only when every
    build it needs has succeeded. A build, hook or test that fails changes nothing that runs.

    \b
    First steps:
      procwatch init     write a watch.toml for the project in this folder
      procwatch check    say what is wrong with it
      procwatch start    run the project until Ctrl-C
    """


def _load(env_files: tuple[str, ...] = (), concurrency: str | None = None) -> Any:
    from procwatch.config.load import load

    file = click.get_current_context().find_root().obj
    return load(here(), file=file, environ=os.environ, env_files=env_files, concurrency=concurrency)


@cli.command(short_help="Run the project until Ctrl-C.")
@click.argument("names", nargs=-1, metavar="[NAME]…", shell_complete=completion.services)
@_project_options
@click.option("-d", "--detach", is_flag=True, help="Go on in the background as soon as it runs; `stop` ends it.")
@click.option(
    "--except", "excepted", multiple=True, metavar="NAME", shell_complete=completion.services,
    help="Leave this service or group out; what needs it treats it as there. May be given more than once.",
)  # fmt: skip
@click.option("--no-watch", "watch", is_flag=True, flag_value=False, default=True, help="Build once, do not watch.")
@click.option("--clear", is_flag=True, help="Clear the screen at each batch of changes.")
@click.option("--json", "as_json", is_flag=True, help="Print events, one JSON object a line, instead of output.")
@click.option("-v", "--verbose", is_flag=True, help="Tell every event, also those that change nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Of procwatch's own lines only failures, crashes and errors.")
def start(names: tuple[str, ...], env_files: tuple[str, ...], concurrency: str | None, **options: Any) -> int:
    """Run the project in the foreground, until Ctrl-C; with -d in the background, until `procwatch stop`.

    Builds run in the order of their needs; a service starts when its builds have succeeded and the services that it
    needs are ready. Then files are watched: a change runs the builds that watch it, and their services are moved to the
    new version when all have succeeded. With NAMEs (services or groups) only those and what they need take part.

    The first Ctrl-C (or SIGTERM, or closing the terminal) stops services in order, each with its signal and grace; the
    second kills at once. On a terminal these keys are heard: r runs all builds again (where there are none: restarts
    all services), p pauses and goes on, c clears the screen, q quits.

    \b
    Examples:
      procwatch start                    everything
      procwatch start -d                 in the background; own lines: .procwatch/logs/procwatch.log
      procwatch start --except api       all but service.api, which you run yourself
      procwatch start api                service.api and what it needs
      procwatch start -c web=2,worker=3  so many replicas of these services
      procwatch start --json             events for another program
    """
    if options["verbose"] and options["quiet"]:
        raise click.UsageError("-v and -q exclude each other")
    if options["detach"] and options["as_json"]:
        raise click.UsageError("-d and --json exclude each other; `procwatch events` prints the events of what runs")
    from procwatch.begin import start as begin

    verbosity = int(options["verbose"]) - int(options["quiet"])
    file = click.get_current_context().find_root().obj
    how = (options["watch"], options["clear"], options["as_json"], verbosity)
    return begin(Options(names, file, env_files, concurrency, *how, options["detach"], options["excepted"]))


@cli.command(short_help="Show what builds and services have printed.")
@click.argument("names", nargs=-1, metavar="[NAME]…", shell_complete=completion.units)
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C; begins with the last 10 lines."
)
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="Only the last N lines, of all together.")
@click.option("--since", metavar="T", help='From then on: "10m" (ago), "12:00", "2026-01-31T12:00:01Z".')
@click.option("--grep", metavar="RE", help="Only lines in which this regular expression (Python's) is found.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: at, name, line.")
@click.option("--no-prefix", "prefix", is_flag=True, flag_value=False, default=True, help="The lines alone.")
@click.option(
    "--file", "file", type=click.Path(path_type=Path), metavar="FILE", expose_value=False, callback=_keep_file,
    help="The watch.toml to use; before the command -f too.",
)  # fmt: skip
def logs(names: tuple[str, ...], **options: Any) -> int:
    """Show what builds and services have printed, from their log files: all of them, or those of NAMEs, merged by time.

    It needs no running procwatch, and works after a crash of it. Without -n and -f everything that is kept is shown.

    \b
    Examples:
      procwatch logs                          everything
      procwatch logs -f api                   the last lines of api, and what comes
      procwatch logs -n 50 --grep error       the last 50 lines with "error"
      procwatch logs --since 10m api worker   of the last ten minutes
    """
    from procwatch.show_logs import show

    return show(LogOptions(names, click.get_current_context().find_root().obj, **options))


@cli.command(short_help="Say what is wrong with watch.toml; start nothing.")
@_project_options
def check(env_files: tuple[str, ...], concurrency: str | None) -> int:
    """Validate watch.toml: all errors and warnings with file, line and column; nothing is started.

    Exit status 0 if it can be started (warnings do not count), 2 if not.

    \b
    Examples:
      procwatch check                    the nearest watch.toml
      procwatch check -f dev.toml        another one
    """
    loaded = _load(env_files, concurrency)
    from procwatch.runtime.inputs import Inputs

    warnings = [*map(str, loaded.warnings), *Inputs(loaded.project).warnings()]
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    builds, services = len(loaded.project.builds), len(loaded.project.services)
    what = f"{_count(builds, 'build')}, {_count(services, 'service')}"
    click.echo(f"{printable(loaded.project.name)}: {what}, {_count(len(warnings), 'warning')}")
    return ExitCode.DONE


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@cli.command()
@_project_options
@click.option("--dot", is_flag=True, help="For Graphviz.")
@click.option("--mermaid", is_flag=True, help="For Markdown pages that render Mermaid.")
@click.option("--json", is_flag=True, help="As one JSON object.")
def graph(env_files: tuple[str, ...], concurrency: str | None, **forms: bool) -> None:
    """Show what needs what, as a tree.

    An unfolded part that stands further up is marked with an ellipsis.

    \b
    Examples:
      procwatch graph                                   as text
      procwatch graph --dot | dot -Tsvg > graph.svg     as a picture
    """
    chosen = [form for form, is_asked in forms.items() if is_asked]
    if len(chosen) > 1:
        raise click.UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
    from procwatch.core import drawing

    form = next(iter(chosen), None)
    project = _load(env_files, concurrency).project
    match form:
        case "dot":
            click.echo(drawing.dot(project), nl=False)
        case "mermaid":
            click.echo(drawing.mermaid(project), nl=False)
        case "json":
            click.echo(json.dumps(drawing.data(project), indent=2))
        case _:
            click.echo(drawing.text(project), nl=False)


@cli.command(short_help="Print the configuration as understood.")
@_project_options
@click.option("--expand", is_flag=True, help="Expand ${NAME}; this may print secrets.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def config(env_files: tuple[str, ...], concurrency: str | None, **options: bool) -> None:
    """Print the configuration as understood: watch.local.toml merged, all defaults filled in.

    \b
    Examples:
      procwatch config                          as a watch.toml that means the same
      procwatch config --json | jq .service     for another program
    """
    from procwatch.config import write

    loaded = _load(env_files, concurrency)
    document = loaded.expanded if options["expand"] else loaded.document
    click.echo(json.dumps(document, indent=2) if options["as_json"] else write.render(document), nl=options["as_json"])


@cli.command(short_help="Write a watch.toml for this folder.")
@_file_option
@click.option(
    "--from", "source", type=click.Path(path_type=Path), metavar="FILE",
    help="Look at this file only: a Procfile, or one of those below.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a watch.toml that is there.")
def init(source: Path | None, *, force: bool) -> None:
    """Write a watch.toml from what the folder holds.

    Looks for a Procfile, Cargo.toml, package.json, go.mod and pyproject.toml. An existing watch.toml is kept unless
    --force is given.

    \b
    Examples:
      procwatch init                            from all that is here
      procwatch init --from Procfile.dev        from one file
      procwatch init -f dev.toml                under another name
    """
    from procwatch.config import write

    target = click.get_current_context().find_root().obj or Path("watch.toml")
    write.write_starter(here(), target, source=source, force=force)
    named = "" if target == Path("watch.toml") else f" -f {shlex.quote(str(target))}"
    click.echo(f"{target} written; look it over, then: procwatch{named} start")


@cli.command(short_help="Print the JSON Schema of watch.toml.")
@_file_option
def schema() -> None:
    """Print the JSON Schema of watch.toml, for editors and other tools.

    \b
    Examples:
      procwatch schema > watch.schema.json
    """
    from procwatch.config.schema import schema_json

    click.echo(json.dumps(schema_json(), indent=2))


@cli.command("completion", short_help="Print a script that completes commands and names.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion_script(shell: str) -> None:
    """Print a script for your shell: it completes commands, options, and the names of watch.toml.

    \b
    Examples:
      eval "$(procwatch completion bash)"       in ~/.bashrc (bash 4.4 or later)
      eval "$(procwatch completion zsh)"        in ~/.zshrc, after compinit
      procwatch completion fish > ~/.config/fish/completions/procwatch.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "procwatch", "_PROCWATCH_COMPLETE").source())


@cli.command("mcp", short_help="Serve tools to a coding agent.")
@_file_option
def model_context_protocol() -> int:
    """Speak the Model Context Protocol over standard input and output, for coding agents: status, why, logs, wait,
    build and restart of the procwatch that runs for the project. Needs `pip install 'procwatch[mcp]'`.

    \b
    Examples:
      procwatch mcp                        what an agent's configuration has as the command
      procwatch mcp -f shop/watch.toml     for a project elsewhere
    """
    try:
        from procwatch.mcp_server import serve
    except ImportError as error:
        if not (error.name or "").startswith("mcp"):
            raise
        raise UsageError("`procwatch mcp` needs a library that is not here: pip install 'procwatch[mcp]'") from error
    return serve(click.get_current_context().find_root().obj)


for _remote in ALL:
    cli.add_command(_file_option(_remote))


def run() -> int:
    """Run the command of the command line; what is wrong with that is told. The exit status."""
    try:
        return int(cli.main(standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
