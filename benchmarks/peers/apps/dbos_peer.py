"""DBOS: a workflow of three steps for each invoice; its queue of 16 looks every 10 ms (as it comes: every second)."""

import os
import sys
import threading
from typing import Any

from dbos import DBOS, DBOSClient
from job import DATABASE, LANES, NUMBERS, Job, began, ready

URL = DATABASE.replace("postgresql:", "postgresql+psycopg:")


def configure() -> None:
    DBOS(
        config={"name": "peer", "system_database_url": URL, "log_level": "ERROR", "sys_db_pool_size": 20,
                "application_version": "1"}
    )  # fmt: skip


def work() -> None:
    configure()
    job = Job()

    @DBOS.step()
    def store(number: int) -> tuple[str, dict[str, Any]]:
        return job.store(number)

    @DBOS.step()
    def offer(invoice_id: str, body: dict[str, Any]) -> str:
        return job.offer(invoice_id, body)

    @DBOS.step()
    def finish(invoice_id: str, bill_id: str) -> None:
        job.finish(invoice_id, bill_id)

    @DBOS.workflow(name="bill")
    def bill(number: int) -> None:
        invoice_id, body = store(number)
        finish(invoice_id, offer(invoice_id, body))

    DBOS.launch()
    ready()
    threading.Event().wait()


if sys.argv[1] == "setup":
    configure()
    DBOS.launch()
    DBOS.register_queue("bill", worker_concurrency=LANES, polling_interval_sec=0.01)
    DBOS.destroy()
elif sys.argv[1] == "work":
    work()
else:
    client = DBOSClient(system_database_url=URL)
    began()
    for number in NUMBERS:
        options = {"queue_name": "bill", "workflow_name": "bill", "workflow_id": f"bill-{number}", "app_version": "1"}
        client.enqueue(options, number)
os._exit(0)  # its threads would go on
