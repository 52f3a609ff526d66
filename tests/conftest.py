"""What tests share: a real PostgreSQL server, a fresh migrated database each, and a server of one's own."""

import itertools
import os
import signal
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from _pytest.terminal import TerminalReporter

from persistence.connection.database import ConnectionSettings, Database
from testkit.postgres import PROGRAMS, PostgresServer
from tests.support import superuser

# How long an example takes says how busy the machine is: speed is measured in benchmarks/.
hypothesis.settings.register_profile("billingd", deadline=None)
hypothesis.settings.load_profile("billingd")
# For `make mutants`: always the same examples, and a failing one is neither made smaller nor kept.
hypothesis.settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)

# Commands in a test's own process take readings of any month that a test bills, whatever the date is.
os.environ |= {"BILLINGD_TEST": "1", "BILLINGD_TEST_NOW": "2028-01-01T00:00:00Z"}

_numbers = itertools.count(1)
AS_DAEMON = os.environ.get("BILLINGD_TEST_ROLE") == "daemon"
"""Whether tests use their database as the daemon's role of `billingd db grants`, and not as a superuser."""
KEPT_CLUSTER = os.environ.get("BILLINGD_TEST_CLUSTER")
"""Where one run leaves the cluster that the next ones copy: `make mutants` has a run for each mutant."""

# A shell lets what it runs in the background ignore ctrl-C, and everything that it starts too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a migrated server that is stopped, to be copied."""
    home = Path(KEPT_CLUSTER) if KEPT_CLUSTER else tmp_path_factory.mktemp("cluster") / "template"
    if not home.exists():
        server = PostgresServer.make(home)
        server.create_app_user()
        server.stop()
    return home


@pytest.fixture(scope="session")
def shared_server(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The server on which `database_url` makes its databases: not to be stopped by a test."""
    server = PostgresServer.copy(cluster, tmp_path_factory.mktemp("shared") / "server")
    superuser.credentials.update(user=server.settings().user, password=server.settings().password)
    yield server
    server.destroy()


@pytest.fixture
def database_url(shared_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh migrated database, dropped after the test."""
    name = f"test_{next(_numbers)}"
    url = shared_server.create_database(name)
    yield shared_server.app_url(database=name) if AS_DAEMON else url
    shared_server.drop_database(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A Database on a fresh migrated database."""
    with Database(ConnectionSettings.from_url(database_url)) as database:
        yield database


@pytest.fixture
def server(cluster: Path, tmp_path: Path) -> Iterator[PostgresServer]:
    """A server of the test's own, with a migrated database: to be stopped, killed and frozen at will."""
    server = PostgresServer.copy(cluster, tmp_path / "server")
    yield server
    server.destroy()


def pytest_report_header() -> str:
    """Which PostgreSQL the tests run against."""
    version = subprocess.run([PROGRAMS / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return f"database: {version.strip()} of {PROGRAMS}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a PostgreSQL server is slow: `-m "not slow"` leaves it out."""
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What tests of odd text print can't travel between processes: half a surrogate pair is spelt out."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report


# Why a test may be skipped where everything is expected to run; anything else fails the run (.ci/run).
ALLOWED_SKIPS = (
    "belongs to make drill",
    "Patroni, etcd, Debian's PostgreSQL and root are not all to be had",
    "faketime is not installed: no clock can be set while a program runs",
    "the machine that is booted has a /tmp and a /run of its own",
    "this machine can't make a Croatian locale",
    "this machine has no Chromium",
    "this machine has no PgBouncer",
    "network namespaces need root and ip",
    "root may make no network namespace here",
    "no dpkg-deb on this machine",
    "no user namespace to be had, so the whole run shows it",
    "other users can't enter this checkout",
    "prometheus is not installed",
    "prometheus-alertmanager is not installed",
    "only root looks with another user's eyes",
)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """In CI a skip that the list doesn't name is a failure: what nobody ran, nobody knows."""
    if not os.environ.get("CI"):
        return
    reasons = {
        str(report.longrepr[2]).removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    }
    unexpected = sorted(reason for reason in reasons if reason not in ALLOWED_SKIPS)
    if unexpected:
        terminalreporter.write_line(f"skipped for reasons that tests/conftest.py doesn't allow: {unexpected}", red=True)
        assert terminalreporter._session is not None
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED
