"""Celery on Redis: late acknowledgement, 16 threads, else as it comes."""

import functools
import sys

from celery import Celery
from celery.signals import worker_ready
from job import NUMBERS, REDIS, Job, began, ready

app = Celery("peer", broker=REDIS)
app.conf.update(
    task_acks_late=True, task_reject_on_worker_lost=True, task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)  # fmt: skip
job = functools.cache(Job)


@app.task(name="bill")
def bill(number: int) -> None:
    job().run(number)


@worker_ready.connect
def say(**_: object) -> None:
    ready()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        job()
        app.worker_main(["worker", "-P", "threads", "-c", "16", "-l", "ERROR"])
    else:
        with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
            connection.ensure_connection()
            began()
            for number in NUMBERS:
                bill.apply_async((number,), producer=producer)
