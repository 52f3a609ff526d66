"""Runs the files of sql/, which hold a migration's tables, functions and triggers."""

from collections.abc import Callable
from pathlib import Path

from alembic import op

_FILES = Path(__file__).parent / "sql"


def upgrade_by(*names: str, revision: str) -> Callable[[], None]:
    """A migration that runs `<revision>_<name>.sql`, one after the other, in its transaction."""

    def upgrade() -> None:
        for name in names:
            op.execute((_FILES / f"{revision}_{name}.sql").read_text("utf-8"))

    return upgrade
