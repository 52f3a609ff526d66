"""When an invoice is held for what counts against it, and how long it waits before (docs/spec/failures.md)."""


def is_held(count: int, limit: int, *, witnessed: bool) -> bool:
    """Whether so many counts hold an invoice: never without a witness ("Blame needs a witness")."""
    return witnessed and count >= limit


def backoff_seconds(failures: int, base_seconds: float, max_seconds: float) -> float:
    """The base, doubled with each of the failures, up to the most."""
    return min(max_seconds, base_seconds * 2.0 ** min(failures, 60))
