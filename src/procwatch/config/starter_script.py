"""A first watch.toml for Node and Python projects, from what package.json and pyproject.toml declare."""

from __future__ import annotations

import json
import re
from pathlib import Path

from procwatch.config.source import Document, read_text, read_toml
from procwatch.config.starter import Choose, Part, escaped, existing, sources
from procwatch.errors import UsageError

# --- node ------------------------------------------------------------------------------------------------------------

# Lock file -> how scripts are run, and how a program of the project is run.
_RUNNERS = {
    "pnpm-lock.yaml": (["pnpm", "run"], ["pnpm", "exec"]),
    "yarn.lock": (["yarn", "run"], ["yarn"]),
    "bun.lockb": (["bun", "run"], ["bunx"]),
    "bun.lock": (["bun", "run"], ["bunx"]),
}
_NPM = (["npm", "run"], ["npx"])
# A script with one of these watches by itself: a service that reloads itself, and never a build.
_WATCHES = re.compile(
    r"nodemon|--watch|\s-w\b|ts-node-dev|\btsx watch\b|\bvite(?! build)\b|\bnext dev\b|webpack(-dev-server| serve)"
    r"|react-scripts start|\bng serve\b|\bconcurrently\b|\bturbo\b.*\bdev\b"
)
_NODE_WORDS = ("npm ", "node ", "yarn", "pnpm ", "bun ", "npx ")
_NODE_SOURCES = ("src", "lib", "app", "server", "pages", "components", "public")
_NODE_FILES = ("package.json", "tsconfig.json", "vite.config.ts", "vite.config.js", "next.config.js", "next.config.mjs")


def node(folder: Path, choose: Choose) -> Part:
    """`build` is a build, `start` or else `dev` a service."""
    manifest = _package_json(folder)
    scripts = {key: value for key, value in _table(manifest.get("scripts")).items() if isinstance(value, str)}
    run, execute = next((way for lock, way in _RUNNERS.items() if (folder / lock).exists()), _NPM)
    wish = manifest.get("name")
    name = choose(wish.rpartition("/")[2] if isinstance(wish, str) else folder.name)
    watch = [f"{source}/**" for source in existing(folder, _NODE_SOURCES)] + existing(folder, _NODE_FILES)
    if any(folder.glob("*.[jt]s")):
        watch += ["./*.js", "./*.ts"]
    start = _node_start(manifest, scripts, run)
    own_watcher = ("start" not in scripts and "dev" in scripts) or bool(_WATCHES.search(scripts.get("start", "")))
    build = None if start and own_watcher else _node_build(folder, manifest, scripts, (run, execute))
    builds: dict[str, Document] = {name: {"run": build, "watch": watch}} if build else {}
    services: dict[str, Document] = {}
    if start:
        follows: Document = {"needs": [f"build.{name}"]} if build else {} if own_watcher else {"watch": watch}
        # Watchers end when their input does; a signal to npm alone does not reach what it has started.
        services[name] = {
            "run": start,
            **follows,
            **({"stdin": "open"} if own_watcher else {}),
            "stop": {"to": "group"},
        }
    words = {name: _NODE_WORDS} if build else {"": _NODE_WORDS}
    return Part(f"{run[0]}: scripts of package.json", builds, services, words)


def _node_start(manifest: Document, scripts: dict[str, str], run: list[str]) -> list[str] | None:
    for script in ("start", "dev"):
        if script in scripts:
            return [*run, script]
    main = manifest.get("main")
    return ["node", escaped(main)] if isinstance(main, str) and main else None


def _node_build(
    folder: Path, manifest: Document, scripts: dict[str, str], way: tuple[list[str], list[str]]
) -> list[str] | None:
    """The `build` script unless it watches, or TypeScript's compiler."""
    run, execute = way
    if "build" in scripts:
        return None if _WATCHES.search(scripts["build"]) else [*run, "build"]
    packages = {**_table(manifest.get("dependencies")), **_table(manifest.get("devDependencies"))}
    return [*execute, "tsc"] if "typescript" in packages and (folder / "tsconfig.json").exists() else None


def _package_json(folder: Path) -> Document:
    text = read_text(folder / "package.json", "package.json", allow_bom=True).text
    try:
        return _table(json.loads(text))
    except (ValueError, RecursionError):
        raise UsageError("package.json: not valid JSON") from None


def _table(value: object) -> Document:
    return value if isinstance(value, dict) else {}


# --- python ----------------------------------------------------------------------------------------------------------

_APP = re.compile(r"^(\w+)(?:\s*:[^=\n]+)?\s*=\s*(?:\w+\.)?(FastAPI|Starlette|Litestar|Flask)\(", re.MULTILINE)
_ASGI = {"fastapi", "starlette", "litestar", "uvicorn"}
_WEB_PORT = 8000
_PYTHON_WORDS = ("python", "uvicorn", "gunicorn", "flask", "fastapi", "hypercorn", "celery")


def python(folder: Path, choose: Choose) -> Part:
    """A web app that is found by its framework, or the project's own scripts."""
    manifest = read_toml(folder / "pyproject.toml", "pyproject.toml").document
    project = _table(manifest.get("project"))
    poetry = _table(_table(manifest.get("tool")).get("poetry"))
    way = next((way for lock, way in (("uv.lock", ["uv", "run"]), ("poetry.lock", ["poetry", "run"]))
                if (folder / lock).exists()), [])  # fmt: skip
    wish = project.get("name") or poetry.get("name")
    called = wish if isinstance(wish, str) else folder.name
    watch = _python_watch(folder)
    services: dict[str, Document] = {}
    if web := _web_command(folder, _dependencies(project, poetry)):
        services[choose(called)] = {"run": [*way, *web], "port": _WEB_PORT, **watch}
    else:
        for script in _table(project.get("scripts")) or _table(poetry.get("scripts")):
            services[choose(script)] = {"run": [*way, escaped(script)], **watch}
    return Part("python: restarted by every change of its sources", {}, services, {"": _PYTHON_WORDS})


def _python_watch(folder: Path) -> Document:
    """All Python sources, but not those of a virtual environment."""
    ignore = existing(folder, (".venv", "venv"))
    watch = ["src/**/*.py"] if any(folder.glob("src/**/*.py")) else ["**/*.py"]
    return {"watch": [*watch, "pyproject.toml"], **({"ignore": ignore} if ignore else {})}


def _dependencies(project: Document, poetry: Document) -> set[str]:
    """The names of all packages that the project needs, in lower case."""
    written = project.get("dependencies")
    names = [name for name in written if isinstance(name, str)] if isinstance(written, list) else []
    names += list(_table(poetry.get("dependencies")))
    return {found[0].lower() for name in names if (found := re.match(r"[A-Za-z0-9_.-]+", name))}


def _web_command(folder: Path, packages: set[str]) -> list[str] | None:
    """How to serve the web app, None if there is none."""
    if (folder / "manage.py").is_file() and "django" in packages:
        return ["python", "manage.py", "runserver", "--noreload", "${PORT}"]
    if packages & _ASGI:
        module, variable, extra = _app(folder, ("FastAPI", "Starlette", "Litestar")) or ("main", "app", [])
        return ["python", "-m", "uvicorn", *extra, f"{module}:{variable}", "--port", "${PORT}"]
    if "flask" in packages:
        module, variable, extra = _app(folder, ("Flask",)) or ("app", "app", [])
        within = ["--app", f"{extra[1]}/{module.replace('.', '/')}.py:{variable}" if extra else f"{module}:{variable}"]
        return ["python", "-m", "flask", *within, "run", "--port", "${PORT}"]
    return None


def _app(folder: Path, kinds: tuple[str, ...]) -> tuple[str, str, list[str]] | None:
    """The module and name of an app object, and uvicorn's option for its folder."""
    for path, text in sources(folder, ("*.py", "*/*.py", "src/*/*.py", "*/*/*.py")):
        found = next((match for match in _APP.finditer(text) if match[2] in kinds), None)
        if found:
            parts = list(path.relative_to(folder).with_suffix("").parts)
            inside = ["--app-dir", "src"] if parts[0] == "src" else []
            parts = parts[1:] if inside else parts
            parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
            return ".".join(parts), found[1], inside
    return None
