"""The service from its installation to its end, on its own machine: starts, bills, reloads, stops, tells no secret."""

import re

import pytest

from tests.systemd.machine import Ran, run

EXPOSURE_AT_MOST = 1.2
PLACES = (
    "environ", "cmdline", "processes", "config-show", "metrics", "check-config", "systemctl-status", "after-bad.json"
)  # fmt: skip
# The first test of a session installs billingd.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = r"""
# Other checkouts of the machine beneath are no business of an uninstall.
named_billingd() {
  find / -xdev \( -path /proc -o -path /sys -o -path /out -o -path /run -o -path /tmp \) -prune \
    -o -name '*billingd*' -print
}
named_billingd >/out/there-before
install_billingd
configure postgresql://billingd@127.0.0.1:5433/billingd
systemd-analyze verify /usr/local/lib/systemd/system/billingd.service >/out/verify 2>&1
systemd-analyze verify /usr/local/lib/systemd/system/billingd-failure@.service >>/out/verify 2>&1
systemd-analyze security --no-pager billingd.service | tail -1 >/out/security
systemd-analyze security --no-pager billingd-failure@x.service | tail -1 >>/out/security

# Neither database nor ERP nor token is there yet.
systemctl start billingd
systemctl show billingd -p ActiveState,SubState,StatusText,Type,WatchdogUSec >/out/started
start_postgres
until_true in_journal 'billingd db upgrade' -u billingd
billingd db upgrade
start_erp --token "$ERP_TOKEN"
import_sample
until_true in_journal erp_credentials -u billingd
printf '%s\n' "$ERP_TOKEN" >/etc/billingd/credentials/erp-token
systemctl restart billingd
until_true billed 36
all_is_said() { [[ "$(property StatusText)" == *"36 of 36"* ]]; }
until_true all_is_said
systemctl status --no-pager billingd >/out/systemctl-status || true
billingd status >/out/billingd-status || true
billingd invoices list --json >/out/invoices.json

# Good, bad and mended.
sed -i 's/poll_interval_seconds: 0.2/poll_interval_seconds: 0.3\n  max_in_flight: 20/' /etc/billingd/billingd.yaml
systemctl reload billingd
systemctl show billingd -p ActiveState,SubState >/out/reloaded
until_true eval 'ops /metrics | says courier-20'
ops /status >/out/after-good.json
sha256sum /etc/billingd/billingd.yaml >/out/sha256
cp /etc/billingd/billingd.yaml /root/good.yaml
printf 'alarms:\n  quiet: 5\n' >>/etc/billingd/billingd.yaml
if systemctl reload billingd 2>/out/reload-error; then echo 0; else echo $?; fi >/out/reload-status
systemctl show billingd -p ActiveState,SubState >>/out/reloaded
ops /status >/out/after-bad.json
cp /root/good.yaml /etc/billingd/billingd.yaml
systemctl reload billingd
until_true eval '! ops /status | says configuration_rejected'

# Secrets: where they must not be.
pid=$(property MainPID)
tr '\0' '\n' <"/proc/$pid/environ" >/out/environ
tr '\0' ' ' <"/proc/$pid/cmdline" >/out/cmdline
ps axww -o args | grep -v fake-altibiz >/out/processes
billingd config show >/out/config-show
ops /metrics >/out/metrics
billingd check-config >/out/check-config 2>&1

systemctl stop billingd
systemctl show billingd -p ActiveState,SubState,Result,ExecMainStatus >/out/stopped
billingd invoices list --json >/out/invoices-after.json

systemctl stop database erp
umount /opt/billingd
rmdir /opt/billingd
cp -a "$STAGED/opt/billingd" /opt/
make -C "$PROJECT" uninstall >/out/uninstall 2>&1
named_billingd >/out/left-behind
systemctl start billingd 2>/out/gone || true
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(SCRIPT, tmp_path_factory.mktemp("service"), seconds=150)


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_the_unit_files_are_beyond_reproach(ran: Ran) -> None:
    assert ran.text("verify") == ""
    for line in ran.text("security").splitlines():
        found = re.search(r"exposure level for \S+: ([0-9.]+)", line)
        assert found, line
        assert float(found[1]) <= EXPOSURE_AT_MOST, line


def test_it_is_up_before_database_erp_and_token_are_there(ran: Ran) -> None:
    started = properties(ran.text("started"))
    assert (started["ActiveState"], started["SubState"], started["Type"]) == ("active", "running", "notify")
    assert started["WatchdogUSec"] == "30s"
    assert "database" in started["StatusText"]


def test_it_bills_the_sample_under_its_sandbox(ran: Ran) -> None:
    invoices = ran.json("invoices.json")
    assert len(invoices) == 36
    assert {invoice["state"] for invoice in invoices} == {"registered"}
    assert len({invoice["bill_id"] for invoice in invoices}) == 36


def test_systemctl_and_billingd_say_the_same_sentence(ran: Ran) -> None:
    found = re.search(r'Status: "(.*)"', ran.text("systemctl-status"))
    assert found, ran.text("systemctl-status")
    assert found[1].endswith("36 of 36 invoices are final")
    assert "36 of 36 invoices are final" in ran.text("billingd-status").splitlines()[0]


def test_a_good_file_is_applied_as_a_whole(ran: Ran) -> None:
    assert properties(ran.text("reloaded").splitlines()[0])["ActiveState"] == "active"
    assert "configuration: erp.poll_interval_seconds: 0.2 -> 0.3" in ran.journal()
    assert "configuration: erp.max_in_flight: 16 -> 20" in ran.journal()
    configuration = ran.json("after-good.json")["configuration"]
    assert configuration["sha256"] == ran.text("sha256").split()[0]
    assert configuration["loaded_at"] > ran.json("after-good.json")["since"]


def test_a_bad_file_changes_nothing_and_systemctl_says_so(ran: Ran) -> None:
    assert ran.text("reload-status").strip() != "0"
    assert "billingd.service" in ran.text("reload-error")
    line = "line 10: alarms.quiet: unknown key"
    assert line in ran.journal()
    after = ran.json("after-bad.json")
    (alarm,) = (each for each in after["alarms"] if each["code"] == "configuration_rejected")
    assert line in alarm["summary"]
    assert after["configuration"] == ran.json("after-good.json")["configuration"]
    assert ran.text("reloaded").splitlines()[2:] == ["ActiveState=active", "SubState=running"]


@pytest.mark.parametrize("secret", ["geheim-erp-token", "geheim-datenbank"])
def test_no_secret_is_told(ran: Ran, secret: str) -> None:
    places = (
        "environ",
        "cmdline",
        "processes",
        "config-show",
        "metrics",
        "check-config",
        "systemctl-status",
        "after-bad.json",
    )
    for place in places:
        assert secret not in ran.text(place), place
    said_by_billingd = [line for line in ran.journal().splitlines() if " billingd[" in line]
    assert said_by_billingd
    assert not [line for line in said_by_billingd if secret in line and "fake-altibiz" not in line]
    assert "erp-token" in ran.text("config-show")


def test_stop_drains_and_leaves_nothing_half_done(ran: Ran) -> None:
    stopped = properties(ran.text("stopped"))
    assert stopped == {
        "ActiveState": "inactive", "SubState": "dead", "Result": "success", "ExecMainStatus": "0"
    }  # fmt: skip
    assert ran.json("invoices-after.json") == ran.json("invoices.json")
    assert "billingd-failure@" not in ran.journal()


def test_uninstall_takes_all_but_configuration_and_state(ran: Ran) -> None:
    before, left = set(ran.text("there-before").split()), set(ran.text("left-behind").split())
    left = {path for path in left - before if not path.startswith("/etc/systemd/system/billingd.")}
    data = {"/var/lib/billingd", "/var/lib/private/billingd", "/var/lib/billingd-inbox"}
    assert left == {"/etc/billingd", "/etc/billingd/billingd.yaml"} | data
    assert "Unit billingd.service not found" in ran.text("gone")
