"""Procrastinate: one worker of 16 coroutines, else as it comes."""

import asyncio
import sys

import procrastinate
from job import DATABASE, NUMBERS, AsyncJob, began, ready

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=DATABASE, min_size=4, max_size=20))
job = AsyncJob()


@app.task(name="bill", queue="bill")
async def bill(number: int) -> None:
    await job.run(number)


async def main(role: str) -> None:
    async with app.open_async():
        if role == "setup":
            await app.schema_manager.apply_schema_async()
        elif role == "work":
            await job.open()
            ready()
            await app.run_worker_async(concurrency=16, install_signal_handlers=False)
        else:
            began()
            await bill.batch_defer_async(*[{"number": each} for each in NUMBERS])


asyncio.run(main(sys.argv[1]))
