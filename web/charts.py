"""The pictures of the control room: the pipeline and the charts of the last day, drawn here and styled by the sheet."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from billing.states import State
from persistence.browsing import Hour
from web.formatting import about, number
from web.markup import Html, join, tag

MAIN_STATES = (State.DUE, State.CALCULATED, State.SENT, State.INITIATED, State.REGISTERED)
SIDE_STATES = (State.HELD, State.ABORTED)
_WORDS = {
    State.DUE: "waits to be calculated",
    State.CALCULATED: "waits to be offered",
    State.SENT: "offered, no answer yet",
    State.INITIATED: "the ERP has it",
    State.REGISTERED: "booked",
    State.HELD: "a person has to look",
    State.ABORTED: "ended without a booking",
}
_WIDTH, _HEIGHT = 240, 100


def pipeline(
    counts: Mapping[str, int], oldest_seconds: Mapping[str, float], waiting: int, moving: Collection[State]
) -> Html:
    """The states as stations on a line; the ways to those in `moving` are drawn in motion."""
    stations: list[Html] = []
    for state in MAIN_STATES:
        if state is not MAIN_STATES[0]:
            way = tag("path", d="M0 6H40M34 1l6 5-6 5", class_="rail") + tag("path", d="M0 6H36", class_="flow")
            drawing = tag("svg", Html(way), viewBox="0 0 42 12", aria_hidden="true", focusable="false")
            stations.append(tag("li", drawing, class_=f"way{' moving' if state in moving else ''}", aria_hidden="true"))
        note = f"{number(waiting)} for readings" if state is State.DUE and waiting else _WORDS[state]
        stations.append(_station(state, counts, oldest_seconds, note))
    aside = (_station(state, counts, oldest_seconds, _WORDS[state]) for state in SIDE_STATES)
    return join(
        tag("ol", stations, class_="line", aria_label="The way of an invoice"),
        shares(counts),
        tag("ul", list(aside), class_="aside", aria_label="Beside the way"),
    )


def _station(state: State, counts: Mapping[str, int], oldest_seconds: Mapping[str, float], note: str) -> Html:
    many = counts.get(state, 0)
    oldest = oldest_seconds.get(state)
    age = f"oldest {about(oldest)}" if many and oldest is not None else "\u00a0"
    return tag(
        "li",
        tag(
            "a",
            tag("b", number(many)),
            tag("span", state.value, class_="name"),
            tag("small", note),
            tag("small", age, class_="age"),
            href=f"/room/invoices?state={state.value}",
            id=f"to-{state.value}",
        ),
        class_=f"station {state.value}{'' if many else ' none'}",
        data_state=state.value,
    )


def shares(counts: Mapping[str, int]) -> Html | None:
    """A bar of all invoices by state."""
    total = sum(counts.values())
    if not total:
        return None
    bars, left = [], 0.0
    for state in (
        State.REGISTERED,
        State.INITIATED,
        State.SENT,
        State.CALCULATED,
        State.DUE,
        State.HELD,
        State.ABORTED,
    ):
        wide = 1000 * counts.get(state, 0) / total
        if wide:
            bars.append(tag("rect", x=f"{left:.2f}", y=0, width=f"{wide:.2f}", height=10, class_=state.value))
        left += wide
    said = f"{number(counts.get(State.REGISTERED, 0))} of {number(total)} invoices are registered"
    return tag(
        "svg", bars, viewBox="0 0 1000 10", preserveAspectRatio="none", role="img", aria_label=said, class_="shares"
    )


def throughput(hours: Sequence[Hour]) -> Html:
    """How many invoices were registered, and how many were held or aborted, in each hour."""
    highest = max(1, *(each.registered + each.held + each.aborted for each in hours))

    def bars() -> Iterator[Html]:
        step = _WIDTH / len(hours)
        for place, each in enumerate(hours):
            bad = each.held + each.aborted
            high, low = _HEIGHT * each.registered / highest, _HEIGHT * bad / highest
            said = f"{each.start:%H:%M}Z: {number(each.registered)} registered, {number(bad)} held or aborted"
            x, width = f"{place * step + step * 0.12:.2f}", f"{step * 0.76:.2f}"
            yield tag(
                "g",
                tag("title", said),
                tag("rect", x=f"{place * step:.2f}", y=0, width=f"{step:.2f}", height=_HEIGHT, class_="touch"),
                high and tag("rect", x=x, y=f"{_HEIGHT - high:.2f}", width=width, height=f"{high:.2f}", class_="good"),
                low
                and tag("rect", x=x, y=f"{_HEIGHT - high - low:.2f}", width=width, height=f"{low:.2f}", class_="bad"),
            )

    booked, bad = sum(each.registered for each in hours), sum(each.held + each.aborted for each in hours)
    said = f"{number(booked)} registered, {number(bad)} held or aborted in the last {len(hours)} hours"
    return _chart("Throughput", "invoices an hour", said, number(highest), list(bars()))


def age(hours: Sequence[Hour]) -> Html:
    """How old the oldest invoice was that was not final, at the end of each hour."""
    ages = [each.oldest_seconds for each in hours]
    highest = max(60.0, *ages)
    step = _WIDTH / max(1, len(ages) - 1)
    points = " ".join(
        f"{place * step:.2f},{_HEIGHT - (_HEIGHT - 2) * seconds / highest:.2f}" for place, seconds in enumerate(ages)
    )
    drawn = [
        tag("polygon", points=f"0,{_HEIGHT} {points} {_WIDTH},{_HEIGHT}", class_="area"),
        tag("polyline", points=points, class_="curve", vector_effect="non-scaling-stroke"),
    ]
    now = f"the oldest open invoice is {about(ages[-1])} old" if ages[-1] else "no invoice is open"
    return _chart("Age", "of the oldest open invoice", f"now {now}", about(highest), drawn)


def _chart(title: str, unit: str, said: str, highest: str, drawn: list[Html]) -> Html:
    svg = tag(
        "svg",
        tag("path", d=f"M0 0H{_WIDTH}M0 {_HEIGHT / 2}H{_WIDTH}M0 {_HEIGHT}H{_WIDTH}", class_="grid"),
        drawn,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{title}: {said}",
    )
    return tag(
        "figure",
        tag("figcaption", tag("b", title), " ", tag("span", unit), tag("small", said)),
        tag("div", tag("span", highest, class_="highest"), svg, class_="plot"),
        tag("div", tag("span", "24 h ago"), tag("span", "12 h"), tag("span", "now"), class_="axis", aria_hidden="true"),
    )


def hours_table(hours: Sequence[Hour]) -> Html:
    """What both charts draw, in figures."""
    rows = [
        tag(
            "tr",
            tag("th", f"{each.start:%Y-%m-%d %H:%M}Z", scope="row"),
            [
                tag("td", number(value), class_="n")
                for value in (each.calculated, each.registered, each.held + each.aborted)
            ],
            tag("td", about(each.oldest_seconds) if each.oldest_seconds else "-", class_="n"),
        )
        for each in reversed(hours)
    ]
    titles = ("hour", "calculated", "registered", "held or aborted", "oldest open")
    head = tag("thead", tag("tr", [tag("th", title, scope="col") for title in titles]))
    table = tag(
        "div", tag("table", head, tag("tbody", rows)), class_="wide", tabindex=0, role="region", aria_label="Hours"
    )
    return tag("details", tag("summary", "The same in figures"), table, id="hours")
