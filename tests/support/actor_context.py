"""What an actor is made of, for tests that play one by itself on a real database."""

import random
import uuid
from datetime import UTC, datetime

from actors.context import ActorContext, SettingsHolder
from config.settings import Settings
from persistence.connection.database import ConnectionSettings, Database
from persistence.connection.session import Heartbeat
from supervision.clock import SystemClock


class SkippingClock(SystemClock):
    """The system's, which a test sets forward."""

    skipped_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped_seconds


def make_context(database_url: str, clock: SystemClock | None = None, **settings: object) -> ActorContext:
    """Of the instance `here`, alone under its name, in September 2026."""
    in_force = Settings.model_validate(settings)
    connection = ConnectionSettings.from_url(
        database_url,
        statement_timeout_seconds=in_force.database.statement_timeout_seconds,
        lock_timeout_seconds=in_force.database.lock_timeout_seconds,
    )

    def connect(_name: str, *, listen: bool = False, heartbeat: Heartbeat | None = None) -> Database:
        return Database(connection, listen=listen, heartbeat=heartbeat)

    return ActorContext(
        settings_holder=SettingsHolder(in_force),
        clock=clock or SystemClock(),
        randomness=random.Random(1),
        now=lambda: datetime(2026, 9, 15, tzinfo=UTC),
        instance="here",
        incarnation=uuid.uuid4(),
        version="test",
        proved_alone=True,
        connect=connect,
    )
