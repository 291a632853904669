"""What the translation of tables needs to know, and where it reports what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from procwatch.config.check import Findings
from procwatch.config.locate import KeyPath
from procwatch.config.replicas import Replica
from procwatch.config.resolve import Names


@dataclass(frozen=True, slots=True)
class Scope:
    """What a translation needs to know. `replicas`: those of each service by its short name."""

    folder: Path
    names: Names
    findings: Findings
    replicas: Mapping[str, tuple[Replica, ...]] = field(default_factory=dict)

    def report(self, path: KeyPath, message: str, *, on_key: bool = False) -> None:
        """A problem with what stands at `path`."""
        self.findings.report(path, message, on_key=on_key)
