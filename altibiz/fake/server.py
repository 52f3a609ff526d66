"""Owns running the fake ERP: as a process of its own, or as a thread of a test or a demonstration."""

import json
import signal
import socket
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import uvicorn

from altibiz.fake.answers import tracking_protocol
from altibiz.fake.app import BASE_PATH, Fake
from altibiz.fake.ledger import Ledger
from altibiz.outcomes import Now

STOP_DEADLINE_SECONDS: Final = 10.0


class FakeAltibiz:
    """A fake ERP on a loopback port; its control API is described in app.Fake."""

    def __init__(
        self,
        *,
        now: Now = lambda: datetime.now(UTC),
        port: int = 0,
        ledger_path: str | Path | None = None,
        token: str | None = None,
        certificate_file: str | Path | None = None,
        key_file: str | Path | None = None,
    ) -> None:
        """Listens (on any free port for 0) and reads the ledger back; raises OSError if either can't be had."""
        self._ledger = Ledger(ledger_path, now)
        # With the protocol named, asyncio sets TCP_NODELAY on what it accepts; without, 40 ms an answer.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen()
        except OSError:
            self._socket.close()
            self._ledger.close()
            raise
        scheme = "http" if certificate_file is None else "https"
        self.root_url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}"
        self.base_url = self.root_url + BASE_PATH
        self.fake = Fake(self._ledger, token)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.fake.app(),
                http=tracking_protocol(self.fake.transports),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,  # what hangs or is held is not waited for
                ssl_certfile=certificate_file,
                ssl_keyfile=key_file,
            )
        )
        self._thread = threading.Thread(target=self.run, name="fake-altibiz", daemon=True)

    def run(self) -> None:
        """Serve here until SIGTERM, SIGINT or `stop`."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self._ledger.close()

    def __enter__(self) -> Self:
        """Serve in a thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the thread; open requests are cut off within a second or so."""
        self.let_end()
        self._thread.join(STOP_DEADLINE_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError("the fake ERP didn't stop")

    def let_end(self) -> None:
        self._server.should_exit = True


def serve(**options: Any) -> None:
    """Be the process of a FakeAltibiz until SIGTERM or SIGINT; says on standard error where it listens.

    Raises OSError if the port is taken or the ledger can't be opened, ValueError if it is none.
    """
    erp = FakeAltibiz(**options)
    # While it serves, uvicorn takes the signals, and hands them on when it has ended.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: erp.let_end())
    sys.stderr.write(f"listening on {erp.base_url}\n")
    sys.stderr.flush()
    erp.run()


if __name__ == "__main__":  # its argument is a JSON document of the options
    serve(**json.loads(sys.argv[1]))
