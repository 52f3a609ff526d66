"""The Debian package on a booted systemd: installed, started, upgraded under a running daemon, and purged."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.sample import ROOT
from tests.systemd.machine import DEBIAN_PYTHON, INSTALL_SECONDS, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SCRIPT = r"""
# What may change: what the machine logs and keeps for itself, and what dpkg remembers.
everything() {
  find /boot /etc /home /opt /usr /var \
    \( -path /var/log -o -path /var/tmp -o -path /var/lib/dpkg -o -path /var/cache \) -prune -o -print |
    grep -v -e '^/etc/\(passwd\|group\|shadow\|gshadow\|subuid\|subgid\)-\?$' -e '^/var/lib/systemd' \
      -e '^/etc/.*\.lock$' | sort
}
# again VERSION: the package with another version, and what else is done to its files.
again() {
  rm -rf /srv/again && dpkg-deb -R "$DEB" /srv/again
  sed -i "s/^Version: .*/Version: $1/" /srv/again/DEBIAN/control
  "${@:2}"
  dpkg-deb -Znone -b /srv/again "/srv/billingd_$1.deb" >/dev/null
}
breaks() { printf '#!/bin/sh\nexit 1\n' >/srv/again/usr/lib/billingd/bin/billingd; }

start_postgres
useradd --system another-user # whatever tools for users leave behind is there before
everything >/out/before
dpkg -i "$DEB"
printf '%s\n' "$DATABASE_PASSWORD" >/etc/billingd/credentials/database-password
configure postgresql://billingd@127.0.0.1:5433/billingd
start_erp
billingd db upgrade
systemctl enable --now billingd
import_sample
until_true billed 36
property MainPID >/out/first
billingd alarms test >/out/tested

again 9.1 true
dpkg -i /srv/billingd_9.1.deb
is_active
property MainPID >/out/second
dpkg-query -W -f '${Version}\n' billingd >/out/version
again 9.2 breaks
if dpkg -i /srv/billingd_9.2.deb; then exit 1; fi
dpkg -i /srv/billingd_9.1.deb
until_true is_active
billed 36

systemctl stop erp
rm -f /srv/ledger.jsonl
dpkg -r billingd
[ -e /var/lib/billingd ] && [ -e /etc/billingd/billingd.yaml ] && ! systemctl cat billingd
dpkg -P billingd
everything >/out/after
getent passwd billingd && exit 1
getent group billingd-inbox && exit 1
systemctl list-units --all --plain --no-legend 'billingd*' >/out/units
"""


@pytest.fixture(scope="module")
def package() -> Path:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb on this machine")
    if ROOT.is_relative_to("/tmp"):
        pytest.skip("the machine that is booted has a /tmp and a /run of its own")
    out = Path("/var/tmp") / f"billingd-deb.{os.getpid()}"  # outside /tmp, which a sandbox hides
    done = subprocess.run(
        ["make", "deb", f"OUT={out}", f"PYTHON={DEBIAN_PYTHON}"],
        cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False, umask=0o077,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (found,) = out.glob("*.deb")
    return found


def test_the_package_installs_runs_upgrades_and_leaves_nothing(package: Path, tmp_path: Path) -> None:
    try:
        ran = run(f"DEB={package}\n{SCRIPT}", tmp_path, seconds=180)
    finally:
        shutil.rmtree(package.parent)
    assert ran.text("first") != ran.text("second")
    assert ran.text("version") == "9.1\n"
    places = {line.split()[0]: line.split()[-1] for line in ran.text("tested").splitlines()[1:]}
    assert {place: places[place] for place in ("spool", "log", "table", "journal")} == dict.fromkeys(
        ("spool", "log", "table", "journal"), "arrived"
    )
    before, after = (set(ran.text(name).splitlines()) for name in ("before", "after"))
    assert after - before == set()
    assert ran.text("units") == ""
