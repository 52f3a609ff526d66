"""The heartbeat for a dead-man's switch elsewhere: a request now and then, as long as the daemon makes progress."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from alarming.background import BackgroundThread
from alarming.exchange import ExchangeFailed, exchange
from alarming.webhook import Delivery

RETRY_SECONDS: Final = 10.0
_LOOK_SECONDS, _OFF_SECONDS = 1.0, 3600.0


@dataclass(frozen=True)
class HeartbeatSettings:
    """`alarms.heartbeat_url` (None: no heartbeat) and `alarms.heartbeat_seconds`."""

    url: str | None
    every_seconds: float


class Heartbeat(BackgroundThread[None]):
    """Sends GET requests; `wake` it when the settings have changed.

    `standstill` says why there is no progress; it is asked before each request, and may not block. Of the URL
    `delivery` shows only the host: its path is often all that a stranger needs to send heartbeats.
    """

    def __init__(
        self,
        settings: Callable[[], HeartbeatSettings],
        standstill: Callable[[], str | None],
        now: Callable[[], datetime],
    ) -> None:
        super().__init__("heartbeat")
        self.delivery: Delivery | None = None
        self._settings = settings
        self._standstill = standstill
        self._now = now

    def work(self) -> float:
        settings = self._settings()
        url, every_seconds = settings.url, settings.every_seconds
        if url is None:
            self.delivery = None
            return _OFF_SECONDS
        parts, last = urlsplit(url), self.delivery.delivered_at if self.delivery else None
        address = f"{parts.scheme}://{parts.netloc}"
        if reason := self._standstill():
            self.delivery = Delivery(address, last, f"held back: {reason}")
            return min(_LOOK_SECONDS, every_seconds / 4)
        try:
            exchange("GET", url)
        except ExchangeFailed as error:
            self.delivery = Delivery(address, last, str(error))
            return min(RETRY_SECONDS, every_seconds)
        self.delivery = Delivery(address, self._now())
        return every_seconds
