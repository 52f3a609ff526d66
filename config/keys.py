"""The settings as a flat table of dotted keys, for whoever shows or compares them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from config.sections import Section
from config.settings import Settings
from network.urls import masked_url

Shown = str | int | float | bool | list[dict[str, Any]] | None
"""A value as people and JSON see it: secrets masked, decimals as strings."""


@dataclass(frozen=True)
class Key:
    """One key: its dotted name, its default, and whether SIGHUP changes it."""

    name: str
    default: Any
    live: bool


def section_of(field: FieldInfo) -> type[Section] | None:
    """Return the section that a field holds, None for one that holds a value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _keys(model: type[Section], prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is not None:
            yield from _keys(section, f"{prefix}{name}.")
            continue
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        yield Key(f"{prefix}{name}", field.default, extra["live"] is True)


KEYS = {key.name: key for key in _keys(Settings, "")}
"""Every key in the order of the default file."""


def values(settings: Settings) -> dict[str, Any]:
    """Return the value of every key, secrets included: not for showing."""
    return {name: attrgetter(name)(settings) for name in KEYS}


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return dotted keys as the nested mapping that Settings is made from."""
    result: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return result


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first with the second's values laid over it."""
    result = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result


def shown(value: Any) -> Shown:
    """Return one value as people may see it: passwords masked."""
    if isinstance(value, SecretStr):
        return masked_url(value.get_secret_value())
    if isinstance(value, Path | Decimal):
        return str(value)
    if isinstance(value, tuple):
        return [rule.model_dump(mode="json") for rule in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} is no setting's type")


def shown_values(settings: Settings) -> dict[str, Shown]:
    """Return the value of every key as people may see it."""
    return {name: shown(value) for name, value in values(settings).items()}
