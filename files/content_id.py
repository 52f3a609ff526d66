"""The id of an import: it follows from what was sent, so the same content twice is the same import."""

import re
from typing import Final

CONTENT_ID: Final = re.compile("[0-9a-f]{32}")
"""What an id looks like."""


def content_id(sha256: str) -> str:
    """The id for a SHA-256 in hexadecimal, of the content or of a key."""
    return sha256[:32]
