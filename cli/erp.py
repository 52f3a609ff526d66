"""The ERP client for a command, with address, token and timeouts of the configuration."""

from contextlib import closing

from altibiz.client import AltibizClient
from cli.invocation import CommandFailed
from config.secrets import SecretUnreadable, erp_token
from config.settings import Settings
from supervision.clock import SystemClock

CANNOT_ASK = 2
"""The status of a command that rests on the ERP's word and can't get it."""


def erp_client(settings: Settings, *, status: int = CANNOT_ASK) -> closing[AltibizClient]:
    """A client for one command, to be used in `with`. Raises CommandFailed, with this status."""
    erp = settings.erp
    if erp.base_url is None:
        raise CommandFailed("the configuration has no erp.base_url: the ERP can't be asked", status)
    try:
        token = erp_token(settings)
        client = AltibizClient(
            erp.base_url,
            now=SystemClock().wall,
            token=token.get_secret_value() if token else None,
            connect_timeout_seconds=erp.connect_timeout_seconds,
            read_timeout_seconds=erp.read_timeout_seconds,
            total_timeout_seconds=erp.total_timeout_seconds,
            ca_file=erp.ca_file,
        )
    except (SecretUnreadable, ValueError) as error:
        raise CommandFailed(f"the ERP can't be asked: {error}", status) from error
    return closing(client)
