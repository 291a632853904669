"""What may stand in watch.toml: every key with its type, its default and what it means.

Rule 1: each field is checked by itself; what several keys mean together is checked in `translate.py`.
Rule 2: defaults are written as a user would write them, so that the reference and `config` can show them.
"""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from procwatch.config.fields import (
    Color,
    Command,
    Commands,
    Count,
    Duration,
    FilledText,
    Flag,
    Http,
    Ignore,
    Keep,
    Later,
    Name,
    OneOf,
    Output,
    Pattern,
    Poll,
    Port,
    ProjectName,
    PublicAddress,
    Quiet,
    Regex,
    Replicas,
    Signal,
    Size,
    Sockets,
    Span,
    Status,
    Tcp,
    Variables,
    Yes,
    key,
    later,
)  # fmt: skip
from procwatch.config.layers import ASKED_KINDS, PROBE_KINDS
from procwatch.core.model import Isolation, WatchEngine

Terminal = Annotated[Literal["all", "on-failure", "none"], OneOf()]


def _table_or_word(schema: dict[str, Any], word: str) -> None:
    """In the JSON Schema a table may be written as the value of one of its keys."""
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [whole, whole["properties"][word]]


class Table(BaseModel):
    """A table of watch.toml: unknown keys are errors, and no type is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True)


class ProjectTable(Table):
    """The project as a whole."""

    name: ProjectName | None = key("Name of the project. Default: the folder's name.")
    procfile: FilledText | None = key(
        "A Procfile to take services from too; a table of the same name adds to its service. "
        "Without this key a Procfile beside watch.toml is not read."
    )
    include: list[FilledText] = key(
        'Files to take in, such as "services/*/watch.toml": their builds and services are named after the folders from '
        "the first wildcard on (shop.api), and their paths are relative to their own folder.",
        default=[],
    )
    env_file: list[FilledText] | None = key(
        'Files of NAME=value lines for every command; the later one wins. Default: `[".env"]` if it exists.'
    )
    shell: Annotated[list[FilledText], Field(min_length=1)] = key(
        "The program that runs a command given as a string, which is added as its last argument.",
        default=["/bin/sh", "-c"],
    )
    env: Variables = key("Environment variables for every command.", default={})
    jobs: Count | None = key("How many builds run at once. Default: the number of processors.")
    isolation: Annotated[Isolation, OneOf()] = key(
        'What keeps processes from outliving procwatch. "tree": a guardian process, which ends them; "pidns" (Linux): '
        "besides, all of them are in a namespace of process ids, which the kernel ends with procwatch, also when both "
        "of its processes are killed at once (docs/processes.md).",
        default="tree",
    )
    default: list[FilledText] = key(
        "What a bare `procwatch start` starts. If empty: every service with autostart.",
        default=[],
    )


class WatchTable(Table):
    """How files are watched, for every watch list."""

    ignore: list[Ignore] = key(
        "Patterns that no watch list sees, besides .git, .hg, .svn, .procwatch and editors' own files.", default=[]
    )
    gitignore: Flag = key("Whether .gitignore, .ignore and .git/info/exclude are heeded.", default=True)
    quiet: Quiet = key(
        'How long nothing must change before a batch ends; "auto": a few milliseconds after one save, '
        "longer while many files change.",
        default="auto",
    )
    max_wait: Span = key("How long a batch waits at most, even if something writes all the time.", default="500ms")
    poll: Poll = key(
        "Interval at which files are compared, for file systems that send no events; "
        "with an `engine` that does, both are done.",
        default=False,
    )
    engine: Annotated[WatchEngine, OneOf()] = key(
        'What tells of changes: the kernel ("inotify", Linux), the library "watchfiles", or comparing files ("poll", '
        'every 500 ms unless `poll` says otherwise). "auto": "poll" if `poll` is given, else "inotify" on Linux and '
        '"watchfiles" elsewhere.',
        default="auto",
    )


class NeedTable(Table):
    """One entry of `needs`, where a name is not enough."""

    name: FilledText = Field(description="The build, service or group that is needed.")
    restart: Flag | None = key(
        "Whether its success (of a build) or its switch (of a service) alone restarts what needs it. "
        "Default: true for builds, false for services."
    )
    until: Annotated[Literal["ready", "started"], OneOf()] | None = key(
        'For services: how far it must have come. Default: "ready".'
    )
    uses: Annotated[list[Output], Field(min_length=1)] | None = key(
        "For builds: those of its `outputs` that matter here. Default: all of them."
    )


class LogTable(Table):
    """What happens to output."""

    terminal: Terminal = key('When it is shown: always, only after a failure ("on-failure"), or never.', default="all")
    color: Color | None = key("Colour of the name before each line. Default: one for each name.")
    file: Flag = key(
        "Whether all of it, shown or not, is also kept in `.procwatch/logs/NAME.log` (such as service.api.log).",
        default=True,
    )
    max_size: Size = key("Size at which a new log file is begun.", default="10MiB")
    keep: Keep = key("How many old log files are kept, as NAME.log.1 (the newest) and so on.", default=3)


class BuildHooksTable(Table):
    """Commands around a build; an empty string is none. Their output is shown when they fail."""

    pre_build: Commands = key("Before `run`; a failure fails the build.", default="")
    post_build: Commands = key("After `run` has succeeded; a failure fails the build.", default="")
    build_failed: Commands = key("After the build has failed; a failure changes nothing.", default="")


class ServiceHooksTable(Table):
    """Commands around a service's life; an empty string is none. Their output is shown when they fail."""

    pre_start: Commands = key("Before the start, while the old one still serves; a failure stops nothing.", default="")
    post_start: Commands = key("After the service has become ready.", default="")
    pre_stop: Commands = key("Before the stop signal.", default="")
    post_stop: Commands = key("After the service has been stopped, before the next one starts.", default="")
    crashed: Commands = key("After the service has ended without being asked to.", default="")


class StopTable(Table):
    """How a service is asked to end; a string is the signal alone."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _table_or_word(schema, "signal"))

    signal: Signal = key("The signal that asks it to end.", default="SIGTERM")
    grace: Duration = key("How long it has until it is killed.", default="10s")
    to: Annotated[Literal["leader", "group"], OneOf()] = key(
        "Who gets the signal: the process that was started (its whole group where that is still the shell), "
        "or always the whole group.",
        default="leader",
    )


class RestartTable(Table):
    """What follows when a service ends by itself; a string is the policy alone."""

    model_config = ConfigDict(json_schema_extra=lambda schema: _table_or_word(schema, "policy"))

    policy: Annotated[Literal["always", "on-failure", "never"], OneOf()] = key(
        "When it is started again.", default="on-failure"
    )
    min_delay: Duration = key(
        "How long the first restart waits; the wait doubles with each crash in a row.", default="100ms"
    )
    max_delay: Duration = key("The longest wait.", default="10s")
    stable: Duration = key("How long it must have run for the wait to start over.", default="10s")


def _just_one(kinds: tuple[str, ...]) -> dict[str, Any]:
    """In the JSON Schema no two of these keys may stand together."""
    return {"not": {"anyOf": [{"required": list(two)} for two in combinations(kinds, 2)]}}


class AskedTable(Table):
    """The probes that can be asked again and again."""

    http: Http | None = key("A GET of this path on the service's own port, or of a full address, answers 2xx or 3xx.")
    status: Status | None = key("With `http`: the only status that counts.")
    tcp: Tcp | None = key("A connection is taken: on the service's own port (true), on a port, or at an address.")
    run: Command | None = key("This command exits with 0.")


class ReadyTable(AskedTable):
    """When a service counts as ready: just one of `http`, `tcp`, `run`, `log`, `notify`, `delay`."""

    model_config = ConfigDict(json_schema_extra=_just_one(PROBE_KINDS))

    log: Regex | None = key("This regular expression is found in a line of output.")
    notify: Yes | None = key(
        "The service, or any process of the same user, sends READY=1 to $NOTIFY_SOCKET (sd_notify). RELOADING=1 and "
        "STOPPING=1 are heard as long as it runs."
    )
    delay: Duration | None = key("It has run for so long without ending.")
    interval: Span = key(
        "Time between tries; the first ones come sooner as long as nobody listens at the port.", default="100ms"
    )
    timeout: Span = key("Time for one try.", default="1s")
    deadline: Span = key("Time for all tries.", default="30s")


class HealthTable(AskedTable):
    """Whether a ready service is still well: just one of `http`, `tcp`, `run`."""

    model_config = ConfigDict(json_schema_extra=_just_one(ASKED_KINDS))

    interval: Span = key(
        "Time between tries; the first one comes so long after the service has become ready.", default="5s"
    )
    timeout: Span = key("Time for one try.", default="1s")
    failures: Count = key("After so many tries in a row that have failed the service is restarted.", default=3)


def _need(value: object) -> object:
    """A bare name is a table with only that name."""
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, (dict, NeedTable)):
        raise ValueError('a name, or a table such as { name = "build.api", restart = false }')  # noqa: TRY004 - pydantic wants a ValueError
    return value


Need = Annotated[NeedTable, BeforeValidator(_need, json_schema_input_type=FilledText | NeedTable)]


class UnitTable(Table):
    """What builds and services have in common."""

    run: Command | None = key(
        "What to run. A list: one program and its arguments, no shell. A string: through `project.shell`. "
        "Required, unless the Procfile gives it."
    )
    needs: list[Need] = key(
        "Builds that must have succeeded, services that must be ready, groups of both; names or tables.", default=[]
    )
    watch: list[Pattern] = key(
        "Paths and patterns. A build runs when their content changes; a service restarts at any save.", default=[]
    )
    ignore: list[Ignore] = key("Patterns that this watch list does not see.", default=[])
    dir: FilledText = key("Working folder, of its hooks too; it must exist, or a needed build makes it.", default=".")
    env: Variables = key("Environment variables; they win over the project's and procwatch's own.", default={})
    env_file: list[FilledText] = key(
        "Files of NAME=value lines, which must exist as `dir` must; the later one wins, and `env` wins over them.",
        default=[],
    )


class BuildTable(UnitTable):
    """A command that runs and ends."""

    timeout: Span | None = key("How long the build with its hooks may take. Default: no limit.")
    on_change: Annotated[Literal["restart", "finish"], OneOf()] = key(
        'A change during the run: "restart" stops the stale run, "finish" lets it end and runs again. A run after '
        "three that were stopped in a row is let end, is used although it lacks the last edits, and runs again.",
        default="restart",
    )
    at_start: Annotated[Literal["always", "changed", "never"], OneOf()] = key(
        'Whether it runs at the start: "changed" skips it if nothing differs from its last success, '
        '"never" takes what is on disk as good.',
        default="always",
    )
    unchanged: Annotated[Literal["skip", "run"], OneOf()] = key(
        'A write that leaves the content as in the last success: "skip" starts nothing, "run" builds.',
        default="skip",
    )
    lock: FilledText | None = key("Of the builds with the same lock one runs at a time.")
    manual: Flag = key("Runs only when asked for by name; nothing may need it.", default=False)
    hooks: BuildHooksTable = key("Commands around the build.", default=BuildHooksTable())
    log: LogTable = key("What happens to its output.", default=LogTable())
    outputs: list[Output] = key(
        "Paths and patterns of what the build makes. Each success is copied into `.procwatch/releases/NAME/NUMBER/`, "
        "from where services are started ($PROCWATCH_RELEASE).",
        default=[],
    )
    keep: Count = key("How many releases are kept, besides those in use.", default=3)


class ServiceTable(UnitTable):
    """A process that is kept running."""

    port: Port | None = key(
        "The port that the service opens itself: it is given as PORT, and probes without an address ask it."
    )
    listen: Sockets = key(
        'Sockets that procwatch opens and hands over (LISTEN_FDS, from descriptor 3): a list of "host:port" or paths '
        "of unix sockets, or a table of them by name (docs/listen.md).",
        default=[],
    )
    proxy: PublicAddress | None = key(
        "The public address of a service that knows only PORT: procwatch listens there, gives each instance a free "
        "port, and passes connections on to the one in charge (docs/proxy.md)."
    )
    replicas: Replicas = key(
        "How many instances of it run side by side, called NAME.1, NAME.2 and so on. A new version comes to one after "
        "another; with `listen` or `proxy` they share the address (docs/switching.md).",
        default=1,
    )
    ready: ReadyTable | None = key(
        "When it counts as ready. Default: with `port`, `listen` or `proxy`, once it takes a connection there; else "
        "once it has run 100 ms."
    )
    health: HealthTable | None = key(
        "What it is asked again and again while it is ready; if that fails it is restarted."
    )
    switch: Annotated[Literal["replace", "overlap", "signal"], OneOf()] | None = key(
        'How it gets a new version: "replace" stops it and starts it, "overlap" starts the new one beside the old one, '
        'which is stopped when the new one is ready and `verify` has passed, "signal" sends `reload_signal`. '
        'Default: "overlap" with `listen` or `proxy`, else "replace".',
    )
    verify: Command | None = key(
        "A command that tests an instance when it is ready, before it takes over; it has 10 minutes."
    )
    reload_signal: Signal = key('What `switch = "signal"` sends.', default="SIGHUP")
    restart: RestartTable = key("What follows when it ends by itself.", default=RestartTable())
    stop: StopTable = key("How it is asked to end.", default=StopTable())
    stdin: Annotated[Literal["null", "open"], OneOf()] = key(
        'Standard input: nothing, or a pipe that stays open ("open", for tools that end when their input ends).',
        default="null",
    )
    tty: Flag = key(
        "Whether it runs on a pseudo-terminal, and `procwatch attach` can type into it; `stdin` then means nothing.",
        default=False,
    )
    autostart: Flag = key(
        "Whether a bare `procwatch start` starts it; false: only by name, or because another needs it.", default=True
    )
    hooks: ServiceHooksTable = key("Commands around its life.", default=ServiceHooksTable())
    log: LogTable = key("What happens to its output.", default=LogTable())
    limits: Later = later("Memory and processor limits.")


class DefaultsTable(Table):
    """Values for every table of a kind that does not say otherwise."""

    service: ServiceTable = key("Values for every service; the keys of [service.NAME].", default=ServiceTable())
    build: BuildTable = key("Values for every build; the keys of [build.NAME].", default=BuildTable())


class WatchToml(Table):
    """All of watch.toml."""

    project: ProjectTable = key("The project as a whole.", default=ProjectTable())
    groups: dict[Name, list[FilledText]] = key(
        "Names for lists of builds, services and groups, usable wherever names are.", default={}
    )
    defaults: DefaultsTable = key("Values for every table that does not say otherwise.", default=DefaultsTable())
    watch: WatchTable = key("How files are watched.", default=WatchTable())
    build: dict[Name, BuildTable] = key("Builds: commands that run and end.", default={})
    service: dict[Name, ServiceTable] = key("Services: processes that are kept running.", default={})
    alerts: Later = later("Who is told when something breaks.")


def sub_table(annotation: object) -> type[Table] | None:
    """The table that a type holds, itself or in a list, a dict or an alternative."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    found = (sub_table(part) for part in get_args(annotation))
    return next((table for table in found if table is not None), None)


class _TomlSchema(GenerateJsonSchema):
    """JSON Schema for a language without null, whose keys are their own titles."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """A key without a value is left out, never null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """No default at all where None stands for it, or where it is only a table of defaults."""
        if schema.get("default") is None or isinstance(schema["default"], Table):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """A table with names of the user's: other names are errors."""
        declared = super().dict_schema(schema)
        return declared | ({"additionalProperties": False} if "patternProperties" in declared else {})

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the signature is pydantic's
        """The key says it."""
        return False


def schema_json() -> dict[str, Any]:
    """The JSON Schema of watch.toml."""
    schema = WatchToml.model_json_schema(schema_generator=_TomlSchema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "watch.toml"}
