"""The imports: whole files taken in and recorded in one transaction, and what came when, from where."""

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from files.content_id import content_id
from files.opening import open_regular
from persistence.connection.statements import Source, execute, fetch_column, fetch_dicts, fetch_row
from persistence.sql import Queries
from persistence.storable_text import clean_line

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from persistence.master_data import MasterLimits, MasterReport
    from persistence.readings.importing import ReadingsReport

_SQL = Queries(__file__)
Kind = Literal["readings", "master"]
REASONS_AT_MOST = 1000
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 65_536
_IS_MASTER = re.compile(
    rb"^(regulatory_catalogues|network_user_catalogues|locations|network_users|measurement_locations|meters)\s*:", re.M
)
_COUNTS = ("rows", "new", "known", "replaced", "invoices_released")
_COLUMNS = ("id", "sha256", "kind", "name", "source", "received_at", "state", "reasons", *_COUNTS)


class KeyTaken(ValueError):  # noqa: N818 - named for what is so
    """Other content was imported under the same key."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file as it came: `id` follows from the content, or from the key of whoever posted it."""

    id: str
    sha256: str
    kind: Kind
    name: str
    source: str
    received_at: datetime

    @classmethod
    def of(cls, path: Path, kind: Kind, source: str, received_at: datetime) -> "Arrival":
        """One whose id follows from its content; that of a file that can't be read is empty: its import says why."""
        try:
            sha256 = sha256_of(path)
        except OSError:
            sha256 = hashlib.sha256().hexdigest()
        return cls(content_id(sha256), sha256, kind, str(path), source, received_at)


def sha256_of(path: Path, progress: Callable[[], object] = lambda: None) -> str:
    """The SHA-256 of a file in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            progress()
    return digest.hexdigest()


def kind_of(path: Path) -> Kind:
    """What a file is, by its content; where that doesn't tell, by its name. Raises OSError."""
    with open_regular(path) as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _HEAD_BYTES)
        except zlib.error:
            head = b""  # the import says what is wrong with it
    if head.startswith(b"meter_id,"):
        return "readings"
    named = path.name.lower().removesuffix(".gz").endswith((".yaml", ".yml"))
    return "master" if named or _IS_MASTER.search(head) else "readings"


def import_file(
    connection: "Connection",
    arrival: Arrival,
    path: Path,
    *,
    progress: Callable[[int], None] | None = None,
    limits: "MasterLimits | None" = None,
    now: datetime | None = None,
) -> "ReadingsReport | MasterReport":
    """Takes a file in and records it; `progress` is told the rows read so far.

    `limits` are for master data, `now` is for readings.

    Raises ReadingsRejected or MasterRejected, after which the transaction has to be rolled back.
    """
    from persistence.master_data import NO_LIMITS, import_master  # what only lists imports need not wait for these
    from persistence.readings.importing import import_readings

    report: ReadingsReport | MasterReport
    if arrival.kind == "master":
        report = import_master(connection, path, limits=limits or NO_LIMITS, by=arrival.source)
    else:
        report = import_readings(connection, path, who=arrival.source, progress=progress, now=now)
    record(connection, arrival, report)
    return report


def known(connection: "Connection", arrival: Arrival) -> str | None:
    """When and as what it was imported before, None if it was not. Raises KeyTaken."""
    key = arrival.id if arrival.id != content_id(arrival.sha256) else None
    row = fetch_row(connection, _SQL.known, key=key, sha256=arrival.sha256)
    if row is None:
        return None
    if row.sha256 != arrival.sha256:
        raise KeyTaken(f"other content was imported with the same Idempotency-Key, as {row.name}")
    return f"imported before, at {row.finished_at:%Y-%m-%dT%H:%M:%SZ}, as {row.name} (import {row.id})"


def record(connection: "Connection", arrival: Arrival, report: "ReadingsReport | MasterReport") -> None:
    """Records what has been imported, in the transaction that has stored it."""
    values = asdict(report)
    if "added" in values:  # of master data
        added, replaced, same = (sum(values[name].values()) for name in ("added", "updated", "unchanged"))
        counts = (added + replaced + same, added, same, replaced, 0)
    else:
        counts = tuple(values[name] for name in ("rows", "new", "same", "replaced", "invoices_released"))
    _insert(connection, arrival, "imported", [], counts)


def record_refusal(connection: "Connection", arrival: Arrival, reasons: Sequence[str]) -> None:
    """Records that a file was refused; its last refusal is kept, with the first thousand reasons."""
    execute(connection, _SQL.forget_refusal, id=arrival.id, sha256=arrival.sha256)
    shown = [clean_line(reason) or "no reason" for reason in reasons[:REASONS_AT_MOST]]
    _insert(connection, arrival, "refused", shown or ["no reason"], (0,) * len(_COUNTS))


def _insert(
    connection: "Connection", arrival: Arrival, state: str, reasons: list[str], counts: tuple[int, ...]
) -> None:
    values = asdict(arrival) | dict(zip(_COUNTS, counts, strict=True)) | {"state": state, "reasons": reasons}
    values["name"], values["source"] = clean_line(arrival.name), clean_line(arrival.source)
    names = ", ".join(f"CAST(:{name} AS text[])" if name == "reasons" else f":{name}" for name in _COLUMNS)
    execute(connection, f"INSERT INTO imports ({', '.join(_COLUMNS)}) VALUES ({names})", **values)


def find(
    source: Source, import_id: str | None = None, *, state: str | None = None, limit: int = 1000
) -> list[dict[str, Any]]:
    """The imports, newest first: all, those with this id, or those in this state."""
    given = {name: value for name, value in (("id", import_id), ("state", state)) if value is not None}
    where = " AND ".join(f"{name} = :{name}" for name in given) or "true"
    newest_first = f"{', '.join(_COLUMNS)}, finished_at FROM imports WHERE {where} ORDER BY number DESC LIMIT :limit"
    return fetch_dicts(source, f"SELECT {newest_first}", limit=limit, **given)


def not_imported(connection: "Connection", sha256s: list[str]) -> set[str]:
    """Those of these contents that the database does not have, as after an older backup was put back."""
    return set(fetch_column(connection, _SQL.not_imported, sums=sha256s))
