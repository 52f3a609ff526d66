"""The geometry of the control room's charts; the templates draw them, the style sheet colours them."""

from collections.abc import Mapping, Sequence
from typing import Any

from billing.states import State
from persistence.invoices.listing import Hour
from web.formatting import about, number

WIDTH, HEIGHT = 240, 100
_SHARES = (
    State.REGISTERED, State.INITIATED, State.SENT, State.CALCULATED, State.DUE, State.HELD, State.ABORTED,
)  # fmt: skip


def share_bars(counts: Mapping[str, int]) -> list[dict[str, str]]:
    """The parts of a bar of all invoices by state, of 1000 in all; none without an invoice."""
    bars, left, total = [], 0.0, sum(counts.values())
    for state in _SHARES if total else ():
        width = 1000 * counts.get(state, 0) / total
        if width:
            bars.append({"state": state.value, "x": f"{left:.2f}", "width": f"{width:.2f}"})
        left += width
    return bars


def throughput(hours: Sequence[Hour]) -> dict[str, Any]:
    """How many invoices were registered, and how many were held or aborted, in each hour."""
    highest = max(1, *(each.registered + each.held + each.aborted for each in hours))
    step = WIDTH / len(hours)
    bars = []
    for place, each in enumerate(hours):
        bad = each.held + each.aborted
        heights = {"good": HEIGHT * each.registered / highest, "bad": HEIGHT * bad / highest}
        tops = {"good": HEIGHT - heights["good"], "bad": HEIGHT - heights["good"] - heights["bad"]}
        bars.append({
            "title": f"{each.start:%H:%M}Z: {number(each.registered)} registered, {number(bad)} held or aborted",
            "left": f"{place * step:.2f}", "step": f"{step:.2f}",
            "x": f"{place * step + step * 0.12:.2f}", "width": f"{step * 0.76:.2f}",
            "parts": [
                {"kind": kind, "y": f"{tops[kind]:.2f}", "height": f"{height:.2f}"}
                for kind, height in heights.items() if height
            ],
        })  # fmt: skip
    booked, bad = sum(each.registered for each in hours), sum(each.held + each.aborted for each in hours)
    caption = f"{number(booked)} registered, {number(bad)} held or aborted in the last {len(hours)} hours"
    return {
        "title": "Throughput", "unit": "invoices an hour", "caption": caption, "highest": number(highest), "bars": bars,
    }  # fmt: skip


def age(hours: Sequence[Hour]) -> dict[str, Any]:
    """How old the oldest invoice was that was not final, at the end of each hour."""
    ages = [each.oldest_seconds for each in hours]
    highest = max(60.0, *ages)
    step = WIDTH / max(1, len(ages) - 1)
    points = " ".join(
        f"{place * step:.2f},{HEIGHT - (HEIGHT - 2) * seconds / highest:.2f}" for place, seconds in enumerate(ages)
    )
    now = f"the oldest open invoice is {about(ages[-1])} old" if ages[-1] else "no invoice is open"
    return {
        "title": "Age", "unit": "of the oldest open invoice", "caption": f"now {now}", "highest": about(highest),
        "points": points,
    }  # fmt: skip
