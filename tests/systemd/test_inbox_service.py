"""The inbox under the hardened unit: a user of another group's drops files, and reads why one was refused."""

import pytest

from tests.systemd.machine import Ran, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = r"""
install_billingd
configure postgresql://billingd@127.0.0.1:5433/billingd
printf 'intake:\n  inbox: /var/lib/billingd-inbox\n  settle_seconds: 0.5\n' >>/etc/billingd/billingd.yaml
useradd --system --groups billingd-inbox metering
start_postgres
billingd db upgrade
start_erp
systemctl start billingd
inbox=/var/lib/billingd-inbox
as_metering() { runuser -u metering -- env -C / "$@"; }
drop() {
  as_metering install -m 0640 "$1" "$inbox/.$2"
  as_metering mv "$inbox/.$2" "$inbox/$2"
}
mkdir /srv/sample && cp "$SAMPLE"/*.yaml "$SAMPLE"/*.csv.gz /srv/sample && chmod -R a+rX /srv/sample
drop /srv/sample/master.yaml master.yaml
for month in 08 09 10; do drop "/srv/sample/readings-2026-$month.csv.gz" "readings-$month.csv.gz"; done
until_true billed 36
printf 'nonsense\n' >/srv/nonsense && chmod a+r /srv/nonsense
drop /srv/nonsense nonsense.csv
until_true test -e $inbox/refused/nonsense.csv.reason
as_metering cat $inbox/refused/nonsense.csv.reason >/out/reason
until_true eval 'ops /status | says import_refused'
as_metering sh -c "rm $inbox/refused/*"
until_true eval '! ops /status | says import_refused'
find $inbox -printf '%M %u %g %P\n' | sort -k4 >/out/inbox
billingd imports list --json >/out/imports.json
mkdir /srv/elsewhere && chmod 0777 /srv/elsewhere
for folder in done refused; do
  as_metering sh -c "mv $inbox/$folder $inbox/.own && ln -s /srv/elsewhere $inbox/$folder" || echo $folder kept
done >/out/replaced 2>/dev/null
as_other() { runuser -u nobody -- ls $inbox; }
if as_other 2>/dev/null; then echo open; else echo closed; fi >/out/others
systemctl stop billingd
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(SCRIPT, tmp_path_factory.mktemp("inbox"), seconds=120)


def test_what_another_user_drops_is_imported_and_billed(ran: Ran) -> None:
    imports = {row["name"]: row["state"] for row in ran.json("imports.json")}
    assert imports.pop("nonsense.csv") == "refused"
    assert len(imports) == 4
    assert set(imports.values()) == {"imported"}


def test_whoever_dropped_a_file_reads_why_it_was_refused(ran: Ran) -> None:
    assert "nonsense.csv:1: the header has 'nonsense'" in ran.text("reason")


def test_the_inbox_is_the_groups_and_nobody_elses(ran: Ran) -> None:
    assert ran.text("others") == "closed\n"
    assert ran.text("inbox").splitlines()[0] == "drwxrws--T billingd billingd-inbox "
    assert not [line for line in ran.text("inbox").splitlines() if line.split()[0][7:9] != "--"]


def test_nobody_of_the_group_puts_a_folder_of_their_own_in_the_place_of_the_daemons(ran: Ran) -> None:
    assert ran.text("replaced") == "done kept\nrefused kept\n"
