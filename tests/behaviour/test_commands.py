"""The commands as a user calls them: what they print, and their exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from tests.rig.live import clean_environment, write

TOML = """
[build.lib]
run = "true"
watch = ["src/**"]
[service.api]
run = "exec sleep 1000"
needs = ["lib"]
"""


def procwatch(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "procwatch", *args], cwd=folder, env=clean_environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_check_counts_what_it_found_and_warns_on_standard_error(project: Path) -> None:
    write(project / "watch.toml", TOML)
    done = procwatch(project, "check")
    assert done.returncode == 0
    assert done.stdout == "project: 1 build, 1 service, 1 warning\n"
    assert done.stderr == 'warning: build.lib: watch pattern "src/**" matches nothing\n'


def test_check_tells_all_errors_with_their_place_and_ends_with_2(project: Path) -> None:
    write(project / "watch.toml", TOML + 'wacth = ["x"]\nlimits = {}\n')
    done = procwatch(project, "check")
    assert done.returncode == 2
    assert done.stdout == ""
    assert 'watch.toml:8:1: service "api": unknown key "wacth"; did you mean "watch"?\n' in done.stderr
    assert 'watch.toml:9:1: service "api": "limits" is not supported yet\n' in done.stderr
    assert done.stderr.endswith("2 errors; nothing was started\n")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 10_000_000, b"a" * 300_000, b"x = " + b"[" * 100_000, b"\0"])
def test_junk_is_an_error_and_never_a_traceback(project: Path, content: bytes) -> None:
    write(project / "watch.toml", content)
    done = procwatch(project, "start")
    assert done.returncode == 2
    assert "watch.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_can_be_named_before_and_after_the_command(project: Path) -> None:
    write(project / "other/dev.toml", TOML)
    assert procwatch(project, "-f", "other/dev.toml", "graph").stdout == "service.api\n└─ build.lib\n"
    assert procwatch(project, "graph", "-f", "other/dev.toml").stdout == "service.api\n└─ build.lib\n"


def test_watch_toml_is_found_in_a_folder_above(project: Path) -> None:
    write(project / "watch.toml", TOML)
    below = project / "a/b"
    below.mkdir(parents=True)
    assert procwatch(below, "graph").stdout == "service.api\n└─ build.lib\n"


def test_the_graph_is_there_for_other_programs_too(project: Path) -> None:
    write(project / "watch.toml", TOML)
    assert '"service.api" -> "build.lib";' in procwatch(project, "graph", "--dot").stdout
    assert procwatch(project, "graph", "--mermaid").stdout.startswith("flowchart LR\n")
    names = [unit["name"] for unit in json.loads(procwatch(project, "graph", "--json").stdout)["units"]]
    assert names == ["build.lib", "service.api"]
    assert procwatch(project, "graph", "--dot", "--json").returncode == 2


def test_config_prints_a_file_that_means_the_same(project: Path) -> None:
    write(project / "watch.toml", TOML + 'env = { HOME_IS = "${HOME}" }\n')
    write(project / "watch.local.toml", "[service.api]\nport = 4711\n")
    printed = procwatch(project, "config").stdout
    understood = tomllib.loads(printed)
    assert understood["service"]["api"]["port"] == 4711
    assert understood["service"]["api"]["env"] == {"HOME_IS": "${HOME}"}
    expanded = json.loads(procwatch(project, "config", "--expand", "--json").stdout)
    assert expanded["service"]["api"]["env"] == {"HOME_IS": os.environ["HOME"]}
    (project / "watch.local.toml").unlink()
    write(project / "watch.toml", printed)
    assert tomllib.loads(procwatch(project, "config").stdout) == understood


def test_init_writes_a_file_that_can_be_started_and_never_over_another(project: Path) -> None:
    write(project / "Procfile", "web: python -m http.server $PORT\n")
    assert procwatch(project, "init").returncode == 0
    assert procwatch(project, "check").returncode == 0
    before = (project / "watch.toml").read_text()
    refused = procwatch(project, "init")
    assert refused.returncode == 4
    assert "--force" in refused.stderr
    assert (project / "watch.toml").read_text() == before
    assert procwatch(project, "init", "--force").returncode == 0


def test_init_in_an_empty_folder_says_what_it_looks_for(project: Path) -> None:
    done = procwatch(project, "init")
    assert done.returncode == 2
    assert "Cargo.toml" in done.stderr


def test_init_takes_the_file_s_name_after_the_command_and_says_how_to_start_it(project: Path) -> None:
    write(project / "Procfile", "web: x\n")
    done = procwatch(project, "init", "-f", "other.toml")
    assert done.stdout == "other.toml written; look it over, then: procwatch -f other.toml start\n"
    assert procwatch(project, "check", "-f", "other.toml").returncode == 0
    assert procwatch(project, "schema", "-f", "other.toml").returncode == 0


def test_the_schema_accepts_what_is_right_and_refuses_what_is_not(project: Path) -> None:
    schema = json.loads(procwatch(project, "schema").stdout)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(tomllib.loads(TOML))
    assert not validator.is_valid(tomllib.loads(TOML + "nonsense = 1\n"))


def test_an_unknown_name_ends_with_2_and_a_suggestion(project: Path) -> None:
    write(project / "watch.toml", TOML)
    done = procwatch(project, "start", "apo")
    assert done.returncode == 2
    assert 'did you mean "api"' in done.stderr


def test_without_any_file_it_is_told_what_to_do(tmp_path: Path) -> None:
    done = procwatch(tmp_path, "start")
    assert done.returncode == 2
    assert "procwatch init" in done.stderr


@pytest.mark.parametrize("args", [["--help"], ["start", "--help"], ["init", "-h"], ["--version"]])
def test_help_is_there(tmp_path: Path, args: list[str]) -> None:
    done = procwatch(tmp_path, *args)
    assert done.returncode == 0
    assert "procwatch" in done.stdout


@pytest.mark.parametrize(
    "command", ["start", "logs", "check", "graph", "config", "init", "schema", "completion", "mcp"]
)
def test_every_command_has_a_whole_summary_and_an_example(tmp_path: Path, command: str) -> None:
    summary = next(
        line for line in procwatch(tmp_path, "--help").stdout.splitlines() if line.startswith(f"  {command} ")
    )
    assert summary.endswith(".")
    assert not summary.endswith("...")
    assert f"procwatch {command}" in procwatch(tmp_path, command, "--help").stdout.partition("Examples:")[2]


@pytest.mark.parametrize("args", [["strat"], ["start", "--frobnicate"], ["start", "-v", "-q"]])
def test_wrong_usage_ends_with_2(project: Path, args: list[str]) -> None:
    write(project / "watch.toml", TOML)
    done = procwatch(project, *args)
    assert done.returncode == 2
    assert "Error" in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(project: Path) -> None:
    command = f"{sys.executable} -m procwatch schema | head -c 1"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=project, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "{"
    assert done.stderr == ""


def shell(folder: Path, command: str, code: str = "import sys; from procwatch.entry import main; main()") -> str:
    """What a shell command says and its exit status; "$@" is procwatch."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command}; echo status $?", "sh", sys.executable, "-c", code],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False, env=clean_environment(),
    )  # fmt: skip
    return done.stderr + done.stdout


@pytest.mark.parametrize("args", ["check", "init", "-f /nowhere/watch.toml check"])
def test_a_working_folder_that_was_deleted_is_told(project: Path, args: str) -> None:
    gone = project / "gone"
    gone.mkdir()
    said = shell(gone, f'rmdir ../gone; "$@" {args}')
    assert said == "procwatch: the working folder does not exist any more; change to another one\nstatus 2\n"


def test_a_closed_output_is_no_failure(project: Path) -> None:
    write(project / "watch.toml", '[service.a]\nrun = "x"\n')
    assert shell(project, '"$@" check >&-') == "status 0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is needed")
@pytest.mark.parametrize("args", ["config", "schema", "--help", "check"])
def test_a_full_disk_is_told(project: Path, args: str) -> None:
    write(project / "watch.toml", '[service.a]\nrun = "x"\n')
    said = shell(project, f'"$@" {args} >/dev/full')
    assert said == "procwatch: cannot write: no space left on device\nstatus 1\n"


def test_a_reader_of_errors_that_goes_away_is_told_apart_from_a_failed_build(project: Path) -> None:
    write(project / "watch.toml", TOML + "nonsense = 1\n")
    said = shell(project, '{ "$@" check 2>&1; echo $? >status; } | true; cat status')
    assert said.splitlines()[0] in {"2", "141"}  # whether it still found a reader
