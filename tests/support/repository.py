"""The files of the repository: those that git knows, or those of an unpacked archive."""

import os
import subprocess
from pathlib import Path

from tests.support.sample import ROOT

# .gitignore, for where there is no git.
_LEFT_OUT = {"__pycache__", "var", "dist", "demo-out", "build", "systemd-sandbox-out"}
_KEPT = {".ci", ".gitignore", ".gitattributes"}


def files() -> list[Path]:
    """All files but what the targets of the Makefile make."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return [ROOT / line for line in listing.splitlines() if (ROOT / line).is_file()]
    found: list[Path] = []
    for folder, inner, names in os.walk(ROOT):
        kept = [each for each in inner if each in _KEPT or not each.startswith(".")]
        inner[:] = [each for each in kept if each not in _LEFT_OUT and not each.endswith(".egg-info")]
        found += [Path(folder, name) for name in names if name in _KEPT or not name.startswith(".")]
    return found
