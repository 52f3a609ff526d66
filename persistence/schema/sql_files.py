"""Runs the files of sql/, which hold a migration's tables, functions and triggers."""

from pathlib import Path

from alembic import op

_FILES = Path(__file__).parent / "sql"


def run_files(*names: str, revision: str) -> None:
    """Runs `<revision>_<name>.sql`, one after the other, in the migration's transaction."""
    for name in names:
        op.execute((_FILES / f"{revision}_{name}.sql").read_text("utf-8"))
