"""Completion as a person meets it: real shells, on a terminal, with the tab key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import clean_environment, write
from tests.rig.needs import need_commands
from tests.rig.terminal import Terminal

TOML = """
[groups]
backend = ["api", "lib"]
[build.lib]
run = "true"
watch = ["src"]
[build.assets]
run = "true"
watch = ["src"]
[service.api]
run = "exec sleep 1000"
needs = ["lib"]
[service.database]
run = "exec sleep 1000"
"""
# How each shell is started with nothing of its user's, and how it takes the script in.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(procwatch completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u -d zcomp; eval "$(procwatch completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "procwatch completion fish | source"),
}


def offered(folder: Path, *words: str, file: str | None = None) -> list[str]:
    """What bash is told to offer for the last word."""
    line = ["procwatch", *(["-f", file] if file else []), *words]
    environment = {"COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    done = subprocess.run(
        [Path(sys.executable).with_name("procwatch")], cwd=folder, capture_output=True, text=True, check=False,
        env={**clean_environment(), **environment, "_PROCWATCH_COMPLETE": "bash_complete"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return [line.partition(",")[2] for line in done.stdout.split()]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("start", ""), ["api", "database", "backend"]),
        (("start", "build."), ["build.lib", "build.assets"]),
        (("start", "api", ""), ["database", "backend"]),
        (("start", "--except", "d"), ["database"]),
        (("build", ""), ["lib", "assets"]),
        (("restart", "b"), ["backend"]),
        (("wait", ""), ["lib", "assets", "api", "database", "backend"]),
        (("why", "service.d"), ["service.database"]),
        (("logs", "l"), ["lib"]),
        (("attach", "a"), ["api"]),
        (("st",), ["start", "status", "stop"]),
        (("start", "--exc"), ["--except"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
)
def test_names_of_watch_toml_are_offered(project: Path, words: tuple[str, ...], names: list[str]) -> None:
    write(project / "watch.toml", TOML)
    assert sorted(offered(project, *words)) == sorted(names)


def test_the_project_of_the_file_that_is_named_counts(project: Path) -> None:
    write(project / "other/dev.toml", TOML)
    assert offered(project, "restart", "d", file="other/dev.toml") == ["database"]


@pytest.mark.parametrize("content", [None, "[service.api\n", "[service.api]\nrum = 1\n"])
def test_nothing_is_offered_and_nothing_told_where_there_is_no_project(project: Path, content: str | None) -> None:
    if content is not None:
        write(project / "watch.toml", content)
    assert offered(project, "restart", "") == []


def test_names_are_recalled_from_the_last_start(project: Path, start: Start) -> None:
    write(project / "watch.toml", TOML)
    write(project / "src", "1")
    live = start()
    memory = project / ".procwatch/project.json"
    live.until(memory.exists, "the memory")
    assert offered(project, "restart", "d") == ["database"]
    write(project / "watch.toml", TOML.replace("database", "dragons"))
    assert offered(project, "restart", "d") == ["dragons"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_completes_names(project: Path, shell: str) -> None:
    need_commands(shell)
    write(project / "watch.toml", TOML)
    command, setup = SHELLS[shell]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    home = {"HOME": str(project), "PATH": path, "PS1": "$ ", "TERM": "dumb" if shell == "fish" else "xterm"}
    terminal = Terminal(command, project, home)
    try:
        terminal.type(f"{setup}\r")
        terminal.type("echo is se''t up\r")
        terminal.shows("is set up")
        terminal.type("echo procwatch; procwatch restart data\t")
        terminal.shows("procwatch restart database")
        terminal.type("\x15exit\r")
        terminal.ended()
    finally:
        terminal.close()
