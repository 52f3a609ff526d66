"""Says which files of trusted certificates that the configuration names can't be used, and why."""

import ssl
from collections.abc import Iterator
from pathlib import Path

from config.document import Problem
from config.load import ConfigurationRejected, Loaded
from config.settings import Settings


def refuse_unusable_certificates(loaded: Loaded) -> None:
    """Raises ConfigurationRejected, with key, line, file and reason, unless every such file can be used now."""
    problems = []
    for key, path in _files(loaded.settings):
        reason = _why_unusable(path)
        if reason is not None:
            source = loaded.sources[key]
            line = int(source.detail.removeprefix("line ")) if source.kind == "file" else None
            problems.append(Problem(key, line, f"cannot use the certificate file {path}: {reason}"))
    if problems:
        raise ConfigurationRejected(problems, loaded.path)


def _files(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.erp.ca_file is not None:
        yield "erp.ca_file", settings.erp.ca_file
    database = settings.database.address
    # Any other mode of TLS looks at no certificate, and a socket of this machine has none.
    if database and database.tls_mode in ("require", "verify-ca", "verify-full") and database.tls_root_certificate:
        yield "database.url", Path(database.tls_root_certificate)


def _why_unusable(path: Path) -> str | None:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return "it holds no certificate in PEM form"
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    return None
