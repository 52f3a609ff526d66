"""All settings of a daemon as one value that never changes, and the rules by which they go together."""

import socket
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo

from pydantic import model_validator

from config import sections
from config.sections import Section, setting
from config.values import Line

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

    state_dir: Path = setting(Path("var"))
    instance: Line = setting(_instance)
    database: sections.DatabaseSettings = sections.DatabaseSettings()
    erp: sections.ErpSettings = sections.ErpSettings()
    billing: sections.BillingSettings = sections.BillingSettings()
    work: sections.WorkSettings = sections.WorkSettings()
    supervision: sections.SupervisionSettings = sections.SupervisionSettings()
    alarms: sections.AlarmsSettings = sections.AlarmsSettings()
    ops: sections.OpsSettings = sections.OpsSettings()
    intake: sections.IntakeSettings = sections.IntakeSettings()
    telemetry: sections.TelemetrySettings = sections.TelemetrySettings()
    log: sections.LogSettings = sections.LogSettings()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.billing.time_zone)

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if problems := _contradictions(self):
            raise Contradictions(problems)
        return self


def _contradictions(settings: Settings) -> list[Contradiction]:
    """What doesn't go together (docs/spec/interfaces.md, "Configuration")."""
    claim = "a claim has to outlast its request"
    hang = "who merely waits must not count as hung"
    wait = "the longest wait can't be shorter than the first"
    total, statement = "erp.total_timeout_seconds", "database.statement_timeout_seconds"
    # The key to blame, the other key, by how much and how many times it has to be longer at least, and why.
    rules = (
        ("work.lease_seconds", total, LEASE_MARGIN_SECONDS, 2, claim),
        ("supervision.hang_seconds", total, HANG_MARGIN_SECONDS, 1, hang),
        ("supervision.hang_seconds", statement, HANG_MARGIN_SECONDS, 1, hang),
        ("erp.retry.max_seconds", "erp.retry.base_seconds", 0.0, 1, wait),
        ("supervision.backoff_max_seconds", "supervision.backoff_base_seconds", 0.0, 1, wait),
    )
    problems: list[Contradiction] = _contradictions_of_intake(settings.intake)
    for key, other, more, times, why in rules:
        value, given = (float(attrgetter(name)(settings)) for name in (key, other))
        least = max(given + more, times * given)
        if value < least:
            message = f"{value:g} is too short: {why} ({other} is {given:g}), so at least {least:g}"
            problems.append((key, (key, other), message))
    if settings.ops.token_for_all and settings.ops.token_file is None:
        needs = "/status and /metrics can't ask for a token without ops.token_file"
        problems.append(("ops.token_for_all", ("ops.token_for_all",), needs))
    otlp = "telemetry.otlp_endpoint"
    if settings.telemetry.otlp_endpoint is not None and find_spec("opentelemetry") is None:
        problems.append((otlp, (otlp,), "traces need the extra `otel`, which is not installed: docs/service.md"))
    return problems


def _contradictions_of_intake(intake: sections.IntakeSettings) -> list[Contradiction]:
    needs = [("listen", "inbox"), ("listen", "token_file")] if intake.listen != "off" else []
    pair = ("certificate_file", "key_file")
    needs += [names for names in (pair, pair[::-1]) if getattr(intake, names[0]) is not None]
    return [
        (f"intake.{name}", (f"intake.{name}", f"intake.{other}"), f"needs intake.{other}, which has no value")
        for name, other in needs
        if getattr(intake, other) is None
    ]
