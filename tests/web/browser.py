"""A real Chromium for tests, driven through chromedriver's own protocol: WebDriver over HTTP."""

import base64
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit.ports import free_port
from testkit.waiting import wait_until

NOT_HERE = "this machine has no Chromium"
TAB, ENTER = "\ue004", "\ue007"
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def skip_without_browser() -> None:
    """Skips the test where Chromium or its driver are not installed."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip(NOT_HERE)


class Browser:
    """One window, with a profile of its own below `home`; sizes are those of the page in CSS pixels."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self._port = free_port()
        with (home / "chromedriver.log").open("wb") as log:
            self._driver = subprocess.Popen(["chromedriver", f"--port={self._port}"], stdout=log, stderr=log)
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=60, trust_env=False)
        self._session = ""
        try:
            wait_until(self._is_ready)
            self._session = self._open(home / "profile")
        except BaseException:
            self.close()
            raise

    def _is_ready(self) -> bool:
        try:
            return bool(self._client.get("/status").json()["value"]["ready"])
        except httpx.HTTPError:
            return False

    def _open(self, profile: Path) -> str:
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
        ]  # fmt: skip
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        answer = self._client.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
        return f"/session/{answer['sessionId']}"

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A GET without a body, else a POST. Raises AssertionError with the driver's word."""
        method = "GET" if body is None else "POST"
        answer = self._client.request(method, f"{self._session}/{path}", json=body)
        value = answer.json()["value"]
        assert answer.status_code == 200, f"{path}: {value}"
        return value

    def go(self, address: str) -> None:
        """Loads a page, and waits until it has."""
        self._ask("url", {"url": address})

    @property
    def address(self) -> str:
        """Where it is."""
        return str(self._ask("url"))

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function in JavaScript returns."""
        return self._ask("execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """What the first such element says; empty without one."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def press(self, *keys: str) -> None:
        """Types on the keyboard, whatever has the focus."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def developer(self, command: str, **parameters: Any) -> Any:
        """A command of the developer tools' protocol."""
        return self._ask("goog/cdp/execute", {"cmd": command, "params": parameters})

    def look_like(self, width: int, scheme: str = "light", height: int = 900) -> None:
        """Sets the size of the page and whether the person likes it dark."""
        self.developer(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700
        )
        self.developer("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def photograph(self, path: Path) -> None:
        """Keeps the whole page as a picture."""
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = self.developer("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(picture))

    def complaints(self) -> list[str]:
        """What the browser's console has said so far, refusals of the page's own policy among it."""
        return [each["message"] for each in self._ask("se/log", {"type": "browser"})]

    def close(self) -> None:
        """Ends browser and driver."""
        if self._session:
            self._client.delete(self._session)
        self._client.close()
        self._driver.terminate()
        self._driver.wait(10)
