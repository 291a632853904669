"""A watch.toml becomes the project that it means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from procwatch.config.load import Loaded, load
from procwatch.config.write import render
from procwatch.core.model import (
    DEFAULT_READY,
    Build,
    DelayProbe,
    Health,
    HttpProbe,
    LogProbe,
    Need,
    NotifyProbe,
    Probe,
    ProbeTiming,
    RestartPolicy,
    RunProbe,
    Service,
    StopPolicy,
    TcpProbe,
    WatchSettings,
)
from procwatch.errors import ConfigError


def loaded(folder: Path, text: str, local: str | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    (folder / "watch.toml").write_text(text)
    if local is not None:
        (folder / "watch.local.toml").write_text(local)
    return load(folder, environ=environ or {})


def service(folder: Path, keys: str, environ: Mapping[str, str] | None = None) -> Service:
    return loaded(folder, f"[service.web]\nrun = 'x'\n{keys}\n", environ=environ).project.services["service.web"]


# --- what is found ---------------------------------------------------------------------------------------------------


def test_watch_toml_is_looked_for_in_the_folders_above(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "watch.toml").write_text("[service.web]\nrun = 'x'\n")
    project = load(below, environ={}).project
    assert project.folder == str(tmp_path)
    assert project.name == tmp_path.name


def test_the_nearest_watch_toml_wins(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "watch.toml").write_text("[service.far]\nrun = 'x'\n")
    (tmp_path / "a" / "watch.toml").write_text("[service.near]\nrun = 'x'\n")
    assert list(load(tmp_path / "a", environ={}).project.services) == ["service.near"]


def test_a_folder_with_a_procfile_alone_runs_as_that_procfile(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "Procfile").write_text("web: x\n")
    (tmp_path / "watch.toml").write_text("[service.other]\nrun = 'x'\n")
    found = load(tmp_path / "shop", environ={})
    assert found.project.name == "shop"
    assert list(found.project.services) == ["service.web"]
    assert found.files == (tmp_path / "shop" / "Procfile", tmp_path / "shop" / ".env")  # which may set PORT


def test_a_watch_toml_above_comes_before_a_procfile_above(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "Procfile").write_text("web: x\n")
    assert list(load(tmp_path / "a" / "b", environ={}).project.services) == ["service.web"]
    (tmp_path / "watch.toml").write_text("[service.other]\nrun = 'x'\n")
    assert list(load(tmp_path / "a" / "b", environ={}).project.services) == ["service.other"]


@pytest.mark.parametrize(("name", "text"), [("x.toml", "[service.web]\nrun = 'x'\n"), ("Procfile.dev", "web: x\n")])
def test_a_file_can_be_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).write_text(text)
    project = load(tmp_path, file=Path("sub", name), environ={}).project
    assert project.folder == str(tmp_path / "sub")
    assert list(project.services) == ["service.web"]


def test_every_file_that_was_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: x\n")
    (tmp_path / ".env").write_text("A=1\n")
    found = loaded(tmp_path, "[project]\nprocfile = 'Procfile'\n", local="[service.web]\nport = 1\n")
    names = ["watch.toml", "watch.local.toml", "Procfile", ".env"]
    assert found.files == tuple(tmp_path / name for name in names)


def test_a_procfile_that_is_not_read_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: x\n")
    (warning,) = loaded(tmp_path, "[build.a]\nrun = 'x'\n").warnings
    assert "the Procfile beside it is not read" in str(warning)
    assert not loaded(tmp_path, "[service.a]\nrun = 'x'\n").warnings


def test_what_a_needed_build_may_make_is_only_warned_of(tmp_path: Path) -> None:
    text = "[build.a]\nrun = 'x'\n[service.b]\nrun = 'x'\nneeds = ['a']\ndir = 'out'\nenv_file = ['made.env']\n"
    first, second = loaded(tmp_path, text).warnings
    assert str(first).startswith(
        'watch.toml:6:7: service "b": dir "out" does not exist yet; a build that is needed must make it'
    )
    assert str(second).startswith('watch.toml:7:13: service "b": env_file: made.env: does not exist yet; a build that')


def test_what_only_an_unneeded_build_could_make_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='dir "out" does not exist'):
        loaded(tmp_path, "[build.a]\nrun = 'x'\ndir = 'out'\n[service.b]\nrun = 'x'\n")


# --- what is meant ---------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_model(tmp_path: Path) -> None:
    project = loaded(tmp_path, "[service.web]\nrun = 'x'\n[build.api]\nrun = ['a', 'b']\n").project
    assert project.builds == {"build.api": Build("build.api", ("a", "b"))}
    assert project.services == {"service.web": Service("service.web", "x")}
    assert project.watch == WatchSettings()
    assert (project.jobs, project.default, project.groups) == (os.cpu_count(), (), {})
    assert (project.shell, project.env_files) == (("/bin/sh", "-c"), (".env",))


def test_every_key_reaches_the_model(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.env", "b.env"):
        (tmp_path / name).touch()
    project = loaded(
        tmp_path,
        """
[project]
name = "shop"
env_file = ["b.env"]
shell = ["/bin/bash", "-ec"]
env = { A = "1" }
jobs = 3
default = ["web"]
[groups]
all = ["web", "api"]
[watch]
ignore = ["*.log"]
gitignore = false
quiet = "20ms"
max_wait = 2
poll = "1s"
engine = "watchfiles"
[build.api]
run = "make"
needs = ["db", { name = "gen", restart = false }]
watch = ["src/**"]
ignore = ["*.bk"]
dir = "sub"
env = { B = "2" }
env_file = ["a.env"]
timeout = "10m"
on_change = "finish"
at_start = "changed"
unchanged = "run"
lock = "cargo"
hooks = { pre_build = "a", post_build = ["b", ["c", "d"]], build_failed = "" }
log = { terminal = "none", color = "red" }
[build.gen]
run = "gen"
[build.seed]
run = "seed"
manual = true
[service.db]
run = "db"
port = 5432
[service.web]
run = ["web"]
needs = ["build.api", { name = "service.db", until = "started", restart = true }]
watch = ["conf"]
port = 8000
ready = { http = "/health", status = 204, interval = 1, timeout = 2, deadline = 3 }
switch = "signal"
reload_signal = "USR1"
restart = { policy = "always", min_delay = 1, max_delay = 2, stable = 3 }
stop = { signal = "INT", grace = "1m", to = "group" }
stdin = "open"
autostart = false
hooks = { pre_start = "a", crashed = "b" }
""",
    ).project
    assert project.builds["build.api"] == Build(
        "build.api", "make", (Need("service.db", restart=False), Need("build.gen", restart=False)), ("src/**",),
        ("*.bk",), "sub", {"B": "2"}, ("a.env",), {"pre_build": ("a",), "post_build": ("b", ("c", "d"))}, "none", "red",
        timeout_s=600.0, on_change="finish", at_start="changed", unchanged="run", lock="cargo",
    )  # fmt: skip
    assert project.services["service.web"] == Service(
        "service.web", ("web",), (Need("build.api", restart=True), Need("service.db", restart=True, until="started")),
        ("conf",), hooks={"pre_start": ("a",), "crashed": ("b",)}, stop=StopPolicy("SIGINT", 60.0, "group"), port=8000,
        ready=HttpProbe(8000, "/health", status=204), timing=ProbeTiming(1.0, 2.0, 3.0), switch="signal",
        reload_signal="SIGUSR1", restart=RestartPolicy("always", 1.0, 2.0, 3.0), stdin="open", autostart=False,
    )  # fmt: skip
    assert project.builds["build.seed"].manual
    assert project.watch == WatchSettings(
        ("*.log",), gitignore=False, quiet_s=0.02, max_wait_s=2.0, poll_s=1.0, engine="watchfiles"
    )
    assert (project.name, project.jobs, project.default) == ("shop", 3, ("service.web",))
    assert (project.shell, project.env, project.env_files) == (("/bin/bash", "-ec"), {"A": "1"}, ("b.env",))
    assert project.groups == {"all": ("service.web", "build.api")}


@pytest.mark.parametrize(
    ("keys", "probe"),
    [
        ("", DEFAULT_READY),
        ("port = 80", TcpProbe(80)),
        ("port = 80\nready = { deadline = 1 }", TcpProbe(80)),
        ("ready = { deadline = 1 }", DEFAULT_READY),
        ("port = 80\nready = { tcp = true }", TcpProbe(80)),
        ("port = 80\nready = { tcp = 81 }", TcpProbe(81)),
        ("ready = { tcp = 'db:81' }", TcpProbe(81, "db")),
        ("port = 80\nready = { http = '/x' }", HttpProbe(80, "/x")),
        ("ready = { http = 'https://h/x' }", HttpProbe(443, "/x", "h", tls=True)),
        ("ready = { run = ['a', '${PORT}'] }", RunProbe(("a", "${PORT}"))),
        ("ready = { log = 'up' }", LogProbe("up")),
        ("ready = { notify = true }", NotifyProbe()),
        ("ready = { delay = '2s' }", DelayProbe(2.0)),
        ("ready = { delay = 0 }", DelayProbe(0.0)),
    ],
)
def test_a_service_is_ready_when_it_says(tmp_path: Path, keys: str, probe: Probe) -> None:
    assert service(tmp_path, keys).ready == probe


@pytest.mark.parametrize(
    ("keys", "health"),
    [
        ("", None),
        ("port = 80\nhealth = { tcp = true }", Health(TcpProbe(80), 5.0, 1.0, 3)),
        (
            "port = 80\nhealth = { http = '/x', status = 204, interval = 2 }",
            Health(HttpProbe(80, "/x", None, 204), 2.0),
        ),
        ("health = { http = 'http://h:81/x', timeout = 2 }", Health(HttpProbe(81, "/x", "h"), timeout_s=2.0)),
        ("health = { run = ['a'], failures = 1 }", Health(RunProbe(("a",)), failures=1)),
    ],
)
def test_a_service_is_healthy_when_it_says(tmp_path: Path, keys: str, health: Health | None) -> None:
    assert service(tmp_path, keys).health == health


@pytest.mark.parametrize(
    ("keys", "poll_s"),
    [("", None), ("engine = 'poll'", 0.5), ("engine = 'poll'\npoll = 2", 2.0), ("poll = '3s'", 3.0)],
)
def test_files_are_polled_when_asked(tmp_path: Path, keys: str, poll_s: float | None) -> None:
    assert loaded(tmp_path, f"[watch]\n{keys}\n[build.a]\nrun = 'x'\n").project.watch.poll_s == poll_s


def test_inotify_can_be_asked_for_on_linux_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = "[watch]\nengine = 'inotify'\n[build.a]\nrun = 'x'\n"
    monkeypatch.setattr("sys.platform", "linux")
    assert loaded(tmp_path, toml).project.watch.engine == "inotify"
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, toml)
    assert '2:10: watch: engine = "inotify" works on Linux only; "auto" picks what works here' in str(caught.value)


def test_a_service_may_run_on_a_terminal(tmp_path: Path) -> None:
    assert service(tmp_path, "tty = true") == Service("service.web", "x", tty=True)


def test_a_word_may_stand_for_stop_and_restart(tmp_path: Path) -> None:
    found = service(tmp_path, "stop = 'INT'\nrestart = 'never'")
    assert found.stop == StopPolicy("SIGINT")
    assert found.restart == RestartPolicy("never")


def test_units_stand_in_the_order_in_which_they_can_start(tmp_path: Path) -> None:
    text = "".join(
        f"[{kind}]\nrun = 'x'\nneeds = {needs}\n"
        for kind, needs in [("service.a", ["c"]), ("build.b", ["d"]), ("service.c", ["b"]), ("build.d", [])]
    )
    project = loaded(tmp_path, text).project
    assert list(project.builds) == ["build.d", "build.b"]
    assert list(project.services) == ["service.c", "service.a"]


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_group_in_needs_stands_for_its_members(tmp_path: Path) -> None:
    text = (
        "[groups]\nall = ['more', 'service.b']\nmore = ['a', 'b', 'all2']\nall2 = []\n"
        "[build.a]\nrun = 'x'\n[service.b]\nrun = 'x'\n"
        "[service.web]\nrun = 'x'\nneeds = [{ name = 'all', restart = false }, { name = 'b', restart = true }]\n"
    )
    project = loaded(tmp_path, text).project
    assert project.services["service.web"].needs == (Need("build.a", restart=False), Need("service.b", restart=True))
    assert project.groups == {"all": ("build.a", "service.b"), "more": ("build.a", "service.b"), "all2": ()}


def test_a_bare_name_of_both_kinds_means_both_in_a_group_and_the_service_in_default(tmp_path: Path) -> None:
    text = (
        "[project]\ndefault = ['backend']\n[groups]\nbackend = ['api', 'db']\n[build.api]\nrun = 'x'\n"
        "[service.api]\nrun = 'x'\nneeds = ['build.api']\n[service.db]\nrun = 'x'\n"
    )
    project = loaded(tmp_path, text).project
    assert project.groups["backend"] == ("build.api", "service.api", "service.db")
    assert project.default == ("service.api", "service.db")


# --- layers ----------------------------------------------------------------------------------------------------------


def test_tables_of_watch_local_toml_merge_and_all_else_is_replaced(tmp_path: Path) -> None:
    text = "[service.web]\nrun = 'x'\nwatch = ['a', 'b']\nenv = { A = '1', B = '2' }\nstop = 'INT'\n"
    local = "[service.web]\nwatch = ['c']\nenv = { B = '3' }\nstop = { grace = 1 }\n[service.extra]\nrun = 'y'\n"
    services = loaded(tmp_path, text, local).project.services
    assert services["service.web"].watch == ("c",)
    assert services["service.web"].env == {"A": "1", "B": "3"}
    assert services["service.web"].stop == StopPolicy("SIGINT", 1.0)
    assert services["service.extra"].run == "y"


def test_defaults_hold_for_what_a_table_does_not_say(tmp_path: Path) -> None:
    text = (
        "[defaults.service]\nstop = { grace = '5s', signal = 'INT' }\nwatch = ['conf']\nenv = { A = '1' }\n"
        "ready = { http = '/health', status = 204, deadline = 9 }\nport = 80\n[defaults.build]\ntimeout = 9\n"
        "[build.a]\nrun = 'x'\n[service.plain]\nrun = 'x'\n"
        "[service.own]\nrun = 'x'\nstop = { grace = 1 }\nwatch = []\nenv = { B = '2' }\nready = { tcp = true }\n"
    )
    project = loaded(tmp_path, text).project
    plain, own = project.services["service.plain"], project.services["service.own"]
    assert project.builds["build.a"].timeout_s == 9.0
    assert (plain.stop, plain.watch, plain.env) == (StopPolicy("SIGINT", 5.0), ("conf",), {"A": "1"})
    assert plain.ready == HttpProbe(80, "/health", status=204)
    assert (own.stop, own.watch, own.env) == (StopPolicy("SIGINT", 1.0), (), {"A": "1", "B": "2"})
    assert (own.ready, own.timing.deadline_s) == (TcpProbe(80), 9.0)


def test_a_probe_of_another_kind_in_watch_local_toml_replaces_the_one_below(tmp_path: Path) -> None:
    text = "[service.web]\nrun = 'x'\nport = 80\nready = { http = '/', status = 200 }\n"
    project = loaded(tmp_path, text, local="[service.web]\nready = { tcp = true }\n").project
    assert project.services["service.web"].ready == TcpProbe(80)


def test_what_is_understood_of_a_health_probe_has_its_defaults(tmp_path: Path) -> None:
    services = loaded(tmp_path, "[service.web]\nrun = 'x'\nhealth = { tcp = 80 }\n").document["service"]
    assert isinstance(services, dict)
    assert services["web"]["health"] == {"tcp": 80, "interval": "5s", "timeout": "1s", "failures": 3}


def test_a_health_probe_is_merged_in_the_same_way(tmp_path: Path) -> None:
    text = (
        "[defaults.service]\nhealth = { http = '/', status = 200, failures = 5 }\n[service.web]\nrun = 'x'\nport = 80\n"
    )
    project = loaded(tmp_path, text, local="[service.web]\nhealth = { run = 'y' }\n").project
    assert project.services["service.web"].health == Health(RunProbe("y"), failures=5)


# --- variables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${A}", "a"),
        ("x${A}y${A}", "xaya"),
        ("${NOPE:-b c}", "b c"),
        ("${NOPE:-}", ""),
        ("${EMPTY:-b}", "b"),
        ("${EMPTY}", ""),
        ("$${A}", "${A}"),
        ("$A $ $$", "$A $ $"),
        ("cost: 5$", "cost: 5$"),
        ("${NOPE:-a:-b}", "a:-b"),
    ],
)
def test_a_variable_is_replaced_when_the_file_is_loaded(tmp_path: Path, written: str, meant: str) -> None:
    found = service(tmp_path, f"env = {{ V = '{written}' }}", environ={"A": "a", "EMPTY": ""})
    assert found.env["V"] == meant


def test_commands_are_not_touched_when_the_file_is_loaded(tmp_path: Path) -> None:
    text = (
        "[build.a]\nrun = 'echo ${NOPE} $$'\nhooks = { pre_build = ['${NOPE}', ['a', '${NOPE}']] }\n"
        "[service.a]\nrun = ['a', '${NOPE}', '$$']\nready = { run = 'test ${NOPE}' }\n"
    )
    project = loaded(tmp_path, text).project
    assert project.builds["build.a"].run == "echo ${NOPE} $$"
    assert project.builds["build.a"].hooks == {"pre_build": ("${NOPE}", ("a", "${NOPE}"))}
    assert project.services["service.a"].run == ("a", "${NOPE}", "$$")
    assert project.services["service.a"].ready == RunProbe("test ${NOPE}")


def test_a_variable_may_stand_for_a_number_or_a_boolean(tmp_path: Path) -> None:
    found = service(tmp_path, "port = '${P:-81}'\nautostart = '${S:-false}'\nstop = { grace = '${G}' }", {"G": "7"})
    assert (found.port, found.autostart, found.stop.grace_s) == (81, False, 7.0)


def test_a_variable_comes_from_the_environment_then_project_env_then_its_env_files(tmp_path: Path) -> None:
    (tmp_path / "1.env").write_text("A=file\nB=file\nC=file\nD=first\n")
    (tmp_path / "2.env").write_text("D=second\n")
    text = (
        "[project]\nenv_file = ['1.env', '${N}.env']\nenv = { A = 'project', B = 'project', E = '${B}+${C}+${A}' }\n"
        "[service.web]\nrun = 'x'\nenv = { V = '${A} ${B} ${C} ${D} ${E}' }\n"
    )
    project = loaded(tmp_path, text, environ={"A": "own", "N": "2"}).project
    assert project.services["service.web"].env["V"] == "own project file second project+file+own"
    assert project.env_files == ("1.env", "2.env")


def test_a_variable_of_project_env_may_name_an_env_file(tmp_path: Path) -> None:
    (tmp_path / "dev.env").write_text("A=dev\nMORE=more\nSTAGE=other\n")
    (tmp_path / "more.env").write_text("B=more\n")
    text = (
        "[project]\nenv_file = ['${FILE}', '${MORE}.env']\n"
        "env = { FILE = '${STAGE}.env', STAGE = '${STAGE:-dev}', C = '${A}${B}' }\n"
        "[service.web]\nrun = 'x'\nenv = { V = '${STAGE} ${FILE} ${C}' }\n"
    )
    found = loaded(tmp_path, text)
    assert found.project.env_files == ("dev.env", "more.env")
    assert found.project.services["service.web"].env == {"V": "dev dev.env devmore"}
    document = found.document["project"]
    assert isinstance(document, dict)
    assert document["env_file"] == ["${FILE}", "${MORE}.env"]


@pytest.mark.parametrize(
    ("env", "meant"),
    [
        ("A = '${A:-}y'", "y"),
        ("A = '${B}', B = '${C:-q}', C = 'c'", "c"),
        ("B = 'b', A = '$${B}${B}'", "${B}b"),
    ],
)
def test_a_value_of_project_env_is_expanded_once(tmp_path: Path, env: str, meant: str) -> None:
    found = loaded(tmp_path, f"[project]\nenv = {{ {env} }}\n[service.web]\nrun = 'x'\nenv = {{ V = '${{A}}' }}\n")
    assert found.project.services["service.web"].env == {"V": meant}
    assert found.project.env["A"] == meant
    document = found.expanded["project"]
    assert isinstance(document, dict)
    assert document["env"]["A"] == meant


def test_e_replaces_the_project_s_env_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".env").write_text("A=default\n")
    (tmp_path / "sub" / "$e.env").write_text("A=asked\n")
    (tmp_path / "watch.toml").write_text("[service.web]\nrun = 'x'\nenv = { V = '${A}' }\n")
    found = load(tmp_path / "sub", environ={}, env_files=("$e.env",))
    assert found.project.env_files == ("sub/$e.env",)
    assert found.project.services["service.web"].env == {"V": "asked"}


def test_e_of_a_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_text("[service.web]\nrun = 'x'\n")
    with pytest.raises(ConfigError, match=r"^-e no\.env: no such file$"):
        load(tmp_path, environ={}, env_files=("no.env",))


# --- the document ----------------------------------------------------------------------------------------------------


def test_the_document_has_every_default_and_keeps_variables(tmp_path: Path) -> None:
    found = loaded(tmp_path, "[service.web]\nrun = 'x'\nenv = { V = '${A}' }\nport = 80\n", environ={"A": "a"})
    services = found.document["service"]
    assert isinstance(services, dict)
    web = services["web"]
    assert web["env"] == {"V": "${A}"}
    assert web["stop"] == {"signal": "SIGTERM", "grace": "10s", "to": "leader"}
    assert web["ready"] == {"tcp": True, "interval": "100ms", "timeout": "1s", "deadline": "30s"}
    expanded = found.expanded["service"]
    assert isinstance(expanded, dict)
    assert expanded["web"]["env"] == {"V": "a"}


def test_the_document_has_no_default_that_would_be_an_error_or_hold_later(tmp_path: Path) -> None:
    (tmp_path / "has space").mkdir()
    project = loaded(tmp_path / "has space", "[service.web]\nrun = 'x'\n").document["project"]
    assert isinstance(project, dict)
    assert "name" not in project
    assert "env_file" not in project


def test_the_document_can_be_loaded_again_and_means_the_same(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: a ${X}\nrelease: b\nworker: c\n")
    (tmp_path / "e.env").write_text("A=1\n")
    text = (
        "[project]\nprocfile = 'Procfile'\nenv_file = ['e.env']\ndefault = ['web']\n[groups]\ng = ['web', 'build.x']\n"
        "[defaults.service]\nstop = 'INT'\nready = { delay = '${D:-2s}' }\n[build.x]\nrun = ['a', '${A}']\n"
        "hooks = { post_build = [['a', 'b'], 'c'] }\n"
        "[service.worker]\nneeds = ['x', { name = 'web', restart = true }]\nrestart = 'never'\nport = 80\n"
    )
    first = loaded(tmp_path, text)
    again = tmp_path / "again.toml"
    for document in (first.document, first.expanded):
        again.write_text(render(document))
        second = load(tmp_path, file=again, environ={})
        assert second.project == first.project
        assert second.document == document


def test_files_that_would_be_read_are_known_too(tmp_path: Path) -> None:
    own = (tmp_path / "watch.toml", tmp_path / "watch.local.toml")
    assert loaded(tmp_path, 'service.web.run = "x"').files == own
    text = 'service.web = { run = "x", dir = "${WHERE:-.}" }'
    assert loaded(tmp_path, text).files == (*own, tmp_path / ".env")
    assert loaded(tmp_path, text, environ={"WHERE": "."}).files == own


@pytest.mark.parametrize(
    ("run", "word"),
    [
        ('"exec out/app --port 1"', "out/app"),
        ('"./out/app"', "./out/app"),
        ('["python", "out/app.py"]', "out/app.py"),
        ("\"cd web; FLAGS='x' node --root=dist/a.js\"", "dist/a.js"),
        ('"exec $PROCWATCH_RELEASE/out/app"', None),
        ('["${PROCWATCH_RELEASE}/out/app"]', None),
        ('"output/app out-of-order ../out/app"', None),
        ('"--out/app"', None),
    ],
)
def test_a_service_that_runs_an_output_by_its_own_path_is_warned_of(tmp_path: Path, run: str, word: str | None) -> None:
    text = f"[build.my-app]\nrun = 'x'\noutputs = ['out', 'dist/*.js']\n[service.a]\nrun = {run}\nneeds = ['my-app']\n"
    warnings = loaded(tmp_path, text).warnings
    assert len(warnings) == (word is not None)
    if word is not None:
        seen = word.removeprefix("./")
        assert warnings[0].message == (
            f'service "a": runs "{word}", which the next run of build.my-app writes to; '
            f"write $PROCWATCH_RELEASE_MY_APP/{seen}"
        )
        assert warnings[0].location is not None
        assert warnings[0].location.line == 5


def test_the_working_folder_and_a_missing_need_count_for_such_a_path(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    text = "[build.app]\nrun = 'x'\noutputs = ['out']\n[service.a]\nrun = './app'\ndir = 'out'\n"
    (warning,) = loaded(tmp_path, text).warnings
    assert warning.message.endswith('write $PROCWATCH_RELEASE_APP/out/app and need "build.app"')
