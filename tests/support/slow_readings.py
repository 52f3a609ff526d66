"""Readings that can not be read: row security makes whoever asks for them wait, or raises as a corrupt page does."""

from sqlalchemy import text

from persistence.connection.database import Database

USER, PASSWORD = "reading_app", "reading"
_ROLE = f"""
DO $$ BEGIN CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {USER};
"""
_FUNCTIONS = {
    "slow": "BEGIN PERFORM pg_sleep(3600); RETURN true; END",
    "corrupt": "BEGIN RAISE EXCEPTION 'invalid page in block 7' USING ERRCODE = 'data_corrupted'; END",
}


def url_of_user(url: str) -> str:
    """The URL for a user that row security holds for."""
    scheme, rest = url.split("://", 1)
    return f"{scheme}://{USER}:{PASSWORD}@{rest.split('@', 1)[1]}"


def make_user(database: Database) -> None:
    """Makes that user, once."""
    with database.transaction() as connection:
        connection.exec_driver_sql(_ROLE)


def spoil(database: Database, condition: str, how: str = "slow") -> None:
    """From now on, reading a row of readings for which this holds is `slow`, or fails as if it were `corrupt`."""
    with database.transaction() as connection:
        connection.exec_driver_sql("ANALYZE")  # so that who reads other rows does not come by these
        connection.exec_driver_sql(
            f"CREATE FUNCTION spoilt() RETURNS boolean LANGUAGE plpgsql AS $$ {_FUNCTIONS[how]} $$;"
            "ALTER TABLE readings ENABLE ROW LEVEL SECURITY;"
            f"CREATE POLICY spoilt ON readings USING (CASE WHEN {condition} THEN spoilt() ELSE true END);"
        )


def mend(database: Database) -> None:
    """It can be read again."""
    with database.transaction() as connection:
        connection.execute(text("DROP POLICY spoilt ON readings"))
        connection.execute(text("ALTER TABLE readings DISABLE ROW LEVEL SECURITY"))
        connection.execute(text("DROP FUNCTION spoilt()"))
