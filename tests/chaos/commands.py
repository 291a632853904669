"""The commands of a story: asked for while all goes on, and looked at when it has come to rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from tests.chaos.edits import Diary
from tests.chaos.life import DEADLINE_S
from tests.rig.live import clean_environment


class Commands:
    """Commands in one project. `words`: how often each word has been said."""

    def __init__(self, root: Path, diary: Diary) -> None:
        self.words: Counter[str] = Counter()
        self._root = root
        self._diary = diary
        self._asked: list[tuple[str, subprocess.Popen[bytes], IO[bytes]]] = []

    def ask(self, *words: str) -> subprocess.Popen[bytes]:
        """One command, on whose end nobody waits now."""
        self._diary.note(f"procwatch {' '.join(words)}")
        self.words.update(words)
        output = TemporaryFile()  # noqa: SIM115 - closed when it has ended
        process = subprocess.Popen(
            [sys.executable, "-m", "procwatch", *words], cwd=self._root, env=clean_environment(),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
        self._asked.append((" ".join(words), process, output))
        return process

    def wrong(self) -> list[str]:
        """Wait for all that were asked for: each ends, with a status of its own, and without a traceback."""
        found = []
        for words, process, output in self._asked:
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                found.append(f"procwatch {words} does not end")
            with output:
                output.seek(0)
                told = output.read().decode(errors="replace").strip()
            self._diary.note(f"procwatch {words}: exit {process.returncode}: {told}")
            # There may be no such release, and no such service, just now.
            is_right = process.returncode in (0, 1) or "has no release" in told or '"desk"; ' in told
            if not is_right or "Traceback" in told:
                found.append(f"procwatch {words}: exit {process.returncode}: {told}")
        self._asked.clear()
        return found

    def status(self) -> list[dict[str, Any]]:
        """Of all units; nothing if nobody answers."""
        command = [sys.executable, "-m", "procwatch", "status", "--json"]
        told = subprocess.run(
            command, cwd=self._root, env=clean_environment(), capture_output=True, check=False, timeout=DEADLINE_S
        )
        return list(json.loads(told.stdout)["units"]) if told.returncode == 0 else []

    def clear_away(self) -> None:
        """End those that still wait."""
        for _, process, output in self._asked:
            process.kill()
            process.wait()
            output.close()
