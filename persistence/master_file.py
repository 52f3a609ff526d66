"""A file of master data: YAML read with its line numbers, and every problem in it found in one go."""

import dataclasses
import difflib
import gzip
import io
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from billing.catalogues import NETWORK_USER_PRICES, REGULATORY_PRICES, CatalogueKind, price_fields_of
from billing.foreign_text import steers
from billing.identity import is_network_user_id, is_oib
from billing.periods import Period
from billing.segments import Registers
from files.opening import open_regular
from files.yaml_nodes import NotYaml, compose, key_values, line_of
from persistence import master_assignments
from persistence.master_assignments import instant, whole_number

_STRING, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_DECIMAL_TAGS = {_STRING, "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_DECIMAL = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_ID = re.compile(r'[^\s,"\\\x00-\x1f\x7f]{1,100}')
_PHASES = ("l1", "l2", "l3")
_METER_KINDS = ("abb_b2x", "schneider_iem3xxx")

_BYTES_AT_MOST = 100_000_000

Check = Callable[[yaml.ScalarNode], str]
"""Gives a scalar's value, or raises ValueError with what is wrong about it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list as it will be stored: `values` are JSON-able, decimals stay strings."""

    list_name: str
    line: int
    values: dict[str, object]
    lines: Mapping[str, int]

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it one of its list: the id, with catalogues the month too from which they hold."""
        return (str(self.values["id"]), *([str(self.values["valid_from"])] if _is_catalogue(self.list_name) else []))

    def where(self, name: str = "") -> str:
        """How a problem names it."""
        return f"{self.list_name}[{self.values['id']}]" + (f".{name}" if name else "")


@dataclass(slots=True)
class MasterFile:
    """What a file of master data holds: entries by list, and all that is wrong with it, line by line."""

    path: Path
    entries: dict[str, list[Entry]] = field(default_factory=lambda: {name: [] for name in FIELDS})
    problems: list[tuple[int, str]] = field(default_factory=list)
    ids: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in FIELDS})
    """Every id that a list names, those of entries with problems too: whoever refers to one is not to blame."""

    def fail(self, line: int, where: str, reason: str) -> None:
        """Notes a problem."""
        self.problems.append((line, f"{self.path}:{line}: {where}: {reason}"))


def _phases(node: yaml.Node) -> list[str]:
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    phases = [item.value for item in items if isinstance(item, yaml.ScalarNode)]
    if not phases or len(phases) != len(items) or len(set(phases)) < len(phases) or not set(phases) <= set(_PHASES):
        raise ValueError(f"has to be a list of {', '.join(_PHASES)}, each once at most")
    return phases


def _string(node: yaml.ScalarNode) -> str:
    if node.tag != _STRING:
        raise ValueError(f"{node.value!r} is not text; put it in quotes")
    return str(node.value)


def _text(node: yaml.ScalarNode, characters_at_most: int = 200) -> str:
    text = _string(node)
    if not text.strip():
        raise ValueError("is empty")
    if len(text) > characters_at_most:
        raise ValueError(f"has {len(text)} characters, {characters_at_most} at most are allowed")
    if steers(text) or "\n" in text or "\t" in text:
        raise ValueError("has control characters")
    return text


def _id(node: yaml.ScalarNode) -> str:
    text = _string(node)
    if not _ID.fullmatch(text) or steers(text):
        raise ValueError(f"{text!r} is no id: 1 to 100 characters, no blanks, commas, quotes or backslashes")
    return text


def _network_user_id(node: yaml.ScalarNode) -> str:
    text = _string(node)
    if not is_network_user_id(text):
        raise ValueError(f"{text!r} is no network user's id: 1 to 64 letters, digits and hyphens")
    return text


def _month(node: yaml.ScalarNode) -> str:
    return str(Period.parse(_string(node)))


def _oib(node: yaml.ScalarNode) -> str:
    text = _string(node)
    if not is_oib(text):
        raise ValueError(f"{text!r} is no OIB: 11 digits, the last the check digit of ISO 7064 MOD 11,10")
    return text


def _one_of(node: yaml.ScalarNode, kinds: tuple[str, ...]) -> str:
    if node.value not in kinds:
        raise ValueError(f"{node.value!r} is none of {', '.join(kinds)}")
    return str(node.value)


def _decimal(node: yaml.ScalarNode, decimals: int, digits: int) -> str:
    """A decimal as written: a plain number too, since the node still has its very characters."""
    match = _DECIMAL.fullmatch(node.value) if node.tag in _DECIMAL_TAGS else None
    if match is None:
        raise ValueError(f"{node.value!r} is not a decimal number like 0.037236")
    if match[1]:
        raise ValueError(f"{node.value} is negative")
    if len(match[3] or "") > decimals:
        raise ValueError(f"{node.value} has {len(match[3])} decimals, {decimals} at most are allowed")
    if len(match[2]) > digits:
        raise ValueError(f"{node.value} is too large")
    return str(node.value)


# as wide as the columns: numeric(12,6), numeric(12,3), numeric(9,6)
_energy_price = partial(_decimal, decimals=6, digits=6)
_coarse_price = partial(_decimal, decimals=3, digits=9)
_percent = partial(_decimal, decimals=6, digits=3)
_COARSE = {"active_power_peak_price", "meter_fee"}
_KINDS = tuple(kind.value for kind in CatalogueKind)
_LEGAL_PERSON: dict[str, Check] = {"name": _text, "oib": _oib, "address": _text, "postal_code": _text, "city": _text}
_OPTIONAL = {"valid_from", "billed_until"} | master_assignments.OPTIONAL
_PROTOCOL: dict[str, Check] = {each.name: whole_number for each in dataclasses.fields(Registers)}

FieldCheck = Check | Mapping[str, Any] | list[Mapping[str, Any]] | None
"""Of a scalar, of a mapping's fields, of the fields of each mapping in a list; None: a list of phases."""

FIELDS: dict[str, dict[str, FieldCheck]] = {
    "regulatory_catalogues": {
        "id": _id,
        "valid_from": _month,
        "title": _text,
        **dict.fromkeys(REGULATORY_PRICES.values(), _energy_price),
        "tax_rate_percent": _percent,
    },
    "network_user_catalogues": {
        "id": _id,
        "valid_from": _month,
        "kind": partial(_one_of, kinds=_KINDS),
        "title": _text,
        **{name: _coarse_price if name in _COARSE else _energy_price for name in NETWORK_USER_PRICES.values()},
    },
    "locations": {"id": _id, "title": _text, "regulatory_catalogue": _id, "legal_person": _LEGAL_PERSON},
    "network_users": {
        "id": _network_user_id,
        "title": _text,
        "location": _id,
        "altibiz_sub_project_code": partial(_text, characters_at_most=64),
        "billed_from": _month,
        "billed_until": _month,
        "legal_person": _LEGAL_PERSON,
    },
    "meters": {
        "id": _id,
        "kind": partial(_one_of, kinds=_METER_KINDS),
        "phases": None,
        "connection_power_w": partial(whole_number, digits=9),
    },
    "measurement_locations": {
        "id": _id,
        "title": _text,
        "network_user": _network_user_id,
        "network_users": [{"network_user": _network_user_id, "from": instant, "until": instant}],
        "catalogue": _id,
        "catalogues": [{"catalogue": _id, "valid_from": _month}],
        "meter_id": _id,
        "meters": [{"meter": _id, "from": instant, "until": instant, "opening": _PROTOCOL, "closing": _PROTOCOL}],
        "gaps": partial(_one_of, kinds=("refuse", "unbilled")),
    },
}
"""The lists, in an order in which each refers only to those before, and their fields."""


def read_master(path: Path) -> MasterFile:
    """Reads a file of master data; what is wrong with it stands in `problems`, unreadable YAML included."""
    master = MasterFile(path)
    try:
        with open_regular(path) as file:
            root = compose(_unpacked(file.read(_BYTES_AT_MOST + 1)))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        master.fail(1, "file", f"the compressed file is cut short or damaged: {error}")
        return master
    except OSError as error:
        master.fail(1, "file", f"it can't be read: {error.strerror or error}")
        return master
    except NotYaml as error:
        master.fail(error.line or 1, "file", str(error))
        return master
    for name, key, value in _pairs(master, root, "file"):
        if name not in FIELDS:
            master.fail(line_of(key), name, f"unknown list{_did_you_mean(name, FIELDS)}")
        elif not isinstance(value, yaml.SequenceNode):
            master.fail(line_of(value), name, "has to be a list")
        else:
            _read_list(master, name, value)
    _find_doubles(master)
    return master


def _unpacked(content: bytes) -> bytes:
    if content.startswith(b"\x1f\x8b"):
        with gzip.open(io.BytesIO(content)) as unpacked:
            content = unpacked.read(_BYTES_AT_MOST + 1)
    if len(content) > _BYTES_AT_MOST:
        raise NotYaml(f"it has more than {_BYTES_AT_MOST} bytes: give it in parts, what others refer to first")
    return content


def _did_you_mean(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _is_catalogue(list_name: str) -> bool:
    return list_name.endswith("_catalogues")


def _pairs(master: MasterFile, node: yaml.Node | None, where: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """Name, key and value of a mapping's entries; a name that comes twice counts once."""
    if not isinstance(node, yaml.MappingNode):
        master.fail(1 if node is None else line_of(node), where, "has to be a mapping of names to values")
        return []

    def refuse(key: yaml.Node, name: str, reason: str) -> None:
        master.fail(line_of(key), f"{where}.{name}" if name else where, reason)

    return list(key_values(node, refuse))


def _id_in(item: yaml.Node) -> str | None:
    """The id that an entry is given, whatever else is wrong with it."""
    for key, value in item.value if isinstance(item, yaml.MappingNode) else ():
        if key.value == "id" and isinstance(value, yaml.ScalarNode):
            return str(value.value)
    return None


def _read_list(master: MasterFile, list_name: str, node: yaml.SequenceNode) -> None:
    for place, item in enumerate(node.value, start=1):
        given_id = _id_in(item)
        where = f"{list_name}[{given_id or place}]"
        before = len(master.problems)
        pairs = {name: value for name, _, value in _pairs(master, item, where)}
        if not isinstance(item, yaml.MappingNode):
            continue
        if given_id is not None:
            master.ids[list_name].add(given_id)
        fields = _fields_of(list_name, pairs)
        values = _read_mapping(master, item, pairs, fields, where)
        if len(master.problems) > before:
            continue
        if _is_catalogue(list_name):
            values.setdefault("valid_from", "")
        lines = {name: line_of(value) for name, value in pairs.items()}
        master.entries[list_name].append(Entry(list_name, line_of(item), values, lines))


def _fields_of(list_name: str, pairs: Mapping[str, yaml.Node]) -> dict[str, FieldCheck]:
    """The fields that an entry has to have: with a network-user catalogue its kind decides which prices."""
    fields = FIELDS[list_name]
    kind = pairs.get("kind")
    if list_name != "network_user_catalogues" or not isinstance(kind, yaml.ScalarNode):
        return fields
    # A kind that is none is a problem of its own; which prices it needs is unknown.
    prices = price_fields_of(CatalogueKind(kind.value)) if kind.value in _KINDS else pairs.keys()
    return {name: check for name, check in fields.items() if name not in NETWORK_USER_PRICES.values() or name in prices}


def _read_mapping(
    master: MasterFile,
    node: yaml.Node,
    pairs: Mapping[str, yaml.Node],
    fields: Mapping[str, FieldCheck],
    where: str,
) -> dict[str, object]:
    for name in pairs:
        if name not in fields:
            master.fail(line_of(pairs[name]), f"{where}.{name}", f"unknown key{_did_you_mean(name, fields)}")
    values: dict[str, object] = {}
    for name, check in fields.items():
        value = pairs.get(name)
        if value is None or value.tag == _NULL:
            if name not in _OPTIONAL:
                master.fail(line_of(value or node), f"{where}.{name}", "is missing")
        else:
            values[name] = _read(master, value, check, f"{where}.{name}")
    return values


def _read(master: MasterFile, node: yaml.Node, check: FieldCheck, where: str) -> object:
    """What a node holds; None or what is left of it where that is a problem."""
    if isinstance(check, Mapping):
        inner = {each: child for each, _, child in _pairs(master, node, where)}
        return _read_mapping(master, node, inner, check, where) if isinstance(node, yaml.MappingNode) else {}
    if isinstance(check, list):
        if isinstance(node, yaml.SequenceNode) and node.value:
            return [_read(master, item, check[0], f"{where}[{place}]") for place, item in enumerate(node.value, 1)]
        master.fail(line_of(node), where, "has to be a list of mappings")
        return []
    try:
        if check is None:
            return _phases(node)
        if not isinstance(node, yaml.ScalarNode):
            raise ValueError("has to be a single value")
        return check(node)
    except ValueError as error:
        master.fail(line_of(node), where, str(error))
        return None


def _find_doubles(master: MasterFile) -> None:
    for list_name, entries in master.entries.items():
        seen: dict[tuple[str, ...], Entry] = {}
        for entry in entries:
            first = seen.setdefault(entry.key, entry)
            if first is not entry:
                what = "with this id and valid_from" if _is_catalogue(list_name) else "with this id"
                master.fail(entry.lines["id"], entry.where(), f"an entry {what} stands in line {first.line} already")
    meters: dict[object, Entry] = {}
    for entry in master.entries["measurement_locations"]:
        for name, reason in master_assignments.problems_of(entry.values):
            master.fail(entry.lines.get(name, entry.line), entry.where(name), reason)
        meter_id = entry.values.get("meter_id")
        first = entry if meter_id is None else meters.setdefault(meter_id, entry)
        if first.key != entry.key:
            reason = f"meter {meter_id} is at {first.where()} (line {first.line}) already"
            master.fail(entry.lines["meter_id"], entry.where("meter_id"), reason)
    for entry in master.entries["network_users"]:
        until = entry.values.get("billed_until")
        if until is not None and str(until) < str(entry.values["billed_from"]):
            reason = f"{until} is before billed_from, {entry.values['billed_from']}"
            master.fail(entry.lines["billed_until"], entry.where("billed_until"), reason)
