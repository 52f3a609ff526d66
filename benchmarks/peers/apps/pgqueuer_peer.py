"""PgQueuer on asyncpg: 16 jobs at once, fetched by eight, the most that it allows for 16."""

import asyncio
import sys

import asyncpg
from job import BEGAN, DATABASE, INVOICES, NUMBERS, AsyncJob, ready
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries


async def main(role: str) -> None:
    connection = await asyncpg.connect(DATABASE)
    driver = AsyncpgDriver(connection)
    if role == "setup":
        await Queries(driver).install()
    elif role == "work":
        work = AsyncJob()
        await work.open()
        queue = PgQueuer(driver)

        @queue.entrypoint("bill")
        async def bill(job: Job) -> None:
            await work.run(int(job.payload or b""))

        ready()
        await queue.run(batch_size=8, max_concurrent_tasks=16)
    else:
        await connection.execute(BEGAN)
        await Queries(driver).enqueue(["bill"] * INVOICES, [b"%d" % each for each in NUMBERS], [0] * INVOICES)


asyncio.run(main(sys.argv[1]))
