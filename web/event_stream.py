"""The overview's parts, rendered at most once a second for all browsers, and the event streams of their changes."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from billing.states import State
from persistence.invoices.listing import Hour, last_hours
from web.background_queries import BackgroundQueries, DatabaseUnavailable
from web.overview import MAIN_STATES, parts

logger = logging.getLogger(__name__)

STREAMS_AT_MOST = 8
STREAM_SECONDS = 300.0
"""Then a stream ends and the browser opens another, so that none is kept for a browser that is gone."""
LOOK_SECONDS = 0.5
MADE_SECONDS = 1.0
HOURS_SECONDS = 30.0
QUIET_SECONDS = 15.0
MOVING_SECONDS = 4.0


class EventStreamResponse(StreamingResponse):
    """A stream of events; calls `ended` when it has ended in any way."""

    def __init__(self, events: AsyncIterator[str], ended: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._stream_ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["billingd.connection"].extend_deadline(STREAM_SECONDS)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream_ended()


class OverviewFeed:
    """The parts of the first page, and their streams; to be used from one event loop."""

    def __init__(
        self, status: Callable[[], Mapping[str, Any]], queries: BackgroundQueries, now: Callable[[], float]
    ) -> None:
        """`now` is the monotonic clock, in seconds."""
        self._status = status
        self._queries = queries
        self._now = now
        self._hours: Sequence[Hour] | str = "no word from the database yet"
        self._hours_at = float("-inf")
        self._counting: asyncio.Task[None] | None = None
        self._parts: dict[str, Markup] = {}
        self._made_at = float("-inf")
        self._passed: dict[State, int] = {}
        self._moved_at: dict[State, float] = {}
        self._streams = 0
        self.closed = False

    def stream(self, still_authorized: Callable[[], bool]) -> EventStreamResponse | None:
        """A stream of the parts that change; None if there are STREAMS_AT_MOST already."""
        if self._streams >= STREAMS_AT_MOST:
            return None
        self._streams += 1
        return EventStreamResponse(self._events(still_authorized), self._stream_ended)

    def _stream_ended(self) -> None:
        self._streams -= 1

    async def parts(self) -> dict[str, Markup]:
        """Every part of the page by its id. The first time it waits for the database, though not for long."""
        counting = self._count_hours()
        if counting is not None and isinstance(self._hours, str):
            await asyncio.wait([counting])
        now = self._now()
        if now - self._made_at >= MADE_SECONDS:
            status = self._status()
            self._note_movement(status["invoices"], now)
            moving = {state for state, at in self._moved_at.items() if now - at < MOVING_SECONDS}
            self._parts = parts(status, self._hours, moving)
            self._made_at = now
        return self._parts

    async def _events(self, still_authorized: Callable[[], bool]) -> AsyncIterator[str]:
        """Server-sent events: a JSON object of the parts that have changed, by id; the first has all."""
        sent: dict[str, Markup] = {}
        quiet_since = self._now()
        until = quiet_since + STREAM_SECONDS
        yield "retry: 2000\n\n"
        while not self.closed and self._now() < until and still_authorized():
            made = await self.parts()
            changed = {name: part for name, part in made.items() if sent.get(name) != part}
            if changed:
                yield f"event: parts\ndata: {json.dumps(changed)}\n\n"
                sent, quiet_since = made, self._now()
            elif self._now() - quiet_since > QUIET_SECONDS:
                yield ": nothing has changed\n\n"
                quiet_since = self._now()
            await asyncio.sleep(LOOK_SECONDS)

    def _count_hours(self) -> asyncio.Task[None] | None:
        """Has the last day counted anew once it is old; the count under way, if there is one."""
        if self._counting is None and self._now() - self._hours_at > HOURS_SECONDS:
            self._counting = asyncio.create_task(self._count())
        return self._counting

    async def _count(self) -> None:
        try:
            self._hours = await self._queries.run(lambda connection: last_hours(connection))
        except DatabaseUnavailable as error:
            self._hours = str(error)
        except Exception:  # the page says why there is no chart
            logger.exception("the last day could not be counted for the control room")
            self._hours = "it could not be counted; the log says why"
        finally:
            self._hours_at = self._now()
            self._counting = None

    def _note_movement(self, counts: Mapping[str, int], now: float) -> None:
        """A way is in motion while more and more invoices stand beyond it."""
        for place, state in enumerate(MAIN_STATES):
            passed = sum(counts.get(beyond, 0) for beyond in MAIN_STATES[place:])
            if passed > self._passed.get(state, passed):
                self._moved_at[state] = now
            self._passed[state] = passed
