"""The alarms' settings out of the daemon's, and their ear in its log."""

import logging
from typing import Any

from alarming.actor import AlarmSettings, AlarmSnapshot
from alarming.formats import to_json
from alarming.log_rules import LogConditions, LogRule
from alarming.webhook import WebhookSettings
from config.secrets import webhook_token
from config.settings import Settings


def alarm_settings(settings: Settings) -> AlarmSettings:
    """What the alarms go by. Raises SecretUnreadable."""
    alarms = settings.alarms
    webhook = None
    if alarms.webhook_url is not None:
        token = webhook_token(settings)
        webhook = WebhookSettings(str(alarms.webhook_url), token.get_secret_value() if token else None)
    return AlarmSettings(
        raise_within_seconds=alarms.raise_within_seconds,
        overdue_seconds=alarms.overdue_seconds,
        quiet_seconds=alarms.quiet_seconds,
        window_seconds=settings.supervision.window_seconds,
        readings_grace_seconds=settings.billing.readings_grace_seconds,
        time_zone=settings.billing.time_zone,
        rules=tuple(LogRule.of(rule) for rule in alarms.rules),
        webhook=webhook,
    )


def listen_to_log(settings: Settings) -> LogConditions:
    """Lets log records become alarms; the kernel's own are told by its events already."""
    signs = LogConditions(tuple(LogRule.of(rule) for rule in settings.alarms.rules))
    logging.getLogger().addHandler(signs)
    logging.getLogger("billingd.supervision").addFilter(_foreseen)
    return signs


def _foreseen(record: logging.LogRecord) -> bool:
    """Marks the kernel's records; those of an ordinary start and end are for whoever looks closely."""
    record.billingd_foreseen = True
    return record.levelno > logging.INFO or logging.getLogger().isEnabledFor(logging.DEBUG)


def as_documents(snapshot: AlarmSnapshot) -> list[dict[str, Any]]:
    """The standing alarms as `status` and `alarms list` show them (interfaces.md, Commands)."""
    return [to_json(record) for record in snapshot.standing]
