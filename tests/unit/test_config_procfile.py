"""Procfile, -c and .env files."""

from __future__ import annotations

from pathlib import Path

import pytest

from procwatch.config.env_file import read_env_file
from procwatch.config.load import Loaded, load
from procwatch.core.model import HttpProbe, Need, TcpProbe
from procwatch.errors import ConfigError, UsageError

THREE = "web: serve $PORT\nrelease: migrate\nworker: work\n"


def loaded(folder: Path, procfile: str = THREE, toml: str | None = None, **how: str) -> Loaded:
    (folder / "Procfile").write_text(procfile)
    if toml is not None:
        (folder / "watch.toml").write_text(toml)
    concurrency = how.pop("concurrency", None)
    return load(folder, environ=how, concurrency=concurrency)


def ports(found: Loaded) -> dict[str, int | None]:
    return {service.short: service.given_port for service in found.project.services.values()}


def told(folder: Path, procfile: str) -> list[str]:
    (folder / "Procfile").write_text(procfile)
    return told_of(folder)


def told_of(folder: Path, concurrency: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, environ={}, concurrency=concurrency)
    return [str(problem).splitlines()[0] for problem in caught.value.problems]


def test_each_line_is_a_service_with_a_shell_command(tmp_path: Path) -> None:
    found = loaded(tmp_path, "# first\n\nweb:   serve  $PORT \r\nmy-worker_2: a: b # c\n").project
    assert {name: unit.run for name, unit in found.units.items()} == {
        "service.web": "serve  $PORT",
        "service.my-worker_2": "a: b # c",
    }


def test_release_is_a_build_that_every_process_waits_for(tmp_path: Path) -> None:
    project = loaded(tmp_path).project
    assert project.builds["build.release"].run == "migrate"
    assert project.builds["build.release"].at_start == "always"
    assert not project.builds["build.release"].watch
    assert all(unit.needs == (Need("build.release", restart=False),) for unit in project.services.values())


def test_lines_that_mean_nothing_are_told(tmp_path: Path) -> None:
    assert told(tmp_path, "web: a\nwhat is this\n  # fine\nweb: b\n_x: c\nempty:\na b: c\n\x0b\n") == [
        'Procfile:2:1: not a line of a Procfile; expected "name: command"',
        'Procfile:4:1: "web" is there already, in line 1',
        "Procfile:5:1: a name begins with a letter or digit and has at most 60 characters",
        'Procfile:6:1: not a line of a Procfile; expected "name: command"',
        'Procfile:7:1: not a line of a Procfile; expected "name: command"',
        'Procfile:8:1: not a line of a Procfile; expected "name: command"',
    ]


def test_a_line_that_honcho_would_read_as_two_is_told(tmp_path: Path) -> None:
    assert told(tmp_path, "web: a\u2028worker: b\n") == [
        'Procfile:1:1: not a line of a Procfile; expected "name: command"'
    ]


def test_a_procfile_without_processes_is_an_error(tmp_path: Path) -> None:
    assert told(tmp_path, "# nothing\n")[0].startswith("Procfile:1:1: no process here")


def test_ports_are_foreman_s(tmp_path: Path) -> None:
    assert ports(loaded(tmp_path)) == {"web": 5000, "worker": 5200}


def test_instances_are_numbered_and_their_ports_are_one_apart(tmp_path: Path) -> None:
    found = loaded(tmp_path, concurrency="web=2,worker=3")
    assert ports(found) == {"web.1": 5000, "web.2": 5001, "worker.1": 5200, "worker.2": 5201, "worker.3": 5202}
    assert found.project.groups["web"] == ("service.web.1", "service.web.2")


def test_ports_do_not_depend_on_what_is_started(tmp_path: Path) -> None:
    assert ports(loaded(tmp_path, concurrency="web=0")) == {"worker": 5200}
    assert ports(loaded(tmp_path, concurrency="worker=1")) == {"web": 5000, "worker.1": 5200}


def test_ports_count_from_port_of_the_env_file_or_the_environment(tmp_path: Path) -> None:
    assert ports(loaded(tmp_path, PORT="7000")) == {"web": 7000, "worker": 7200}
    (tmp_path / ".env").write_text("PORT=6000\n")
    assert ports(loaded(tmp_path, PORT="7000")) == {"web": 6000, "worker": 6200}


@pytest.mark.parametrize(
    ("port", "said"),
    [("x", 'PORT is "x"'), ("0", 'PORT is "0"'), ("65500", 'would get the port 65600; PORT is 65500')],
)  # fmt: skip
def test_a_port_that_cannot_be_is_an_error(tmp_path: Path, port: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        loaded(tmp_path, PORT=port)


def test_the_given_port_answers_probes_but_is_not_waited_for(tmp_path: Path) -> None:
    toml = "[project]\nprocfile = 'Procfile'\n[service.web]\nready = { http = '/up' }\n"
    services = loaded(tmp_path, toml=toml).project.services
    assert services["service.web"].ready == HttpProbe(5000, "/up")
    assert services["service.web"].port is None
    assert services["service.worker"].given_port == 5200


def test_watch_toml_adds_to_a_process_and_its_keys_win(tmp_path: Path) -> None:
    toml = (
        "[project]\nprocfile = 'Procfile'\n[defaults.service]\nrun = 'no'\n"
        "[service.web]\nwatch = ['app']\nneeds = ['assets']\n"
        "[service.worker]\nrun = 'other'\n[build.release]\nwatch = ['db']\n[build.assets]\nrun = 'x'\n"
    )
    project = loaded(tmp_path, toml=toml).project
    assert project.services["service.web"].run == "serve $PORT"
    assert project.services["service.web"].watch == ("app",)
    assert project.services["service.web"].needs == (
        Need("build.assets", restart=True),
        Need("build.release", restart=False),
    )
    assert project.services["service.worker"].run == "other"
    assert project.builds["build.release"].run == "migrate"
    assert project.builds["build.release"].watch == ("db",)


def test_a_need_of_the_release_that_is_written_is_kept(tmp_path: Path) -> None:
    toml = "[project]\nprocfile = 'Procfile'\n[service.web]\nneeds = ['release']\n"
    needs = loaded(tmp_path, toml=toml).project.services["service.web"].needs
    assert needs == (Need("build.release", restart=True),)


def test_a_need_of_a_process_is_a_need_of_all_its_instances(tmp_path: Path) -> None:
    toml = "[project]\nprocfile = 'Procfile'\n[service.proxy]\nrun = 'x'\nneeds = ['web', 'service.worker']\n"
    project = loaded(tmp_path, toml=toml, concurrency="web=2,worker=0").project
    assert [need.name for need in project.services["service.proxy"].needs] == ["service.web.1", "service.web.2"]


def test_several_instances_cannot_open_one_port(tmp_path: Path) -> None:
    toml = "[project]\nprocfile = 'Procfile'\n[service.web]\nport = 80\n"
    with pytest.raises(ConfigError, match='all 2 replicas would open this port; leave it out, and use "listen"'):
        loaded(tmp_path, toml=toml, concurrency="web=2")


def test_several_instances_of_a_procfile_share_the_public_address(tmp_path: Path) -> None:
    toml = "[project]\nprocfile = 'Procfile'\n[service.web]\nproxy = 'localhost:80'\n"
    services = loaded(tmp_path, toml=toml, concurrency="web=2").project.services
    one, two = services["service.web.1"], services["service.web.2"]
    assert one.proxy == two.proxy
    assert one.given_port is None
    assert one.ready == TcpProbe(0)
    assert one.switch == "overlap"
    assert [(each.of, each.replica) for each in (one, two)] == [("service.web", 1), ("service.web", 2)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("wep=2", '-c wep=2: there is no service "wep"; did you mean "web"?'),
        ("zzz=2", '-c zzz=2: there is no service "zzz"; services are: web, worker'),
        ("release=2", '-c release=2: there is no service "release"; services are: web, worker'),
        ("web", '-c web: "web" is not NAME=NUMBER with a number from 0 to 100'),
        ("web=-1", '-c web=-1: "web=-1" is not NAME=NUMBER'),
        ("web=101", '-c web=101: "web=101" is not NAME=NUMBER'),
        ("web=1,web=2", '-c web=1,web=2: "web" is there twice'),
        ("", '-c : "" is not NAME=NUMBER'),
    ],
)
def test_a_wrong_concurrency_is_told(tmp_path: Path, asked: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, concurrency=asked)
    assert str(caught.value).startswith(said)


def test_an_instance_and_a_service_of_the_same_name_are_told(tmp_path: Path) -> None:
    toml = "[project]\nprocfile = 'Procfile'\n[service.'web.1']\nrun = 'x'\n"
    with pytest.raises(
        ConfigError, match=r'3:10: service "web\.1": a replica of another service is called "web\.1" too'
    ):
        loaded(tmp_path, toml=toml, concurrency="web=2")


def test_a_default_of_which_concurrency_leaves_nothing_is_told(tmp_path: Path) -> None:
    toml = "[project]\nprocfile = 'Procfile'\ndefault = ['web']\n"
    with pytest.raises(ConfigError, match=r"3:11: project: default lists only empty groups, or what -c leaves out"):
        loaded(tmp_path, toml=toml, concurrency="web=0")


def test_replicas_are_services_of_their_own_and_a_group(tmp_path: Path) -> None:
    toml = (
        "[service.web]\nrun = 'x'\nreplicas = 3\nlisten = ['localhost:80']\n"
        "[service.db]\nrun = 'x'\n[service.edge]\nrun = 'x'\nneeds = ['web']\n"
    )
    (tmp_path / "watch.toml").write_text(toml)
    project = load(tmp_path, environ={}).project
    web = ("service.web.1", "service.web.2", "service.web.3")
    assert [*project.services] == [*web, "service.db", "service.edge"]
    assert project.groups["web"] == web
    assert [need.name for need in project.services["service.edge"].needs] == [*web]
    assert [project.services[name].replica for name in web] == [1, 2, 3]
    assert {project.services[name].of for name in web} == {"service.web"}
    assert project.services["service.db"].of == ""
    # What is asked for beats what is written.
    fewer = load(tmp_path, environ={}, concurrency="web=1,db=2").project
    assert [*fewer.services] == ["service.web.1", "service.db.1", "service.db.2", "service.edge"]


def test_a_name_is_short_enough_for_a_number(tmp_path: Path) -> None:
    name = "w" * 61
    (tmp_path / "watch.toml").write_text(f"[service.{name}]\nrun = 'x'\nreplicas = 2\n")
    with pytest.raises(ConfigError, match="a name that gets a number has at most 60 characters"):
        load(tmp_path, environ={})


def test_lines_of_a_procfile_are_told_together_with_those_of_watch_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "web: x\nbad\n", "[project]\nprocfile = 'Procfile'\n[service.web]\nneeds = ['zz']\n")
    assert [problem.location.file for problem in caught.value.problems if problem.location] == [
        "Procfile",
        "watch.toml",
    ]


# --- .env ------------------------------------------------------------------------------------------------------------


def env(folder: Path, text: str) -> dict[str, str]:
    (folder / "x.env").write_text(text, newline="")
    return read_env_file(folder / "x.env", "x.env")


FAULTS = """[project]
procfile = "Procfil"
[service.web]
needs = ["service.web"]
[build.b]
run = "x"
needs = ["build.b", "build.release"]
[build.c]
[service.a]
run = "x"
needs = ["nope", "build.nope", "no such"]
"""
TOLD_OF_FAULTS = [
    'watch.toml:4:9: service "web": needs itself: service.web -> service.web',
    'watch.toml:7:9: build "b": needs itself: build.b -> build.b',
    'watch.toml:8:1: build "c": has no "run"; say what to run, such as run = ["program", "argument"]',
    'watch.toml:11:18: service "a": needs "build.nope", but there is no such build; builds are: b, c',
    (
        'watch.toml:11:32: service "a": needs "no such", but there is no such build, service or group; '
        "names are: b, c, web, a"
    ),
]


def test_a_procfile_that_is_missing_hides_only_what_it_may_hold(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_text(FAULTS)
    told = told_of(tmp_path, concurrency="web=2")
    assert told == ["watch.toml:2:12: project: procfile: Procfil: no such file", *TOLD_OF_FAULTS]


@pytest.mark.parametrize("name", ["${NOPE}", "", "\\u0000"])
def test_a_procfile_without_a_name_hides_only_what_it_may_hold(tmp_path: Path, name: str) -> None:
    (tmp_path / "watch.toml").write_text(FAULTS.replace("Procfil", name))
    assert told_of(tmp_path)[1:] == TOLD_OF_FAULTS


def test_a_wrong_default_that_the_release_adds_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "watch.toml").write_text(
        "[project]\nprocfile = 'Procfile'\n[defaults.service]\nneeds = { x = '${NOPE}' }\n"
        "[build.release]\nmanual = true\n"
    )
    assert [line.split(":")[1] for line in told(tmp_path, THREE)] == ["4", "4", "4", "4"]


def test_a_procfile_that_was_asked_for_by_name_is_told_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Procfile\.dev: no such file$"):
        load(tmp_path, file=Path("Procfile.dev"), environ={})


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("A=1", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A = 1", {"A": "1"}),
        ("A=a#b", {"A": "a#b"}),
        ("A=a # b", {"A": "a"}),
        ("A='a # b'", {"A": "a # b"}),
        ('A="a\\nb"', {"A": "a\nb"}),
        ('A="a\nb"\nB=2', {"A": "a\nb", "B": "2"}),
        ("A='x${HOME}'", {"A": "x${HOME}"}),
        ("A=pa$$word${X}", {"A": "pa$$word${X}"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1", {"A": "1"}),
        ("# only this\n\n", {}),
        ("", {}),
    ],
)
def test_an_env_file_is_read_as_people_expect(tmp_path: Path, line: str, values: dict[str, str]) -> None:
    assert env(tmp_path, line) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\n\n\nB\n", "x.env:4:1: expected NAME=value"),
        ("A=1\nexport B\n", "x.env:2:1: expected NAME=value"),
        ("=1\n", "x.env:1:1: expected NAME=value"),
        ('A=1\nB="open\nC=2\n', "x.env:2:1: this value has an opening quote but no closing one"),
        ("A='x' y\n", "x.env:1:1: expected NAME=value"),
        ("A=\0\n", "x.env:1:1: found the character U+0000"),
    ],
)
def test_a_line_of_an_env_file_that_means_nothing_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        env(tmp_path, text)
    assert str(caught.value).splitlines()[0] == said


def test_an_env_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.env").write_bytes(b"A=1\nB=\xe9\n")
    with pytest.raises(ConfigError, match=r"^x\.env:2:3: not UTF-8: found the byte 0xe9"):
        read_env_file(tmp_path / "x.env", "x.env")
