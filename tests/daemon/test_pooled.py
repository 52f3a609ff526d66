"""The main job through PgBouncer with Debian's configuration, and what is refused where it pools otherwise."""

import os
import signal
from pathlib import Path

import pytest

from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.support.pgbouncer import pgbouncer
from tests.support.sample import import_sample

pytestmark = pytest.mark.slow


def test_the_sample_is_billed_through_a_pool_by_session(server: PostgresServer, tmp_path: Path) -> None:
    with pgbouncer(tmp_path / "pool", server) as port:
        deployment = Deployment(tmp_path / "home", database_url=server.url().replace(f":{server.port}/", f":{port}/"))
        try:
            deployment.erp.start()
            deployment.daemon.start()
            import_sample(deployment)
            wait_until(lambda: deployment.all_registered(36))
            assert len(deployment.erp.ledger()) == 36
            assert deployment.run("verify").returncode == 0
            checks = deployment.run("doctor").stdout
            assert "well     sessions: a pooler passes them on whole" in checks
            assert deployment.daemon.stop() == 0
        finally:
            deployment.close()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_run_doctor_and_commands_refuse_any_other_pool_in_one_line(
    mode: str, server: PostgresServer, tmp_path: Path
) -> None:
    with pgbouncer(tmp_path / "pool", server, pool_mode=mode) as port:
        deployment = Deployment(tmp_path / "home", database_url=server.url().replace(f":{server.port}/", f":{port}/"))
        try:
            for command in (("run",), ("invoices", "list"), ("db", "upgrade")):
                refused = deployment.run(*command)
                assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
                assert "a pooler lends this session's backend to others" in refused.stderr
            assert "bad      database: " in (checks := deployment.run("doctor").stdout)
            assert "pool_mode = session" in checks
        finally:
            deployment.close()


def test_a_daemon_stops_while_the_pool_is_changed_under_it_and_goes_on_when_it_is_put_back(
    server: PostgresServer, tmp_path: Path
) -> None:
    pool = tmp_path / "pool"

    def reload(old: str, new: str) -> None:
        configuration = (pool / "ini").read_text("utf-8")
        assert f"pool_mode = {old}\n" in configuration
        (pool / "ini").write_text(configuration.replace(f"pool_mode = {old}\n", f"pool_mode = {new}\n"), "utf-8")
        os.kill(int((pool / "pid").read_text()), signal.SIGHUP)

    with pgbouncer(pool, server, pool_mode="session") as port:
        deployment = Deployment(tmp_path / "home", database_url=server.url().replace(f":{server.port}/", f":{port}/"))
        try:
            deployment.erp.start()
            daemon = deployment.daemon
            daemon.start()
            reload("session", "transaction")
            wait_until(lambda: "database_error" in daemon.standing(), within_seconds=60)
            assert "lends this session's backend to others" in str(daemon.standing()["database_error"])
            reload("transaction", "session")
            wait_until(lambda: not daemon.standing(), within_seconds=60)
            import_sample(deployment)
            wait_until(lambda: deployment.all_registered(36))
            assert len(deployment.erp.ledger()) == 36
        finally:
            deployment.close()


def test_orders_are_seen_without_listen(server: PostgresServer, tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "home", database_url=server.url(), settings={"database": {"listen": "off"}})
    try:
        deployment.erp.start()
        deployment.daemon.start()
        import_sample(deployment)
        wait_until(lambda: deployment.all_registered(36))
        assert server.rows("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")[0][0] == 0
    finally:
        deployment.close()
