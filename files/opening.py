"""Opens files that others may have put there: a regular file only, so that nobody waits for a pipe."""

import errno
import os
import stat
from pathlib import Path
from typing import Any


def open_regular(path: Path, mode: str = "rb", *, follow_links: bool = False, **text: Any) -> Any:
    """As `open` does it. Raises OSError for all but a regular file, and for a link unless `follow_links`."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW), 0o644)
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISREG(kind):
            return descriptor
        os.close(descriptor)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        raise OSError(errno.EINVAL, "is no regular file", name)

    return open(path, mode, opener=opener, **text)
