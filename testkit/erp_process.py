"""The fake ERP as a process that can be killed and frozen; its argument is a JSON document of FakeAltibiz's."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from altibiz.fake.server import FakeAltibiz


def main(options: str) -> None:
    """Serves until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    given: dict[str, Any] = json.loads(options)
    for name in ("ledger_path", "certificate_file", "key_file"):
        given[name] = Path(given[name]) if name in given else None
    FakeAltibiz(**given).run()


if __name__ == "__main__":
    main(sys.argv[1])
