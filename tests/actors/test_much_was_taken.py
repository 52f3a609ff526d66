"""An inbox whose gateways have brought 20,000 files: a look compares the newest, and all if one of them is lost."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from actors import importer
from actors.importer import Importer
from actors.messages import IMPORTER, Poll
from intake.inbox import SUMS
from persistence import imports
from testkit.postgres import PostgresServer
from tests.support.actor_context import make_context
from tests.support.supervision import ActorHarness

FILES = 20_000
AT_ONCE = 2_000


def name(number: int) -> str:
    return f"{number:032x}@192.0.2.1.readings"


@pytest.fixture
def inbox(tmp_path: Path, server: PostgresServer) -> Path:
    folder = tmp_path / "inbox" / "done" / "2026-11"
    folder.mkdir(parents=True)
    sums = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(FILES)]
    for number in range(FILES):
        (folder / name(number)).touch()
    (folder / SUMS).write_text("".join(f"{each}  {name(number)}\n" for number, each in enumerate(sums)))
    server.execute(
        """INSERT INTO imports (id, sha256, kind, name, source, received_at, state)
            SELECT left(s, 32), s, 'readings', 'x', 'inbox', now(), 'imported'
            FROM unnest(string_to_array('{}', ',')) AS s""".format(",".join(sums))
    )
    return folder.parent.parent


def test_a_look_costs_the_same_however_much_was_taken(
    inbox: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = imports.not_imported

    def counted(connection: Any, sha256s: Sequence[str]) -> set[str]:
        asked.append(len(sha256s))
        return real(connection, list(sha256s))

    monkeypatch.setattr(imports, "not_imported", counted)
    monkeypatch.setattr(importer, "PUT_BACK_SECONDS", 0.0)
    alone = ActorHarness(
        IMPORTER, lambda: Importer(make_context(server.url(), intake={"inbox": str(inbox)}), Counter())
    )
    alone.actor.on_start()
    for _ in range(3):
        alone.actor.on_receive(Poll())
    assert 0 < sum(asked) <= 3 * AT_ONCE
    assert not list(inbox.glob("*.readings*"))
    first, last = (hashlib.sha256(str(number).encode()).hexdigest() for number in (0, FILES - 1))
    server.execute(f"DELETE FROM imports WHERE sha256 IN ('{first}', '{last}')")
    asked.clear()
    alone.actor.on_receive(Poll())
    assert {path.name for path in inbox.glob("*.readings*")} >= {name(0), name(FILES - 1)}
    assert max(asked) <= AT_ONCE
    alone.actor.on_stop()
