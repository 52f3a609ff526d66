"""docs/monitoring.md, followed command by command on a machine with Debian's Prometheus and Alertmanager."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.systemd.machine import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
TEN_MINUTES_SECONDS = 600.0
# In full its waits are as long as the page's; else the scrapes, the heartbeats and the rules' patience are shorter.
HURRY = "full" if os.environ.get("BILLINGD_DRILL") == "all" else "hurry"

SCRIPT = """
install_billingd
configure postgresql://billingd@127.0.0.1:5433/billingd
drop_in test RestartSec=0.5 # by the machine's clock, as everything beside it
chmod 0600 /etc/billingd/credentials/database-password
start_postgres
billingd db upgrade
start_erp
systemctl start billingd
until_true is_active
rm -rf /var/lib/prometheus # of the machine beneath
install -d -o prometheus -g prometheus /var/lib/prometheus{,/metrics2,/alertmanager}
echo 'ARGS=--cluster.listen-address=' >/etc/default/prometheus-alertmanager # it has the loopback only
cd "$PROJECT"
PYTHONPATH=$PROJECT "$PYTHON" -m tests.systemd.monitoring_walk /out/walk.json "$HURRY"
"""


def test_the_page_is_right_from_nothing_to_trust(tmp_path: Path) -> None:
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    ran = run(f"PYTHON={sys.executable} HURRY={HURRY}\n{SCRIPT}", tmp_path, seconds=900 if HURRY == "full" else 400)
    print(ran.log)
    found = ran.json("walk.json")
    for seconds, step in found["steps"]:
        print(f"{seconds:6.1f} s  {step}")
    assert found["steps"][-1][0] < TEN_MINUTES_SECONDS
    assert found["dashboards"] == ["grafana-dashboard.json"]
    people = set(found["told"])
    assert {"alarm_test", "delivery_paused", "billingd_silent"} <= people
    assert not [each for each in people if each.startswith("billingd_") and each != "billingd_silent"], "told twice"
