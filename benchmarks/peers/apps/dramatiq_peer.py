"""Dramatiq on Redis: one process of 16 threads, else as it comes."""

import functools
import logging
import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from job import NUMBERS, REDIS, Job, began, ready

broker = RedisBroker(url=REDIS)
dramatiq.set_broker(broker)
logging.getLogger("httpx").setLevel(logging.WARNING)  # Dramatiq would log a line for each request
job = functools.cache(Job)


@dramatiq.actor(max_retries=20)
def bill(number: int) -> None:
    job().run(number)


class Ready(dramatiq.Middleware):
    """Connects the worker before its threads begin, and says that it is up."""

    def before_worker_boot(self, *_: object) -> None:
        job()

    def after_worker_boot(self, *_: object) -> None:
        ready()


broker.add_middleware(Ready())

if __name__ == "__main__":
    if sys.argv[1] == "work":
        os.execv(
            sys.executable,
            [sys.executable, "-m", "dramatiq", "dramatiq_peer", "--processes", "1", "--threads", "16"],
        )
    broker.client.ping()
    began()
    for number in NUMBERS:
        bill.send(number)
