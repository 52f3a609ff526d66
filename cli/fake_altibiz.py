"""`billingd fake-altibiz`: the ERP of the contract, for trying out and testing."""

from pathlib import Path
from typing import Annotated

import typer

from altibiz.fake.server import serve
from cli.invocation import CommandFailed

DEFAULT_PORT = 8090


def fake_altibiz(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the loopback; 0 takes any free one.")] = DEFAULT_PORT,
    ledger: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the bookings are kept; without it in memory only.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The bearer token to ask for; without it none is asked for.")
    ] = None,
) -> None:
    """Be the ERP until SIGTERM or SIGINT, with faults on request under /control."""
    try:
        serve(port=port, ledger_path=ledger, token=token)
    except OSError as error:
        what = error.filename or f"port {port}"
        raise CommandFailed(f"cannot be the ERP: {what}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise CommandFailed(f"cannot be the ERP: {ledger} is not a ledger of its bookings") from error
