"""Compares settings and tells what of a changed file takes effect at once."""

from dataclasses import dataclass

from pydantic import ValidationError

from config.document import Problem
from config.keys import KEYS, Shown, nested, shown, values
from config.load import ConfigurationRejected
from config.refusals import cause_of
from config.settings import Settings


@dataclass(frozen=True)
class Change:
    """A key whose value differs; `old` and `new` are fit for showing, `live` says whether SIGHUP is enough."""

    key: str
    old: Shown
    new: Shown
    live: bool

    def __str__(self) -> str:
        when = "" if self.live else " (waits for a restart)"
        return f"{self.key}: {self.old} -> {self.new}{when}"


def changes(old: Settings, new: Settings) -> list[Change]:
    """Return every key whose value differs, in the order of the default file."""
    before, after = values(old), values(new)
    return [
        Change(name, shown(before[name]), shown(after[name]), key.live)
        for name, key in KEYS.items()
        if before[name] != after[name]
    ]


def apply_reload(running: Settings, new: Settings) -> Settings:
    """Return what is in force after a reload: the live keys of `new`, all others as they are running.

    Raises ConfigurationRejected when the two don't go together before a restart, as a longer
    erp.total_timeout_seconds with the running work.lease_seconds.
    """
    before, after = values(running), values(new)
    mixed = {name: (after if key.live else before)[name] for name, key in KEYS.items()}
    try:
        return Settings.model_validate(nested(mixed))
    except ValidationError as error:
        problems = [
            Problem(key, None, f"{message} (its new value waits for a restart)")
            for cause in filter(None, map(cause_of, error.errors(include_url=False)))
            for key, _, message in cause.problems
        ]
        raise ConfigurationRejected(problems) from error
