"""The alarms' settings out of the daemon's, and their ear in its log."""

import logging
from typing import Any

from alarming.actor import AlarmSettings, Board
from alarming.records import RecordSigns, Rule
from alarming.webhook import WebhookSettings
from alarming.wire import to_json
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
        rules=tuple(Rule.of(rule) for rule in alarms.rules),
        webhook=webhook,
    )


def listen_to_log(settings: Settings) -> RecordSigns:
    """Lets log records become alarms; the kernel's own are told by its events already."""
    signs = RecordSigns(tuple(Rule.of(rule) for rule in settings.alarms.rules))
    logging.getLogger().addHandler(signs)
    logging.getLogger("billingd.supervision").addFilter(_foreseen)
    return signs


def _foreseen(record: logging.LogRecord) -> bool:
    """Marks the kernel's records; those of an ordinary start and end are for whoever looks closely."""
    record.billingd_foreseen = True
    return record.levelno > logging.INFO or logging.getLogger().isEnabledFor(logging.DEBUG)


def as_documents(board: Board) -> list[dict[str, Any]]:
    """The standing alarms as `status` and `alarms list` show them (docs/spec/interfaces.md, "JSON")."""
    return [to_json(record) for record in board.standing]
