"""What certificates are checked by: the authorities of a file or of the system, read without waiting for a pipe."""

import errno
import ssl
from os import PathLike
from pathlib import Path


def refuse_pipe(path: Path) -> None:
    """Raises OSError for a pipe: whoever opens it waits for somebody to write."""
    if path.is_fifo():
        raise OSError(errno.EINVAL, "is a pipe", str(path))


def client_context(ca_file: str | PathLike[str] | None) -> ssl.SSLContext:
    """A client's context that trusts the authorities of this file, else the system's. Raises OSError."""
    if ca_file is not None:
        refuse_pipe(Path(ca_file))
    return ssl.create_default_context(cafile=ca_file)
