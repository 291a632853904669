"""The environment of a command: each source against each."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from procwatch.config.environment import COLOUR_VARIABLES, compose, expand_command
from procwatch.core.model import Project, Service
from procwatch.errors import ConfigError, ProcwatchError

# Highest first, as the contract has it.
SOURCES = ("assigned", "table env", "table env_file", "own environment", "project env", "project env_file", "colours")


def composed(
    folder: Path, sources: tuple[str, ...], name: str = "FORCE_COLOR", *, terminal: bool = True
) -> dict[str, str]:
    """The environment where each of the sources sets one variable to its own name."""

    def of(source: str) -> dict[str, str]:
        return {name: source} if source in sources else {}

    for file in ("table", "project"):
        values = of(f"{file} env_file")
        (folder / f"{file}.env").write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    unit = Service("service.a", "x", env=of("table env"), env_files=("table.env",))
    project = Project("p", str(folder), {}, {"service.a": unit}, env=of("project env"), env_files=("project.env",))
    return compose(project, unit, of("own environment"), of("assigned"), terminal=terminal)


@pytest.mark.parametrize(("higher", "lower"), list(combinations(SOURCES, 2)))
def test_the_higher_source_wins(tmp_path: Path, higher: str, lower: str) -> None:
    assert composed(tmp_path, (higher, lower))["FORCE_COLOR"] == higher


@pytest.mark.parametrize("source", SOURCES[:-1])
def test_each_source_counts(tmp_path: Path, source: str) -> None:
    assert composed(tmp_path, (source,), "V", terminal=False) == {"V": source}


def test_colours_are_kept_on_a_terminal_only(tmp_path: Path) -> None:
    assert composed(tmp_path, ()) == COLOUR_VARIABLES
    assert composed(tmp_path, (), terminal=False) == {}


def test_no_color_keeps_the_colours_out(tmp_path: Path) -> None:
    assert composed(tmp_path, ("project env",), "NO_COLOR") == {"NO_COLOR": "project env"}


def test_an_edited_env_file_counts_at_the_next_run(tmp_path: Path) -> None:
    unit = Service("service.a", "x", env_files=("a.env",))
    project = Project("p", str(tmp_path), {}, {"service.a": unit})
    for value in ("1", "2"):
        (tmp_path / "a.env").write_text(f"A={value}\n")
        assert compose(project, unit, {}, {}, terminal=False) == {"A": value}


def test_the_later_env_file_wins(tmp_path: Path) -> None:
    (tmp_path / "1.env").write_text("A=1\nB=1\n")
    (tmp_path / "2.env").write_text("B=2\n")
    unit = Service("service.a", "x", env_files=("1.env", "2.env"))
    project = Project("p", str(tmp_path), {}, {}, env_files=("2.env", "1.env"))
    assert compose(project, unit, {}, {}, terminal=False) == {"A": "1", "B": "2"}
    assert compose(project, Service("service.b", "x"), {}, {}, terminal=False) == {"A": "1", "B": "1"}


def test_the_default_env_file_may_be_missing_but_no_other(tmp_path: Path) -> None:
    unit = Service("service.a", "x")
    assert compose(Project("p", str(tmp_path), {}, {}, env_files=(".env",)), unit, {}, {}, terminal=False) == {}
    with pytest.raises(ConfigError, match=r"^gone\.env: no such file$"):
        compose(Project("p", str(tmp_path), {}, {}, env_files=("gone.env",)), unit, {}, {}, terminal=False)


def test_variables_in_a_list_are_replaced_from_the_command_s_environment() -> None:
    assert expand_command(("a", "${P}", "x-${Q:-d}", "$$P $P"), {"P": "80"}) == ("a", "80", "x-d", "$P $P")


def test_a_string_is_the_shell_s_business() -> None:
    assert expand_command("echo ${P} $$", {"P": "80"}) == "echo ${P} $$"


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(ProcwatchError, match=r'^serve \$\{P\}: "\$\{P\}" is not set'):
        expand_command(("serve", "${P}"), {})
