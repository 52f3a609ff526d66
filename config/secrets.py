"""Reads secrets from their files when they are needed, and says in one line what is wrong with a file."""

from operator import attrgetter
from pathlib import Path
from typing import Literal, get_args

from pydantic import SecretStr

from config.settings import Settings
from files.opening import open_regular

PLACEHOLDERS = frozenset({"", "-", "none", "placeholder", "changeme"})
"""Contents that count as no secret: a unit's LoadCredential fails when the file is missing."""
_MOST_BYTES = 65_536
TokenKey = Literal["erp.token_file", "alarms.webhook_token_file", "ops.token_file", "intake.token_file"]
TOKEN_KEYS: tuple[TokenKey, ...] = get_args(TokenKey)


class SecretUnreadable(Exception):  # noqa: N818 - it names what happened
    """A secret's file can't be used; the message is one line with the path and the key, never the content."""


def read_secret(path: Path, key: str, what: str = "token") -> SecretStr | None:
    """Return the secret in the file that `key` names; None when it is empty or a placeholder.

    Space and line ends around it don't count. Raises SecretUnreadable.
    """
    where = f"the {what} file {path} (key {key})"
    try:
        with open_regular(path, follow_links=True) as file:
            content = file.read(_MOST_BYTES + 1)
    except PermissionError as error:
        advice = "permission denied; give the service's user read access"
        raise SecretUnreadable(f"cannot read {where}: {advice}") from error
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise SecretUnreadable(f"cannot read {where}: {reason}") from error
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        text = "\x00"
    if len(content) > _MOST_BYTES or not text.isprintable():
        # Raised here and not above: the decoder's error holds the bytes themselves.
        raise SecretUnreadable(f"cannot use {where}: it has to hold one line of text and nothing else")
    return None if text.lower() in PLACEHOLDERS else SecretStr(text)


def token(settings: Settings, key: TokenKey) -> SecretStr | None:
    """Return the bearer token that the file of `key` holds now, None without one. Raises SecretUnreadable."""
    path: Path | None = attrgetter(key)(settings)
    found = read_secret(path, key) if path else None
    if found and (not found.get_secret_value().isascii() or " " in found.get_secret_value()):
        raise SecretUnreadable(
            f"cannot use the token file {path} (key {key}): a token has no spaces and only ASCII characters"
        )
    return found


def database_password(settings: Settings) -> SecretStr | None:
    """Return the database user's password, from its file, else from the URL. Raises SecretUnreadable."""
    path = settings.database.password_file
    password = read_secret(path, "database.password_file", "password") if path else None
    address = settings.database.address
    return password or (SecretStr(address.password) if address and address.password else None)
