"""A first watch.toml for Python projects, from what pyproject.toml declares.

Rule 1: a service needs a build that imports what it runs: a mistake that keeps the program from starting is found
        there, while the version that works goes on serving. Where it is not known what to import, its sources restart
        it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from procwatch.config.source import Document, read_toml
from procwatch.config.starter import Choose, Part, escaped, existing, sources, table

_APP = re.compile(r"^(\w+)(?:\s*:[^=\n]+)?\s*=\s*(?:\w+\.)?(FastAPI|Starlette|Litestar|Flask)\(", re.MULTILINE)
_ASGI = {"fastapi", "starlette", "litestar", "uvicorn"}
_WEB_PORT = 8000
_WORDS = ("python", "uvicorn", "gunicorn", "flask", "fastapi", "hypercorn", "celery")
# Lock file -> how a program of the project is run.
_RUNNERS = {"uv.lock": ["uv", "run"], "poetry.lock": ["poetry", "run"]}
_ENVIRONMENTS = (".venv", "venv")
_ENTRY = re.compile(r"^\s*([\w.]+)\s*(?::|$)")


@dataclass(frozen=True, slots=True)
class _Program:
    """One thing to run: its name, its command, and what shows that it can start, if that is known."""

    name: str
    run: list[str]
    check: list[str] | None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class _Tools:
    """How programs of the project in `folder` are run: through a runner, or from an environment in it (`bin`)."""

    folder: Path
    runner: list[str]
    bin: str

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command of a program that is installed for the project."""
        return [*self.runner, self.bin + program, *arguments]

    def imports(self, module: str) -> list[str] | None:
        """A command that succeeds if a module of the project can be imported; None if there is no such module."""
        path = module.replace(".", "/")
        if not existing(
            self.folder, (f"{base}{path}{end}" for base in ("", "src/") for end in (".py", "/__init__.py"))
        ):
            return None
        return self.command("python", "-c", f"import {module}")


def python(folder: Path, choose: Choose) -> Part:
    """A web app that is found by its framework, or the project's own scripts."""
    manifest = read_toml(folder / "pyproject.toml", "pyproject.toml").document
    project = table(manifest.get("project"))
    poetry = table(table(manifest.get("tool")).get("poetry"))
    wish = project.get("name") or poetry.get("name")
    tools = _tools(folder)
    web = _web(folder, tools, _dependencies(project, poetry), wish if isinstance(wish, str) else folder.name)
    programs = [web] if web else list(_scripts(tools, table(project.get("scripts")) or table(poetry.get("scripts"))))
    watched = _watched(folder)
    builds: dict[str, Document] = {}
    services: dict[str, Document] = {}
    for program in programs:
        name = choose(program.name)
        services[name] = {"run": program.run, **({"port": program.port} if program.port else {})}
        if program.check:
            builds[name] = {"run": program.check, **watched, **_modules(folder)}
            services[name]["needs"] = [f"build.{name}"]
        else:
            services[name] |= watched
    words = {next(iter(builds), ""): _WORDS}
    return Part("python: a change is taken in when the program can be imported with it", builds, services, words)


def _tools(folder: Path) -> _Tools:
    runner = next((way for lock, way in _RUNNERS.items() if (folder / lock).exists()), [])
    inside = [name for name in _ENVIRONMENTS if (folder / name / "bin" / "python").exists()]
    return _Tools(folder, runner, f"{inside[0]}/bin/" if inside and not runner else "")


def _watched(folder: Path) -> Document:
    """All Python sources, but not those of a virtual environment."""
    ignore = existing(folder, _ENVIRONMENTS)
    watch = ["src/**/*.py" if _is_in_src(folder) else "**/*.py", "pyproject.toml"]
    return {"watch": watch, **({"ignore": ignore} if ignore else {})}


def _modules(folder: Path) -> Document:
    """Where Python finds the project's modules, if not in the folder itself."""
    return {"env": {"PYTHONPATH": "src"}} if _is_in_src(folder) else {}


def _is_in_src(folder: Path) -> bool:
    return any(folder.glob("src/**/*.py"))


def _dependencies(project: Document, poetry: Document) -> set[str]:
    """The names of all packages that the project needs, in lower case."""
    written = project.get("dependencies")
    names = [name for name in written if isinstance(name, str)] if isinstance(written, list) else []
    names += list(table(poetry.get("dependencies")))
    return {found[0].lower() for name in names if (found := re.match(r"[A-Za-z0-9_.-]+", name))}


def _web(folder: Path, tools: _Tools, packages: set[str], name: str) -> _Program | None:
    """How to serve the web app, None if there is none."""
    if (folder / "manage.py").is_file() and "django" in packages:
        run = tools.command("python", "manage.py", "runserver", "--noreload", "${PORT}")
        return _Program(name, run, tools.command("python", "manage.py", "check"), _WEB_PORT)
    if packages & _ASGI:
        module, variable, inside = _app(folder, ("FastAPI", "Starlette", "Litestar")) or ("main", "app", [])
        run = tools.command("python", "-m", "uvicorn", *inside, f"{module}:{variable}", "--port", "${PORT}")
        return _Program(name, run, tools.imports(module), _WEB_PORT)
    if "flask" in packages:
        module, variable, inside = _app(folder, ("Flask",)) or ("app", "app", [])
        app = f"{inside[1]}/{module.replace('.', '/')}.py:{variable}" if inside else f"{module}:{variable}"
        run = tools.command("python", "-m", "flask", "--app", app, "run", "--port", "${PORT}")
        return _Program(name, run, tools.imports(module), _WEB_PORT)
    return None


def _scripts(tools: _Tools, scripts: Document) -> Iterable[_Program]:
    """The programs that the project installs; those whose module is not given cannot be checked, and are left out."""
    for script, entry in scripts.items():
        if isinstance(entry, str) and (found := _ENTRY.match(entry)):
            yield _Program(script, tools.command(escaped(script)), tools.imports(found[1]))


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
