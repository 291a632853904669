"""Runs before the others, as a migration would: checks what is configured and writes what they need."""

import os
import sys
from pathlib import Path

greeting = os.environ.get("GREETING", "")
if not greeting:
    sys.exit("GREETING is not set; write it into .env")
Path("greeting.txt").write_text(f"{greeting}\n")
print(f"release: {greeting}")
