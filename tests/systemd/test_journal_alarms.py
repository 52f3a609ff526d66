"""Alarms in a real journal: entries with their fields, found by them, explained by the catalogue in two languages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from alarming.catalogue import CATALOGUE, Code
from tests.support.sample import ROOT
from tests.systemd.machine import why_not

pytestmark = pytest.mark.slow

SANDBOX = Path(__file__).parent / "systemd-sandbox"
MESSAGE_ID = CATALOGUE[Code.ERP_CREDENTIALS].message_id.hex
SCRIPT = f"""#!/bin/bash
set -eu
cd {ROOT}
{sys.executable} -m alarming.documents /usr/lib/systemd/catalog billingd.catalog billingd.hr.catalog
journalctl --update-catalog
cat >/run/systemd/system/alarm.service <<UNIT
[Service]
Type=oneshot
WorkingDirectory={ROOT}
StateDirectory=alarm
ExecStart={sys.executable} -m tests.systemd.alarming_journal /var/lib/alarm/alarms.jsonl
UNIT
systemctl daemon-reload
systemctl start alarm
journalctl --sync
journalctl -o json BILLINGD_ALARM_CODE=erp_credentials >/out/by-code.json
journalctl -o json MESSAGE_ID={MESSAGE_ID} BILLINGD_ALARM_STATE=raised >/out/raised.json
journalctl -x BILLINGD_ALARM_STATE=raised >/out/explained
if localedef -i hr_HR -f UTF-8 hr_HR.UTF-8; then
    LC_ALL=hr_HR.UTF-8 journalctl -x BILLINGD_ALARM_STATE=raised >/out/explained-hr
fi
"""


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came out of a machine on which one alarm was raised and cleared."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("journal")
    (folder / "script").write_text(SCRIPT)
    done = subprocess.run(
        [str(SANDBOX), str(folder / "script"), "90"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "systemd-sandbox-out"


def entries(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_each_change_is_an_entry_with_its_fields(journal: Path) -> None:
    raised, cleared = entries(journal / "by-code.json")
    assert raised["MESSAGE"].startswith("erp_credentials raised: 401 from the ERP, since ")
    assert raised["PRIORITY"] == "2"
    assert raised["BILLINGD_ALARM_KEY"] == "one"
    assert raised["BILLINGD_ALARM_SEVERITY"] == "critical"
    assert raised["BILLINGD_ALARM_ID"] == cleared["BILLINGD_ALARM_ID"]
    assert (raised["BILLINGD_ALARM_STATE"], cleared["BILLINGD_ALARM_STATE"]) == ("raised", "cleared")
    assert raised["BILLINGD_INVOICES"] == '["NU-0007.2026-10.1"]'
    assert cleared["PRIORITY"] == "6"
    assert raised["_SYSTEMD_UNIT"] == "alarm.service"


def test_an_entry_is_found_by_message_id_and_state(journal: Path) -> None:
    (raised,) = entries(journal / "raised.json")
    assert raised["BILLINGD_ALARM_CODE"] == "erp_credentials"


def test_the_journal_explains_what_to_do(journal: Path) -> None:
    explained = " ".join((journal / "explained").read_text("utf-8").replace("░░", "").split())
    assert "Subject: The ERP does not accept our credentials: raised (one)" in explained
    assert CATALOGUE[Code.ERP_CREDENTIALS].english.action.replace("`", "") in explained


def test_and_in_croatian(journal: Path) -> None:
    path = journal / "explained-hr"
    if not path.exists():
        pytest.skip("this machine can't make a Croatian locale")
    explained = " ".join(path.read_text("utf-8").replace("░░", "").split())
    assert CATALOGUE[Code.ERP_CREDENTIALS].croatian.action.replace("`", "") in explained
