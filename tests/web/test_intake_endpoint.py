"""The endpoint that gateways post to: what is answered 202 is on disk and imported once, all else is said clearly."""

import gzip
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from files.content_id import content_id
from testkit.erp import CERTIFICATES
from testkit.ports import free_port
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.support.inbox_deployment import InboxDeployment
from tests.support.json_schema import problems
from tests.support.sample import ROOT
from tests.support.small_load import HEADER, write_load

TOKEN = "t" * 32


class Gateway:
    """Posts to a daemon's endpoint, a connection each time."""

    def __init__(self, deployment: InboxDeployment) -> None:
        self._deployment = deployment

    def __call__(self, method: str, path: str, content: Any = None, **headers: str) -> httpx.Response:
        transport = httpx.HTTPTransport(uds=f"{self._deployment.home}/intake.sock")
        given = {"Authorization": f"Bearer {TOKEN}", **{name.replace("_", "-"): headers[name] for name in headers}}
        values = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
        with httpx.Client(transport=transport, timeout=20) as client:
            return client.request(method, f"http://intake{path}", content=content, headers=values)

    def readings(self, content: Any, **headers: str) -> httpx.Response:
        return self("POST", "/v1/readings", content, **headers)

    def became(self, posted: httpx.Response) -> dict[str, Any]:
        """What became of it, once that is known."""

        def answer() -> Any:
            document = self("GET", posted.headers["Location"]).json()
            return document if document.get("state") in ("imported", "refused") else None

        found: dict[str, Any] = wait_until(answer)
        return found


def settings(home: Path, **more: Any) -> dict[str, Any]:
    (home / "token").write_text(TOKEN)
    intake = {
        "listen": f"unix:{home}/intake.sock",
        "token_file": str(home / "token"),
        "max_body_bytes": 1_000_000,
        **more,
    }
    return {"database": {"connect_timeout_seconds": 1}, "intake": intake}


@pytest.fixture
def deployment(tmp_path: Path, server: PostgresServer) -> Iterator[InboxDeployment]:
    home = tmp_path / "w"
    home.mkdir()
    deployment = InboxDeployment(home, database_url=server.url(), settings=settings(home))
    deployment.erp.start()
    yield deployment
    deployment.close()


@pytest.fixture
def gateway(deployment: InboxDeployment) -> Gateway:
    deployment.daemon.start()
    return Gateway(deployment)


def load(tmp_path: Path) -> tuple[bytes, bytes]:
    master, readings = write_load(tmp_path / "load", users=3, first="2026-09", months=2)
    return master.read_bytes(), gzip.decompress(readings.read_bytes())


def test_what_is_posted_becomes_invoices_once(
    deployment: InboxDeployment, gateway: Gateway, server: PostgresServer, tmp_path: Path
) -> None:
    master, readings = load(tmp_path)
    posted = gateway(
        "POST", "/v1/master", gzip.compress(master), Content_Type="application/yaml", Content_Encoding="gzip"
    )
    assert (posted.status_code, posted.json()["state"]) == (202, "queued")
    assert gateway.became(posted)["state"] == "imported"
    header, *rows = readings.decode().splitlines(keepends=True)
    first = gateway.readings(header + "".join(rows[:4]), Content_Type="text/csv")
    again = gateway.readings(header + "".join(rows[:4]))
    assert again.json() == first.json()
    keyed = [gateway.readings(header + "".join(rows[4:]), Idempotency_Key="one") for _ in range(2)]
    assert keyed[0].json()["id"] == keyed[1].json()["id"] != content_id(first.json()["id"])
    assert gateway.became(first) | {"new": 4, "known": 0} == gateway.became(first)
    assert gateway.became(keyed[0])["new"] == 5
    wait_until(lambda: deployment.all_registered(6))
    other = gateway.readings(header + rows[0], Idempotency_Key="one")
    wait_until(lambda: deployment.refused())
    assert "other content was imported with the same Idempotency-Key" in next(iter(deployment.refused().values()))
    assert other.status_code == 202
    rows_there = server.rows("SELECT count(*) AS number FROM readings")
    assert rows_there[0].number == 9
    assert {row.source for row in server.rows("SELECT source FROM imports")} == {"http:local"}


def test_it_answers_while_the_database_is_away_and_a_kill_loses_nothing(
    deployment: InboxDeployment, gateway: Gateway, server: PostgresServer, tmp_path: Path
) -> None:
    master, readings = load(tmp_path)
    assert gateway.became(gateway("POST", "/v1/master", master))["state"] == "imported"
    server.stop()
    posted = gateway.readings(readings)
    assert posted.status_code == 202
    assert gateway("GET", posted.headers["Location"]).json() == posted.json()
    deployment.daemon.kill(signal.SIGKILL)
    unknown = f"/v1/imports/{'0' * 32}"
    deployment.daemon.start()
    assert gateway("GET", unknown).status_code == 503
    server.start()
    assert gateway.became(posted)["new"] == 9
    assert gateway("GET", unknown).status_code == 404
    wait_until(lambda: deployment.all_registered(6))


def test_what_cannot_be_taken_has_a_clear_answer(deployment: InboxDeployment, gateway: Gateway) -> None:
    def status(answer: httpx.Response) -> int:
        assert answer.json()["error"]
        return answer.status_code

    assert status(gateway.readings(HEADER, Authorization="")) == 401
    assert status(gateway.readings(HEADER, Authorization="Bearer wrong")) == 401
    for odd in ("x", "%00", "A" * 32, "%F0%9F%98%80"):
        assert status(gateway("GET", f"/v1/imports/{odd}")) == 404
    assert status(gateway("GET", "/v1/imports/x", Authorization="Bearer é")) == 401
    assert status(gateway.readings(b"x" * 1_000_001)) == 413
    assert status(gateway.readings(b"x" * 300_000 for _ in range(4))) == 413
    assert status(gateway.readings(HEADER, Content_Type="application/json")) == 415
    assert status(gateway.readings(HEADER, Content_Encoding="br")) == 415
    assert status(gateway.readings(HEADER, Idempotency_Key="x" * 201)) == 400
    assert gateway("GET", "/v1/readings").status_code == 405
    refused = gateway.became(gateway.readings(b"nonsense"))
    assert refused["state"] == "refused"
    assert "has 'nonsense' as column 1" in refused["reasons"][0]
    deployment.daemon.stop()
    deployment.configure(settings(deployment.home, max_waiting_bytes=100))
    deployment.daemon.start()
    answer = gateway.readings(b"x" * 101)
    assert (status(answer), answer.headers["Retry-After"]) == (429, "30")
    assert list(deployment.inbox.glob(".spool/*")) == []


def test_a_full_disk_and_a_body_that_is_cut_leave_nothing_behind(deployment: InboxDeployment) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "inbox", str(deployment.inbox)], check=True)
    try:
        deployment.daemon.start()
        gateway = Gateway(deployment)
        assert gateway.readings(b"x" * 400_000).status_code == 507
        subprocess.run(["mount", "-o", "remount,ro", str(deployment.inbox)], check=True)
        assert gateway.readings(b"x").status_code == 503
        subprocess.run(["mount", "-o", "remount,rw", str(deployment.inbox)], check=True)
        with socket.socket(socket.AF_UNIX) as cut:
            cut.connect(f"{deployment.home}/intake.sock")
            cut.sendall(
                f"POST /v1/readings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
                f"Content-Length: 100\r\n\r\n{HEADER[:50]}".encode()
            )
            wait_until(lambda: list(deployment.inbox.glob(".spool/*")))
        wait_until(lambda: not list(deployment.inbox.glob(".spool/*")))
        assert deployment.waiting() == []
        assert gateway.readings(b"x").status_code == 202
    finally:
        deployment.daemon.stop()
        subprocess.run(["umount", "-l", str(deployment.inbox)], check=True)


def test_with_a_certificate_it_speaks_tls(deployment: InboxDeployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    certificate, key = CERTIFICATES / "trusted.pem", CERTIFICATES / "trusted-key.pem"
    names = {"certificate_file": str(certificate), "key_file": str(key)}
    deployment.configure(settings(deployment.home, listen=f"127.0.0.1:{port}", **names))
    deployment.daemon.start()
    trust = ssl.create_default_context(cafile=certificate)
    assert httpx.get(f"https://localhost:{port}/v1/openapi.json", verify=trust).json()["openapi"] == "3.1.0"


def test_a_reload_reads_a_renewed_certificate_and_refuses_one_that_does_not_fit_its_key(
    deployment: InboxDeployment,
) -> None:
    port, files = free_port(), (deployment.home / "pair.pem", deployment.home / "pair-key.pem")

    def put(certificate: str, key: str) -> None:
        for name, file in zip((certificate, key), files, strict=True):
            file.write_bytes((CERTIFICATES / f"{name}.pem").read_bytes())

    def shown() -> str:
        return ssl.get_server_certificate(("localhost", port))

    put("trusted", "trusted-key")
    names = dict(zip(("certificate_file", "key_file"), map(str, files), strict=True))
    deployment.configure(settings(deployment.home, listen=f"127.0.0.1:{port}", **names))
    deployment.daemon.start()
    first = shown()
    put("untrusted", "untrusted-key")
    assert shown() == first
    deployment.do("reload")
    second = shown()
    assert second != first
    put("trusted", "untrusted-key")
    refused = deployment.run("reload")
    assert refused.returncode == 1
    assert f"{files[0]} and {files[1]} are no certificate and its key" in refused.stdout + refused.stderr
    assert shown() == second


def test_the_description_fits_what_is_answered(gateway: Gateway) -> None:
    described = gateway("GET", "/v1/openapi.json", Authorization="").json()
    assert described == yaml.safe_load((ROOT / "docs/spec/intake-openapi.yaml").read_text("utf-8"))
    schemas = described["components"]["schemas"]
    posted = gateway.readings(b"nonsense")
    assert problems(described, schemas["Error"], gateway.readings(b"", Authorization="").json()) == []
    assert problems(described, schemas["Queued"] | {"properties": {}}, posted.json()) == []
    assert problems(described, schemas["Import"], gateway.became(posted)) == []
