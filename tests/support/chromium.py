"""A real browser: Chromium without a window, driven by its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support import debian

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--remote-debugging-port=0",
)
_ANSWER_SECONDS = 20.0


def install() -> None:
    """Install it, where it is missing and that is allowed."""
    debian.install(["chromium"], _missing, "--no-install-recommends")


def _missing() -> list[str]:
    return [] if _program() else ["chromium"]


def _program() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """Opens tabs; each has cookies of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._tabs: dict[str, Tab] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def open(self, url: str, width: int = 1200, height: int = 800, dark: bool = False) -> Tab:
        """A new tab with a page in it."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = self._tabs[attached["sessionId"]] = Tab(
            self, attached["sessionId"], target["targetId"]
        )
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        tab.look(width, height, dark)
        tab.call("Page.navigate", url=url)
        return tab

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Ask Chromium something; its answer."""
        with self._changed:
            self._number += 1
            number = self._number
            message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
            if session is not None:
                message["sessionId"] = session
            self._socket.send(json.dumps(message))
            there = self._changed.wait_for(lambda: number in self._answers, _ANSWER_SECONDS)
            assert there, f"no answer to {method}"
            answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            for text in self._socket:
                message = json.loads(text)
                with self._changed:
                    if "id" in message:
                        self._answers[message["id"]] = message
                        self._changed.notify_all()
                    elif (tab := self._tabs.get(message.get("sessionId", ""))) is not None:
                        tab.messages.append((message["method"], message["params"]))


class Tab:
    """A page."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.messages: list[tuple[str, dict[str, Any]]] = []
        """Events of the DevTools protocol, each with its parameters."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def look(self, width: int, height: int, dark: bool = False, scale: float = 1.0) -> None:
        """Be a screen of this size, in light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        done = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait_for(self, script: str, seconds: float = 15.0) -> float:
        """Until an expression is true; when that was, by the monotonic clock."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):  # the page is just being loaded
                if self.run(script):
                    return time.monotonic()
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds:g} s: {script}\n{self.text()[:2000]}")

    def text(self) -> str:
        """What is to be read on the page."""
        return str(self.run("document.body.innerText"))

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def addresses(self) -> list[str]:
        """Everything that the page asked the network for."""
        requests = [
            p["request"]["url"] for m, p in self.messages if m == "Network.requestWillBeSent"
        ]
        return requests + [p["url"] for m, p in self.messages if m == "Network.webSocketCreated"]

    def complaints(self) -> list[str]:
        """Scripts that failed, and what the page was not allowed to do."""
        failed = [p["exceptionDetails"] for m, p in self.messages if m == "Runtime.exceptionThrown"]
        log = [p["entry"] for m, p in self.messages if m == "Log.entryAdded"]
        refused = [entry for entry in log if entry["source"] in ("security", "violation")]
        return [json.dumps(each) for each in [*failed, *refused]]

    def screenshot(self, path: Path, whole: bool = False) -> None:
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)


@contextmanager
def running(folder: Path) -> Iterator[Browser]:
    """Run it, with its files in a folder."""
    program = _program()
    assert program is not None
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(folder)},
            start_new_session=True,
        )
    try:
        with connect(_address(folder, process), max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait(5)


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Where it answers: it writes that into a file."""
    port_file = folder / "profile" / "DevToolsActivePort"
    end = time.monotonic() + 40.0
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            port, path = port_file.read_text().split()
            return f"ws://127.0.0.1:{port}{path}"
        time.sleep(0.05)
    raise AssertionError((folder / "chromium.log").read_text()[-1000:])
