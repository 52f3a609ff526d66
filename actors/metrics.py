"""What the actors count for monitoring: requests to the ERP with their durations, and how far behind the writer is."""

from dataclasses import dataclass

from prometheus_client import Counter, Histogram

from billing.erp_answers import Outcome, OutcomeKind
from persistence.invoices.period_closing import Closing

BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class WaitingFiles:
    """How much waits in the inbox, and since when its oldest file does, in wall-clock seconds."""

    files: int = 0
    size_bytes: int = 0
    oldest_seconds: float | None = None
    refused: int = 0


class ActorMetrics:
    """Counters that any thread may feed and read; they begin anew with the process."""

    def __init__(self) -> None:
        self.requests = Histogram(
            "billingd_erp_request_seconds",
            "Requests to the ERP, from resolving the name to the last byte, by method and what came of them.",
            ["method", "outcome"],
            buckets=BUCKETS_SECONDS,
            registry=None,
        )
        self._behind_since_seconds: float | None = None
        self.closings: tuple[Closing, ...] = ()
        """The months that are closed, the last ones; replaced as a whole."""
        self.waiting_files = WaitingFiles()
        """What waits in the inbox; replaced as a whole."""
        self.imports = Counter(
            "billingd_imports", "Files from the inbox, by kind and what became of them.", ["kind", "state"],
            registry=None,
        )  # fmt: skip
        self.imported_rows = Counter("billingd_imported_rows", "Rows of the files imported.", registry=None)

    def answered(self, outcome: Outcome) -> None:
        """Counts a request that left; one that did not is none."""
        if outcome.kind is not OutcomeKind.NOT_SENT:
            self.requests.labels(outcome.method, str(outcome.kind)).observe(outcome.duration_seconds)

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
