"""Owns which characters of foreign text reach no terminal, log or bill id: those that steer one, or turn its order."""

import re

# C0 but tab and line feed, DEL and C1, the bidi controls, the Unicode line ends, halves of surrogate pairs.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def steers(text: str) -> bool:
    """Whether a character of it is none to be shown."""
    return _STEERING.search(text) is not None


def spelt_out(text: str) -> str:
    r"""The text with each such character as `\x1b` or `\u202e`; tabs and line feeds stay."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def spelt_out_json(document: str) -> str:
    r"""A JSON document with each such character as JSON escapes it (`\u001b`): they stand in its strings only.

    Half of a surrogate pair becomes `?`: not every reader of JSON takes it.
    """
    return _STEERING.sub(lambda found: "?" if found[0] >= "\ud800" else f"\\u{ord(found[0]):04x}", document)
