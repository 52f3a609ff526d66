"""A standby that follows a server by streaming, behind a proxy of its own, and HAProxy that finds the primary."""

import shutil
import subprocess
import threading
from collections.abc import Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from testkit.ports import free_port
from testkit.postgres import PostgresServer
from testkit.proxy import Proxy
from testkit.waiting import wait_until

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
"""The program; None: it is not installed."""


class StandbyPair:
    """A server and its standby, which clients reach at the same port of two addresses of this machine."""

    HOST = "127.0.0.2"
    """Where the standby is reached; the other is at 127.0.0.1."""

    def __init__(
        self, primary: PostgresServer, template: Path, home: Path, options: Mapping[str, str], port: int
    ) -> None:
        self.primary, self.former = primary, primary
        self.replication = Proxy(primary.port)
        login = f"user=billingd password={primary.settings().password}"
        source = f"host=127.0.0.1 port={self.replication.port} {login}"
        self.standby = PostgresServer.copy(template, home, {**options, "primary_conninfo": source}, standby=True)
        self.proxy = Proxy(self.standby.port, self.HOST, port)
        self._checks: list[ThreadingHTTPServer] = []
        self._haproxy: subprocess.Popen[bytes] | None = None
        self.wait_until_caught_up()

    def wait_until_caught_up(self) -> None:
        """Waits until the standby has all that the primary has written."""
        behind = "SELECT 1 FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()"
        wait_until(lambda: self.former.rows(behind), what="the standby has caught up")

    def start_haproxy(self, home: Path) -> int:
        """Starts HAProxy, which asks as it would ask Patroni which of the two is the primary; gives its port."""
        assert HAPROXY is not None, "it is installed"
        port = free_port()
        lines: list[str] = []
        for server, host in ((self.former, "127.0.0.1"), (self.standby, self.HOST)):
            check = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Role, self, server))
            threading.Thread(target=check.serve_forever, daemon=True).start()
            self._checks.append(check)
            asked = f"check addr 127.0.0.1 port {check.server_port}"
            lines.append(f"  server s{len(lines)} {host}:{self.proxy.port} {asked}")
        path = home / "haproxy.cfg"
        template = Path(__file__).with_name("haproxy.cfg").read_text("utf-8")
        path.write_text(template.format(port=port, servers="\n".join(lines)), "utf-8")
        with (home / "haproxy.log").open("ab") as log:
            self._haproxy = subprocess.Popen([HAPROXY, "-db", "-f", path], stdout=log, stderr=log)
        return port

    def close(self) -> None:
        """Ends all but the primary of the beginning's proxy, and whichever of the servers is the primary now."""
        if self._haproxy is not None:
            self._haproxy.kill()
            self._haproxy.wait()
        for check in self._checks:
            check.shutdown()
            check.server_close()
        for proxy in (self.replication, self.proxy):
            proxy.close()
        for server in (self.standby, self.former):
            server.close()


class _Role(BaseHTTPRequestHandler):
    """Answers as Patroni does to GET /primary."""

    def __init__(self, pair: StandbyPair, server: PostgresServer, *arguments: object) -> None:
        self._is_primary = pair.primary is server and server.pid is not None
        super().__init__(*arguments)  # type: ignore[arg-type] # the socket's request, address and server

    def do_OPTIONS(self) -> None:
        self.send_response(200 if self._is_primary else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""
