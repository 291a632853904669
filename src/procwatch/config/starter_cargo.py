"""A first watch.toml for Rust: each binary is a build and a service, and watches the crates that it is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from procwatch.config.source import Document, read_toml
from procwatch.config.starter import Choose, Part, existing

_TITLE = "cargo: each binary is built by itself, from the crates that it is made of, and run"
_LOCKED_TITLE = f"{_TITLE};\n# they share the folder target, so one is built at a time"


@dataclass(frozen=True, slots=True)
class _Crate:
    """A package: where it is in the project, its binaries with their own sources, the crates beside it that it uses."""

    prefix: str
    name: str
    binaries: dict[str, tuple[str, ...]]
    uses: tuple[str, ...]


def cargo(folder: Path, choose: Choose) -> Part:
    """The binaries of a package, or of all members of a workspace."""
    root = _manifest(folder, "")
    is_workspace = "workspace" in root
    crates = _crates(folder, root)
    bins = [(crate, name) for crate in crates.values() if _is_member(crate, root) for name in crate.binaries]
    builds: dict[str, Document] = {}
    services: dict[str, Document] = {}
    words: dict[str, tuple[str, ...]] = {}
    for crate, binary in bins:
        name = choose(binary)
        package = ["-p", crate.name] if is_workspace else []
        builds[name] = {"run": ["cargo", "build", *package, "--bin", binary], **_watched(folder, crates, crate, binary)}
        if len(bins) > 1:
            builds[name]["lock"] = "cargo"
        services[name] = {"run": [f"target/debug/{binary}"], "needs": [f"build.{name}"]}
        words[name] = (f"target/debug/{binary}", f"--bin {binary}", *(["cargo run"] if len(bins) == 1 else []))
    if not bins:
        everything = ["--workspace"] if is_workspace else []
        watch = _paths(folder, crates.values())
        builds[choose("crate")] = {"run": ["cargo", "build", *everything], "watch": watch}
    return Part(_LOCKED_TITLE if len(bins) > 1 else _TITLE, builds, services, words)


def _manifest(folder: Path, prefix: str) -> Document:
    return read_toml(folder / prefix / "Cargo.toml", f"{prefix}Cargo.toml").document


def _table(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _is_member(crate: _Crate, root: Document) -> bool:
    """Crates outside the workspace are libraries here, whatever binaries they have."""
    return crate.prefix == "" or "workspace" in root


def _crates(folder: Path, root: Document) -> dict[str, _Crate]:
    """All crates of the project by their folder: the root, the workspace's members, and what these use."""
    workspace = _table(root.get("workspace"))
    shared = _table(workspace.get("dependencies"))
    excluded = {f"{name.strip('/')}/" for name in _strings(workspace.get("exclude"))}
    pending = [""] if "package" in root else []
    for pattern in _strings(workspace.get("members")):
        found = _members(folder, pattern)
        pending += [f"{path.relative_to(folder).as_posix()}/" for path in found if (path / "Cargo.toml").is_file()]
    crates: dict[str, _Crate] = {}
    while pending:
        prefix = pending.pop(0)
        if prefix not in crates and prefix not in excluded:
            crates[prefix] = _crate(folder, prefix, shared)
            pending += crates[prefix].uses
    return crates


def _members(folder: Path, pattern: str) -> list[Path]:
    """The folders that an entry of a workspace's members names; none where it means nothing."""
    if pattern.startswith(("/", "..")) or not pattern.strip("./"):
        return []
    try:
        return sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError, OSError):  # `a**b`, or a name that cannot be
        return []


def _crate(folder: Path, prefix: str, shared: Document) -> _Crate:
    manifest = _manifest(folder, prefix)
    package = _table(manifest.get("package"))
    name = package.get("name")
    called = name if isinstance(name, str) else "crate"
    uses: list[str] = []
    for section in ("dependencies", "build-dependencies"):
        for key, wanted in _table(manifest.get(section)).items():
            given = _table(wanted)
            base = prefix
            if given.get("workspace") is True:
                given, base = _table(shared.get(key)), ""
            if isinstance(path := given.get("path"), str):
                uses += _beside(folder, base, path)
    return _Crate(prefix, called, _binaries(folder / prefix, called, manifest), tuple(uses))


def _beside(folder: Path, prefix: str, path: str) -> list[str]:
    """The folder of a crate that is named by its path, if it lies in the project."""
    root = folder.resolve()
    try:
        where = (folder / prefix / path).resolve()
        if not where.is_relative_to(root) or not (where / "Cargo.toml").is_file():
            return []
    except (ValueError, OSError, RuntimeError):  # a name that cannot be, a link to itself
        return []
    inner = where.relative_to(root).as_posix()
    return ["" if inner == "." else f"{inner}/"]


def _binaries(where: Path, package: str, manifest: Document) -> dict[str, tuple[str, ...]]:
    """Binaries by name, each with the patterns of the sources that are its alone."""
    found: dict[str, tuple[str, ...]] = {}
    declared = manifest.get("bin")
    for table in declared if isinstance(declared, list) else []:
        name, path = _table(table).get("name"), _table(table).get("path")
        if isinstance(name, str):
            found[name] = (path,) if isinstance(path, str) else (f"src/bin/{name}.rs",)
    if _table(manifest.get("package")).get("autobins", True) is not True:
        return found
    known = {path for paths in found.values() for path in paths}
    if (where / "src/main.rs").is_file() and "src/main.rs" not in known:
        found.setdefault(package, ("src/main.rs",))
    for path in sorted(where.glob("src/bin/*.rs")):
        if f"src/bin/{path.name}" not in known:
            found.setdefault(path.stem, (f"src/bin/{path.name}",))
    for path in sorted(where.glob("src/bin/*/main.rs")):
        if f"src/bin/{path.parent.name}/main.rs" not in known:
            found.setdefault(path.parent.name, (f"src/bin/{path.parent.name}/**",))
    return found


def _watched(folder: Path, crates: dict[str, _Crate], crate: _Crate, binary: str) -> Document:
    """The sources of a binary: its crate and all that it uses, without the other binaries."""
    used: dict[str, _Crate] = {}
    pending = [crate.prefix]
    while pending:
        prefix = pending.pop()
        if prefix in crates and prefix not in used:
            used[prefix] = crates[prefix]
            pending += crates[prefix].uses
    others = [f"{crate.prefix}{path}" for name, paths in crate.binaries.items() if name != binary for path in paths]
    watched: Document = {"watch": _paths(folder, used.values())}
    return watched | ({"ignore": [f"./{path}" for path in others]} if others else {})


def _paths(folder: Path, crates: Iterable[_Crate]) -> list[str]:
    """What a build of these crates reads."""
    found: list[str] = []
    for crate in crates:
        found += [f"{crate.prefix}src/**/*.rs", *existing(folder, (f"{crate.prefix}build.rs",))]
        found.append(f"{crate.prefix}Cargo.toml")
    return list(dict.fromkeys((*found, *existing(folder, ("Cargo.toml", "Cargo.lock")))))
