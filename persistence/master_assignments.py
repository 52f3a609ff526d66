"""Which meter and which network user a measurement location has from when until when, as a file says it."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import yaml

from billing.instants import format_instant
from billing.periods import QUARTER_HOUR

LISTS = {
    "meter_id": ("meters", "meter"),
    "network_user": ("network_users", "network_user"),
    "catalogue": ("catalogues", "catalogue"),
}
"""For the key of what holds always: the key of the list instead of it, and the key of its entries."""
OPTIONAL = {
    *LISTS, *(listed for listed, _ in LISTS.values()), "from", "until", "opening", "closing", "gaps",
    "connection_power_w",
}  # fmt: skip
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|z|[+-][0-9]{2}:[0-9]{2})")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def instant(node: yaml.ScalarNode) -> str:
    """An instant with its zone, in UTC; raises ValueError unless it is one, at a quarter hour."""
    if not _INSTANT.fullmatch(node.value):
        raise ValueError(f"{node.value!r} is no instant with its zone like 2026-10-14T10:15:00+02:00")
    at = datetime.fromisoformat(node.value.upper()).astimezone(UTC)
    if (at - datetime(2000, 1, 1, tzinfo=UTC)) % QUARTER_HOUR:
        raise ValueError(f"{node.value} is no quarter hour")
    return format_instant(at)


def whole_number(node: yaml.ScalarNode, digits: int = 18) -> str:
    """A number of at most so many digits, as written; raises ValueError for anything else."""
    if not _NUMBER.fullmatch(node.value) or len(node.value) > digits:
        raise ValueError(f"{node.value!r} is no whole number of at most {digits} digits")
    return str(node.value)


def problems_of(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the meters and users of a measurement location: a key of it, and why."""
    for always, (listed, key) in LISTS.items():
        if (always in values) == (listed in values):
            yield always, f"give either {always} or {listed}"
        spans = values.get(listed, ())
        for number, span in enumerate(spans, 1):
            for reason in _problems_of_span(span, key):
                yield listed, f"entry {number} {reason}"
        for number, (before, after) in enumerate(pairwise(spans), 2):
            if listed == "catalogues":
                if before.get("valid_from", "") >= after.get("valid_from", ""):
                    yield listed, f"entry {number} has to have a later valid_from than the one before"
            elif before.get("until", "9") > after.get("from", ""):
                yield listed, f"entry {number} has to begin where the one before ends or later: give both instants"


def _problems_of_span(span: Mapping[str, Any], key: str) -> Iterator[str]:
    if key not in span:
        yield f"has no {key}"
    if span.get("from", "") >= span.get("until", "9"):
        yield "ends before it begins"
    for end, name in (("from", "opening"), ("until", "closing")):
        registers = span.get(name)
        if registers is None:
            continue
        if end not in span:
            yield f"has {name} and no {end}"
        total, t1, t2 = (int(registers.get(f"active_import_{each}_wh", 0)) for each in ("total", "t1", "t2"))
        if total != t1 + t2:
            yield f"has active_import_total_wh {total} in {name}, which is not T1 + T2, {t1} + {t2}"


def referred(values: Mapping[str, Any], name: str) -> list[str]:
    """The ids that a key refers to, or the list instead of it."""
    if name in values or name not in LISTS:
        return [values[name]]
    listed, key = LISTS[name]
    return [span[key] for span in values.get(listed, ())]


def line_of_key(lines: Mapping[str, int], name: str) -> int:
    """The line of a key, or of the list instead of it."""
    return lines[name] if name in lines else lines[LISTS[name][0]]
