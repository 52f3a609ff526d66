"""What ends the service, and that it is there again: kill -9, SIGSTOP, a restart amid work, a tree that can't go on."""

import json
from collections import Counter

import pytest

from tests.systemd.machine import Ran, run

# The first test of a session installs billingd.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# The user is one that systemd makes up, the database is reached by its socket, where the peer's name counts.
BEGIN = r"""
DYNAMIC=yes
install_billingd
configure 'postgresql://billingd@localhost:5433/billingd?host=/run/database'
start_postgres
billingd db upgrade
start_erp
"""

ENDS = (
    BEGIN
    + r"""
drop_in watchdog WatchdogSec=3
systemctl start billingd
billingd import master "$SAMPLE/master.yaml"
first=$(property MainPID)

# A stop, and a start, in the middle of work: what is under way with the ERP ends, and is stored.
erp_fault '{"kind": "delay", "method": "PUT", "when": "after", "seconds": 2}'
billingd import readings "$SAMPLE/readings-2026-08.csv.gz"
until_true eval 'ops /metrics | says "^billingd_erp_in_flight [1-9]"'
systemctl stop billingd
query "SELECT count(*) FROM invoices WHERE claimed_by IS NOT NULL OR state = 'sent'" >/out/half-done
query "SELECT count(*) FROM invoices WHERE state = 'registered'" >/out/done
query "SELECT ended_how FROM instances" >/out/ended-how
grep -c '"kind": "booked"' /srv/ledger.jsonl >/out/booked
erp_fault '{"kind": "delay", "method": "PUT", "when": "after", "seconds": 0.1}'
systemctl start billingd
systemctl restart billingd
second=$(property MainPID)

# kill -9 in the middle of work.
billingd import readings "$SAMPLE/readings-2026-09.csv.gz"
kill -9 "$second"
until_true restarted "$second"
third=$(property MainPID)
until_true billed 24

# Frozen: the watchdog brings it back.
billingd import readings "$SAMPLE/readings-2026-10.csv.gz"
kill -STOP "$third"
until_true restarted "$third"
until_true billed 36
echo "$first $second $third $(property MainPID)" >/out/processes
property NRestarts >/out/restarts
property DynamicUser >/out/dynamic
ps -o user= -p "$(property MainPID)" >/out/user
getent -s files passwd billingd >/out/static-user || true
billingd invoices list --json >/out/invoices.json
cp /srv/ledger.jsonl /out/ledger.jsonl
systemctl list-units --all --no-pager 'billingd*' >/out/units
systemctl stop billingd
"""
)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(ENDS, tmp_path_factory.mktemp("ends"), seconds=150)


def test_each_end_brings_another_process(ended: Ran) -> None:
    assert len(set(ended.text("processes").split())) == 4
    assert int(ended.text("restarts")) >= 2
    assert "Main process exited, code=killed, status=9/KILL" in ended.journal()
    assert "Watchdog timeout" in ended.journal()


def test_a_stop_in_the_middle_of_work_leaves_nothing_half_done(ended: Ran) -> None:
    assert ended.text("half-done").strip() == "0"
    assert int(ended.text("done")) == int(ended.text("booked")) > 0
    assert ended.text("ended-how").strip() == "clean"


def test_what_was_in_hand_is_finished_once(ended: Ran) -> None:
    invoices = ended.json("invoices.json")
    assert Counter(invoice["state"] for invoice in invoices) == {"registered": 36}
    assert len({invoice["bill_id"] for invoice in invoices}) == 36


def test_it_runs_as_a_user_made_up_for_it(ended: Ran) -> None:
    assert ended.text("dynamic").strip() == "yes"
    assert ended.text("user").strip() == "billingd"
    assert ended.text("static-user") == ""


def test_ends_without_a_word_become_an_alarm(ended: Ran) -> None:
    assert "billingd was ended by SIGKILL; systemd starts it again" in ended.journal()
    assert "billingd proved no progress for too long and was ended by its watchdog" in ended.journal()
    assert "daemon_was_down raised" in ended.journal()


# A fault that no restart of an actor cures: the tree gives up, so does the process, and all is well once it is gone.
GIVES_UP = (
    BEGIN
    + r"""
mkdir /srv/failpoints
drop_in failpoints Environment=BILLINGD_TEST_POINTS=/srv/failpoints
printf 'supervision:\n  max_restarts: 2\n' >>/etc/billingd/billingd.yaml
systemctl start billingd
first=$(property MainPID)
printf raise >/srv/failpoints/biller.receive.action
until_true restarted "$first"
until_true in_journal 'billingd ended with status 1' -u billingd-failure@*
journalctl --no-pager -o cat -u 'billingd-failure@*' >/out/failure-unit
rm /srv/failpoints/biller.receive.action
import_sample
until_true billed 36
until_true eval '! ops /status | says daemon_was_down'
systemctl show billingd -p ActiveState,SubState >/out/state
journalctl --no-pager -o json BILLINGD_ALARM_CODE=daemon_was_down >/out/alarm.json
"""
)


@pytest.fixture(scope="module")
def gave_up(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(GIVES_UP, tmp_path_factory.mktemp("gives-up"), seconds=150)


def test_a_tree_that_cant_go_on_ends_the_process_and_systemd_starts_another(gave_up: Ran) -> None:
    assert "the tree has given up: the process ends, to be started afresh" in gave_up.journal()
    assert "Main process exited, code=exited, status=1/FAILURE" in gave_up.journal()
    assert gave_up.text("state").split() == ["ActiveState=active", "SubState=running"]


def test_its_last_words_are_an_alarm_that_clears_when_it_has_caught_up(gave_up: Ran) -> None:
    assert "Finished billingd-failure@billingd:exit-code:exited:1.service" in gave_up.text("failure-unit")
    entries = [json.loads(line) for line in gave_up.text("alarm.json").splitlines()]
    first, last = entries[0], entries[-1]
    assert first["_SYSTEMD_UNIT"].startswith("billingd-failure@billingd:exit-code:exited:1")
    assert (first["BILLINGD_ALARM_STATE"], last["BILLINGD_ALARM_STATE"]) == ("raised", "cleared")
    assert first["BILLINGD_ALARM_ID"] == last["BILLINGD_ALARM_ID"]
    assert last["_SYSTEMD_UNIT"] == "billingd.service"
