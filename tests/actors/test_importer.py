"""Files dropped into a running daemon's inbox: taken once whatever dies on the way, or refused with the reason."""

import errno
import functools
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import importer
from actors.importer import Importer
from actors.messages import ALARMS, DB_WRITER, IMPORTER, Poll
from alarming.catalogue import Code
from alarming.conditions import ConditionActive, ConditionCleared
from intake.inbox import Inbox
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.support.actor_context import make_context
from tests.support.inbox_deployment import InboxDeployment
from tests.support.moved_meters import move
from tests.support.sample import BAD, SAMPLE
from tests.support.small_load import HEADER, write_load
from tests.support.supervision import ActorHarness

SETTINGS = {"database": {"connect_timeout_seconds": 1}, "alarms": {"raise_within_seconds": 1}}
REFUSED = ("readings-wrong-header.csv.gz", "readings-unknown-meter.csv.gz", "master-missing-price.yaml")


@pytest.fixture
def deployment(tmp_path: Path, server: PostgresServer) -> Iterator[InboxDeployment]:
    deployment = InboxDeployment(tmp_path / "home", database_url=server.url(), settings=SETTINGS)
    deployment.erp.start()
    yield deployment
    deployment.close()


def imports(server: PostgresServer) -> list[tuple[str, str, int]]:
    rows = server.rows("SELECT name, state, new FROM imports ORDER BY number")
    return [(row.name, row.state, row.new) for row in rows]


def subjects(deployment: InboxDeployment, code: str) -> list[str]:
    alarm = deployment.daemon.standing().get(code)
    return alarm["context"].get("subjects", []) if alarm else []


def test_what_is_dropped_becomes_invoices(deployment: InboxDeployment, server: PostgresServer) -> None:
    deployment.daemon.start()
    deployment.drop(SAMPLE / "master.yaml", "whatever it is called")
    for month in ("08", "09", "10"):
        deployment.drop(SAMPLE / f"readings-2026-{month}.csv.gz", f"{month}.data")
    wait_until(lambda: deployment.all_registered(36))
    assert deployment.waiting() == []
    assert deployment.done("whatever it is called")
    assert imports(server) == [
        ("whatever it is called", "imported", 59), ("08.data", "imported", 59540), ("09.data", "imported", 57600),
        ("10.data", "imported", 59600),
    ]  # fmt: skip
    metrics = deployment.daemon._get("metrics").text
    assert 'billingd_imports_total{kind="readings",state="imported"} 3.0' in metrics
    assert "billingd_intake_waiting_files 0.0" in metrics


def test_what_is_refused_says_why_as_the_command_does_until_it_is_seen_to(deployment: InboxDeployment) -> None:
    deployment.do("import", "master", str(BAD / "master.yaml"))
    deployment.daemon.start()
    for name in REFUSED:
        deployment.drop(BAD / name)
    wait_until(lambda: set(deployment.refused()) == set(REFUSED))
    for name in REFUSED:
        said = deployment.run("import", "master" if "master" in name else "readings", str(BAD / name)).stderr
        assert deployment.refused()[name].replace(str(deployment.inbox), str(BAD)) == said
    wait_until(lambda: "import_refused" in deployment.daemon.standing())
    assert deployment.daemon.standing()["import_refused"]["context"]["number"] == len(REFUSED)
    deployment.drop(BAD / "readings-2026-08.csv.gz", REFUSED[0])  # mended
    wait_until(lambda: REFUSED[0] not in deployment.refused())
    assert "import_refused" in deployment.daemon.standing()
    for path in (deployment.inbox / "refused").iterdir():
        path.unlink()
    wait_until(lambda: "import_refused" not in deployment.daemon.standing())


def test_while_the_database_is_away_files_wait_and_one_alarm_stands(
    deployment: InboxDeployment, server: PostgresServer
) -> None:
    deployment.daemon.start()
    wait_until(lambda: deployment.daemon.status()["database"]["state"] == "connected")
    server.stop()
    names = {deployment.drop(SAMPLE / "master.yaml"), deployment.drop(SAMPLE / "readings-2026-08.csv.gz")}
    wait_until(lambda: "database_unreachable" in deployment.daemon.standing())
    assert set(deployment.waiting()) == names
    assert deployment.daemon.standing().keys() == {"database_unreachable"}
    server.start()
    wait_until(lambda: all(deployment.done(name) for name in names))
    wait_until(lambda: "database_unreachable" not in deployment.daemon.standing())


def test_what_a_dropped_file_leaves_to_be_corrected_is_noted_beside_it(
    deployment: InboxDeployment, tmp_path: Path
) -> None:
    deployment.do("import", "master", str(BAD / "master.yaml"))
    deployment.daemon.start()
    deployment.drop(BAD / "readings-2026-08.csv.gz", "august")
    wait_until(lambda: deployment.counts().get("registered") == 3)
    deployment.drop(move(BAD / "master.yaml", tmp_path, "ml-004-2", "user-008"), "moved")
    wait_until(lambda: deployment.done("moved"))
    (note,) = deployment.inbox.glob("done/*/*.note")
    wanted = [
        f"user-{user}.2026-08.1 (registered): `billingd invoices correct user-{user}.2026-08.1`"
        for user in ("004", "008")
    ]
    assert (note.name, note.read_text().splitlines()) == ("moved.note", wanted)
    assert ", ".join(wanted) in deployment.daemon.log()


def test_nothing_is_imported_into_an_old_primary(deployment: InboxDeployment, server: PostgresServer) -> None:
    (system,) = server.rows("SELECT system_identifier AS identifier FROM pg_control_system()")
    deployment.state.mkdir(parents=True, exist_ok=True)
    (deployment.state / "database-seen").write_text(f"{system.identifier} 99 0\n")
    name = deployment.drop(SAMPLE / "master.yaml")
    deployment.daemon.start()
    wait_until(lambda: "importer" in subjects(deployment, "database_unreachable"))
    assert deployment.waiting() == [name]
    assert imports(server) == []


@pytest.mark.parametrize("failpoint", ["importer.take", "importer.import", "importer.imported"])
def test_a_kill_at_any_point_imports_once(
    deployment: InboxDeployment, server: PostgresServer, tmp_path: Path, failpoint: str
) -> None:
    master, readings = write_load(tmp_path / "load", users=3, first="2026-09", months=2)
    deployment.do("import", "master", str(master))
    deployment.daemon.failpoints.enable(failpoint, "hold 0")
    deployment.daemon.start()
    name = deployment.drop(readings)
    deployment.daemon.failpoints.wait_for_arrivals(failpoint, 1)
    deployment.daemon.kill(signal.SIGKILL)
    deployment.daemon.failpoints.disable()
    assert deployment.waiting() == [name]
    deployment.daemon.start()
    wait_until(lambda: deployment.done(name))
    wait_until(lambda: deployment.all_registered(6))
    assert [each for each in imports(server) if each[1] == "imported"][1:] == [(name, "imported", 9)]
    notes = list(deployment.inbox.glob("done/*/*.note"))
    assert bool(notes) == (failpoint == "importer.imported")
    assert all("imported before, at " in note.read_text() for note in notes)


def test_a_file_that_ends_the_importer_each_time_is_refused_and_the_next_is_taken(
    deployment: InboxDeployment, tmp_path: Path
) -> None:
    master, readings = write_load(tmp_path / "load", users=3, first="2026-09", months=2)
    deployment.do("import", "master", str(master))
    deployment.daemon.failpoints.enable("importer.import", "raise")
    deployment.daemon.start()
    bad = deployment.drop(readings, "1.csv.gz")
    wait_until(lambda: bad in deployment.refused())
    assert "again and again" in deployment.refused()[bad]
    deployment.daemon.failpoints.disable()
    good = deployment.drop(readings, "2.csv.gz")
    wait_until(lambda: deployment.done(good))
    assert deployment.daemon.unexpected_ends == []


def test_a_successor_does_not_wait_for_an_importer_that_hangs(deployment: InboxDeployment, tmp_path: Path) -> None:
    limits = {"statement_timeout_seconds": 1, "connect_timeout_seconds": 1}
    fast = {"database": limits, "erp": {"total_timeout_seconds": 1}, "supervision": {"hang_seconds": 11}}
    deployment.configure(fast)
    master, readings = write_load(tmp_path / "load", users=3, first="2026-09", months=2)
    deployment.do("import", "master", str(master))
    deployment.daemon.failpoints.enable("importer.import", "hang once")
    deployment.daemon.start()
    name = deployment.drop(readings)
    wait_until(lambda: deployment.done(name))
    wait_until(lambda: deployment.all_registered(6))
    wait_until(lambda: "inbox_unusable" not in deployment.daemon.standing())


def test_what_an_older_backup_does_not_have_is_imported_again(
    deployment: InboxDeployment, server: PostgresServer, tmp_path: Path
) -> None:
    master, readings = write_load(tmp_path / "load", users=3, first="2026-09", months=2)
    deployment.do("import", "master", str(master))
    server.back_up(tmp_path / "backup")
    deployment.daemon.start()
    name = deployment.drop(readings)
    wait_until(lambda: deployment.done(name))
    deployment.daemon.stop()
    server.restore(tmp_path / "backup")
    assert server.rows("SELECT * FROM readings") == []
    deployment.daemon.start()
    wait_until(lambda: deployment.all_registered(6))
    assert imports(server)[1:] == [(name, "imported", 9)]


def test_a_database_that_was_restored_is_asked_at_once(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "PUT_BACK_SECONDS", 3600.0)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    context = make_context(server.url(), intake={"inbox": str(inbox), "settle_seconds": 0.01})
    alone = ActorHarness(IMPORTER, lambda: Importer(context, Counter()))
    alone.actor.on_start()
    shutil.copyfile(SAMPLE / "master.yaml", inbox / "master.yaml")

    def taken() -> int:
        alone.actor.on_receive(Poll())
        return len(imports(server))

    wait_until(lambda: taken() == 1)
    assert alone.told.count((DB_WRITER, Poll())) == 1, "it has something to look at"
    server.execute("DELETE FROM imports")
    alone.actor.on_receive(Poll(restored=True))
    wait_until(lambda: taken() == 1)
    alone.actor.on_stop()


def test_what_a_restored_database_has_lost_comes_before_what_waits(server: PostgresServer, tmp_path: Path) -> None:
    master, readings = write_load(tmp_path / "load", users=3, first="2026-05", months=2)
    server.back_up(tmp_path / "backup")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    alone = ActorHarness(
        IMPORTER,
        lambda: Importer(make_context(server.url(), intake={"inbox": str(inbox), "settle_seconds": 0.5}), Counter()),
    )
    alone.actor.on_start()
    shutil.copyfile(master, inbox / "master.yaml")

    def taken() -> int:
        alone.actor.on_receive(Poll())
        return len(imports(server))

    wait_until(lambda: taken() == 1)
    server.restore(tmp_path / "backup")
    shutil.copyfile(readings, inbox / f"{'a' * 32}@local.readings")  # as it is posted: whole at once
    wait_until(lambda: taken() == 2)
    assert [state for _, state, _ in imports(server)] == ["imported", "imported"]
    alone.actor.on_stop()


def test_readings_that_came_before_their_master_data_are_tried_again(
    deployment: InboxDeployment, tmp_path: Path
) -> None:
    master, readings = write_load(tmp_path / "load", users=3, first="2026-09", months=2)
    deployment.daemon.start()
    name = deployment.drop(readings)
    wait_until(lambda: name in deployment.refused())
    deployment.drop(master)
    wait_until(lambda: deployment.all_registered(6))
    assert deployment.refused() == {}
    wait_until(lambda: "import_refused" not in deployment.daemon.standing())


def test_old_master_data_that_comes_again_is_in_force_again(
    deployment: InboxDeployment, server: PostgresServer, tmp_path: Path
) -> None:
    first = SAMPLE / "master.yaml"
    second = tmp_path / "second.yaml"
    second.write_text(first.read_text("utf-8").replace('tax_rate_percent: "13"', 'tax_rate_percent: "25"'), "utf-8")
    deployment.daemon.start()
    for number, (path, percent) in enumerate(((first, 13), (second, 25), (first, 13))):
        name = deployment.drop(path, f"{number}.yaml")
        wait_until(functools.partial(deployment.done, name))
        (row,) = server.rows("SELECT DISTINCT tax_rate_percent AS percent FROM regulatory_catalogues")
        assert row.percent == percent


def test_an_inbox_that_cannot_be_written_is_an_alarm_and_nothing_is_lost(
    deployment: InboxDeployment, tmp_path: Path
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "inbox", str(deployment.inbox)], check=True)
    try:
        master, readings = write_load(tmp_path / "load", users=3, first="2026-09", months=2)
        deployment.do("import", "master", str(master))
        deployment.daemon.start()
        name = deployment.drop(readings)
        subprocess.run(["mount", "-o", "remount,ro", str(deployment.inbox)], check=True)
        wait_until(lambda: "inbox_unusable" in deployment.daemon.standing())
        assert deployment.waiting() == [name]
        subprocess.run(["mount", "-o", "remount,rw", str(deployment.inbox)], check=True)
        wait_until(lambda: deployment.done(name))
        wait_until(lambda: deployment.daemon.standing() == {})
    finally:
        deployment.daemon.stop()
        subprocess.run(["umount", "-l", str(deployment.inbox)], check=True)


def test_meters_that_fall_silent_are_one_alarm_with_a_count(deployment: InboxDeployment, tmp_path: Path) -> None:
    deployment.configure({**SETTINGS, "intake": {"expected_every_seconds": {"abb_b2x": 30 * 86400}}})
    master, readings = write_load(tmp_path / "load", users=30, first="2026-09", months=1)
    deployment.do("import", "master", str(master))
    deployment.do("import", "readings", str(readings))
    deployment.daemon.start()
    wait_until(lambda: "meters_silent" in deployment.daemon.standing())
    alarm = deployment.daemon.standing()["meters_silent"]
    assert (alarm["context"]["number"], len(alarm["context"]["meters"])) == (30, 20)
    assert alarm["summary"] == "30 meters silent, meter-00001 since 2026-09-30T22:00:00Z"
    at = "2026-11-14T00:00:00Z"
    rows = [f"meter-{number:05d},{at},{10**9},{10**9},0,0,{10**9},0\n" for number in range(1, 31)]
    (tmp_path / "young.csv").write_text(HEADER + "".join(rows))
    deployment.do("import", "readings", str(tmp_path / "young.csv"))
    deployment.daemon.stop()
    deployment.daemon.start()
    wait_until(lambda: deployment.daemon.status()["database"]["state"] == "connected")
    wait_until(lambda: "meters_silent" not in deployment.daemon.standing())


def test_a_file_that_somebody_swaps_for_a_link_shows_nothing_of_what_it_leads_to(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, secret = tmp_path / "inbox", tmp_path / "secret"
    inbox.mkdir()
    secret.write_text("s3cret")
    file = inbox / "a.csv"
    file.write_text(HEADER)
    swapped: list[str] = []

    def swap(name: str, *_: object) -> None:
        if name == "importer.take":
            file.unlink(missing_ok=True)
            file.symlink_to(secret)
            swapped.append(name)

    monkeypatch.setattr(importer, "failpoint", swap)
    context = make_context(server.url(), intake={"inbox": str(inbox), "settle_seconds": 0.01})
    alone = ActorHarness(IMPORTER, lambda: Importer(context, Counter()))
    alone.actor.on_start()

    def looked() -> bool:
        alone.actor.on_receive(Poll())
        return bool(swapped)

    wait_until(looked)
    alone.actor.on_stop()
    assert not list(inbox.glob("refused/*"))
    assert server.rows("SELECT * FROM imports") == []


def test_a_restart_does_not_clear_the_alarm_of_an_inbox_that_is_still_unusable(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_: Inbox) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    monkeypatch.setattr(Inbox, "check", check)
    context = make_context(server.url(), intake={"inbox": str(tmp_path), "expected_every_seconds": {"abb_b2x": 86400}})
    alone = ActorHarness(IMPORTER, lambda: Importer(context, Counter()))
    alone.actor.on_start()
    alone.actor.on_receive(Poll())
    told = [message for name, message in alone.told if name == ALARMS]
    assert [type(each) for each in told if each.code == Code.INBOX_UNUSABLE] == [ConditionActive]
    assert ConditionCleared(Code.DATABASE_ERROR) in told
    monkeypatch.undo()
    alone.actor.on_receive(Poll())
    assert (ALARMS, ConditionCleared(Code.INBOX_UNUSABLE)) in alone.told
    alone.actor.on_stop()
