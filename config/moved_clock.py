"""The wall clock that tests may move with BILLINGD_TEST_NOW, so that months pass on a real daemon."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from config.document import Problem
from config.load import ConfigurationRejected

_FORM = re.compile(r"(?P<instant>[^*]+?)\s*(?:\*\s*(?P<speed>[0-9.]+))?")


def _rejected(message: str) -> ConfigurationRejected:
    return ConfigurationRejected([Problem("BILLINGD_TEST_NOW", None, message)])


def now_from(
    environ: Mapping[str, str], wall_now: Callable[[], datetime], monotonic: Callable[[], float]
) -> Callable[[], datetime]:
    """Return what periods, schedule and grace go by: `wall_now`, or a clock that starts at BILLINGD_TEST_NOW.

    The moved clock runs on from the instant with `monotonic` (seconds), N times as fast with `*N`
    behind it (docs/spec/architecture.md, "Time"). Raises ConfigurationRejected when it is malformed, or set without
    BILLINGD_TEST=1.
    """
    text = environ.get("BILLINGD_TEST_NOW", "").strip()
    if not text:
        return wall_now
    if environ.get("BILLINGD_TEST") != "1":
        raise _rejected("is for tests and refused unless BILLINGD_TEST=1")
    instant, speed = _parsed(text)
    began = monotonic()

    def moved_now() -> datetime:
        return instant + timedelta(seconds=(monotonic() - began) * speed)

    return moved_now


def _parsed(text: str) -> tuple[datetime, float]:
    found = _FORM.fullmatch(text)
    try:
        instant = datetime.fromisoformat(found["instant"] if found else "")
        speed = float(found["speed"] or 1) if found else math.nan
    except ValueError as error:
        raise _rejected("give an instant and perhaps a speed, as in 2026-11-15T00:00:00Z*60") from error
    if instant.tzinfo is None:
        raise _rejected("the instant needs a zone, as in 2026-11-15T00:00:00Z")
    if not 0 < speed <= 1_000_000:
        raise _rejected("the speed has to be above 0 and at most 1000000")
    return instant.astimezone(UTC), speed
