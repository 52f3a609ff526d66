"""The one source for every alarm code: how it behaves, what it means, what to do, in English and Croatian."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from alarming.conditions import Severity
from alarming.croatian import CROATIAN
from alarming.english import ENGLISH
from alarming.texts import Text


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
    CONFIGURATION_REJECTED = "configuration_rejected"
    INSTANCE_NAME_TAKEN = "instance_name_taken"
    UNEXPECTED_ERROR = "unexpected_error"
    ALARM_SPOOL_UNWRITABLE = "alarm_spool_unwritable"
    ALARM_WEBHOOK_UNREACHABLE = "alarm_webhook_unreachable"


class ClearScope(StrEnum):
    """For whom a `ConditionCleared` that names a subject speaks."""

    EACH = "each"  # for that subject alone
    ALL = "all"  # if that subject was in trouble, for all: what it needed is there again


class ClearRule(StrEnum):
    """What ends an alarm, besides a `ConditionCleared`."""

    REPORTED = "reported"
    QUIET = "quiet"  # `alarms.quiet_seconds` without another sign
    STABLE = "stable"  # `ConditionCleared`, or a whole supervision window of a later process without another sign
    RESTART = "restart"  # `ConditionCleared`, or a new process: it saw for itself


@dataclass(frozen=True)
class Entry:
    """All that is known of one code. `by_period`: its alarms follow from the database's rows, and may
    have a period as their key (‡)."""

    code: Code
    severity: Severity
    message_id: UUID
    clear_scope: ClearScope = ClearScope.EACH
    clear_rule: ClearRule = ClearRule.REPORTED
    by_period: bool = False
    immediately: bool = False
    mutes: tuple[Code, ...] = ()

    @property
    def english(self) -> Text:
        """What it says to people, in English."""
        return ENGLISH[self.code.value]

    @property
    def croatian(self) -> Text:
        """What it says to people, in Croatian."""
        return CROATIAN[self.code.value]


_ENTRIES = (
    Entry(
        Code.DATABASE_UNREACHABLE,
        Severity.CRITICAL,
        UUID("4cc274b4-066c-4cc2-8fe9-b5bddb327b0b"),
        clear_scope=ClearScope.ALL,
        mutes=(
            Code.DATABASE_ERROR,
            Code.ACTOR_CRASHED,
            Code.ACTOR_HUNG,
            Code.INSTANCE_NAME_TAKEN,
            Code.INVOICE_OVERDUE,
        ),
    ),
    Entry(
        Code.DATABASE_ERROR,
        Severity.MAJOR,
        UUID("933368ed-c51f-435f-aaea-81629143570f"),
    ),
    Entry(
        Code.ERP_UNREACHABLE,
        Severity.MAJOR,
        UUID("00b17dcb-2a83-4d2d-ae04-4c7413f9a0a1"),
        clear_scope=ClearScope.ALL,
        mutes=(Code.ERP_ERROR,),
    ),
    Entry(
        Code.ERP_ERROR,
        Severity.MAJOR,
        UUID("9f012a0c-0a58-4880-9606-65db3c17a75b"),
        clear_scope=ClearScope.ALL,
    ),
    Entry(
        Code.ERP_CREDENTIALS,
        Severity.CRITICAL,
        UUID("7874e1d1-b3ba-420e-8a66-677992b278d8"),
        clear_scope=ClearScope.ALL,
        immediately=True,
        mutes=(Code.INVOICE_OVERDUE,),
    ),
    Entry(
        Code.ERP_TRUST_UNUSABLE,
        Severity.CRITICAL,
        UUID("90e55cd2-fbea-4404-a364-ffd536d579a7"),
        clear_scope=ClearScope.ALL,
        mutes=(Code.INVOICE_OVERDUE,),
    ),
    Entry(
        Code.ERP_INCORRECT_DATA,
        Severity.MAJOR,
        UUID("de0d50a3-8d03-4dd5-935e-127223a74541"),
        by_period=True,
    ),
    Entry(
        Code.ERP_REFUSED_INVOICE,
        Severity.MAJOR,
        UUID("1be9da47-f165-4608-9b20-5d005647d2e6"),
        by_period=True,
    ),
    Entry(
        Code.ERP_CONFLICT,
        Severity.MAJOR,
        UUID("f2d34765-bc97-428c-9148-aaf02b98fcbe"),
        by_period=True,
    ),
    Entry(
        Code.INVOICE_ABORTED,
        Severity.MAJOR,
        UUID("3caa5141-def7-43f5-925f-7e348cec405c"),
        by_period=True,
    ),
    Entry(
        Code.INVOICE_OVERDUE,
        Severity.WARNING,
        UUID("a1dd7c14-6a66-467e-97c1-7679f736d1ce"),
        by_period=True,
    ),
    Entry(
        Code.READINGS_INCOMPLETE,
        Severity.MINOR,
        UUID("516e26d5-0209-4ddf-9e22-7c6e7eb51b2e"),
        by_period=True,
    ),
    Entry(
        Code.READINGS_INCONSISTENT,
        Severity.MINOR,
        UUID("ce5899db-52cf-4032-9b46-c96ba06cbfe1"),
        by_period=True,
    ),
    Entry(
        Code.ENERGY_ALREADY_BILLED,
        Severity.MAJOR,
        UUID("d5f0e5f5-b3fa-4fe9-ae69-c38d1745e02c"),
        by_period=True,
    ),
    Entry(
        Code.INPUTS_UNREADABLE,
        Severity.MAJOR,
        UUID("a7d499bb-b232-41cb-98e8-783d2238c73d"),
        by_period=True,
    ),
    Entry(
        Code.POISON_INVOICE,
        Severity.MAJOR,
        UUID("bf55891e-d59c-4ab4-a764-38267d64b791"),
        by_period=True,
    ),
    Entry(
        Code.DELIVERY_PAUSED,
        Severity.WARNING,
        UUID("f2e123b5-cf6e-4807-9f61-9d38f42ee6d7"),
        by_period=True,
        mutes=(Code.INVOICE_OVERDUE,),
    ),
    Entry(
        Code.ACTOR_CRASHED,
        Severity.MAJOR,
        UUID("206df94a-81a4-40cb-bacd-10d63295c7a3"),
        clear_rule=ClearRule.STABLE,
    ),
    Entry(
        Code.ACTOR_HUNG,
        Severity.MAJOR,
        UUID("3691b97b-87c6-48ca-bcbb-68db1e8d606d"),
        clear_rule=ClearRule.STABLE,
    ),
    Entry(
        Code.DAEMON_WAS_DOWN,
        Severity.WARNING,
        UUID("fcc3b84a-7d69-432a-af8b-b8725898b8c3"),
        immediately=True,
    ),
    Entry(
        Code.CONFIGURATION_REJECTED,
        Severity.MINOR,
        UUID("abb46e1f-3766-482e-9c2e-cbc5c5366113"),
        clear_rule=ClearRule.RESTART,
        immediately=True,
    ),
    Entry(
        Code.INSTANCE_NAME_TAKEN,
        Severity.MAJOR,
        UUID("ab0fc016-c849-4a10-8674-7081306887ec"),
    ),
    Entry(
        Code.UNEXPECTED_ERROR,
        Severity.MAJOR,
        UUID("8769c30b-023b-4234-9e65-c9650825459b"),
        clear_rule=ClearRule.QUIET,
        immediately=True,
    ),
    Entry(
        Code.ALARM_SPOOL_UNWRITABLE,
        Severity.MINOR,
        UUID("d5de134e-af41-4ef1-8ab4-0bd88dfc4b90"),
        clear_rule=ClearRule.RESTART,
        immediately=True,
    ),
    Entry(
        Code.ALARM_WEBHOOK_UNREACHABLE,
        Severity.MINOR,
        UUID("b167fecd-5837-4c71-8bbe-278e11c38b72"),
        clear_rule=ClearRule.RESTART,
    ),
)
CATALOGUE: Final[Mapping[str, Entry]] = MappingProxyType({entry.code: entry for entry in _ENTRIES})
"""Every entry by its code."""

STATE_CODES: Final = frozenset(entry.code for entry in _ENTRIES if entry.by_period)
"""The codes whose alarms follow from the invoices in the database (‡)."""
