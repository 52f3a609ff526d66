"""Files written whole or not at all, on disk (fsync) and known to their folder where they outlast a power cut."""

import os
from pathlib import Path


def write_all(descriptor: int, content: bytes) -> None:
    """Writes all of it. Raises OSError."""
    while content:
        content = content[os.write(descriptor, content) :]


def sync_folder(path: Path) -> None:
    """Puts on disk which files a folder has, after a rename in it. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace_whole(path: Path, content: str) -> None:
    """Puts a file in place of the one before, never through a link; it need not outlast a power cut. Raises OSError."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with beside.open("x", encoding="utf-8") as file:
        file.write(content)
    beside.replace(path)
