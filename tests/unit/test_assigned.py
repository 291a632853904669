"""What every command is given."""

from __future__ import annotations

import json
from pathlib import Path

from procwatch.core.model import Exit, Service
from procwatch.runtime.assigned import CHANGED_MAX_BYTES, Assigner, Occasion, cut_lines
from procwatch.runtime.store import Store


def assigner(folder: Path) -> Assigner:
    store = Store(folder, lambda line: None)
    store.open()
    return Assigner(folder, store)


def test_a_build_gets_the_changed_paths_twice_a_line_each_and_all_as_json(tmp_path: Path) -> None:
    paths = tuple(f"src/{number:05}.rs" for number in range(10_000))
    found = assigner(tmp_path).command(Occasion("build.api", 7, paths))
    assert found["PROCWATCH"] == "1"
    assert found["PROCWATCH_PROJECT"] == str(tmp_path)
    assert (found["PROCWATCH_NAME"], found["PROCWATCH_RUN"]) == ("build.api", "7")
    lines = found["PROCWATCH_CHANGED"].split("\n")
    assert lines == list(paths[: len(lines)])
    assert CHANGED_MAX_BYTES - 20 < len(found["PROCWATCH_CHANGED"]) <= CHANGED_MAX_BYTES
    assert json.loads(Path(found["PROCWATCH_CHANGED_JSON"]).read_text()) == list(paths)
    assert "PROCWATCH_EVENT" not in found


def test_a_hook_gets_what_happened(tmp_path: Path) -> None:
    occasion = Occasion("service.api", 3, event="crashed", exit=Exit(137, "killed by SIGKILL"), duration_s=1.25)
    found = assigner(tmp_path).command(occasion)
    assert found["PROCWATCH_EVENT"] == "crashed"
    assert found["PROCWATCH_EXIT_CODE"] == "137"
    assert found["PROCWATCH_DURATION"] == "1.250"


def test_a_service_gets_its_port_and_its_probe_the_address(tmp_path: Path) -> None:
    maker = assigner(tmp_path)
    api = Service(name="service.api", run="x", port=8000)
    assert maker.service(api, 1)["PORT"] == "8000"
    assert maker.service(api, 1)["PROCWATCH_URL"] == "http://127.0.0.1:8000"
    worker = Service(name="service.worker", run="x", given_port=5100)
    assert maker.service(worker, 1)["PORT"] == "5100"
    assert "PORT" not in maker.service(Service(name="service.plain", run="x"), 1)


def test_a_path_is_never_cut_in_two() -> None:
    assert cut_lines(("aaaa", "bbbb", "cc"), 10) == "aaaa\nbbbb"
    assert cut_lines(("é" * 10,), 20) == ""
