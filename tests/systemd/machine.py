"""A machine of its own for a test: systemd booted in a sandbox, billingd installed, a database server and an ERP."""

import atexit
import json
import os
import shutil
import subprocess
import sysconfig
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.sample import ROOT

HERE = Path(__file__).parent
DEBIAN_PYTHON = Path("/usr/bin/python3")
INSTALL_SECONDS = 600.0
MARGIN_SECONDS = 20.0


def why_not() -> str | None:
    """Why no systemd can be booted here; None if it can."""
    if os.geteuid() != 0:
        return "not root, which booting systemd in a sandbox needs"
    if not Path("/lib/systemd/systemd").exists():
        return "no systemd on this machine"
    if "cgroup2" not in Path("/proc/mounts").read_text() or "overlay" not in Path("/proc/filesystems").read_text():
        return "no cgroup2 or no overlayfs on this machine"
    if not DEBIAN_PYTHON.exists() or shutil.which("unshare") is None:
        return f"no {DEBIAN_PYTHON} or no unshare on this machine"
    if ROOT.is_relative_to("/tmp") or ROOT.is_relative_to("/run"):
        return "the machine that is booted has a /tmp and a /run of its own"
    return None


@dataclass(frozen=True)
class Ran:
    """What a script left behind: its log, and the files it wrote under /out."""

    log: str
    out: Path

    def text(self, name: str) -> str:
        return (self.out / name).read_text("utf-8")

    def json(self, name: str) -> Any:
        return json.loads(self.text(name))

    def journal(self) -> str:
        return self.text("journal")


@cache
def staged() -> Path:
    """Where `make install` has put its files: once a session, outside /tmp, which a sandbox hides."""
    home = Path(tempfile.mkdtemp(prefix="billingd-staged.", dir="/var/tmp"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    home.chmod(0o755)
    done = subprocess.run(
        ["make", "install", f"DESTDIR={home}", "PREFIX=/opt/billingd", f"PYTHON={DEBIAN_PYTHON}"],
        cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False, umask=0o077,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return home


def run(script: str, folder: Path, *, seconds: int = 60) -> Ran:
    """Runs a script as root on a machine with billingd installed; machine.sh says what it finds there."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    path = folder / "script"
    head = (
        f"#!/bin/bash\nset -euo pipefail\nSTAGED={staged()}\nPROJECT={ROOT}\nPACKAGES={sysconfig.get_path('platlib')}\n"
    )
    path.write_text(head + (HERE / "machine.sh").read_text("utf-8") + script)
    done = subprocess.run(
        [str(HERE / "systemd-sandbox"), str(path), str(seconds)],
        cwd=folder, capture_output=True, text=True, timeout=seconds + MARGIN_SECONDS, check=False,
    )  # fmt: skip
    out = folder / "systemd-sandbox-out"
    journal = out / "journal"
    said = journal.read_text("utf-8")[-6000:] if journal.exists() else ""
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-1000:]}\n{said}"
    return Ran(done.stdout, out)
