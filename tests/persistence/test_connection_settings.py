"""What a database URL means, and that no message about one tells its password."""

from pathlib import Path

import pytest

from persistence.connection.database import ConnectionSettings


def test_a_url_names_server_database_and_user() -> None:
    settings = ConnectionSettings.from_url("postgresql://ana@db.example:6432/bills?sslmode=verify-full")
    assert (settings.hosts, settings.database, settings.user) == ((("db.example", 6432),), "bills", "ana")
    assert settings.tls_mode == "verify-full"
    assert settings.where == "db.example:6432/bills"
    assert settings.password is None


def test_the_port_is_postgresqls_unless_given() -> None:
    assert ConnectionSettings.from_url("postgresql://ana@db/bills").hosts == (("db", 5432),)


def test_a_socket_folder_makes_it_a_local_connection_without_tls() -> None:
    settings = ConnectionSettings.from_url("postgresql://ana@/bills?host=/run/postgresql")
    assert settings.hosts == (Path("/run/postgresql/.s.PGSQL.5432"),)
    assert settings.tls_mode == "disable"


def test_a_password_given_apart_wins_and_shows_nowhere() -> None:
    url = "postgresql://ana:from%20url@db/bills"
    assert ConnectionSettings.from_url(url).password == "from url"
    settings = ConnectionSettings.from_url(url, password="from file", statement_timeout_seconds=7)
    assert settings.password == "from file"
    assert settings.statement_timeout_seconds == 7
    assert "from" not in repr(settings) + settings.where


def test_imports_run_without_limits() -> None:
    unlimited = ConnectionSettings.from_url("postgresql://ana@db/bills").without_limits()
    assert (unlimited.statement_timeout_seconds, unlimited.lock_timeout_seconds) == (0, 0)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("secret", "postgresql://"),
        ("mysql://ana:secret@db/bills", "postgresql://"),
        ("postgresql://ana:secret@db:port/bills", "not a URL"),
        ("postgresql://ana:secret@db", "database's name is missing"),
        ("postgresql://db/bills", "user is missing"),
        ("postgresql://ana:secret@db/bills?sslmode=allow", "sslmode has to be one of"),
        ("postgresql://ana:secret@db/bills?options=x", "unknown in the URL behind \\?: options"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        ConnectionSettings.from_url(url)
    assert "secret" not in str(refused.value)
