"""The main job as a stranger would run it: real readings in, every invoice booked, to the cent."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from testkit.deployment import Deployment
from testkit.waiting import wait_until
from tests.support.sample import BAD, SAMPLE, import_sample

pytestmark = pytest.mark.slow

BILLED_TWICE_CHECKED = ("2026-08", "2026-10")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path / "home")
    yield deployment
    deployment.close()


def test_the_sample_is_billed_to_the_cent_and_the_ledger_agrees(deployment: Deployment) -> None:
    deployment.erp.start()
    deployment.daemon.start()
    import_sample(deployment)
    wait_until(lambda: deployment.all_registered(36))
    listed = {invoice["id"]: invoice for invoice in deployment.json("invoices", "list")}
    expected = json.loads((SAMPLE / "expected-invoices.json").read_text("utf-8"))
    for period in BILLED_TWICE_CHECKED:
        ids = [invoice["id"] for invoice in expected[period]]
        assert len(ids) == 12
        for shown, wanted in zip(deployment.json("invoices", "show", *ids), expected[period], strict=True):
            assert {line["ordinal"]: line["price_eur"] for line in shown["lines"]} == wanted["lines"]
            for field in ("total_eur", "tax_eur", "total_with_tax_eur", "invoice_date", "network_user_id"):
                assert shown[field] == wanted[field], (shown["id"], field)
    ledger = deployment.erp.ledger()
    assert ledger.keys() == listed.keys()
    for invoice_id, booking in ledger.items():
        assert Decimal(booking["total_with_tax_eur"]) == Decimal(listed[invoice_id]["total_with_tax_eur"])
        assert booking["bill_id"] == listed[invoice_id]["bill_id"]
        assert booking["offers"] == 1
    assert deployment.run("status").returncode == 0
    assert deployment.daemon.stop() == 0
    assert deployment.run("status").returncode == 3


@pytest.mark.parametrize(
    ("bad", "code", "meter", "when"),
    [
        ("readings-gap-3-days.csv.gz", "readings_incomplete", "abb-B2x-00220651", "2026-08-11T00:00:00Z"),
        ("readings-missing-boundary.csv.gz", "readings_incomplete", "abb-B2x-00220651", "2026-07-31T22:00:00Z"),
        ("readings-decreasing-register.csv.gz", "readings_inconsistent", "abb-B2x-00252537", "2026-08-14T09:30:00Z"),
    ],
)
def test_what_is_wrong_in_meaning_waits_and_goes_on_when_it_is_put_right(
    deployment: Deployment, bad: str, code: str, meter: str, when: str
) -> None:
    deployment.environment["BILLINGD_TEST_NOW"] = "2026-09-15T00:00:00Z"
    deployment.erp.start()
    deployment.daemon.start()
    deployment.do("import", "master", str(BAD / "master.yaml"))
    deployment.do("import", "readings", str(BAD / bad))
    wait_until(lambda: deployment.counts() == {"registered": 2, "due": 1})
    (waiting,) = wait_until(
        lambda: [each for each in deployment.json("invoices", "list", "--state", "due") if each["held_code"]]
    )
    assert waiting["held_code"] == code
    assert meter in waiting["held_reason"]
    assert when in waiting["held_reason"]
    wait_until(lambda: code in deployment.daemon.standing())
    correct = str(BAD / "readings-2026-08.csv.gz")
    if code == "readings_inconsistent":
        refused = deployment.run("import", "readings", correct)
        assert refused.returncode == 1
        assert meter in refused.stderr
        deployment.do("import", "readings", "--replace", "--reason", "the meter was read again", correct)
    else:
        deployment.do("import", "readings", correct)
    wait_until(lambda: deployment.all_registered(3))
    wait_until(lambda: code not in deployment.daemon.standing())
    assert set(deployment.erp.ledger()) == {f"user-{number}.2026-08.1" for number in ("004", "008", "012")}
