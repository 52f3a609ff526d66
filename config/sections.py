"""The sections of the settings: every key with its default, range, unit and description for operators."""

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


def setting(default: Any, description: str, *, live: bool = False, unit: str = "", **limits: Any) -> Any:
    """A field; `live` marks what takes effect on SIGHUP (docs/spec/interfaces.md, "Configuration")."""
    extra: dict[str, Any] = {"live": live, "unit": unit}
    kind = "default_factory" if callable(default) else "default"
    return Field(**{kind: default}, description=description, json_schema_extra=extra, **limits)


def seconds(default: float, description: str, *, live: bool = False, **limits: Any) -> Any:
    return setting(float(default), description, live=live, unit="seconds", **{"gt": 0, "le": DAY_SECONDS, **limits})


def seconds_or_none(of_what: str) -> Any:
    text = f"How old the last reading of {of_what} may be; without a value it is not watched."
    return setting(None, text, live=True, unit="seconds", gt=0, le=366 * DAY_SECONDS)


class Section(BaseModel):
    """What all parts of the settings share: they never change, and take no key they don't know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DatabaseSettings(Section):
    url: DatabaseUrl = setting(
        EMBEDDED,
        "Where the database is: `embedded` for a server of the daemon's own below state_dir, for "
        "trying out, or postgresql://user@host:port/name. Several hosts, host:port,host:port, are tried in "
        "order, and one that takes no writes is passed over; see docs/database.md. Behind ? stands sslmode: `disable`, "
        "`prefer` (the default: TLS if the server has it, unverified), `require` (unverified without sslrootcert), "
        "`verify-ca` or `verify-full`, which alone proves that it is the right server.",
        validate_default=True,
    )
    password_file: Path | None = setting(
        None,
        "A file that holds the database user's password. Without it the password is that of "
        "$CREDENTIALS_DIRECTORY/database-password, or of the URL.",
    )
    password_exchange: Literal["scram", "any"] = setting(
        "scram",
        "How the password may be shown to the server: `scram` never sends it, nor its MD5, unless TLS has verified the "
        "server (sslmode=verify-ca or verify-full) or it is reached by a socket; `any` sends it as the server asks.",
    )
    listen: Literal["auto", "off"] = setting(
        "auto",
        "Whether the daemon hears at once (LISTEN) of what commands order and of what is imported. With `off`, for "
        "poolers and proxies that don't pass LISTEN on, it looks every ten seconds instead.",
    )
    connect_timeout_seconds: Seconds = seconds(
        5, "How long opening a connection to the database may take.", ge=0.01, le=600
    )
    statement_timeout_seconds: Seconds = seconds(
        30, "How long one statement of the daemon may take; imports and migrations have no limit.", ge=0.01, le=3600
    )
    lock_timeout_seconds: Seconds = seconds(
        5, "How long one statement of the daemon may wait for a lock of someone else.", ge=0.01, le=3600
    )

    @property
    def embedded(self) -> bool:
        return self.url.get_secret_value() == EMBEDDED

    @property
    def address(self) -> urls.DatabaseUrl | None:
        """The parts of the URL; None for the embedded server."""
        return None if self.embedded else urls.DatabaseUrl.parse(self.url.get_secret_value())


class RetrySettings(Section):
    base_seconds: Seconds = seconds(
        1, "The longest wait before the first new attempt; it doubles from attempt to attempt.", live=True
    )
    max_seconds: Seconds = seconds(
        300,
        "The longest wait between two attempts; each wait is drawn at random from nothing to its longest.",
        live=True,
    )


class BreakerSettings(Section):
    failure_threshold: Count = setting(
        5, "After how many failures in a row the ERP counts as away and is left alone.", live=True, ge=1, le=10_000
    )
    reset_seconds: Seconds = seconds(
        15, "How long an ERP that counts as away is left alone before one request probes it.", live=True
    )
    success_threshold: Count = setting(
        2, "After how many good answers to probes the ERP counts as back.", live=True, ge=1, le=1000
    )


class ErpSettings(Section):
    base_url: HttpUrl | None = setting(
        None, "The ERP's address with its path, as in https://erp.example/api/v1. `run` needs it."
    )
    token_file: Path | None = setting(
        None,
        "A file that holds the token for the ERP, sent as a bearer token; it is read again on every reload. "
        "Without it $CREDENTIALS_DIRECTORY/erp-token is taken if there is one.",
        live=True,
    )
    ca_file: Path | None = setting(
        None, "A PEM file with the certificates to trust for the ERP instead of the system's."
    )
    connect_timeout_seconds: Seconds = seconds(5, "How long connecting to the ERP may take.", live=True, le=600)
    read_timeout_seconds: Seconds = seconds(
        20, "How long the ERP may be silent in the middle of a request.", live=True, le=600
    )
    total_timeout_seconds: Seconds = seconds(
        30, "How long one request may take from resolving the name to the last byte.", live=True, le=600
    )
    max_in_flight: Count = setting(
        16, "How many requests this daemon has under way with the ERP at once.", live=True, ge=1, le=256
    )
    poll_interval_seconds: Seconds = seconds(
        10, "How long after the ERP took an invoice it is first asked for its verdict; later with backoff.", live=True
    )
    retry: RetrySettings = Field(default=RetrySettings(), description="The waits between attempts.")
    breaker: BreakerSettings = Field(default=BreakerSettings(), description="When the ERP counts as away.")
    max_incorrect_answers: Count = setting(
        5, "After how many untrustworthy answers in a row about one invoice it is held.", live=True, ge=1, le=1000
    )


class BillingSettings(Section):
    time_zone: TimeZoneName = setting("Europe/Zagreb", "The time zone whose calendar months are the periods.")
    schedule: CronExpression = setting(
        "5 1 1 * *",
        "When a closed period becomes due: cron in the billing time zone, as minute, hour, day of month, "
        "month, day of week (Sunday is 0). A tick missed while the daemon was down counts.",
        live=True,
    )
    approval: Literal["none", "required"] = setting(
        "none", "Whether a person has to approve invoices before the ERP is offered them: none or required.", live=True
    )
    hold_remarks: bool = setting(
        False,
        "Whether a calculated invoice with a remark waits for a person's approval, whatever approval says.",
        live=True,
    )
    rounding: Literal["half_up", "half_even"] = setting(
        "half_up",
        "What becomes of a half: half_up rounds it away from zero, half_even to the even digit. Invoices that are "
        "there keep theirs.",
        live=True,
    )
    look_every_seconds: Seconds = seconds(
        300, "How often the daemon looks for what is due or waits, besides every start, import and nudge.", live=True
    )
    readings_grace_seconds: Seconds = seconds(
        DAY_SECONDS,
        "How long after a period's end missing readings raise no alarm; the invoice says at once what it lacks.",
        live=True,
        gt=None,
        ge=0,
        le=366 * DAY_SECONDS,
    )
    min_coverage_percent: Percent = setting(
        Decimal(95),
        "The share of a period's quarter hours a meter must have read to bill peak power.",
        live=True,
        unit="percent",
    )
    batch_size: Count = setting(
        500, "How many invoices at most are computed and stored in one go.", live=True, ge=1, le=10_000
    )


class WorkSettings(Section):
    max_attempts: Count = setting(
        3, "After how many crashes of whoever worked on it an invoice is held.", ge=1, le=1000
    )
    lease_seconds: Seconds = seconds(
        60,
        "How long a claim on an invoice holds unless renewed. It has to be at least twice "
        "erp.total_timeout_seconds, and 15 seconds longer than it.",
    )


class SupervisionSettings(Section):
    max_restarts: Count = setting(10, "How many restarts within the window make a supervisor give up.", ge=1, le=10_000)
    window_seconds: Seconds = seconds(60, "The time over which restarts are counted.")
    backoff_base_seconds: Seconds = seconds(0.1, "The wait before the first restart; it doubles from one to the next.")
    backoff_max_seconds: Seconds = seconds(10, "The longest wait before a restart.", le=3600)
    hang_seconds: Seconds = seconds(
        60,
        "How long a part may be busy with one message before it is written off and replaced. It has to be "
        "10 seconds longer than erp.total_timeout_seconds and than database.statement_timeout_seconds.",
    )


class AlarmRule(Section):
    """Turns log records into an alarm."""

    logger: str = Field("", description="The logger's name; those below it count too, empty means all.")
    level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "error", description="Records of this level and above count."
    )
    pattern: Pattern = Field(description="A regular expression searched in the message.")
    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64, description="The alarm's code.")
    key: str = Field(
        "", max_length=200, description="The alarm's key; {name} stands for a named group, empty for the instance."
    )
    severity: Literal["critical", "major", "minor", "warning"] = Field("major", description="The alarm's severity.")
    clear_after_seconds: Seconds | None = Field(
        None, gt=0, description="It clears after so long without another; without a value, alarms.quiet_seconds."
    )
    clear_pattern: Pattern | None = Field(None, description="A record whose message matches this clears it.")

    @model_validator(mode="after")
    def _key_uses_groups_of_the_patterns(self) -> Self:
        named = set(re.findall(r"\{(\w*)\}", self.key))
        for name, pattern in (("pattern", self.pattern), ("clear_pattern", self.clear_pattern)):
            missing = named - set(re.compile(pattern or "").groupindex) if pattern is not None else set()
            if missing:
                raise ValueError(f"key names the group {min(missing)!r}, which {name} doesn't have")
        return self


class AlarmsSettings(Section):
    raise_within_seconds: Seconds = seconds(
        5, "Within how long of the first sign of a lasting fault its alarm stands.", live=True, le=3600
    )
    overdue_seconds: Seconds = seconds(
        DAY_SECONDS,
        "How long an invoice may stand in one state before it counts as overdue.",
        live=True,
        le=366 * DAY_SECONDS,
    )
    quiet_seconds: Seconds = seconds(
        3600, "After how long without another sign an alarm that came from a log record clears.", live=True
    )
    rules: tuple[AlarmRule, ...] = setting(
        (),
        "Rules of your own that turn log records into alarms, each with logger, level, pattern, code, key, "
        "severity, clear_after_seconds and clear_pattern; the built-in ones stay in force behind them.",
        live=True,
    )
    webhook_url: HttpUrl | None = setting(
        None,
        "The address of an Alertmanager that is told of every alarm, as in http://alertmanager.example:9093.",
        live=True,
    )
    webhook_token_file: Path | None = setting(None, "A file that holds the bearer token for the webhook.", live=True)
    webhook_ca_file: Path | None = setting(
        None,
        "A file with the certificates (PEM) of the authorities that the webhook's certificate may come from; without "
        "it the system's are trusted.",
        live=True,
    )
    heartbeat_url: HttpUrl | None = setting(
        None,
        "The address of a dead-man's switch: it gets a GET as long as billing makes progress, and tells somebody when "
        "none comes.",
        live=True,
    )
    self_test: CronExpression | None = setting(
        None,
        "When the alarms are tested by themselves, as `billingd alarms test` does (cron, in the billing time zone).",
        live=True,
    )
    heartbeat_seconds: Seconds = seconds(60, "How often the heartbeat is sent.", live=True, ge=0.1, le=3600)


class OpsSettings(Section):
    listen: ListenAddress = setting(
        "127.0.0.1:9464", "Where /healthz, /readyz, /metrics and /status are served: host:port, unix:/path or off."
    )
    token_file: Path | None = setting(
        None, "A file that holds the token for the control room; without it the control room is off.", live=True
    )
    token_for_all: bool = setting(
        False, "Whether /status and /metrics ask for the token, too, as a bearer token.", live=True
    )
    hosts: tuple[Line, ...] = setting(
        (),
        "Names with a dot under which browsers and monitoring reach the address, as a proxy's; others are refused. "
        "Addresses, and names without a dot, need not be listed.",
        live=True,
    )

    @property
    def address(self) -> TcpAddress | UnixAddress | None:
        """Where to listen; None when it is off."""
        return parse_listen(self.listen)


class ExpectedSettings(Section):
    abb_b2x: Seconds | None = seconds_or_none("a meter of kind abb_b2x")
    schneider_iem3xxx: Seconds | None = seconds_or_none("a meter of kind schneider_iem3xxx")


class IntakeSettings(Section):
    inbox: Path | None = setting(
        None,
        "A folder whose files of master data and readings are imported by themselves: rename a whole file into it.",
    )
    settle_seconds: Seconds = seconds(
        5, "How long a file in the inbox has to stay as it is before it counts as whole.", live=True, ge=0.01, le=3600
    )
    listen: ListenAddress = setting(
        "off",
        "Where gateways post master data and readings (/v1/readings, /v1/master): host:port, unix:/path or off. "
        "It needs intake.inbox and intake.token_file.",
    )
    token_file: Path | None = setting(None, "A file that holds the token that whoever posts has to show.", live=True)
    certificate_file: Path | None = setting(
        None, "A PEM file with the certificate (chain) that intake.listen shows; without it, it speaks plain HTTP."
    )
    key_file: Path | None = setting(None, "A PEM file with the certificate's private key.")
    max_body_bytes: Count = setting(
        268_435_456, "The largest body that is taken, as it is sent.", live=True, unit="bytes", ge=1, le=1 << 40
    )
    max_waiting_bytes: Count = setting(
        1_073_741_824,
        "How much may wait in the inbox before whoever posts is told to come later (429).",
        live=True,
        unit="bytes",
        ge=1,
        le=1 << 50,
    )
    expected_every_seconds: ExpectedSettings = Field(
        default=ExpectedSettings(),
        description="How old a meter's last reading may be before an alarm names the meter, for each kind of meter.",
    )

    @property
    def address(self) -> TcpAddress | UnixAddress | None:
        """Where to listen; None when it is off."""
        return parse_listen(self.listen)


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error", "critical"] = setting(
        "info", "The least level that is logged: debug, info, warning, error or critical.", live=True
    )
    format: Literal["auto", "journal", "console", "json"] = setting(
        "auto",
        "How log lines look: journal, console or json; auto takes journal fields under systemd, colours on a "
        "terminal, else JSON lines.",
    )
