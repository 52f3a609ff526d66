"""Imports, replacements, moves, calculations, stores and corrections of two sessions, in every order of their steps.

Afterwards no live invoice differs from the readings in force without having been listed, no energy is in two of them,
nobody waits for what is there, and no deadlock has reached anybody, not even to be tried again.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest
from sqlalchemy import Connection

from persistence import locks
from testkit.postgres import PostgresServer
from tests.support.interleaving import every_order, pause
from tests.support.small_field import Field, small_field


@pytest.fixture(scope="module")
def field(shared_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with small_field(shared_server, "test_every_order", tmp_path_factory.mktemp("field")) as field:
        yield field


@pytest.fixture(autouse=True)
def pause_at_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step ends when meters have been locked, too."""
    lock = locks._lock

    def lock_and_pause(connection: Connection, table: str, *more: object, **options: bool) -> list[str]:
        got = lock(connection, table, *more, **options)  # type: ignore[arg-type]
        if table == "meters":
            pause()
        return got

    monkeypatch.setattr(locks, "_lock", lock_and_pause)


Step = Callable[[Field, str], None]
STEPS: Mapping[str, Step] = {
    "store": Field.calculate_and_store,
    "coarse_store": Field.coarsely_calculate_and_store,
    "take_up": Field.take_up,
    "import": Field.import_last,
    "replace": lambda field, name: field.replace_with("higher", name),
    "replace_again": lambda field, name: field.replace_with("lower", name),
    "move": lambda field, name: field.move_to("move_theirs", name),
    "move_back": lambda field, name: field.move_to("move_ours", name),
    "correct": Field.correct,
    "move_and_correct": Field.move_and_correct,
}  # fmt: skip


@pytest.mark.parametrize(
    ("one", "two"),
    [
        *(("store", other) for other in ("take_up", "import", "replace", "move")),
        *(("coarse_store", other) for other in ("coarse_store", "correct", "move_and_correct")),
        *(("take_up", other) for other in ("take_up", "import", "replace", "move", "correct")),
        *(("import", other) for other in ("import", "replace", "move", "correct")),
        *(("replace", other) for other in ("replace_again", "move", "correct")),
        *(("move", other) for other in ("move_back", "correct")),
        ("correct", "correct"),
    ],
)
def test_item_1_item_2_item_10_in_every_order(field: Field, one: str, two: str) -> None:
    def sessions() -> dict[str, Callable[[], None]]:
        field.put_back()
        return {"one": partial(STEPS[one], field, "one"), "two": partial(STEPS[two], field, "two")}

    tried = every_order(field.sessions["observer"], sessions, field.judge)
    print(f"{one} and {two}: {tried} orders")
    assert tried >= 3
