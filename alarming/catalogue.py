"""The catalogue of alarm codes: what catalogue.yaml says of each, as types."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final
from uuid import UUID

import yaml
from pydantic import ConfigDict, TypeAdapter

from billing.states import State
from persistence.alarms import Severity


class Code(StrEnum):
    """The codes that billingd raises by itself (rules of the configuration may add their own names)."""

    DATABASE_UNREACHABLE = "database_unreachable"
    DATABASE_ERROR = "database_error"
    ERP_UNREACHABLE = "erp_unreachable"
    ERP_ERROR = "erp_error"
    ERP_CREDENTIALS = "erp_credentials"
    ERP_TRUST_UNUSABLE = "erp_trust_unusable"
    ERP_INCORRECT_DATA = "erp_incorrect_data"
    ERP_REFUSED_INVOICE = "erp_refused_invoice"
    ERP_CONFLICT = "erp_conflict"
    INVOICE_ABORTED = "invoice_aborted"
    INVOICE_OVERDUE = "invoice_overdue"
    READINGS_INCOMPLETE = "readings_incomplete"
    READINGS_INCONSISTENT = "readings_inconsistent"
    ENERGY_ALREADY_BILLED = "energy_already_billed"
    INPUTS_UNREADABLE = "inputs_unreadable"
    POISON_INVOICE = "poison_invoice"
    DELIVERY_PAUSED = "delivery_paused"
    ACTOR_CRASHED = "actor_crashed"
    ACTOR_HUNG = "actor_hung"
    DAEMON_WAS_DOWN = "daemon_was_down"
    CLOCKS_DISAGREE = "clocks_disagree"
    CONFIGURATION_REJECTED = "configuration_rejected"
    INSTANCE_NAME_TAKEN = "instance_name_taken"
    UNEXPECTED_ERROR = "unexpected_error"
    ALARM_SPOOL_UNWRITABLE = "alarm_spool_unwritable"
    ALARM_WEBHOOK_UNREACHABLE = "alarm_webhook_unreachable"
    ALARM_TEST = "alarm_test"
    ALARM_TEST_FAILED = "alarm_test_failed"
    IMPORT_REFUSED = "import_refused"
    INBOX_UNUSABLE = "inbox_unusable"
    METERS_SILENT = "meters_silent"


class ClearScope(StrEnum):
    """For whom a `ConditionCleared` that names a subject speaks."""

    EACH = "each"  # for that subject alone
    ALL = "all"  # if the condition was active for that subject, for all: what it needed is there again


class ClearRule(StrEnum):
    """What clears an alarm, besides a `ConditionCleared`."""

    REPORTED = "reported"  # nothing else
    QUIET = "quiet"  # `alarms.quiet_seconds` without another report
    STABLE = "stable"  # a whole supervision window of a later process without another report
    RESTART = "restart"  # a new process: it sees for itself


_STRICT: Final = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Text:
    """What a code says to people, in one language. `meanwhile` is a clause that ends its log line."""

    __pydantic_config__: ClassVar = _STRICT

    title: str
    meaning: str
    effect: str
    meanwhile: str
    action: str
    cleared_by: str


@dataclass(frozen=True)
class Entry:
    """All that is known of one code.

    `by_period`: its alarms follow from the rows of the database, and may have a period as their key (‡), or `key`.
    `held_code`: invoices that are held, or wait in `due`, bear it.
    `invoices`: what the summary says of the invoices concerned.
    `immediately`: it is raised without waiting whether it passes.
    `mutes`: the codes that are not raised while this one is active, as they follow from it.
    """

    __pydantic_config__: ClassVar = _STRICT

    code: Code
    severity: Severity
    message_id: UUID
    english: Text
    croatian: Text
    clear_scope: ClearScope = ClearScope.EACH
    clear_rule: ClearRule = ClearRule.REPORTED
    by_period: bool = False
    key: str = "period"
    held_code: bool = False
    invoices: str = State.HELD
    immediately: bool = False
    mutes: tuple[Code, ...] = ()


class _Catalogue(Mapping[str, Entry]):
    """Read with the first use: a command that only lists alarms has none."""

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        content = Path(__file__).with_suffix(".yaml").read_text("utf-8")
        # libyaml's own loader, where it is there, is ten times as quick.
        document = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        entries = TypeAdapter(list[Entry]).validate_python([{"code": code, **of} for code, of in document.items()])
        return {entry.code.value: entry for entry in entries}

    @cached_property
    def muted_by(self) -> Mapping[str, frozenset[str]]:
        return {code: frozenset(entry.code for entry in self.values() if code in entry.mutes) for code in self}

    def __getitem__(self, code: str) -> Entry:
        return self._entries[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


CATALOGUE: Final = _Catalogue()
"""Every entry by its code."""
