"""All settings of a daemon as one value that never changes, and the rules by which they go together."""

import socket
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from config.sections import (
    AlarmRule,
    AlarmsSettings,
    BillingSettings,
    DatabaseSettings,
    ErpSettings,
    LogSettings,
    OpsSettings,
    Section,
    SupervisionSettings,
    WorkSettings,
    setting,
)
from config.values import Line

__all__ = [
    "AlarmRule",
    "AlarmsSettings",
    "BillingSettings",
    "Contradiction",
    "Contradictions",
    "DatabaseSettings",
    "ErpSettings",
    "LogSettings",
    "OpsSettings",
    "Settings",
    "SupervisionSettings",
    "WorkSettings",
    "contradictions",
]

LEASE_MARGIN_SECONDS = 15.0
HANG_MARGIN_SECONDS = 10.0

Contradiction = tuple[str, tuple[str, ...], str]
"""The key to blame, every key that takes part, the message."""


class Contradictions(ValueError):  # noqa: N818 - it names what was found
    """Settings that are each in range but don't go together."""

    def __init__(self, problems: list[Contradiction]) -> None:
        super().__init__("; ".join(f"{key}: {message}" for key, _, message in problems))
        self.problems = problems


def _instance(validated: dict[str, Any]) -> str:
    state_dir: Path = validated.get("state_dir", Path("var"))
    return f"{socket.gethostname()}:{state_dir.absolute()}"


class Settings(Section):
    """All settings of a daemon; `Settings()` holds the built-in defaults."""

    state_dir: Path = setting(
        Path("var"),
        "The directory of the embedded database, the lock and the alarm spool. Without a value it is "
        "$STATE_DIRECTORY, else ./var.",
    )
    instance: Line = setting(
        _instance,
        "The daemon's name among several on one database. Without a value it is the host name and the state directory.",
    )
    database: DatabaseSettings = Field(default=DatabaseSettings(), description="The database.")
    erp: ErpSettings = Field(default=ErpSettings(), description="The ERP that books the invoices.")
    billing: BillingSettings = Field(default=BillingSettings(), description="What is billed when.")
    work: WorkSettings = Field(default=WorkSettings(), description="How invoices are shared out and taken back.")
    supervision: SupervisionSettings = Field(
        default=SupervisionSettings(), description="How the parts of the daemon are watched and restarted."
    )
    alarms: AlarmsSettings = Field(default=AlarmsSettings(), description="What ops are told, and when.")
    ops: OpsSettings = Field(default=OpsSettings(), description="The endpoint for monitoring.")
    log: LogSettings = Field(default=LogSettings(), description="The log.")

    @property
    def zone(self) -> ZoneInfo:
        """The billing time zone."""
        return ZoneInfo(self.billing.time_zone)

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        problems = contradictions(self)
        if problems:
            raise Contradictions(problems)
        return self


def contradictions(settings: Settings) -> list[Contradiction]:
    """Return what in `settings` doesn't go together (docs/spec/interfaces.md, "Configuration")."""
    erp, supervision = settings.erp, settings.supervision
    total, statement = erp.total_timeout_seconds, settings.database.statement_timeout_seconds
    claim = "a claim has to outlast its request"
    hang = "who merely waits must not count as hung"
    wait = "the longest wait can't be shorter than the first"
    lease, least_lease = settings.work.lease_seconds, max(2 * total, total + LEASE_MARGIN_SECONDS)
    # The key to blame, its value, the least it may be, the key that asks for it, its value, why.
    rules = (
        ("work.lease_seconds", lease, least_lease, "erp.total_timeout_seconds", total, claim),
        (
            "supervision.hang_seconds",
            supervision.hang_seconds,
            total + HANG_MARGIN_SECONDS,
            "erp.total_timeout_seconds",
            total,
            hang,
        ),
        (
            "supervision.hang_seconds",
            supervision.hang_seconds,
            statement + HANG_MARGIN_SECONDS,
            "database.statement_timeout_seconds",
            statement,
            hang,
        ),
        (
            "erp.retry.max_seconds",
            erp.retry.max_seconds,
            erp.retry.base_seconds,
            "erp.retry.base_seconds",
            erp.retry.base_seconds,
            wait,
        ),
        (
            "supervision.backoff_max_seconds",
            supervision.backoff_max_seconds,
            supervision.backoff_base_seconds,
            "supervision.backoff_base_seconds",
            supervision.backoff_base_seconds,
            wait,
        ),
    )
    return [
        (key, (key, other), f"{value:g} is too short: {why} ({other} is {given:g}), so at least {least:g}")
        for key, value, least, other, given, why in rules
        if value < least
    ]
