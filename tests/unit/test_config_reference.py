"""The JSON Schema, the reference and the example say what is true."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from procwatch.config import schema
from procwatch.config.fields import is_later
from procwatch.config.load import load
from procwatch.config.reference import markdown
from procwatch.config.schema import Table, WatchToml, schema_json, sub_table

ROOT = Path(__file__).parents[2]


def tables(table: type[Table] = WatchToml, seen: frozenset[type[Table]] = frozenset()) -> Iterator[type[Table]]:
    """All tables that can stand in a watch.toml."""
    yield table
    for field in table.model_fields.values():
        below = sub_table(field.annotation)
        if below is not None and below not in seen:
            yield from tables(below, seen | {table})


def errors(document: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema_json())
    return [error.message for error in validator.iter_errors(document)]


def test_every_table_of_the_schema_is_found() -> None:
    declared = {kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, Table)}
    assert set(tables()) == declared - {Table, schema.UnitTable, schema.AskedTable}


@pytest.mark.parametrize("table", sorted(set(tables()), key=str))
def test_every_key_has_a_description(table: type[Table]) -> None:
    assert all(field.description for field in table.model_fields.values())


def test_the_reference_in_docs_is_up_to_date() -> None:
    page = (ROOT / "docs" / "watch-toml.md").read_text(encoding="utf-8")
    assert page == markdown(), "run: python -m procwatch.config.reference > docs/watch-toml.md"


def test_the_reference_has_every_key() -> None:
    page = markdown()
    keys = {key for table in tables() if table is not WatchToml for key in table.model_fields}
    assert not {key for key in keys - {"service", "build"} if f"`{key}`" not in page}


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example in a folder that has what it names."""
    text = (ROOT / "watch.toml.example").read_text(encoding="utf-8")
    (tmp_path / "watch.toml").write_text(text, encoding="utf-8")
    (tmp_path / "Procfile").write_text("worker: work\n")
    for name in (".env", "api.env"):
        (tmp_path / name).touch()
    return tmp_path


def test_the_example_loads_without_errors_and_warnings(example: Path) -> None:
    found = load(example, environ={})
    assert not found.warnings
    assert set(found.project.services) == {
        "service.db", "service.api", "service.web.1", "service.web.2", "service.worker",
    }  # fmt: skip


def test_the_example_shows_nearly_every_key(example: Path) -> None:
    text = (example / "watch.toml").read_text(encoding="utf-8")
    keys = {key for table in tables() for key, field in table.model_fields.items() if not is_later(field)}
    missing = {key for key in keys if not any(f"{key}{after}" in text for after in (" =", "]", "."))}
    assert missing == {"status", "notify", "post_stop", "pre_stop"}


def test_the_example_and_what_is_understood_of_it_fit_the_json_schema(example: Path) -> None:
    assert errors(tomllib.loads((example / "watch.toml").read_text(encoding="utf-8"))) == []
    found = load(example, environ={})
    assert errors(found.document) == []
    assert errors(found.expanded) == []


def test_the_json_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema_json())
    assert "'type': 'null'" not in str(schema_json())


@pytest.mark.parametrize(
    ("document", "is_right"),
    [
        ({"service": {"web": {"run": ["x"], "stop": "SIGINT", "restart": {"policy": "never"}}}}, True),
        ({"service": {"web": {"run": "x", "needs": ["a", {"name": "b", "restart": True}], "port": "${P}"}}}, True),
        ({"build": {"a": {"run": "x", "timeout": "5s", "hooks": {"post_build": [["a"], "b"]}}}}, True),
        ({"project": {"name": "${Z:-ok}"}, "watch": {"engine": "${E}"}}, True),
        ({"build": {"a": {"run": "x", "on_change": "${X:-finish}", "log": {"terminal": "${T}"}}}}, True),
        ({"service": {"web": {"run": "x", "stdin": "${I}", "restart": "${R}", "stop": "${S}"}}}, True),
        ({"service": {"web": {"run": "x", "stop": "hup", "reload_signal": "SigUsr1"}}}, True),
        ({"service": {"web": {"run": "x", "watch": ["!a", "${A}", "src/**"], "ignore": ["a#"]}}}, True),
        ({"service": {"web": {"run": "x", "ready": {"tcp": "[::1]:80", "timeout": "0.5s"}}}}, True),
        ({"service": {"web": {"run": "x", "ready": {"status": 204}}}}, True),  # http may come from the defaults
        ({"build": {"a b": 3}}, False),
        ({"groups": {"a b": ["x"]}}, False),
        ({"build": {"a": {"run": "x", "timeout": 0}}}, False),
        ({"build": {"a": {"run": "x", "timeout": "0s"}}}, False),
        ({"build": {"a": {"run": "x", "timeout": "0.0ms"}}}, False),
        ({"build": {"a": {"run": "x", "timeout": float("inf")}}}, False),
        ({"build": {"a": {"run": "x", "timeout": 1e11}}}, False),
        ({"watch": {"poll": 0}}, False),
        ({"watch": {"ignore": ["#x"]}}, False),
        ({"service": {"web": {"run": "x", "stop": "SIGFOO"}}}, False),
        ({"service": {"web": {"run": "x", "ready": {"tcp": True, "http": "/"}}}}, False),
        ({"service": {"web": {"run": "x", "ready": {"tcp": "x"}}}}, False),
        ({"service": {"web": {"run": "x", "ready": {"tcp": 0}}}}, False),
        ({"service": {"web": {"run": "x", "ready": {"http": "x"}}}}, False),
        ({"build": {"a": {"run": "x", "watch": ["/a"]}}}, False),
        ({"build": {"a": {"run": "x", "watch": ["!/a"]}}}, False),
        ({"build": {"a": {"run": "x", "watch": ["a\\b"]}}}, False),
        ({"build": {"a": {"run": "x", "ignore": [""]}}}, False),
        ({"build": {"a": {"run": "x", "env": {"": "x"}}}}, False),
        ({"build": {"a": {"run": "x", "env": {"A=B": "x"}}}}, False),
        ({"build": {"a": {"run": "x", "needs": [""]}}}, False),
        ({"build": {"a": {"run": "x", "dir": " "}}}, False),
        ({"build": {"a": {"run": "x", "lock": ""}}}, False),
        ({"build": {"a": {"run": "  "}}}, False),
        ({"build": {"a": {"run": [""]}}}, False),
        ({"service": {"web": {"run": "x", "wacth": []}}}, False),
        ({"service": {"web": {"run": "x", "listen": []}}}, True),
        ({"service": {"web": {"run": "x", "proxy": "127.0.0.1:80"}}}, True),
        ({"service": {"web": {"run": "x", "proxy": 80}}}, False),
        ({"service": {"web": {"run": "x", "listen": ["127.0.0.1:80", "run/x.sock"]}}}, True),
        ({"service": {"web": {"run": "x", "listen": {"http": "[::1]:80"}}}}, True),
        ({"service": {"web": {"run": "x", "listen": "127.0.0.1:80"}}}, False),
        ({"service": {"web": {"run": "x", "listen": ["80"]}}}, False),
        ({"service": {"web": {"run": "x", "switch": "sideways"}}}, False),
        ({"service": {"web": {"run": "x", "port": 0}}}, False),
        ({"service": {"web": {"run": "x", "ready": {"deadline": "5 s"}}}}, False),
        ({"service": {"web": {"run": []}}}, False),
        ({"build": {"a": {"run": "x", "port": 1}}}, False),
        ({"alerts": {}}, False),
    ],
)
def test_the_json_schema_tells_right_from_wrong(document: dict[str, object], is_right: bool) -> None:
    assert (errors(document) == []) is is_right
