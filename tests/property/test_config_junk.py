"""Whatever the files hold: a project or an error in words, never anything else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import jsonschema
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from procwatch.config.env_file import read_env_file
from procwatch.config.load import load
from procwatch.config.schema import (
    BuildTable,
    LogTable,
    ProjectTable,
    ReadyTable,
    ServiceTable,
    StopTable,
    WatchTable,
    schema_json,
)
from procwatch.errors import ProcwatchError

FEW = settings(max_examples=settings().max_examples // 2)
KEYS = sorted(
    {key for table in (ProjectTable, WatchTable, BuildTable, ServiceTable, ReadyTable, StopTable, LogTable)
     for key in table.model_fields}
)  # fmt: skip
SCHEMA = jsonschema.Draft202012Validator(schema_json())
WORDS = st.sampled_from(
    ["a", "b", "build.a", "service.a", "service.b", "g", "5s", "SIGINT", "auto", "${X}", "${", "$$", "x\0y", "", "/x",
     "never", "Procfile", ".env", "overlap", "(", "127.0.0.1:80", "/health", "\x1b[31m", "\u2028"]
)  # fmt: skip
SCALARS = st.one_of(WORDS, st.text(max_size=5), st.integers(), st.floats(), st.booleans(), st.dates(), st.times())
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | WORDS, below, max_size=3),
    max_leaves=6,
)
TABLES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)
UNITS = st.dictionaries(st.sampled_from(["a", "b", "c.d", "g", "", "x y"]), TABLES | VALUES, max_size=3)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "project": TABLES | VALUES,
        "groups": st.dictionaries(st.sampled_from(["g", "h", "a"]), st.lists(WORDS, max_size=3) | VALUES, max_size=2),
        "defaults": st.dictionaries(st.sampled_from(["build", "service", "x"]), TABLES | VALUES, max_size=2),
        "watch": TABLES | VALUES,
        "build": UNITS | VALUES,
        "service": UNITS | VALUES,
        "alerts": VALUES,
    },
)


def told(files: dict[str, bytes]) -> str | None:
    """The error of loading these files, None if there is none."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        try:
            load(folder, environ={"X": "1"}, file=Path("watch.toml"))
        except ProcwatchError as error:
            return str(error)
    return None


def assert_in_our_words(error: str | None) -> None:
    if error is not None:
        assert error
        assert "pydantic" not in error
        assert "Traceback" not in error
        assert "of another type" not in error, "a kind of error without words of its own"


@FEW
@given(st.binary(max_size=200))
def test_any_bytes_are_a_project_or_an_error(content: bytes) -> None:
    assert_in_our_words(told({"watch.toml": content}))


@FEW
@given(st.text(max_size=200))
def test_any_text_is_a_project_or_an_error(content: str) -> None:
    assert_in_our_words(told({"watch.toml": content.encode("utf-8", "surrogatepass")}))


@given(DOCUMENTS)
def test_any_document_is_a_project_or_an_error(document: dict[str, object]) -> None:
    assert_in_our_words(told({"watch.toml": tomli_w.dumps(document).encode()}))


@given(DOCUMENTS)
def test_what_can_be_loaded_fits_the_json_schema(document: dict[str, object]) -> None:
    if told({"watch.toml": tomli_w.dumps(document).encode()}) is None:
        assert [error.message for error in SCHEMA.iter_errors(document)] == []


@FEW
@given(DOCUMENTS, DOCUMENTS)
def test_any_two_documents_are_a_project_or_an_error(main: dict[str, object], local: dict[str, object]) -> None:
    both = {"watch.toml": tomli_w.dumps(main).encode(), "watch.local.toml": tomli_w.dumps(local).encode()}
    assert_in_our_words(told(both))


@FEW
@given(DOCUMENTS, DOCUMENTS)
def test_any_included_documents_are_a_project_or_an_error(one: dict[str, object], two: dict[str, object]) -> None:
    main = b'[project]\ninclude = ["*/watch.toml"]\n[service.main]\nrun = "x"\n[groups]\nh = ["b.a"]\n'
    parts = {f"{name}/watch.toml": tomli_w.dumps(text).encode() for name, text in (("b", one), ("g", two))}
    assert_in_our_words(told({"watch.toml": main, **parts}))


@FEW
@given(st.lists(WORDS | st.text("*?[]{}!/.a\\#\0", max_size=8), max_size=3))
def test_any_include_is_a_project_or_an_error(patterns: list[str]) -> None:
    main = tomli_w.dumps({"project": {"include": patterns}, "service": {"a": {"run": "x"}}}).encode()
    assert_in_our_words(told({"watch.toml": main, "a/watch.toml": b'service.a.run = "x"', "a/a/a": b""}))


@FEW
@given(st.binary(max_size=100) | st.text("web:=x#\n\r \"'\\$\0", max_size=60).map(str.encode))
def test_any_procfile_and_env_file_are_a_project_or_an_error(content: bytes) -> None:
    toml = b'[project]\nprocfile = "Procfile"\nenv_file = ["x.env"]\n[service.a]\nrun = "x"\n'
    assert_in_our_words(told({"watch.toml": toml, "Procfile": content, "x.env": b""}))
    assert_in_our_words(told({"watch.toml": toml, "Procfile": b"web: x\n", "x.env": content}))


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True), st.text("a\"'\\ $#=\n", max_size=8)))
def test_quoted_values_of_an_env_file_come_out_as_they_were_put_in(values: dict[str, str]) -> None:
    lines = [
        f"export {name}='" + value.replace("\\", "\\\\").replace("'", "\\'") + "' # x" for name, value in values.items()
    ]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, ".env")
        path.write_text("\n".join(lines), newline="")
        assert read_env_file(path) == values
