"""The sections of the settings: every key with its default and range. billingd.yaml says what each one means."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from config.values import (
    EMBEDDED,
    Count,
    CronExpression,
    DatabaseUrl,
    HttpUrl,
    Line,
    ListenAddress,
    Pattern,
    Percent,
    Seconds,
    TcpAddress,
    TimeZoneName,
    UnixAddress,
    parse_listen,
)
from network import urls

DAY_SECONDS = 86400.0


def setting(default: Any, *, live: bool = False, **limits: Any) -> Any:
    """A field; `live` marks what takes effect on SIGHUP (docs/spec/interfaces.md, "Configuration")."""
    kind = "default_factory" if callable(default) else "default"
    return Field(**{kind: default}, json_schema_extra={"live": live}, **limits)


def seconds(default: float, *, live: bool = False, **limits: Any) -> Any:
    return setting(float(default), live=live, **{"gt": 0, "le": DAY_SECONDS, **limits})


class Section(BaseModel):
    """What all parts of the settings share: they never change, and take no key they don't know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DatabaseSettings(Section):
    url: DatabaseUrl = setting(EMBEDDED, validate_default=True)
    password_file: Path | None = setting(None)
    password_exchange: Literal["scram", "any"] = setting("scram")
    listen: Literal["auto", "off"] = setting("auto")
    connect_timeout_seconds: Seconds = seconds(5, ge=0.01, le=600)
    statement_timeout_seconds: Seconds = seconds(30, ge=0.01, le=3600)
    lock_timeout_seconds: Seconds = seconds(5, ge=0.01, le=3600)

    @property
    def embedded(self) -> bool:
        return self.url.get_secret_value() == EMBEDDED

    @property
    def address(self) -> urls.DatabaseUrl | None:
        """The parts of the URL; None for the embedded server."""
        return None if self.embedded else urls.DatabaseUrl.parse(self.url.get_secret_value())


class RetrySettings(Section):
    base_seconds: Seconds = seconds(1, live=True)
    max_seconds: Seconds = seconds(300, live=True)


class BreakerSettings(Section):
    failure_threshold: Count = setting(5, live=True, ge=1, le=10_000)
    reset_seconds: Seconds = seconds(15, live=True)
    success_threshold: Count = setting(2, live=True, ge=1, le=1000)


class ErpSettings(Section):
    base_url: HttpUrl | None = setting(None)
    token_file: Path | None = setting(None, live=True)
    ca_file: Path | None = setting(None)
    connect_timeout_seconds: Seconds = seconds(5, live=True, le=600)
    read_timeout_seconds: Seconds = seconds(20, live=True, le=600)
    total_timeout_seconds: Seconds = seconds(30, live=True, le=600)
    max_in_flight: Count = setting(16, live=True, ge=1, le=256)
    poll_interval_seconds: Seconds = seconds(10, live=True)
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    max_incorrect_answers: Count = setting(5, live=True, ge=1, le=1000)


class BillingSettings(Section):
    time_zone: TimeZoneName = setting("Europe/Zagreb")
    schedule: CronExpression = setting("5 1 1 * *", live=True)
    approval: Literal["none", "required"] = setting("none", live=True)
    hold_remarks: bool = setting(False, live=True)
    rounding: Literal["half_up", "half_even"] = setting("half_up", live=True)
    look_every_seconds: Seconds = seconds(300, live=True)
    readings_grace_seconds: Seconds = seconds(DAY_SECONDS, live=True, gt=None, ge=0, le=366 * DAY_SECONDS)
    min_coverage_percent: Percent = setting(Decimal(95), live=True)
    batch_size: Count = setting(500, live=True, ge=1, le=10_000)


class WorkSettings(Section):
    max_attempts: Count = setting(3, ge=1, le=1000)
    lease_seconds: Seconds = seconds(60)


class SupervisionSettings(Section):
    max_restarts: Count = setting(10, ge=1, le=10_000)
    window_seconds: Seconds = seconds(60)
    backoff_base_seconds: Seconds = seconds(0.1)
    backoff_max_seconds: Seconds = seconds(10, le=3600)
    hang_seconds: Seconds = seconds(60)


class AlarmRule(Section):
    """Turns log records into an alarm."""

    logger: str = ""
    level: Literal["debug", "info", "warning", "error", "critical"] = "error"
    pattern: Pattern
    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)
    key: str = Field("", max_length=200)
    severity: Literal["critical", "major", "minor", "warning"] = "major"
    clear_after_seconds: Seconds | None = Field(None, gt=0)
    clear_pattern: Pattern | None = None

    @model_validator(mode="after")
    def _key_uses_groups_of_the_patterns(self) -> Self:
        named = set(re.findall(r"\{(\w*)\}", self.key))
        for name, pattern in (("pattern", self.pattern), ("clear_pattern", self.clear_pattern)):
            missing = named - set(re.compile(pattern or "").groupindex) if pattern is not None else set()
            if missing:
                raise ValueError(f"key names the group {min(missing)!r}, which {name} doesn't have")
        return self


class AlarmsSettings(Section):
    raise_within_seconds: Seconds = seconds(5, live=True, le=3600)
    overdue_seconds: Seconds = seconds(DAY_SECONDS, live=True, le=366 * DAY_SECONDS)
    quiet_seconds: Seconds = seconds(3600, live=True)
    rules: tuple[AlarmRule, ...] = setting((), live=True)
    webhook_url: HttpUrl | None = setting(None, live=True)
    webhook_token_file: Path | None = setting(None, live=True)
    webhook_ca_file: Path | None = setting(None, live=True)
    heartbeat_url: HttpUrl | None = setting(None, live=True)
    self_test: CronExpression | None = setting(None, live=True)
    heartbeat_seconds: Seconds = seconds(60, live=True, ge=0.1, le=3600)


class OpsSettings(Section):
    listen: ListenAddress = setting("127.0.0.1:9464")
    token_file: Path | None = setting(None, live=True)
    token_for_all: bool = setting(False, live=True)
    hosts: tuple[Line, ...] = setting((), live=True)

    @property
    def address(self) -> TcpAddress | UnixAddress | None:
        """Where to listen; None when it is off."""
        return parse_listen(self.listen)


class ExpectedSettings(Section):
    abb_b2x: Seconds | None = setting(None, live=True, gt=0, le=366 * DAY_SECONDS)
    schneider_iem3xxx: Seconds | None = setting(None, live=True, gt=0, le=366 * DAY_SECONDS)


class IntakeSettings(Section):
    inbox: Path | None = setting(None)
    settle_seconds: Seconds = seconds(5, live=True, ge=0.01, le=3600)
    listen: ListenAddress = setting("off")
    token_file: Path | None = setting(None, live=True)
    certificate_file: Path | None = setting(None)
    key_file: Path | None = setting(None)
    max_body_bytes: Count = setting(268_435_456, live=True, ge=1, le=1 << 40)
    max_waiting_bytes: Count = setting(1_073_741_824, live=True, ge=1, le=1 << 50)
    expected_every_seconds: ExpectedSettings = ExpectedSettings()

    @property
    def address(self) -> TcpAddress | UnixAddress | None:
        """Where to listen; None when it is off."""
        return parse_listen(self.listen)


class TelemetrySettings(Section):
    otlp_endpoint: HttpUrl | None = setting(None)


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error", "critical"] = setting("info", live=True)
    format: Literal["auto", "journal", "console", "json"] = setting("auto")
