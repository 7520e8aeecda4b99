"""Headless Chromium for tests, over the pipe of its debugging protocol; nothing but the standard library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
_UNTIL = """
new Promise((resolve, reject) => {
  const look = () => { try { const found = (%s); if (found) return resolve(found); } catch (error) { void error; }
    if (performance.now() > end) return reject(new Error(%s)); setTimeout(look, 10); };
  const end = performance.now() + 20000; look(); })
"""


class NavigatedError(AssertionError):
    """The page went elsewhere while it was asked."""


class Browser:
    """A page in a browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, os.fdopen(from_browser, "rb")
        self._number = 0
        self._session: str | None = None
        self._rest = b""
        self.said: list[str] = []
        """What stands in its console, exceptions and refusals included."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have something done, and wait for the answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            told = self._read()
            if told.get("id") == self._number:
                if "navigated" in told.get("error", {}).get("message", ""):
                    raise NavigatedError(told)
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result
            if told.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                self.said.append(json.dumps(told["params"]))

    def _read(self) -> Any:
        while b"\0" not in self._rest:
            part = os.read(self._from.fileno(), 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def attach(self) -> None:
        """Open a page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def open(self, address: str, *, width: int = 1200, height: int = 800, dark: bool = False) -> None:
        """Go to an address, and wait until all of it is there."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    def see(self, expression: str) -> Any:
        """What an expression of JavaScript is; a promise is waited for."""
        told = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true, and tell what it is; the page may lead to another one meanwhile."""
        for _ in range(5):
            with suppress(NavigatedError):
                return self.see(_UNTIL % (expression, json.dumps(f"never: {expression}")))
        raise NavigatedError(expression)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
            codes = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowUp": 38, "ArrowDown": 40}
            more = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **more)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **more)

    def choose(self, control: str, value: str) -> None:
        """Choose or write something in a control of the page, as its reader does."""
        self.see(
            f"(() => {{ const it = document.getElementById({control!r}); it.value = {json.dumps(value)};"
            "it.dispatchEvent(new Event('input', { bubbles: true }));"
            "it.dispatchEvent(new Event('change', { bubbles: true })); })()"
        )


@contextmanager
def chromium(directory: Path) -> Iterator[Browser]:
    """A browser as long as the block lasts.

    Args:
        directory: Where its profile is; nothing of it is left elsewhere.
    """
    assert CHROMIUM is not None
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    options = (
        "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions "
        f"--disable-background-networking --remote-debugging-pipe --user-data-dir={directory / 'profile'}"
    )
    # The protocol is spoken on the descriptors 3 and 4, whatever theirs are here.
    script = f'exec {{a}}<&{their_in} {{b}}>&{their_out}; exec "$0" "$@" 3<&$a 4>&$b {{a}}<&- {{b}}>&-'
    process = subprocess.Popen(
        ["bash", "-c", script, CHROMIUM, *options.split()],
        pass_fds=(their_in, their_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(directory)},
    )  # fmt: skip
    os.close(their_in)
    os.close(their_out)
    browser = Browser(our_out, our_in)
    try:
        browser.attach()
        yield browser
    finally:
        process.kill()
        process.wait()
        os.close(our_out)
        browser._from.close()
