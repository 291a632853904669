"""Sample 08 with the real servers: each is edited while clients ask all the time, and not one of them is let down."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.load import Load

from tests.behaviour.conftest import Start
from tests.rig.needs import need_commands, need_crates, need_linux
from tests.rig.sample import SAMPLES, copy, edit
from tests.rig.served import answered

# Folder, what it needs, the service, the file with the greeting.
SERVERS = [
    ("python", (), "uvicorn", "app.py"),
    ("python", (), "gunicorn", "app.py"),
    ("go", ("go",), "web", "main.go"),
    ("node", ("node",), "web", "server.js"),
    ("rust", ("cargo",), "web", "src/main.rs"),
]


@pytest.mark.parametrize(("folder", "needs", "name", "source"), SERVERS, ids=lambda value: str(value))
def test_08_sockets_no_request_is_lost(
    project: Path, start: Start, monkeypatch: pytest.MonkeyPatch, folder: str, needs: tuple[str, ...], name: str,
    source: str,
) -> None:  # fmt: skip
    need_linux()
    need_commands(*needs)
    monkeypatch.setenv("CARGO_NET_OFFLINE", "true")
    monkeypatch.delenv("CARGO_TARGET_DIR", raising=False)
    port = copy(f"08-sockets/{folder}", project)
    if folder == "rust":
        need_crates(project)
    toml = project / "watch.toml"
    toml.write_text(toml.read_text().replace("8109", str(port + 1)))
    service = f"service.{name}"
    live = start(name)
    live.wait("service_ready", service)
    with Load(port + (name == "gunicorn")) as load:
        for before, after in (("Hello", "Good morning"), ("Good morning", "Good evening")):
            edit(project / source, f'"{before}"', f'"{after}"')
            answered(live, load, after)
    assert load.lost == 0, (load.fresh, load.kept)


def test_the_readme_names_every_folder() -> None:
    text = (SAMPLES / "08-sockets/README.md").read_text()
    folders = {path.name for path in (SAMPLES / "08-sockets").iterdir() if path.is_dir()}
    assert folders == {folder for folder, *_ in SERVERS}
    assert all(f"| `{folder}` |" in text for folder in folders)
