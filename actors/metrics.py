"""What is counted and timed for monitoring while the actors work; any thread may feed and read it."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry, Counter, Histogram

from billing.erp_answers import Outcome, OutcomeKind
from billing.periods import Period
from billing.states import State
from persistence.invoices.durations import Duration
from persistence.invoices.period_closing import Closing

REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TRANSACTION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
WAIT_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0, 172800.0)
_DAY = 86400.0
PERIOD_BUCKETS = (3600.0, 6 * 3600.0, *(days * _DAY for days in (1, 2, 3, 5, 7, 10, 14, 21, 31)))


@dataclass(frozen=True, slots=True)
class WaitingFiles:
    """How much waits in the inbox, and since when its oldest file does, in wall-clock seconds."""

    files: int = 0
    size_bytes: int = 0
    oldest_seconds: float | None = None
    refused: int = 0


class ActorMetrics:
    """Counters and histograms, in a registry of their own; they begin anew with the process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Histogram(
            "billingd_erp_request_seconds",
            "Requests to the ERP, from resolving the name to the last byte, by method and what came of them.",
            ["method", "outcome"], buckets=REQUEST_BUCKETS, registry=registry,
        )  # fmt: skip
        self.queue_waits = Histogram(
            "billingd_queue_wait_seconds", "From an invoice's calculation to its first claim for an offer.",
            buckets=WAIT_BUCKETS, registry=registry,
        )  # fmt: skip
        self.deliveries = Histogram(
            "billingd_delivery_seconds", "From an invoice's first offer to what the delivery came to.",
            ["outcome"], buckets=WAIT_BUCKETS, registry=registry,
        )  # fmt: skip
        self.periods = Histogram(
            "billingd_period_end_to_registered_seconds", "From the end of a period to the booking of its invoices.",
            buckets=PERIOD_BUCKETS, registry=registry,
        )  # fmt: skip
        self.transactions = Histogram(
            "billingd_database_transaction_seconds", "Transactions, failed ones too, by the connection's name.",
            ["name"], buckets=TRANSACTION_BUCKETS, registry=registry,
        )  # fmt: skip
        self.import_seconds = Histogram(
            "billingd_import_seconds", "Imports of files from the inbox, by kind and what became of them.",
            ["kind", "state"], buckets=WAIT_BUCKETS, registry=registry,
        )  # fmt: skip
        self.imports = Counter(
            "billingd_imports", "Files from the inbox, by kind and what became of them.", ["kind", "state"],
            registry=registry,
        )  # fmt: skip
        self.imported_rows = Counter("billingd_imported_rows", "Rows of the files imported.", registry=registry)
        self._series: dict[tuple[str, str], Histogram] = {}  # `labels` checks names and values at each call
        self._behind_since_seconds: float | None = None
        self.closings: tuple[Closing, ...] = ()
        """The months that are closed, the last ones; replaced as a whole."""
        self.waiting_files = WaitingFiles()
        """What waits in the inbox; replaced as a whole."""

    def answered(self, outcome: Outcome) -> None:
        """Counts a request that left; one that did not is none."""
        if outcome.kind is not OutcomeKind.NOT_SENT:
            key = outcome.method, str(outcome.kind)
            series = self._series.get(key) or self._series.setdefault(key, self.requests.labels(*key))
            series.observe(outcome.duration_seconds)

    def took(self, durations: list[Duration], time_zone: ZoneInfo) -> None:
        """Counts how long invoices took, from the history."""
        for each in durations:
            if each.state == State.SENT:
                self.queue_waits.observe(each.seconds)
                continue
            self.deliveries.labels(each.state).observe(each.seconds)
            if each.state == State.REGISTERED:
                ended = Period.parse(each.period).end(time_zone)
                self.periods.observe(max(0.0, (each.at - ended).total_seconds()))

    def writer_waits(self, waiting: bool, now_seconds: float) -> None:
        """The db_writer has, or has no longer, writes that are not stored; the instant is a monotonic clock's."""
        if not waiting:
            self._behind_since_seconds = None
        elif self._behind_since_seconds is None:
            self._behind_since_seconds = now_seconds

    def writer_lag_seconds(self, now_seconds: float) -> float:
        """For how long the oldest write has been waiting to be stored; 0 if none is."""
        since = self._behind_since_seconds
        return 0.0 if since is None else max(0.0, now_seconds - since)
