"""The settings of the alarms, and the handler that makes alarms of log records."""

import logging

from alarming.actor import AlarmSettings
from alarming.heartbeat import HeartbeatSettings
from alarming.log_rules import LogConditions, LogRule
from alarming.webhook import WebhookSettings
from config.secrets import token
from config.settings import Settings


def alarm_settings(settings: Settings) -> AlarmSettings:
    """The settings of the alarm actor. Raises SecretUnreadable."""
    alarms = settings.alarms
    webhook = None
    if alarms.webhook_url is not None:
        found = token(settings, "alarms.webhook_token_file")
        secret = found.get_secret_value() if found else None
        webhook = WebhookSettings(str(alarms.webhook_url), secret, alarms.webhook_ca_file)
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


def heartbeat_settings(settings: Settings) -> HeartbeatSettings:
    return HeartbeatSettings(settings.alarms.heartbeat_url, settings.alarms.heartbeat_seconds)


def install_log_rules(settings: Settings) -> LogConditions:
    """Makes alarms of log records by the rules; the kernel's records are left out, since its events raise alarms."""
    conditions = LogConditions(tuple(LogRule.of(rule) for rule in settings.alarms.rules))
    logging.getLogger().addHandler(conditions)
    logging.getLogger("billingd.supervision").addFilter(_mark_kernel_record)
    return conditions


def _mark_kernel_record(record: logging.LogRecord) -> bool:
    """Marks the kernel's records; those of an ordinary start and end pass at level debug only."""
    record.billingd_foreseen = True
    return record.levelno > logging.INFO or logging.getLogger().isEnabledFor(logging.DEBUG)
