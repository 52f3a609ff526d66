"""The fake ERP as the process that a drill kills, freezes and lets lie: PORT LEDGER [CERTIFICATE KEY]."""

import signal
import sys
from pathlib import Path

from altibiz.fake.server import FakeAltibiz


def main(arguments: list[str]) -> None:
    """Serves until SIGTERM; says on standard error where."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    port, ledger, *tls = arguments
    certificate, key = (Path(tls[0]), Path(tls[1])) if tls else (None, None)
    FakeAltibiz(
        port=int(port), ledger_path=Path(ledger), certificate_file=certificate, key_file=key, announce=True
    ).run()


if __name__ == "__main__":
    main(sys.argv[1:])
