"""Says which files that the configuration names can't be used, and what of the configuration is plainly unsafe."""

import os
import pwd
import ssl
import stat
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from operator import attrgetter
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from config.document import Problem
from config.load import ConfigurationRejected, Loaded
from config.secrets import TOKEN_KEYS, SecretUnreadable, database_password, token
from config.settings import Settings
from config.values import TcpAddress
from network.trust import client_context

SECRETS: dict[str, Callable[[Settings], SecretStr | None]] = {
    "database.password_file": database_password,
    **{key: partial(token, key=key) for key in TOKEN_KEYS},
}
_TOKEN_CHARACTERS = 16


def refuse_unusable_files(loaded: Loaded, *, for_service: bool = False) -> None:
    """Raises ConfigurationRejected, with key, line, file and reason, unless every file named can be used now.

    With `for_service`, root asks for the service's user: whoever owns the state directory.
    """
    files = [*_certificates(loaded.settings), *((key, path) for key in SECRETS if (path := _path(loaded, key)))]
    problems = []
    user = _service_user(loaded) if for_service and os.geteuid() == 0 else None
    for key, path in files:
        reason = _why_unusable(loaded, key, path)
        if reason is None and user is not None and loaded.sources[key].kind == "file" and not _may_read(user, path):
            reason = f"cannot use the file {path}: the service's user, {user.pw_name}, has no read access to it"
        if reason is not None:
            problems.append(Problem(key, line_of(loaded, key), reason))
    if user is not None and loaded.path is not None and not _may_read(user, loaded.path):
        problems.append(Problem("", None, f"the service's user, {user.pw_name}, has no read access to this file"))
    if problems:
        raise ConfigurationRejected(problems, loaded.path)


def line_of(loaded: Loaded, key: str) -> int | None:
    """The line of the file on which the key stands; None where its value comes from elsewhere."""
    source = loaded.sources[key]
    return int(source.detail.removeprefix("line ")) if source.kind == "file" else None


def unsafe(loaded: Loaded) -> list[Problem]:
    """What works, and that nobody should want: each as a warning with key and line."""
    warnings = [*_of_secrets(loaded), *_of_transport(loaded.settings)]
    address = loaded.settings.database.address
    if address is not None and address.password is not None:
        warnings.append(("database.url", "the password stands in the configuration: use database.password_file"))
        if loaded.path is not None and loaded.path.stat().st_mode & stat.S_IROTH:
            warnings.append(("database.url", f"everybody may read {loaded.path}, and so the password: chmod o-r"))
    return [Problem(key, line_of(loaded, key), message) for key, message in warnings]


def _of_secrets(loaded: Loaded) -> Iterator[tuple[str, str]]:
    for key, read in SECRETS.items():
        path, secret = _path(loaded, key), read(loaded.settings)
        if path is None or secret is None:
            continue
        if path.stat().st_mode & stat.S_IROTH:
            yield key, f"everybody may read {path}: chmod o-r"
        if read is not database_password and len(secret.get_secret_value()) < _TOKEN_CHARACTERS:
            yield key, f"the token has fewer than {_TOKEN_CHARACTERS} characters: it can be guessed"


def _of_transport(settings: Settings) -> Iterator[tuple[str, str]]:
    for key, url, token_file in (
        ("erp.base_url", settings.erp.base_url, settings.erp.token_file),
        ("alarms.webhook_url", settings.alarms.webhook_url, settings.alarms.webhook_token_file),
    ):
        parts = urlsplit(url or "")
        if token_file is not None and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            yield key, "the token goes over the network unencrypted: use https"
    for key, section, what in (
        ("ops.listen", settings.ops, "the control room has no TLS of its own: listen on 127.0.0.1 or unix:"),
        ("intake.listen", settings.intake, "the token goes over the network unencrypted: set intake.certificate_file"),
    ):
        listen, tls = section.address, getattr(section, "certificate_file", None)
        if section.token_file and tls is None and isinstance(listen, TcpAddress) and not _is_loopback(listen.host):
            yield key, f"{what}, or stay behind a proxy with TLS"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _path(loaded: Loaded, key: str) -> Path | None:
    path: Path | None = attrgetter(key)(loaded.settings)
    return path


def _certificates(settings: Settings) -> Iterator[tuple[str, Path]]:
    for key in ("erp.ca_file", "alarms.webhook_ca_file", "intake.certificate_file"):
        if (path := attrgetter(key)(settings)) is not None:
            yield key, path
    database = settings.database.address
    # Any other mode of TLS looks at no certificate, and a socket of this machine has none.
    if database and database.tls_mode in ("require", "verify-ca", "verify-full") and database.tls_root_certificate:
        yield "database.url", Path(database.tls_root_certificate)


def _why_unusable(loaded: Loaded, key: str, path: Path) -> str | None:
    try:
        if read := SECRETS.get(key):
            # What systemd hands over may be a placeholder; whoever names a file means what is in it.
            empty = read(loaded.settings) is None and loaded.sources[key].kind == "file"
            return f"cannot use the file {path}: it holds no secret" if empty else None
        client_context(path)
    except SecretUnreadable as error:
        return str(error).replace(f" (key {key})", "")
    except ssl.SSLError:
        return f"cannot use the certificate file {path}: it holds no certificate in PEM form"
    except OSError as error:
        return f"cannot use the certificate file {path}: {(error.strerror or type(error).__name__).lower()}"
    return None


def _service_user(loaded: Loaded) -> pwd.struct_passwd | None:
    """The owner of the state directory, unless that is root or the directory is still to be made."""
    try:
        owner = pwd.getpwuid(loaded.settings.state_dir.stat().st_uid)
    except (OSError, KeyError):
        return None
    return owner if owner.pw_uid else None


def _may_read(user: pwd.struct_passwd, path: Path) -> bool:
    """As the kernel decides it, with every folder on the way and the groups of that user."""
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    command = ["test", "-r", str(path)]
    return not subprocess.run(command, user=user.pw_uid, group=user.pw_gid, extra_groups=groups, check=False).returncode
