"""No queue: a loop over batches of 500. The next is stored while the last is offered; bills are kept by the batch."""

import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pg8000.native
from job import BEGAN, DATABASE, FOLDER, INVOICES, LANES, USER, Computed, bill_of, ready, url_of

BATCH = 500
GO = FOLDER / "go"
USERS = USER.replace("= %s", "= ANY(CAST(:numbers AS int[]))")
OPEN = """SELECT n FROM generate_series(1, :until) n
    WHERE NOT EXISTS (SELECT FROM invoices WHERE number = n AND bill_id IS NOT NULL)"""
INSERT = """INSERT INTO invoices (id, number, total_eur, tax_eur)
    SELECT * FROM unnest(CAST(:a AS text[]), CAST(:b AS int[]), CAST(:c AS numeric[]), CAST(:d AS numeric[]))
    ON CONFLICT (id) DO NOTHING"""
INSERT_LINES = """INSERT INTO lines (invoice_id, ordinal, quantity, price, amount_eur)
    SELECT * FROM unnest(CAST(:a AS text[]), CAST(:b AS text[]), CAST(:c AS numeric[]), CAST(:d AS numeric[]),
        CAST(:e AS numeric[])) ON CONFLICT DO NOTHING"""
FINISH = """UPDATE invoices i SET bill_id = r.bill_id, billed_at = clock_timestamp()
    FROM unnest(CAST(:ids AS text[]), CAST(:bills AS text[])) r(id, bill_id) WHERE i.id = r.id"""

lane = threading.local()


def connect() -> pg8000.native.Connection:
    url = urlsplit(DATABASE)
    return pg8000.native.Connection(
        url.username or "", host=url.hostname, port=url.port, database=url.path[1:], password=url.password
    )


def store(connection: pg8000.native.Connection, numbers: list[int]) -> list[Computed]:
    connection.run("BEGIN")
    made = [Computed(user) for user in connection.run(USERS, numbers=numbers)]
    connection.run(INSERT, **columns([each.row for each in made]))
    connection.run(INSERT_LINES, **columns([line for each in made for line in each.lines]))
    connection.run("COMMIT")
    return made


def columns(rows: list[Any]) -> dict[str, list[Any]]:
    return dict(zip("abcde", map(list, zip(*rows, strict=True)), strict=False))


def offer(made: Computed) -> tuple[str, str]:
    if not hasattr(lane, "client"):
        lane.client = httpx.Client()
    return made.id, bill_of(lane.client.put(url_of(made.id), json=made.body))


def work() -> None:
    storing, finishing = connect(), connect()
    ready()
    if not storing.run("SELECT 1 FROM runs"):
        GO.open().close()  # waits for whoever opens it to write
    numbers = [number for (number,) in storing.run(OPEN, until=INVOICES)]
    batches = [numbers[begin : begin + BATCH] for begin in range(0, len(numbers), BATCH)]
    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(LANES) as lanes:
        pending: Future[list[Computed]] = ahead.submit(store, storing, batches[0])
        for following in [*batches[1:], None]:
            made = pending.result()
            if following:
                pending = ahead.submit(store, storing, following)
            ids, bills = zip(*lanes.map(offer, made), strict=True)
            finishing.run(FINISH, ids=list(ids), bills=list(bills))
    threading.Event().wait()


if sys.argv[1] == "setup":
    os.mkfifo(GO)
elif sys.argv[1] == "work":
    work()
else:
    connect().run(BEGAN)
    GO.open("w").close()
