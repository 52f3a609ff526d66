"""`billingd issue`: makes invoices due now, whatever the schedule says."""

import os
from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy import Connection

from billing.instants import format_instant
from billing.periods import Period
from billing.states import State
from cli.database import database
from cli.invocation import CommandFailed, caller_identity, configuration, month
from cli.output import print_line, print_note
from config.moved_clock import now_from
from config.settings import Settings
from persistence.clock_step import clocks_agree
from persistence.connection.statements import notify
from persistence.invoices import due_invoices
from supervision.clock import SystemClock


def issue(
    context: typer.Context,
    period: Annotated[str, typer.Option(parser=month, metavar="YYYY-MM", help="The month to bill; it has to be over.")],
    network_user: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this network user; may be given several times.")
    ] = None,
) -> None:
    """Make invoices due now, without waiting for the schedule; harmless when they exist."""
    settings = configuration(context).settings
    _refuse_open(Period.parse(period), settings)
    users = list(dict.fromkeys(network_user)) if network_user else None
    with database(settings, "issue") as opened:

        def check(connection: Connection) -> None:
            if not clocks_agree(connection, SystemClock().wall()):
                raise CommandFailed(
                    "this machine's clock and the database's are more than an hour apart: mend them first"
                )
            if unknown := due_invoices.unknown_users(connection, users or []):
                raise CommandFailed(f"no such network user in the master data: {', '.join(unknown)}")

        def make(connection: Connection) -> int:
            notify(connection, State.DUE)
            return due_invoices.make_due(
                connection, caller_identity(), [period], users=users, reason="issued by hand",
                time_zone=settings.billing.time_zone,
            )  # fmt: skip

        opened.run(check)
        made = 0
        while step := opened.run(make):
            made += step
        there = opened.run(lambda connection: due_invoices.existing(connection, period, users)) - made
        left_out = opened.run(lambda connection: due_invoices.not_billed(connection, period, users or []))
        for user, reason in left_out.items():
            print_note(f"note: no invoice of {period} for network user {user}: it {reason}")
        print_line(f"{period}: {made} invoices made due, {there} were there")


def _refuse_open(period: Period, settings: Settings) -> None:
    clock = SystemClock()
    now: datetime = now_from(os.environ, clock.wall, clock.monotonic)()
    if not period.closed(now, settings.zone):
        end = format_instant(period.end(settings.zone))
        now_text = format_instant(now.replace(microsecond=0))
        raise CommandFailed(f"the period {period} is not closed: it ends at {end}, and now is {now_text}")
