"""`billingd doctor`: what is well, what is wrong and what to do about it, what can't be known."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from altibiz.fake.server import FakeAltibiz
from persistence.connection.database import Database
from persistence.invoices.delivery_pause import pause
from testkit.ports import free_port
from tests.cli.command_line import Commands, Done
from tests.support.altibiz_samples import CERTIFICATE, KEY


@pytest.fixture
def erp() -> Iterator[FakeAltibiz]:
    with FakeAltibiz(token="right") as erp:
        yield erp


def commands(
    database_url: str, erp: FakeAltibiz, home: Path, capsys: pytest.CaptureFixture[str], token: str = "right"
) -> Commands:
    (home / "state").mkdir(exist_ok=True)
    (home / "token").write_text(token)
    settings = {"base_url": erp.base_url, "token_file": str(home / "token")}
    return Commands.on(database_url, home, capsys, erp=settings)


def healths(done: Done) -> dict[str, str]:
    return {each["name"]: each["health"] for each in done.document}


def test_what_is_well_is_said_and_the_rest_is_not_claimed(
    database_url: str, erp: FakeAltibiz, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    billingd = commands(database_url, erp, tmp_path, capsys)
    done = billingd("doctor", "--json")
    assert done.status == 0
    found = healths(done)
    well = ["configuration", "state directory", "time zone data", "database", "clock", "schema", "rights", "ERP"]
    assert {name: found[name] for name in well} == dict.fromkeys(well, "well")
    assert found["webhook"] == "unknown"
    assert found["daemon"] == "warning"
    assert found["database TLS"] == "warning", "nothing proves that it is the right server"
    shown = billingd("doctor")
    assert shown.status == 0
    assert "takes our token" in shown.out
    assert "Europe/Zagreb: 1:00:00 in January, 2:00:00 in July" in shown.out
    assert erp.fake.offers == {}, "it only asks"


def test_each_trouble_has_its_advice(
    database: Database, database_url: str, erp: FakeAltibiz, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.transaction() as connection:
        pause(connection, "cli:me", "maintenance", 3600)
    billingd = commands(database_url, erp, tmp_path, capsys, token="wrong")
    done = billingd("doctor", "--json")
    assert done.status == 1
    found = {each["name"]: each for each in done.document}
    assert (found["ERP"]["health"], found["delivery"]["health"]) == ("bad", "warning")
    assert "erp.token_file" in found["ERP"]["advice"]
    assert found["delivery"]["what"].endswith("by cli:me: maintenance")
    erp.stop()
    (answer,) = [each for each in billingd("doctor", "--json").document if each["name"] == "ERP"]
    assert "unreachable" in answer["what"]


def test_a_database_that_is_away_older_or_closed_to_us_is_named(
    database: Database, database_url: str, erp: FakeAltibiz, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.transaction() as connection:
        connection.execute(text("ALTER TABLE alembic_version RENAME TO alembic_version_of_then"))
    done = commands(database_url, erp, tmp_path, capsys)("doctor", "--json")
    (schema,) = [each for each in done.document if each["name"] == "schema"]
    assert (schema["health"], schema["advice"]) == ("bad", "run `billingd db upgrade`")
    away = f"postgresql://billingd@127.0.0.1:{free_port()}/billingd"
    done = commands(away, erp, tmp_path, capsys)("doctor", "--json")
    assert done.status == 1
    assert healths(done)["database"] == "bad"
    assert healths(done)["ERP"] == "well", "the other checks are made all the same"


def test_a_certificate_that_nobody_signed_is_found(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeAltibiz(certificate_file=CERTIFICATE, key_file=KEY) as erp:
        url = erp.base_url.replace("127.0.0.1", "localhost")
        billingd = Commands.on(database_url, tmp_path, capsys, erp={"base_url": url})
        assert healths(billingd("doctor", "--json"))["ERP TLS"] == "bad"
        billingd = Commands.on(database_url, tmp_path, capsys, erp={"base_url": url, "ca_file": str(CERTIFICATE)})
        (tls,) = [each for each in billingd("doctor", "--json").document if each["name"] == "ERP TLS"]
        assert "the certificate ends on" in tls["what"]


def test_a_configuration_that_can_not_be_read_is_all_that_is_said(tmp_path: Path) -> None:
    billingd = Commands(tmp_path, billing={"aproval": "none"})
    done = billingd.process("doctor")
    assert done.status == 1
    assert done.out.startswith("bad      configuration: ")
    assert "check-config" in done.out


def test_an_embedded_database_is_not_started_for_it(tmp_path: Path) -> None:
    done = Commands(tmp_path).process("doctor", "--json")
    assert done.status == 1, "there is no ERP"
    assert healths(done)["database"] == "unknown"
    assert not (tmp_path / "state").exists()
