"""A real browser without a window, driven by its own protocol (CDP) over one WebSocket."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import websockets.sync.client

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"),
)
NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str | None:
    """Where the browser is."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def require() -> str:
    """Skip without a browser; fail if this run requires one."""
    found = executable()
    if found is None and "chromium" in os.environ.get("RINGMASTER_REQUIRE", "").split(","):
        pytest.fail("chromium is required here, and there is none in PATH")
    if found is None:
        pytest.skip("chromium: none in PATH (apt-get install chromium)")
    return found


class Tab:
    """One page. `said` collects what went wrong in it, `asked` the addresses it has asked for."""

    def __init__(self, socket: websockets.sync.client.ClientConnection) -> None:
        self._socket = socket
        self._count = 0
        self.said: list[str] = []
        self.asked: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command; what happens meanwhile is noted."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("id") == self._count:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.eventually(
            "document.readyState === 'complete' && location.href !== 'about:blank'",
            what=f"{url} to load",
        )

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, promises awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def eventually(self, expression: str, *, what: str, seconds: float = 20) -> Any:
        """The first true value of an expression."""
        deadline = time.monotonic() + seconds
        value = None
        while time.monotonic() < deadline:
            value = self.evaluate(expression)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"{what} did not come about within {seconds} s; last: {value!r}")

    def type(self, text: str) -> None:
        """Into what has the focus, and Enter."""
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter",
                windowsVirtualKeyCode=13, text="\r" if kind == "keyDown" else "",
            )  # fmt: skip

    def screenshot(self, path: Path, *, width: int, height: int, scale: float = 1) -> None:
        """The page as a PNG file."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=False,
        )  # fmt: skip
        taken = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(taken["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.said.append(json.dumps(parameters["exceptionDetails"]))
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.said.append(parameters["entry"]["text"])
            case "Network.requestWillBeSent":
                self.asked.append(parameters["request"]["url"])


@contextlib.contextmanager
def tab() -> Iterator[Tab]:
    """A page in a browser of its own; both are gone afterwards."""
    program = require()
    with tempfile.TemporaryDirectory(prefix="rm-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TMPDIR": profile},  # it leaves a folder there when it is killed
            start_new_session=True,
        )
        try:
            with _connected(_address(Path(profile), process)) as socket:
                yield Tab(socket)
        finally:
            _end(process)


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """The first page's WebSocket: the browser writes its port into its profile."""
    port_file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + 30
    while not (port_file.exists() and port_file.read_text().count("\n")):
        assert process.poll() is None, "the browser has ended"
        assert time.monotonic() < deadline, "the browser does not start"
        time.sleep(0.05)
    port, path = port_file.read_text().split("\n")[:2]
    address = f"ws://127.0.0.1:{port}{path}"
    with _connected(address) as browser:
        browser.send(json.dumps({"id": 1, "method": "Target.getTargets", "params": {}}))
        targets = json.loads(browser.recv(timeout=30))["result"]["targetInfos"]
    page = next(target for target in targets if target["type"] == "page")
    return f"ws://127.0.0.1:{port}/devtools/page/{page['targetId']}"


def _connected(address: str) -> websockets.sync.client.connect:
    return websockets.sync.client.connect(address, max_size=None, proxy=None)


def _end(process: subprocess.Popen[bytes]) -> None:
    family = [process.pid]
    with contextlib.suppress(psutil.Error):
        family += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
