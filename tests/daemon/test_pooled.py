"""The main job through PgBouncer with Debian's configuration, and what is refused where it pools otherwise."""

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
        world = Deployment(tmp_path / "world", database_url=server.url().replace(f":{server.port}/", f":{port}/"))
        try:
            world.erp.start()
            world.daemon.start()
            import_sample(world)
            wait_until(lambda: world.all_registered(36))
            assert len(world.erp.ledger()) == 36
            assert world.run("verify").returncode == 0
            checks = world.run("doctor").stdout
            assert "well     sessions: a pooler passes them on whole" in checks
            assert world.daemon.stop() == 0
        finally:
            world.close()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_run_doctor_and_commands_refuse_any_other_pool_in_one_line(
    mode: str, server: PostgresServer, tmp_path: Path
) -> None:
    with pgbouncer(tmp_path / "pool", server, pool_mode=mode) as port:
        world = Deployment(tmp_path / "world", database_url=server.url().replace(f":{server.port}/", f":{port}/"))
        try:
            for command in (("run",), ("invoices", "list"), ("db", "upgrade")):
                refused = world.run(*command)
                assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
                assert "a pooler lends this session's backend to others" in refused.stderr
            assert "bad      database: " in (checks := world.run("doctor").stdout)
            assert "pool_mode = session" in checks
        finally:
            world.close()


def test_orders_are_seen_without_listen(server: PostgresServer, tmp_path: Path) -> None:
    world = Deployment(tmp_path / "world", database_url=server.url(), settings={"database": {"listen": "off"}})
    try:
        world.erp.start()
        world.daemon.start()
        import_sample(world)
        wait_until(lambda: world.all_registered(36))
        assert server.rows("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")[0][0] == 0
    finally:
        world.close()
