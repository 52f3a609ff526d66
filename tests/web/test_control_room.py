"""The control room of a real daemon over HTTP: who gets in, what forms may do, what streams say, what a hang costs."""

import html
import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from persistence.invoices.listing import show_invoices
from testkit.deployment import Deployment
from testkit.postgres import PostgresServer
from testkit.waiting import wait_until
from tests.support.invoice_rows import add_invoices, add_users
from web.event_stream import STREAMS_AT_MOST
from web.routes import FORM_BYTES_AT_MOST

TOKEN = "the-token-of-the-room"
NASTY = "<script>alert(1)</script> & <b>bold</b>"
HELD = "NU-0001.2026-10.1"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SETTLED_SECONDS = 4.0
"""Longer than the pause between two pulses of the clock."""
PAGES = ("/room", "/room/stream", "/room/invoices", "/room/imports", f"/room/invoices/{HELD}")


def make_deployment(home: Path, database_url: str) -> Deployment:
    """A daemon with a control room over held and aborted invoices, and without an ERP."""
    home.mkdir(parents=True)
    (home / "token").write_text(TOKEN)
    settings = {
        "ops": {"listen": f"unix:{home}/ops.sock", "token_file": str(home / "token")},
        "erp": {"breaker": {"reset_seconds": 3600}},
    }
    deployment = Deployment(home, database_url=database_url, settings=settings)
    with deployment.database() as database, database.transaction() as connection:
        add_users(connection, 80)
        add_invoices(connection, "held", range(1, 5), held_code="erp_refused_invoice", reason=NASTY)
        add_invoices(connection, "aborted", range(5, 6), reason=NASTY)
        add_invoices(connection, "registered", range(6, 81))
    deployment.daemon.start()
    wait_until(lambda: deployment.daemon.status()["invoices"].get("held") == 4)
    return deployment


@pytest.fixture(scope="module")
def deployment(shared_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    deployment = make_deployment(
        tmp_path_factory.mktemp("room") / "home", shared_server.create_database("control_room")
    )
    yield deployment
    deployment.close()
    shared_server.drop_database("control_room")


def client(deployment: Deployment, **headers: str) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=f"{deployment.home}/ops.sock")
    return httpx.Client(base_url="http://daemon", transport=transport, timeout=15, headers=headers)


@contextmanager
def signed_in(deployment: Deployment) -> Iterator[httpx.Client]:
    with client(deployment) as browser:
        answer = browser.post(
            "/room/sign-in", data={"name": "ana", "token": TOKEN, "next_page": "/room/invoices?state=held"}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/room/invoices?state=held")
        yield browser


def form_key(page: str) -> str:
    found = re.search(r'name="form_key" value="([^"]+)"', page)
    assert found
    return found[1]


def history(deployment: Deployment, invoice_id: str) -> list[dict[str, Any]]:
    with deployment.database() as database, database.reading() as reader:
        [found] = show_invoices(reader, [invoice_id])
    return list(found["history"])


@pytest.mark.parametrize("page", PAGES)
def test_without_the_token_nobody_sees_anything(deployment: Deployment, page: str) -> None:
    with client(deployment) as stranger:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "billingd_room=wrong"}):
            if "Authorization" in headers and page != "/room":
                continue  # one wrong token is enough: too many, and none is looked at
            answer = stranger.get(page, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "NU-0002" not in answer.text
            assert "held" not in answer.text
            assert "EUR" not in answer.text
            assert str(deployment.home) not in answer.text
            assert 'name="token"' in answer.text


def test_without_the_token_nobody_does_anything(deployment: Deployment) -> None:
    before = history(deployment, HELD)
    with client(deployment) as stranger:
        assert stranger.post(f"/room/invoices/{HELD}/retry", data={"reason": "mine"}).status_code == 401
        assert stranger.post("/room/sign-out").status_code == 401
        assert stranger.get(f"/room/invoices/{HELD}/retry").status_code == 405
        assert stranger.post("/room/sign-in", content=b"a=1&" * 30).status_code == 400
    assert history(deployment, HELD) == before


def test_every_answer_forbids_what_a_browser_need_not_do(deployment: Deployment) -> None:
    with client(deployment, **BEARER) as session, client(deployment) as stranger:
        for answer in (session.get("/room"), stranger.get("/room"), stranger.get("/room/app.js")):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
        assert "<script>" not in session.get("/room").text


def test_the_cookie_is_not_the_token_and_is_for_the_browser_alone(deployment: Deployment) -> None:
    with client(deployment) as browser:
        cookie = browser.post("/room/sign-in", data={"name": "ana", "token": TOKEN}).headers["set-cookie"]
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Path=/room" in cookie
        key = form_key(browser.get("/room").text)
        browser.post("/room/sign-out", data={"form_key": key})
        assert browser.get("/room").status_code == 401
        session = cookie.split(";")[0]
        assert browser.get("/room", headers={"Cookie": session}).status_code == 401


def test_signing_in_leads_nowhere_else(deployment: Deployment) -> None:
    with client(deployment) as browser:
        for elsewhere in ("https://elsewhere/", "//elsewhere", "/room/../metrics", "/room//elsewhere", "/metrics"):
            answer = browser.post("/room/sign-in", data={"name": "ana", "token": TOKEN, "next_page": elsewhere})
            assert answer.headers["location"] == "/room"


def test_what_comes_from_another_site_does_nothing(deployment: Deployment) -> None:
    before = history(deployment, HELD)
    with signed_in(deployment) as browser:
        key = form_key(browser.get("/room").text)
        address, form = f"/room/invoices/{HELD}/retry", {"reason": "not mine", "form_key": key}
        assert browser.post(address, data=form, headers={"Origin": "http://elsewhere"}).status_code == 403
        assert browser.post(address, data=form, headers={"Origin": "null"}).status_code == 403
        assert browser.post(address, data=form, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert browser.post(address, data={"reason": "no key"}).status_code == 403
        assert browser.post(address, data=form | {"form_key": key[::-1]}).status_code == 403
        huge = form | {"more": "x" * FORM_BYTES_AT_MOST}
        assert browser.post(address, data=huge).status_code == 403
    assert history(deployment, HELD) == before


def test_what_the_erp_sent_shows_as_text(deployment: Deployment) -> None:
    with client(deployment, **BEARER) as session:
        wait_until(lambda: "invoice_aborted" in session.get("/room").text)
        for page in (
            "/room",
            "/room/invoices?state=aborted",
            "/room/invoices/NU-0005.2026-10.1",
            f"/room/invoices/{HELD}",
        ):
            shown = session.get(page).text
            assert html.escape(NASTY) in shown, page
            assert "<script>alert" not in shown
            assert "<b>bold" not in shown


def test_the_list_is_narrowed_and_read_page_by_page(deployment: Deployment) -> None:
    with client(deployment, **BEARER) as session:
        first = session.get("/room/invoices?state=registered&period=2026-10").text
        ids = re.findall(r'href="/room/invoices/(NU-[^"]+)"', first)
        next_page = re.search(r'href="([^"]+)" rel="next"', first)
        assert next_page
        second = session.get(html.unescape(next_page[1])).text
        ids += re.findall(r'href="/room/invoices/(NU-[^"]+)"', second)
        assert ids == [f"NU-{each:04}.2026-10.1" for each in range(6, 81)]
        assert 'rel="next"' not in second
        assert "NU-0007.2026-10.1" in session.get("/room/invoices?beginning=NU-0007").text
        assert "there is none" in session.get("/room/invoices?beginning=%25_%00'").text
        assert session.get("/room/invoices?state=lost").status_code == 404
        assert session.get("/room/invoices/NU-9999.2026-10.1").status_code == 404
        assert session.get("/room/invoices/%00").status_code == 404


def test_imports_are_listed_with_what_became_of_them(deployment: Deployment) -> None:
    bad = deployment.home / "<b>bad<b>.csv"
    bad.write_text("nonsense\n")
    assert deployment.run("import", "readings", str(bad)).returncode == 1
    with client(deployment, Authorization=f"Bearer {TOKEN}") as session:
        pages = [session.get(f"/room/imports{which}").text for which in ("", "?refused=1")]
    for page in pages:
        assert "&lt;b&gt;bad&lt;b&gt;.csv" in page
        assert "the header has" in page


def test_a_retry_does_what_the_command_does_and_says_who_ordered_it(deployment: Deployment) -> None:
    by_hand, by_command = "NU-0002.2026-10.1", "NU-0003.2026-10.1"
    with signed_in(deployment) as browser:
        page = browser.get(f"/room/invoices/{by_hand}").text
        form = {"reason": " mended\nin the ERP\x00 ", "form_key": form_key(page)}
        answer = browser.post(f"/room/invoices/{by_hand}/retry", data=form, headers={"Origin": "http://daemon"})
        assert answer.status_code == 303
        after = browser.get(answer.headers["location"]).text
        assert "It goes on." in after
        assert "Let it go on" not in after
        again = browser.post(f"/room/invoices/{by_hand}/retry", data=form)
        assert again.status_code == 409
        assert "it is not held, it is sent" in again.text
        assert browser.post("/room/invoices/NU-9999.2026-10.1/retry", data=form).status_code == 409
    deployment.do("invoices", "retry", by_command, "--reason", "mended in the ERP")
    [ordered], [commanded] = history(deployment, by_hand), history(deployment, by_command)
    assert ordered["actor"] == "control room: ana"
    log = deployment.daemon.log()
    assert "ana at the socket signed in to the control room" in log
    assert f"control room: ana at the socket retries {by_hand}" in log
    assert {**ordered, "actor": commanded["actor"], "at": commanded["at"]} == commanded
    with deployment.database() as database, database.transaction() as connection:
        rows = connection.execute(
            text("""SELECT DISTINCT state, held_from, held_code, failures, crash_count, incorrect_count
                    FROM invoices WHERE id IN (:one, :other)"""),
            {"one": by_hand, "other": by_command},
        ).all()
    assert len(rows) == 1


def many(folder: Path) -> int:
    return len(list(folder.iterdir()))


def events(answer: httpx.Response) -> Iterator[dict[str, str]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_a_stream_outlives_an_ordinary_answer_and_tells_when_an_invoice_moves(deployment: Deployment) -> None:
    with client(deployment, **BEARER) as session, session.stream("GET", "/room/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer)
        assert set(next(told)) == {"verdict", "pipeline", "charts", "alarms", "surroundings", "tree"}
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 11)
        deployment.do("invoices", "retry", "NU-0004.2026-10.1", "--reason", "test")
        held = deployment.counts()["held"]
        assert any(re.search(rf"<b>{held}</b><span class=\"name\">held<", each.get("pipeline", "")) for each in told)


def settled(process: Path) -> tuple[int, int]:
    """How many threads and descriptors it has once both stand still: the clock's first pulses start threads, too."""
    seen: tuple[int, int] = (0, 0)
    since = time.monotonic()

    def stands_still() -> bool:
        nonlocal seen, since
        now = many(process / "task"), many(process / "fd")
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since >= SETTLED_SECONDS

    wait_until(stands_still)
    return seen


def test_streams_are_few_and_leave_nothing_behind(deployment: Deployment) -> None:
    process = Path("/proc") / str(deployment.daemon.running_pid())
    threads, descriptors = settled(process)
    with ExitStack() as stack:
        sessions = [stack.enter_context(client(deployment, **BEARER)) for _ in range(STREAMS_AT_MOST + 1)]
        told = []
        for session in sessions[:-1]:
            answer = stack.enter_context(session.stream("GET", "/room/stream"))
            assert answer.status_code == 200
            told.append(events(answer))
            assert next(told[-1])
        assert sessions[-1].get("/room/stream").status_code == 503
        assert sessions[-1].get("/room").status_code == 200
        assert sessions[-1].get("/healthz").status_code == 200
        assert many(process / "task") <= threads + 2
    with client(deployment, **BEARER) as session:

        def again() -> bool:
            with session.stream("GET", "/room/stream") as answer:
                return answer.status_code == 200

        wait_until(again)
    wait_until(lambda: many(process / "task") <= threads)
    wait_until(lambda: many(process / "fd") <= descriptors)


def test_a_frozen_database_freezes_no_page(server: PostgresServer, tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path / "home", server.create_database("room"))
    try:
        with client(deployment, **BEARER) as session:
            assert session.get("/room/invoices").status_code == 200
            server.freeze()
            try:
                for page, status in (("/room/invoices", 503), ("/room", 200), (f"/room/invoices/{HELD}", 503)):
                    began = time.monotonic()
                    answer = session.get(page)
                    assert answer.status_code == status, page
                    assert time.monotonic() - began < 8
                assert "the database" in answer.text
                assert session.get("/healthz").status_code == 200
            finally:
                server.thaw()
            wait_until(lambda: session.get("/room/invoices").status_code == 200)
            with session.stream("GET", "/room/stream") as answer:
                next(events(answer))
                assert deployment.daemon.stop(within_seconds=40) == 0
        assert "Traceback" not in deployment.daemon.log()
        assert "Cancel" not in deployment.daemon.log()
    finally:
        deployment.close()


def test_without_a_token_there_is_no_control_room_until_a_reload_brings_one(deployment: Deployment) -> None:
    before = deployment.config_path.read_text()
    named = f"  token_file: {deployment.home}/token\n"
    assert named in before
    deployment.config_path.write_text(before.replace(named, ""))
    deployment.daemon.signal(signal.SIGHUP)
    with client(deployment, **BEARER) as session:
        wait_until(lambda: session.get("/room").status_code == 404)
        assert "ops.token_file" in session.get("/room").text
        assert session.post("/room/sign-in", data={"name": "ana", "token": ""}).status_code == 404
        deployment.config_path.write_text(before)
        deployment.daemon.signal(signal.SIGHUP)
        wait_until(lambda: session.get("/room").status_code == 200)
    assert TOKEN not in deployment.daemon.log()


def test_a_page_of_another_name_reads_nothing(deployment: Deployment) -> None:
    """DNS rebinding: a page of evil.example gives its own name our address, and reads our pages as its own."""
    with client(deployment, **BEARER, Host="evil.example:9464") as rebound:
        for page in (*PAGES, "/status", "/metrics"):
            answer = rebound.get(page)
            assert (answer.status_code, "ops.hosts" in answer.text) == (421, True), page
        assert rebound.post("/room/sign-in", data={"name": "ana", "token": TOKEN}).status_code == 421
        assert rebound.get("/healthz").status_code == 200


def test_who_signs_in_has_a_name_and_where_from_is_logged(deployment: Deployment) -> None:
    with client(deployment, **{"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}) as browser:
        answer = browser.post("/room/sign-in", data={"name": " ", "token": TOKEN})
        assert (answer.status_code, "who you are" in answer.text) == (400, True)
        assert browser.post("/room/sign-in", data={"name": "iva", "token": "wrong"}).status_code == 401
        assert "Secure" in browser.post("/room/sign-in", data={"name": "iva", "token": TOKEN}).headers["set-cookie"]
    log = deployment.daemon.log()
    assert "somebody at the socket (for 192.0.2.7), as iva, showed the control room a wrong token" in log
    assert "iva at the socket (for 192.0.2.7) signed in" in log


def test_status_and_metrics_can_ask_for_the_token(deployment: Deployment) -> None:
    path = deployment.config_path
    before = path.read_text()
    path.write_text(before.replace("token_file:", "token_for_all: true\n  token_file:", 1))
    assert deployment.run("reload").returncode == 0
    try:
        with client(deployment) as stranger, client(deployment, **BEARER) as monitoring:
            for page in ("/status", "/metrics"):
                assert stranger.get(page).status_code == 401
                assert monitoring.get(page).status_code == 200
            assert stranger.get("/healthz").status_code == 200
        assert json.loads(deployment.run("status", "--json").stdout)["running"]
    finally:
        path.write_text(before)
        assert deployment.run("reload").returncode == 0
    with client(deployment) as stranger:
        assert stranger.get("/status").status_code == 200
