"""Histories that daemons leave are traces of the model, and forged ones are refused."""

import pytest

from drills.traces import first_refused

Step = tuple[str | None, str]
DUE, CALCULATED, SENT = (None, "due"), ("due", "calculated"), ("calculated", "sent")
REGISTERED, INITIATED = ("sent", "registered"), ("sent", "initiated")
PUT, GET, LOST, ABSENT, REFUSED = (
    ("PUT", "booked"), ("GET", "booked"), ("PUT", "unreachable"), ("GET", "absent"), ("PUT", "refused"),
)  # fmt: skip
WAY = [DUE, CALCULATED, SENT, REGISTERED]


@pytest.mark.parametrize(
    ("history", "exchanges"),
    [
        (WAY, [PUT]),
        ([*WAY[:3], INITIATED, ("initiated", "registered")], [PUT, GET]),
        (WAY, [LOST, GET]),
        (WAY, [LOST, ABSENT, PUT]),
        (WAY, [LOST, ("GET", "unreachable"), ABSENT, LOST, GET]),
        (WAY, [REFUSED, PUT]),
        (WAY, [("PUT", "too_many_requests"), ("PUT", "not_sent"), PUT]),
        (WAY, [GET]),
        (WAY[:3], []),
        ([*WAY[:3], ("sent", "held"), ("held", "aborted")], [REFUSED]),
        ([DUE, CALCULATED, ("calculated", "aborted")], []),
    ],
)
def test_what_daemons_leave_is_a_trace(history: list[tuple[str | None, str]], exchanges: list[tuple[str, str]]) -> None:
    assert first_refused(history, exchanges) == ""


@pytest.mark.parametrize(
    ("history", "exchanges", "refused"),
    [
        ([DUE, CALCULATED, ("calculated", "registered")], [PUT], "booked and PUT booked after []"),
        (WAY, [], "booked after ['sent']"),
        (WAY, [LOST, PUT], "booked and PUT booked after ['sent', 'PUT timeout']"),
        (
            WAY,
            [LOST, ("GET", "credentials"), PUT],
            "booked and PUT booked after ['sent', 'PUT timeout', 'GET timeout']",
        ),
        (WAY, [ABSENT], "booked after ['sent', 'GET nothing']"),
        ([DUE, CALCULATED, SENT, SENT], [REFUSED], "sent after ['sent', 'PUT nothing']"),
    ],
)
def test_a_forged_history_is_refused(
    history: list[tuple[str | None, str]], exchanges: list[tuple[str, str]], refused: str
) -> None:
    assert first_refused(history, exchanges) == refused


@pytest.mark.parametrize(
    "history",
    [
        ([DUE, CALCULATED, ("calculated", "registered")], [GET]),
        (WAY, [ABSENT, PUT]),
        (WAY, [LOST, ABSENT, PUT]),
    ],
)
def test_a_loss_of_commits_has_what_is_open_asked_about(history: tuple[list[Step], list[tuple[str, str]]]) -> None:
    assert first_refused(*history, changes=1) == ""
    assert first_refused(*history, changes=2) == ""


def test_a_loss_of_commits_excuses_no_blind_offer() -> None:
    assert first_refused(WAY, [LOST, PUT], changes=1) == "booked and PUT booked after ['sent', 'PUT timeout']"
