"""Files that outlast a power cut: written whole, on disk (fsync), and known to their folder."""

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
