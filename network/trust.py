"""What certificates are checked by: the authorities of a file or of the system."""

import ssl
from os import PathLike
from pathlib import Path

from files.opening import open_regular


def client_context(ca_file: str | PathLike[str] | None) -> ssl.SSLContext:
    """A client's context that trusts the authorities of this file, else the system's. Raises OSError."""
    if ca_file is not None:
        open_regular(Path(ca_file), follow_links=True).close()
    return ssl.create_default_context(cafile=ca_file)
