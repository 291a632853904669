"""`init` writes a watch.toml that loads and fits the folder, `config` writes what can be read again."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from procwatch.config.load import load
from procwatch.config.write import render, starter, write_starter
from procwatch.core.model import Build, Project, Service
from procwatch.errors import ConfigError, ExitCode, ProcwatchError, RefusedError, UsageError

CARGO = '[package]\nname = "shop"\nversion = "0.1.0"\n'
MAIN = "fn main() {}\n"


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def started(folder: Path, files: dict[str, str], source: str | None = None) -> Project:
    """The project of the watch.toml that is written for these files."""
    put(folder, files)
    write_starter(folder, Path("watch.toml"), source=None if source is None else Path(source))
    return load(folder, environ={}).project


def build(project: Project, name: str) -> Build:
    return project.builds[f"build.{name}"]


def service(project: Project, name: str) -> Service:
    return project.services[f"service.{name}"]


def needs(service: Service) -> list[str]:
    return [need.name for need in service.needs]


# --- cargo -----------------------------------------------------------------------------------------------------------


def test_a_crate_with_one_binary(tmp_path: Path) -> None:
    project = started(tmp_path, {"Cargo.toml": CARGO, "Cargo.lock": "", "src/main.rs": MAIN})
    assert list(project.units) == ["build.shop", "service.shop"]
    assert build(project, "shop").run == ("cargo", "build", "--bin", "shop")
    assert build(project, "shop").watch == ("src/**/*.rs", "Cargo.toml", "Cargo.lock")
    assert build(project, "shop").lock is None
    assert service(project, "shop").run == ("target/debug/shop",)
    assert needs(service(project, "shop")) == ["build.shop"]


def test_two_binaries_share_a_library_and_not_each_other_s_sources(tmp_path: Path) -> None:
    files = {"Cargo.toml": CARGO, "src/lib.rs": "", "src/bin/api.rs": MAIN, "src/bin/worker/main.rs": MAIN}
    project = started(tmp_path, files)
    assert list(project.services) == ["service.api", "service.worker"]
    assert build(project, "api").watch == ("src/**/*.rs", "Cargo.toml")
    assert build(project, "api").ignore == ("./src/bin/worker/**",)
    assert build(project, "worker").ignore == ("./src/bin/api.rs",)
    assert build(project, "api").lock == build(project, "worker").lock == "cargo"


def test_declared_binaries_are_known_by_their_path(tmp_path: Path) -> None:
    manifest = f'{CARGO}[[bin]]\nname = "serve"\npath = "src/main.rs"\n[[bin]]\nname = "other"\n'
    project = started(tmp_path, {"Cargo.toml": manifest, "src/main.rs": MAIN, "src/bin/other.rs": MAIN})
    assert list(project.services) == ["service.serve", "service.other"]
    assert build(project, "other").ignore == ("./src/main.rs",)


def test_binaries_of_a_workspace_watch_the_crates_that_they_are_made_of(tmp_path: Path) -> None:
    files = {
        "Cargo.toml": '[workspace]\nmembers = ["crates/*"]\nexclude = ["crates/old"]\n'
        '[workspace.dependencies]\nmodel = { path = "crates/model" }\n',
        "crates/api/Cargo.toml": '[package]\nname = "api"\n[dependencies]\ncore = { path = "../core" }\nserde = "1"\n',
        "crates/api/src/main.rs": MAIN,
        "crates/core/Cargo.toml": '[package]\nname = "core"\n[dependencies]\nmodel = { workspace = true }\n',
        "crates/core/build.rs": MAIN,
        "crates/model/Cargo.toml": '[package]\nname = "model"\n[dependencies]\napi = { path = "../api" }\n',
        "crates/other/Cargo.toml": '[package]\nname = "other"\n',
        "crates/old/Cargo.toml": '[package]\nname = "old"\n',
        "crates/old/src/main.rs": MAIN,
    }
    project = started(tmp_path, files)
    assert list(project.units) == ["build.api", "service.api"]
    assert build(project, "api").run == ("cargo", "build", "-p", "api", "--bin", "api")
    assert build(project, "api").watch == (
        "crates/api/src/**/*.rs", "crates/api/Cargo.toml", "crates/core/src/**/*.rs", "crates/core/build.rs",
        "crates/core/Cargo.toml", "crates/model/src/**/*.rs", "crates/model/Cargo.toml", "Cargo.toml",
    )  # fmt: skip


def test_a_library_is_only_built(tmp_path: Path) -> None:
    project = started(tmp_path, {"Cargo.toml": CARGO, "src/lib.rs": ""})
    assert list(project.units) == ["build.crate"]
    assert build(project, "crate").run == ("cargo", "build")


@pytest.mark.parametrize(
    "more",
    [
        '[workspace]\nmembers = ["crates/**b", "a\\u0000"]\n',
        '[dependencies]\nq = { path = "a\\u0000" }\n',
        f'[dependencies]\nq = {{ path = "{"a" * 5000}" }}\n',
    ],
)
def test_a_path_of_a_manifest_that_cannot_be_is_passed_over(tmp_path: Path, more: str) -> None:
    project = started(tmp_path, {"Cargo.toml": CARGO + more, "src/main.rs": MAIN})
    assert list(project.units) == ["build.shop", "service.shop"]


def test_a_dollar_in_a_path_is_no_variable(tmp_path: Path) -> None:
    bins = '[[bin]]\nname = "a"\npath = "src/${Q}.rs"\n[[bin]]\nname = "b"\npath = "src/b.rs"\n'
    project = started(tmp_path, {"Cargo.toml": CARGO + bins, "src/${Q}.rs": MAIN, "src/b.rs": MAIN})
    assert build(project, "b").ignore == ("./src/${Q}.rs",)


def test_a_broken_manifest_is_told_with_its_line(tmp_path: Path) -> None:
    put(tmp_path, {"Cargo.toml": "[package\n"})
    with pytest.raises(ConfigError, match=r"^Cargo\.toml:1:9: not valid TOML"):
        starter(tmp_path)


# --- node ------------------------------------------------------------------------------------------------------------


def package(**keys: object) -> str:
    return json.dumps({"name": "@corp/web", **keys})


def test_build_and_start_scripts(tmp_path: Path) -> None:
    scripts = {"build": "tsc -p .", "start": "node dist/server.js", "dev": "tsx watch src/server.ts"}
    files = {"package.json": package(scripts=scripts), "src/server.ts": "", "tsconfig.json": "{}"}
    project = started(tmp_path, files)
    assert build(project, "web").run == ("npm", "run", "build")
    assert build(project, "web").watch == ("src/**", "package.json", "tsconfig.json")
    assert service(project, "web").run == ("npm", "run", "start")
    assert needs(service(project, "web")) == ["build.web"]
    assert service(project, "web").stop.to == "group"


@pytest.mark.parametrize(
    ("lock", "runner"), [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun"), ("x", "npm")]
)
def test_the_lock_file_tells_the_package_manager(tmp_path: Path, lock: str, runner: str) -> None:
    project = started(tmp_path, {"package.json": package(scripts={"start": "node a.js"}), lock: ""})
    assert service(project, "web").run == (runner, "run", "start")


def test_typescript_without_a_build_script_is_compiled_by_tsc(tmp_path: Path) -> None:
    manifest = package(main="dist/index.js", devDependencies={"typescript": "5"})
    project = started(tmp_path, {"package.json": manifest, "tsconfig.json": "{}", "src/index.ts": ""})
    assert build(project, "web").run == ("npx", "tsc")
    assert service(project, "web").run == ("node", "dist/index.js")


@pytest.mark.parametrize(
    "watcher", ["nodemon server.js", "vite", "tsc --watch", "tsc -w", "next dev", "tsx watch x.ts"]
)
def test_a_script_that_watches_is_never_a_build(tmp_path: Path, watcher: str) -> None:
    project = started(tmp_path, {"package.json": package(scripts={"build": watcher, "start": "node x.js"})})
    assert not project.builds
    assert service(project, "web").run == ("npm", "run", "start")


def test_a_dev_server_is_a_service_that_watches_by_itself(tmp_path: Path) -> None:
    scripts = {"dev": "vite", "build": "vite build"}
    project = started(tmp_path, {"package.json": package(scripts=scripts), "src/main.ts": ""})
    assert not project.builds
    assert service(project, "web").run == ("npm", "run", "dev")
    assert service(project, "web").stdin == "open"
    assert not service(project, "web").watch


def test_without_a_build_the_sources_restart_the_service(tmp_path: Path) -> None:
    project = started(tmp_path, {"package.json": package(scripts={"start": "node server.js"}), "server.js": ""})
    assert service(project, "web").watch == ("package.json", "./*.js", "./*.ts")


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_broken_package_json_is_told(tmp_path: Path, text: str) -> None:
    put(tmp_path, {"package.json": text})
    with pytest.raises(UsageError, match=r"^package\.json: not valid JSON$"):
        starter(tmp_path)


# --- go --------------------------------------------------------------------------------------------------------------


def test_main_packages_of_go_are_built_into_bin(tmp_path: Path) -> None:
    files = {
        "go.mod": "module example.com/shop/v2\n",
        "main.go": "// x\npackage main\n",
        "cmd/worker/main.go": "package main\n",
        "cmd/lib/lib.go": "package lib\n",
        "cmd/only_test/x_test.go": "package main\n",
    }
    project = started(tmp_path, files)
    assert list(project.services) == ["service.shop", "service.worker"]
    assert build(project, "worker").run == ("go", "build", "-o", "bin/worker", "./cmd/worker")
    assert build(project, "shop").run == ("go", "build", "-o", "bin/shop", ".")
    assert build(project, "shop").watch == ("**/*.go", "go.mod")
    assert service(project, "shop").run == ("bin/shop",)


def test_a_library_of_go_is_only_built(tmp_path: Path) -> None:
    project = started(tmp_path, {"go.mod": "module x\n", "a.go": "package x\n"})
    assert list(project.units) == ["build.go"]


# --- python ----------------------------------------------------------------------------------------------------------


def pyproject(*dependencies: str, more: str = "") -> str:
    return f'[project]\nname = "shop"\ndependencies = {json.dumps(dependencies)}\n{more}'


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (
            {"pyproject.toml": pyproject("FastAPI>=0.1", "uvicorn[standard]"), "app/main.py": "api: X = FastAPI()\n"},
            ("python", "-m", "uvicorn", "app.main:api", "--port", "${PORT}"),
        ),
        (
            {"pyproject.toml": pyproject("starlette"), "src/shop/web.py": "app = Starlette(\n", "uv.lock": ""},
            ("uv", "run", "python", "-m", "uvicorn", "--app-dir", "src", "shop.web:app", "--port", "${PORT}"),
        ),
        (
            {"pyproject.toml": pyproject("uvicorn"), "tests/x.py": "app = FastAPI()\n"},
            ("python", "-m", "uvicorn", "main:app", "--port", "${PORT}"),
        ),
        (
            {"pyproject.toml": pyproject("flask"), "shop/__init__.py": "app = flask.Flask(__name__)\n"},
            ("python", "-m", "flask", "--app", "shop:app", "run", "--port", "${PORT}"),
        ),
        (
            {"pyproject.toml": pyproject("Django>=5"), "manage.py": ""},
            ("python", "manage.py", "runserver", "--noreload", "${PORT}"),
        ),
        (
            {
                "pyproject.toml": '[tool.poetry]\nname = "shop"\n[tool.poetry.dependencies]\nuvicorn = "*"\n',
                "poetry.lock": "",
            },
            ("poetry", "run", "python", "-m", "uvicorn", "main:app", "--port", "${PORT}"),
        ),
    ],
)
def test_a_web_app_of_python_is_served(tmp_path: Path, files: dict[str, str], command: tuple[str, ...]) -> None:
    project = started(tmp_path, files)
    assert service(project, "shop").run == command
    assert service(project, "shop").port == 8000
    watching = build(project, "shop") if "build.shop" in project.builds else service(project, "shop")
    assert "pyproject.toml" in watching.watch


@pytest.mark.parametrize(
    ("files", "command", "env"),
    [
        ({"app/main.py": "app = FastAPI()\n"}, ("python", "-c", "import app.main"), {}),
        (
            {"src/shop/web.py": "app = FastAPI()\n", "uv.lock": ""},
            ("uv", "run", "python", "-c", "import shop.web"),
            {"PYTHONPATH": "src"},
        ),
        (
            {"main.py": "app = FastAPI()\n", ".venv/bin/python": ""},
            (".venv/bin/python", "-c", "import main"),
            {},
        ),
    ],
)
def test_an_app_of_python_is_moved_to_only_when_it_can_be_imported(
    tmp_path: Path, files: dict[str, str], command: tuple[str, ...], env: dict[str, str]
) -> None:
    project = started(tmp_path, {"pyproject.toml": pyproject("fastapi"), **files})
    assert build(project, "shop").run == command
    assert build(project, "shop").env == env
    assert needs(service(project, "shop")) == ["build.shop"]
    assert service(project, "shop").run[0] == command[0]


def test_an_app_of_python_that_is_not_found_is_restarted_by_its_sources(tmp_path: Path) -> None:
    project = started(tmp_path, {"pyproject.toml": pyproject("fastapi")})
    assert not project.builds
    assert service(project, "shop").watch == ("**/*.py", "pyproject.toml")


def test_scripts_of_a_python_project_are_services(tmp_path: Path) -> None:
    text = pyproject(more='[project.scripts]\nshop-worker = "shop:main"\n')
    project = started(tmp_path, {"pyproject.toml": text, "src/shop/__init__.py": "", ".venv/x.py": ""})
    assert service(project, "shop-worker").run == ("shop-worker",)
    assert build(project, "shop-worker").run == ("python", "-c", "import shop")
    assert build(project, "shop-worker").watch == ("src/**/*.py", "pyproject.toml")
    assert build(project, "shop-worker").ignore == (".venv",)


# --- procfile, and several at once -----------------------------------------------------------------------------------


def test_a_procfile_alone_is_named_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, {"Procfile": "web: serve\n"})
    document = tomllib.loads(starter(tmp_path))
    assert document == {"project": {"name": tmp_path.name, "procfile": "Procfile"}}
    assert list(started(tmp_path, {}).services) == ["service.web"]


def test_processes_of_a_procfile_need_the_builds_that_they_speak_of(tmp_path: Path) -> None:
    files = {
        "Procfile": "api: target/debug/api\nassets: npm run serve\nweb: python web.py\nredis: redis-server\n",
        "Cargo.toml": CARGO,
        "src/bin/api.rs": MAIN,
        "src/bin/unused.rs": MAIN,
        "package.json": package(scripts={"build": "webpack", "start": "x"}),
        "pyproject.toml": pyproject("flask"),
    }
    project = started(tmp_path, files)
    assert list(project.services) == ["service.api", "service.assets", "service.web", "service.redis"]
    assert [build.run[-1] for build in project.builds.values()] == ["api", "build"]
    assert needs(service(project, "api")) == ["build.api-2"]
    assert needs(service(project, "assets")) == ["build.web-2"]
    assert service(project, "web").watch == ("**/*.py", "pyproject.toml")
    assert service(project, "web").run == "python web.py"
    assert not service(project, "redis").needs


def test_several_tools_in_one_folder_are_combined(tmp_path: Path) -> None:
    files = {
        "Cargo.toml": CARGO.replace("shop", "web"),
        "src/main.rs": MAIN,
        "package.json": package(scripts={"build": "webpack", "start": "node x"}),
        "go.mod": "module web\n",
        "main.go": "package main\n",
    }
    project = started(tmp_path, files)
    assert set(project.services) == {"service.web", "service.web-2", "service.web-3"}
    assert all(needs(service) == [f"build.{service.short}"] for service in project.services.values())


def test_each_part_is_headed_by_a_comment(tmp_path: Path) -> None:
    put(tmp_path, {"Cargo.toml": CARGO, "src/main.rs": MAIN, "go.mod": "module x\n", "main.go": "package main\n"})
    blocks = starter(tmp_path).split("\n\n# ")
    assert [block.split(":")[0] for block in blocks[1:]] == ["cargo", "go"]


def test_from_looks_at_one_file_only(tmp_path: Path) -> None:
    files = {"Procfile.dev": "web: x\n", "go.mod": "module x\n", "main.go": "package main\n"}
    project = started(tmp_path, files, source="Procfile.dev")
    assert list(project.units) == ["service.web"]


def test_from_another_folder_s_procfile_names_its_path(tmp_path: Path) -> None:
    assert list(started(tmp_path, {"deploy/Procfile": "web: x\n"}, source="deploy/Procfile").units) == ["service.web"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "Makefile",
            "Makefile: cannot start from this; known are Procfile, Cargo.toml, go.mod, package.json, pyproject",
        ),
        ("sub/go.mod", "sub/go.mod: is in another folder; write its watch.toml there"),
        ("Procfile", "Procfile: no such file"),
        ("go.mod", "go.mod: no such file"),
    ],
)
def test_from_a_file_that_cannot_be_used_is_told(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(ProcwatchError) as caught:
        starter(tmp_path, Path(source))
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_procfile_with_errors_is_told(tmp_path: Path) -> None:
    put(tmp_path, {"Procfile": "web: x\nwhat\n"})
    with pytest.raises(ConfigError, match=r"^Procfile:2:1: not a line of a Procfile"):
        starter(tmp_path)


@pytest.mark.parametrize("files", [{}, {"README.md": "x"}])
def test_a_folder_with_nothing_known_is_told_what_was_looked_for(tmp_path: Path, files: dict[str, str]) -> None:
    put(tmp_path, files)
    with pytest.raises(UsageError, match=r"looked for Procfile, Cargo\.toml, go\.mod, package\.json, pyproject\.toml$"):
        starter(tmp_path)


def test_a_file_in_which_nothing_is_found_is_told(tmp_path: Path) -> None:
    put(tmp_path, {"pyproject.toml": "[tool.ruff]\n", "package.json": "{}"})
    with pytest.raises(UsageError, match=r"^package\.json, pyproject\.toml: found nothing there to build or run"):
        starter(tmp_path)


def test_a_watch_toml_that_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    put(tmp_path, {"Procfile": "web: x\n", "watch.toml": "mine"})
    with pytest.raises(RefusedError, match="--force"):
        write_starter(tmp_path, Path("watch.toml"))
    assert (tmp_path / "watch.toml").read_text() == "mine"
    write_starter(tmp_path, Path("watch.toml"), force=True)
    assert (tmp_path / "watch.toml").read_text() == starter(tmp_path)


def test_a_name_that_no_file_can_hold_leaves_nothing_behind(tmp_path: Path) -> None:
    put(tmp_path, {"package.json": '{"main": "\\ud800.js"}', "watch.toml": "before"})
    with pytest.raises(UsageError, match="not Unicode"):
        write_starter(tmp_path, Path("watch.toml"), force=True)
    assert (tmp_path / "watch.toml").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["package.json", "watch.toml"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    put(tmp_path, {"Procfile": "web: x\n"})
    with pytest.raises(ProcwatchError, match=r"^no/watch\.toml: cannot be written: no such file or directory$"):
        write_starter(tmp_path, Path("no/watch.toml"))


@pytest.mark.parametrize("name", ["a b", "-x", "_", "ä", "a" * 200])
def test_the_folder_s_name_becomes_one_that_is_allowed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert started(folder, {"go.mod": "module x\n", "main.go": "package main\n"}).name


def test_what_is_rendered_reads_the_same() -> None:
    document = {
        "service": {"web": {"run": ["a", 'b"c\\'], "env": {"A.B": "\n"}, "needs": [{"name": "x", "restart": True}]}}
    }
    assert tomllib.loads(render(document)) == document
