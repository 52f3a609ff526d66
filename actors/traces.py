"""A trace for each invoice, sent to a collector by OTLP: what is recorded, and the thread that sends it.

A trace's id follows from the invoice's, so that restarts and several daemons add to the same trace. The library is
imported only with `telemetry.otlp_endpoint`. Of OpenTelemetry's packages it is the one with the messages alone:
the SDK's own spans cost nine times as much, and its ids are random.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from random import Random
from threading import Lock
from typing import Any, Final, NamedTuple

from alarming.background import BackgroundThread
from alarming.exchange import ExchangeFailed, exchange
from billing.erp_answers import Outcome, OutcomeKind
from billing.states import State
from persistence.invoices.claims import Delivery
from supervision.clock import Clock, system_randomness

logger = logging.getLogger(__name__)

WAITING_AT_MOST: Final = 50_000
"""Spans that are kept for a collector that is slow or away; later ones are lost."""

_BATCH, _EVERY_SECONDS, _RETRY_SECONDS = 1000, 1.0, 5.0
_INTERNAL, _CLIENT, _ERROR = 1, 3, 2  # of the messages Span and Status
_AS_ASKED: Final = (OutcomeKind.BOOKED, OutcomeKind.ABSENT)


class Traces:
    """Records nothing: `telemetry.otlp_endpoint` has no value."""

    on = False

    def start(self) -> None:
        """Begins to send."""

    def stop(self, wait_seconds: float = 0.0) -> None:
        """Sends what is left, and waits at most so long for it."""

    def calculated(self, due: Iterable[tuple[str, float]], took_seconds: float) -> None:
        """These were calculated together, just now; each with when it was made due, in seconds since 1970."""

    def claimed(self, deliveries: Iterable[Delivery], asked_at_seconds: float) -> None:
        """These were claimed, just now; `asked_at_seconds` by CLOCK_BOOTTIME."""

    def traceparent(self, invoice_id: str) -> str | None:
        """The header of W3C Trace Context for the next request about the invoice: a span of its own."""
        del invoice_id
        return None

    def exchanged(self, invoice_id: str, outcome: Outcome) -> None:
        """The request about the invoice has ended, just now."""


class _Span(NamedTuple):
    trace: bytes
    id: bytes
    parent: bytes
    name: str
    begun_at: float
    ended_at: float
    about: str | Outcome | None = None
    """The invoice's id for the root, what came of it for an exchange."""


class OtlpTraces(BackgroundThread[None], Traces):
    """Records without waiting; a thread sends."""

    on = True

    def __init__(self, endpoint: str, clock: Clock, randomness: Random, resource: dict[str, str]) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # 12 ms

        super().__init__("traces")
        self._request = ExportTraceServiceRequest
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._clock, self._randomness, self._resource = clock, randomness, {"service.name": "billingd"} | resource
        self._waiting: deque[_Span] = deque()
        self._lock = Lock()
        self._lost = 0
        self._asked: dict[str, bytes] = {}  # by invoice the span of the request under way: there is one at most

    def calculated(self, due: Iterable[tuple[str, float]], took_seconds: float) -> None:
        now = self._clock.wall().timestamp()
        begun_at = now - took_seconds
        spans = []
        for invoice_id, since in due:
            trace, root = _ids(invoice_id)
            spans.append(_Span(trace, root, b"", State.DUE, since, begun_at, invoice_id))
            spans.append(_Span(trace, self._new_id(), root, "calculation", begun_at, now))
        self._add(spans)

    def claimed(self, deliveries: Iterable[Delivery], asked_at_seconds: float) -> None:
        now = self._clock.wall().timestamp()
        begun_at = now - (self._clock.boottime() - asked_at_seconds)
        ids = (_ids(each.invoice_id) for each in deliveries)
        self._add([_Span(trace, self._new_id(), root, "claim", begun_at, now) for trace, root in ids])

    def traceparent(self, invoice_id: str) -> str | None:
        span_id = self._asked[invoice_id] = self._new_id()
        return f"00-{_ids(invoice_id)[0].hex()}-{span_id.hex()}-01"

    def exchanged(self, invoice_id: str, outcome: Outcome) -> None:
        span_id = self._asked.pop(invoice_id, None)
        if span_id is not None and outcome.kind is not OutcomeKind.NOT_SENT:
            now, (trace, root) = self._clock.wall().timestamp(), _ids(invoice_id)
            self._add([_Span(trace, span_id, root, outcome.method, now - outcome.duration_seconds, now, outcome)])

    def work(self) -> float:
        batch = list(islice(self._waiting, _BATCH))
        if not batch:
            return _EVERY_SECONDS
        for _ in batch:
            self._waiting.popleft()
        try:
            exchange("POST", self._url, content=self._encode(batch), content_type="application/x-protobuf")
        except ExchangeFailed as error:
            self._lose(len(batch), str(error))
            return _RETRY_SECONDS
        if len(self._waiting) >= _BATCH:
            return 0.0
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            logger.warning("%s takes all traces again; %s spans were lost", self._url, lost)
        return _EVERY_SECONDS

    def close(self) -> None:
        """Sends what the last requests came to, unless nobody takes it."""
        while self._waiting and not self._lost:
            self.work()

    def _add(self, spans: Sequence[_Span]) -> None:
        room = max(0, WAITING_AT_MOST - len(self._waiting))
        self._waiting.extend(spans[:room])
        if len(spans) > room:
            self._lose(len(spans) - room, "it is too slow")

    def _lose(self, number: int, why: str) -> None:
        """Says so once, until all goes out again."""
        with self._lock:
            first, self._lost = not self._lost, self._lost + number
        if first:
            logger.warning("not all traces reach %s, and billing goes on without them: %s", self._url, why)

    def _new_id(self) -> bytes:
        return self._randomness.randbytes(8)

    def _encode(self, batch: Iterable[_Span]) -> bytes:
        request = self._request()
        of_resource = request.resource_spans.add()
        for key, value in self._resource.items():
            of_resource.resource.attributes.add(key=key).value.string_value = value
        spans = of_resource.scope_spans.add().spans
        for each in batch:
            about = each.about
            span = spans.add(
                trace_id=each.trace, span_id=each.id, parent_span_id=each.parent, name=each.name,
                kind=_CLIENT if isinstance(about, Outcome) else _INTERNAL,
                start_time_unix_nano=int(each.begun_at * 1e9), end_time_unix_nano=int(each.ended_at * 1e9),
            )  # fmt: skip
            if isinstance(about, Outcome):
                span.MergeFrom(_result(about.kind, about.method, about.status))
                if about.kind not in _AS_ASKED:
                    span.status.code, span.status.message = _ERROR, about.detail
            elif about is not None:
                span.attributes.add(key="billingd.invoice").value.string_value = about
        return bytes(request.SerializeToString())


def make_traces(endpoint: str | None, clock: Clock, instance: str, version: str) -> Traces:
    """What records to this endpoint, `telemetry.otlp_endpoint`; nothing is recorded without one."""
    if endpoint is None:
        return Traces()
    resource = {"service.instance.id": instance, "service.version": version}
    return OtlpTraces(endpoint, clock, system_randomness(), resource)


@lru_cache(10_000)  # for the next steps of the same invoice
def _ids(invoice_id: str) -> tuple[bytes, bytes]:
    """The ids of an invoice's trace and of its root span."""
    digest = blake2b(invoice_id.encode(), digest_size=24).digest()
    return digest[:16], digest[16:]


@lru_cache(100)  # merged into a span it costs half of what its attributes do
def _result(outcome: str, method: str, status: int | None) -> Any:
    """The attributes of a span, of what an exchange came to."""
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    span = Span()
    for key, value in {"billingd.outcome": outcome, "http.request.method": method}.items():
        span.attributes.add(key=key).value.string_value = value
    if status is not None:
        span.attributes.add(key="http.response.status_code").value.int_value = status
    return span
