"""The samples that need a compiler: good, broken, fixed, broken, and back to the last good content."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.needs import need_commands, need_crates, need_file
from tests.rig.sample import SAMPLES, becomes, copy, edit, serves, started


@pytest.fixture
def rust(project: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A copy of the Rust sample; cargo builds into it, and asks no registry."""
    for name in ("CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_TARGET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CARGO_NET_OFFLINE", "true")
    port = copy("01-rust", project)
    need_crates(project)
    return port


@pytest.fixture
def typescript(project: Path) -> int:
    """A copy of the Node sample, with the compiler that `npm ci` has put into the original."""
    need_commands("node")
    modules = SAMPLES / "03-node-typescript/node_modules"
    need_file(modules / ".bin/tsc")
    port = copy("03-node-typescript", project)
    (project / "node_modules").symlink_to(modules)
    return port


def test_01_rust_restarts_both_services_once_and_only_after_a_good_build(
    project: Path, rust: int, start: Start
) -> None:
    library = project / "src/lib.rs"
    live = start()
    live.wait("service_ready", "service.worker")
    first = becomes(live, rust, "service.api", "Hello, world")

    mark = live.mark()
    edit(library, '{name}")', '{name}"')
    assert live.wait("build_failed", "build.cargo", after=mark)["exit_code"] == 101
    assert serves(live, rust, "Hello, world") == first

    edit(library, 'Hello, {name}"', 'Good morning, {name}")')
    live.wait("service_ready", "service.worker", after=mark)
    second = becomes(live, rust, "service.api", "Good morning, world", after=mark)
    assert started(live, mark) == ["service.api", "service.worker"]

    mark = live.mark()
    edit(library, '{name}")', '{name}"')
    live.wait("build_failed", "build.cargo", after=mark)
    edit(library, '{name}"', '{name}")')
    live.wait("build_succeeded", "build.cargo", after=mark)
    assert serves(live, rust, "Good morning, world") == second

    # Had the last good content restarted them, the next start would not be the first since then.
    edit(library, "Good morning", "Good evening")
    live.wait("service_ready", "service.worker", after=mark)
    becomes(live, rust, "service.api", "Good evening, world", after=mark)
    assert started(live, mark) == ["service.api", "service.worker"]
    assert live.stop() == 130


def test_03_node_typescript_a_type_error_keeps_the_last_good_program(
    project: Path, typescript: int, start: Start
) -> None:
    source = project / "src/greeting.ts"
    live = start()
    first = becomes(live, typescript, "service.web", "Hello, world")

    mark = live.mark()
    edit(source, "Hello", "Good morning")
    second = becomes(live, typescript, "service.web", "Good morning, world", after=mark)
    assert second.pid != first.pid

    mark = live.mark()
    edit(source, "`Good morning, ${name}`", "42")
    failed = live.wait("build_failed", "build.tsc", after=mark)
    assert "error TS2322" in "".join(failed["output"])
    assert "Good morning" in (project / "dist/greeting.js").read_text()
    assert serves(live, typescript, "Good morning, world") == second

    edit(source, "42", "`Good morning, ${name}`")
    live.wait("build_succeeded", "build.tsc", after=mark)
    assert serves(live, typescript, "Good morning, world") == second

    # Had the last good content restarted it, the next start would not be the first since then.
    edit(source, "Good morning", "Good evening")
    becomes(live, typescript, "service.web", "Good evening, world", after=mark)
    assert started(live, mark) == ["service.web"]
    assert live.stop() == 130


def test_03_node_typescript_has_a_lock_file_that_names_no_registry() -> None:
    lock = (SAMPLES / "03-node-typescript/package-lock.json").read_text()
    assert '"integrity"' in lock
    assert "://" not in lock
