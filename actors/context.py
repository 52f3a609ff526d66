"""What the process hands to its actors: settings in force, time, chance, identity, connections."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import NamedTuple

from actors.metrics import ActorMetrics
from actors.traces import Traces
from billing.periods import Period, Schedule, due_periods
from config.settings import Settings
from persistence.connection.database import Database
from persistence.connection.seen_server import SeenServer
from persistence.invoices.claims import Claimer
from supervision.clock import Clock


class InForce(NamedTuple):
    """Settings, and the ERP's token that belongs to them."""

    settings: Settings
    token: str | None = None


class SettingsHolder:
    """What is in force, read anew at each use: a reload replaces it as a whole, so nobody sees a part of it."""

    def __init__(self, settings: Settings, token: str | None = None) -> None:
        self.in_force = InForce(settings, token)


@dataclass(frozen=True)
class ActorContext:
    """What every actor may need; nothing in it is an actor.

    `now` is the billing clock: what periods close, the schedule and the readings' grace go by (it can be moved in
    tests); every other duration goes by `clock` or the database. `connect` makes a connection of the caller's own,
    under a name that the server shows. `proved_alone` says that the state directory's lock has proved the predecessor
    dead; else the instance's name is locked in the database. `metrics` take what is counted for monitoring, `traces`
    what each step of an invoice took. `seen_server` is what all connections have seen of the database's.
    """

    settings_holder: SettingsHolder
    clock: Clock
    randomness: Random
    now: Callable[[], datetime]
    instance: str
    incarnation: uuid.UUID
    version: str
    proved_alone: bool
    connect: Callable[..., Database]
    metrics: ActorMetrics = field(default_factory=ActorMetrics)
    traces: Traces = field(default_factory=Traces)
    seen_server: SeenServer = field(default_factory=SeenServer)

    @property
    def claimer(self) -> str:
        """The name that claims are made under: a later incarnation's is another."""
        return f"{self.instance}#{self.incarnation}"

    def as_claimer(self) -> Claimer:
        """Who claims, by the settings in force."""
        settings = self.settings
        return Claimer(self.claimer, settings.work.lease_seconds, settings.billing.approval == "required")

    def due_periods(self, first: str) -> list[str]:
        """The periods from the first one to be billed that are over by the schedule and the billing clock."""
        settings = self.settings
        schedule = Schedule(settings.billing.schedule)
        return [str(each) for each in due_periods(Period.parse(first), self.now(), schedule, settings.zone)]

    def last_period_over(self) -> str:
        """The last month that is over by the billing clock."""
        return str(Period.containing(self.now(), self.settings.zone).previous())

    @property
    def settings(self) -> Settings:
        return self.settings_holder.in_force.settings
