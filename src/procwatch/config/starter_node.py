"""A first watch.toml for Node projects, from what package.json declares."""

from __future__ import annotations

import json
import re
from pathlib import Path

from procwatch.config.source import Document
from procwatch.config.starter import Choose, Part, escaped, existing, table
from procwatch.config.text import read_text
from procwatch.errors import UsageError

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
    scripts = {key: value for key, value in table(manifest.get("scripts")).items() if isinstance(value, str)}
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
    packages = {**table(manifest.get("dependencies")), **table(manifest.get("devDependencies"))}
    return [*execute, "tsc"] if "typescript" in packages and (folder / "tsconfig.json").exists() else None


def _package_json(folder: Path) -> Document:
    text = read_text(folder / "package.json", "package.json", allow_bom=True).text
    try:
        return table(json.loads(text))
    except (ValueError, RecursionError):
        raise UsageError("package.json: not valid JSON") from None
