"""`procwatch mcp`, asked by the protocol's own client over standard input and output."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from tests.behaviour.conftest import Start
from tests.rig.live import DEADLINE_S, clean_environment, write

TOML = """
[build.api]
run = "cat src; ! grep -q broken src"
watch = ["src"]
[service.api]
run = "echo hello from api; exec sleep 1000"
needs = ["build.api"]
"""


def talk(folder: Path, *calls: tuple[str, dict[str, Any]], between: Callable[[], object] | None = None) -> list[Any]:
    """The results of these calls, one after the other; `between` is called before the last."""

    async def session() -> list[Any]:
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "procwatch", "mcp"], cwd=folder, env=clean_environment()
        )
        found = []
        async with asyncio.timeout(2 * DEADLINE_S), Client(command) as client:
            for number, (tool, arguments) in enumerate(calls):
                if between and number == len(calls) - 1:
                    between()
                found.append(await client.call_tool(tool, arguments))
        return found

    return asyncio.run(session())


def told(result: Any) -> str:
    return " ".join(part.text for part in result.content)


@pytest.fixture
def shop(project: Path) -> Path:
    write(project / "watch.toml", TOML)
    write(project / "src", "one")
    return project


def test_it_says_what_it_can_do(shop: Path) -> None:
    async def tools() -> Any:
        command = StdioServerParameters(command=sys.executable, args=["-m", "procwatch", "mcp"], cwd=shop)
        async with asyncio.timeout(2 * DEADLINE_S), Client(command) as client:
            return (await client.list_tools()).tools

    found = {tool.name: tool for tool in asyncio.run(tools())}
    assert set(found) == {"status", "why", "logs", "wait", "build", "restart", "rollback"}
    for tool in found.values():
        assert tool.description
        assert all("description" in field for field in tool.input_schema["properties"].values())
    assert found["build"].input_schema["required"] == ["names"]
    assert "required" not in found["status"].input_schema


def test_an_edit_is_waited_for_and_a_failure_explained(shop: Path, start: Start) -> None:
    start().wait("service_ready")
    status, first, logs, last = talk(
        shop, ("status", {}), ("wait", {"names": ["api"]}), ("logs", {"names": ["service.api"], "lines": 1}),
        ("wait", {"names": ["api"], "timeout": 30}), between=lambda: write(shop / "src", "broken"),
    )  # fmt: skip
    assert [unit["name"] for unit in status.structured_content["units"]] == ["build.api", "service.api"]
    assert {one["outcome"] for one in first.structured_content["results"]} == {"done"}
    (line,) = logs.structured_content["lines"]
    assert (line["name"], line["line"]) == ("service.api", "hello from api")
    build, service = last.structured_content["results"]
    assert (build["outcome"], build["failed"]["output"]) == ("failed", ["broken"])
    assert service["outcome"] == "failed"
    (why,) = talk(shop, ("why", {"names": ["build.api"]}))
    assert json.loads(told(why))["units"][0]["failed"]["event"] == "build_failed"


def test_builds_and_restarts_tell_the_outcome(shop: Path, start: Start) -> None:
    live = start()
    live.wait("service_ready")
    built, restarted, late = talk(
        shop, ("build", {"names": ["api"]}), ("restart", {"names": ["api"]}),
        ("restart", {"names": ["api"], "timeout": 0}),
    )  # fmt: skip
    assert built.structured_content["results"][0]["reason"] == "run 2 succeeded"
    assert restarted.structured_content["results"][0]["outcome"] == "done"
    assert late.structured_content["results"][0]["outcome"] == "timed out"


def test_a_rollback_tells_the_outcome(project: Path, start: Start) -> None:
    outputs = 'outputs = ["made"]'
    write(project / "watch.toml", TOML.replace("[build.api]", f"[build.api]\n{outputs}"))
    write(project / "src", "one")
    write(project / "made", "one")
    live = start()
    live.wait("service_ready")
    (nothing,) = talk(project, ("rollback", {"names": ["api"]}))
    assert nothing.is_error
    assert "service.api cannot go back" in told(nothing)
    write(project / "made", "two")
    write(project / "src", "two")
    live.wait("service_ready", times=2)
    back, wrong = talk(project, ("rollback", {"names": ["api"]}), ("rollback", {"names": ["api"], "to": 9}))
    assert back.structured_content["results"][0]["outcome"] == "done"
    assert live.wait("rolled_back")["reason"] == "asked for"
    assert "has no release 9" in told(wrong)


def test_what_cannot_be_done_is_an_error_in_words(shop: Path, start: Start) -> None:
    nobody, wrong = talk(shop, ("status", {}), ("build", {"names": []}))
    assert nobody.is_error
    assert "`procwatch start -d`" in told(nobody)
    assert wrong.is_error
    (grep,) = talk(shop, ("logs", {"grep": "("}))
    assert grep.is_error
    start().wait("service_ready")
    (unknown,) = talk(shop, ("restart", {"names": ["apu"]}))
    assert unknown.is_error
    assert 'did you mean "api"?' in told(unknown)


def test_without_the_library_it_says_what_to_install(shop: Path) -> None:
    without = "import sys; sys.modules['mcp'] = None; sys.argv = ['procwatch', 'mcp']; "
    without += "from procwatch.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without], cwd=shop, env=clean_environment(), capture_output=True, text=True,
        check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install 'procwatch[mcp]'" in done.stderr
    assert "Traceback" not in done.stderr
