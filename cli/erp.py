"""The ERP client for a command, with address, token and timeouts of the configuration."""

from contextlib import closing

from altibiz.client import AltibizClient
from cli.invocation import CommandFailed
from config.secrets import SecretUnreadable, token
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
        found = token(settings, "erp.token_file")
        return closing(
            AltibizClient.from_settings(erp, found.get_secret_value() if found else None, now=SystemClock().wall)
        )
    except (SecretUnreadable, ValueError) as error:
        raise CommandFailed(f"the ERP can't be asked: {error}", status) from error
