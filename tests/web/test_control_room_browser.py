"""The control room in a real Chromium: live without reloading, by keyboard, on a phone, light and dark."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testkit.deployment import Deployment
from testkit.ports import free_port
from testkit.waiting import wait_until
from tests.support.sample import ROOT, import_sample
from tests.web.browser import ENTER, TAB, Browser, skip_without_browser

TOKEN = "the-token-of-the-room"
NASTY = "<img src=x onerror='document.title=1'><b>no such sub-project</b>"
PICTURES = ROOT / "build" / "screenshots"
CONFLICT, ABORTED, *OPEN = (f"user-{number:03}.2026-08.1" for number in range(1, 6))
TABS_AT_MOST = 40


@pytest.fixture
def deployment(database_url: str, tmp_path: Path) -> Iterator[Deployment]:
    """Twelve invoices: one that the ERP says it has with other content, one it aborts, some it takes its time for."""
    skip_without_browser()
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text(TOKEN)
    listen = f"127.0.0.1:{free_port()}"
    settings = {
        "instance": "billing-1",
        "ops": {"listen": listen, "token_file": str(home / "token")},
        "erp": {"poll_interval_seconds": 0.2, "retry": {"max_seconds": 1}},
    }
    deployment = Deployment(home, database_url=database_url, settings=settings)
    deployment.erp.start()
    deployment.erp.add_fault(kind="status", status=409, method="PUT", invoice_id=CONFLICT)
    deployment.erp.add_fault(kind="abort", invoice_id=ABORTED, reason=NASTY)
    for each in OPEN:
        deployment.erp.add_fault(kind="initiated", invoice_id=each, seconds=3600)
    import_sample(deployment, "08")
    deployment.daemon.start(wait=False)
    wait_until(lambda: deployment.counts().get("registered") == 7 and deployment.counts().get("initiated") == 3)
    wait_until(lambda: answers(f"http://{listen}/healthz"))
    yield deployment
    deployment.close()


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def browser(deployment: Deployment, tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "browser")
    yield browser
    browser.close()


def room(deployment: Deployment) -> str:
    listen = deployment.config_path.read_text().split("listen: ")[1].split()[0]
    return f"http://{listen}/room"


def tab_to(browser: Browser, selector: str) -> None:
    """Goes on from link to link until the one that is meant has the focus, and can be seen to have it."""
    for _ in range(TABS_AT_MOST):
        browser.press(TAB)
        if browser.run("return document.activeElement.matches(arguments[0])", selector):
            width = browser.run("return getComputedStyle(document.activeElement).outlineWidth")
            assert float(width.removesuffix("px")) >= 2
            return
    pytest.fail(f"{selector} can't be reached by keyboard")


def count(browser: Browser, state: str) -> str:
    return browser.text(f"[data-state={state}] b")


def photograph(browser: Browser, name: str) -> None:
    """In both colours, at a desk and on a phone; nothing may be wider than the page."""
    for width in (1280, 360):
        for scheme in ("light", "dark"):
            browser.look_like(width, scheme)
            browser.photograph(PICTURES / f"{name}-{width}-{scheme}.png")
            assert browser.run("return document.documentElement.scrollWidth") <= width, (name, width)
            dark = browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(14, 20, 25)"
            assert dark is (scheme == "dark")
    browser.look_like(1280)


@pytest.mark.timeout(240)
def test_the_room_is_live_by_keyboard_on_a_phone_and_in_both_colours(deployment: Deployment, browser: Browser) -> None:
    browser.look_like(1280)
    browser.go(room(deployment))
    browser.photograph(PICTURES / "sign-in.png")
    browser.press(*"ana")
    tab_to(browser, "#token")
    browser.press(*TOKEN, ENTER)
    wait_until(lambda: browser.text("#live") == "live")
    wait_until(lambda: "has an invoice with other content" in browser.text("#alarms"))
    wait_until(lambda: (count(browser, "initiated"), count(browser, "held")) == ("3", "1"))
    photograph(browser, "overview")
    browser.run("window.neverReloaded = true")
    # A verdict moves an invoice: the page shows it, and the way in motion, by itself, and the focus stays where it is.
    tab_to(browser, "a#to-initiated")
    deployment.erp.give_verdicts(invoice_id=OPEN[0], state="registered")
    wait_until(lambda: browser.run("return document.querySelectorAll('.way.moving').length") > 0)
    browser.photograph(PICTURES / "overview-moving.png")
    wait_until(lambda: (count(browser, "initiated"), count(browser, "registered")) == ("2", "8"))
    assert browser.run("return [window.neverReloaded, document.activeElement.id]") == [True, "to-initiated"]
    # From the first page to the held invoice, and to its retry, without a mouse.
    tab_to(browser, "a#to-held")
    browser.press(ENTER)
    wait_until(lambda: browser.address.endswith("/invoices?state=held"))
    photograph(browser, "list")
    tab_to(browser, f"a[href$='{CONFLICT}']")
    browser.press(ENTER)
    wait_until(lambda: browser.text("h1").startswith(CONFLICT))
    photograph(browser, "invoice")
    deployment.erp.clear_faults()
    tab_to(browser, "#reason")
    browser.press(*"mended", ENTER)
    wait_until(lambda: "It goes on." in browser.text(".said"))
    assert "held → " in " ".join(browser.text(".history li").split())
    assert "control room: ana" in browser.text(".history")
    wait_until(lambda: deployment.counts().get("registered") == 9)
    browser.go(room(deployment).replace("/room", f"/room/invoices/{ABORTED}"))
    assert NASTY in browser.text("main")
    assert browser.run("return document.querySelectorAll('main img, main .history b').length") == 0
    assert [each for each in browser.complaints() if "Content Security Policy" in each or "Error" in each] == []
