"""What a first watch.toml is made of: one part for each tool that a folder is built with.

Rule 1: what is found in a part must run for a usual project of that tool, and never be a build that does not end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from procwatch.config.source import Document
from procwatch.config.text import read_text
from procwatch.config.values import MAX_NAME_CHARS

# Files that are looked into for a `package main` or an app object; more than this is not needed to find one.
_MAX_FILES = 500
_MAX_CHARS = 64 * 1024
_SKIPPED_FOLDERS = {"node_modules", "target", "vendor", "venv", "dist", "build", "tests", "test", "site-packages"}


@dataclass(frozen=True, slots=True)
class Part:
    """The builds and services of one tool, by name.

    `words`: for each build, what in a Procfile's command tells that the build makes it; under "" the same for the
    watch list of the services, which is all there is without a build.
    """

    title: str
    builds: Mapping[str, Document] = field(default_factory=dict)
    services: Mapping[str, Document] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# From a folder and a function that makes a free name of a wish, to what the tool would do there.
Choose = Callable[[str], str]
Detect = Callable[[Path, Choose], Part]


def clean(wish: str) -> str:
    """A name that is allowed, as near as possible to what is wished for."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", wish).lstrip("_.-").rstrip("-")
    return name[: MAX_NAME_CHARS - 4] or "app"


def chooser(taken: Iterable[str]) -> Choose:
    """Names that are allowed and not taken: "web", "web-2"; a chosen one is taken from then on."""
    used = set(taken)

    def choose(wish: str) -> str:
        name = clean(wish)
        number = 2
        while name in used:
            name, number = f"{clean(wish)}-{number}", number + 1
        used.add(name)
        return name

    return choose


def existing(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of the paths that are there."""
    return [name for name in names if (folder / name).exists()]


def escaped(text: str) -> str:
    """A text that means the same where watch.toml replaces variables."""
    return text.replace("$", "$$")


def table(value: object) -> Document:
    """The value if it is a table; an empty one for all else: manifests are other tools' to check."""
    return value if isinstance(value, dict) else {}


def sources(folder: Path, patterns: Iterable[str]) -> Iterable[tuple[Path, str]]:
    """Files that match, with the beginning of their text; those of tools and tests are left out."""
    seen = 0
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            parts = path.relative_to(folder).parts
            if any(part.startswith(".") or part in _SKIPPED_FOLDERS for part in parts) or not path.is_file():
                continue
            seen += 1
            if seen > _MAX_FILES:
                return
            with path.open(encoding="utf-8", errors="replace") as file:
                yield path, file.read(_MAX_CHARS)


# --- go --------------------------------------------------------------------------------------------------------------

_GO_MAIN = re.compile(r"^package main\b", re.MULTILINE)
_GO_MODULE = re.compile(r"^module\s+(\S+)", re.MULTILINE)


def go(folder: Path, choose: Choose) -> Part:
    """Each main package is built into bin/ and run."""
    builds: dict[str, Document] = {}
    services: dict[str, Document] = {}
    words: dict[str, tuple[str, ...]] = {}
    for package, binary in _go_mains(folder).items():
        name = choose(binary)
        builds[name] = {
            "run": ["go", "build", "-o", f"bin/{binary}", package],
            "watch": ["**/*.go", *existing(folder, ("go.mod", "go.sum"))],
            "ignore": ["**/*_test.go"],
        }
        services[name] = {"run": [f"bin/{binary}"], "needs": [f"build.{name}"]}
        words[name] = (f"bin/{binary}", f"go run {package}")
    if not builds:
        builds[choose("go")] = {"run": ["go", "build", "./..."], "watch": ["**/*.go", "go.mod"]}
    return Part("go: each main package is built into bin/, and run from there", builds, services, words)


def _go_mains(folder: Path) -> dict[str, str]:
    """Main packages and what to call their binaries."""
    module = _GO_MODULE.search(read_text(folder / "go.mod", "go.mod").text)
    path = re.sub(r"/v[0-9]+$", "", module[1].strip('"')) if module else folder.name
    found: dict[str, str] = {}
    for file, text in sources(folder, ("*.go", "cmd/*/*.go")):
        if not file.name.endswith("_test.go") and _GO_MAIN.search(text):
            is_root = file.parent == folder
            found["." if is_root else f"./cmd/{file.parent.name}"] = clean(
                path.split("/")[-1] if is_root else file.parent.name
            )
    return found
