"""A real browser for tests, driven over the DevTools protocol through a pipe: keys, widths, colour schemes, scripts."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed, so the pages are not opened in a browser"
)
# What can be operated or has a role, and has no name for a screen reader.
UNNAMED = (
    "[...document.querySelectorAll('a, button, input:not([type=hidden]), select, summary, svg, [role=group], [role=region]')]"
    ".filter(at => !(at.getAttribute('aria-label') || (at.labels && at.labels.length && at.labels[0].textContent) || at.textContent).trim())"
    ".map(at => at.outerHTML)"
)
# The texts whose contrast is below what WCAG 2 asks for at level AA.
FAINT = """(() => {
  const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const parts = colour => {
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) => [0, 1, 2].map(at => top[at] * top[3] + below[at] * (1 - top[3]));
  const behind = at => at ? over(parts(getComputedStyle(at).backgroundColor), behind(at.parentElement)) : [255, 255, 255];
  const light = colour => {
    const [red, green, blue] = colour.map(part => part / 255).map(part => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
    return .2126 * red + .7152 * green + .0722 * blue + .05;
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), at = texts.currentNode.parentElement, style = getComputedStyle(at);
    if (!text || !at.checkVisibility() || at.closest('svg, noscript, .kinds .nil')) continue;
    const ground = behind(at), ratio = light(over(parts(style.color), ground)) / light(ground);
    if (Math.max(ratio, 1 / ratio) < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) found.push(text);
  }
  return found;
})()"""
_PATIENCE = 120
KEYS = {"Tab": 9, "Enter": 13, " ": 32}


class Tab:
    """One page. Its console errors, among them violations of the content security policy, are collected in ``errors``."""

    def __init__(self, to: Any, back: Any) -> None:
        self._to, self._back = to, back
        self._number = 0
        self._session = ""
        self._read_ahead = b""
        self.errors: list[str] = []
        self._loads = 0
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: object) -> Any:
        """Send a command and return its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._read()).get("id") != self._number:
            pass
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _read(self) -> Any:
        while b"\0" not in self._read_ahead:
            ready, _, _ = select.select([self._back], [], [], _PATIENCE)
            assert ready, "the browser said nothing more"
            part = self._back.read(1_000_000)
            assert part, "the browser ended"
            self._read_ahead += part
        text, _, self._read_ahead = self._read_ahead.partition(b"\0")
        message = json.loads(text)
        match message.get("method"):
            case "Page.loadEventFired":
                self._loads += 1
            case "Log.entryAdded" if message["params"]["entry"]["level"] == "error":
                self.errors.append(message["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.errors.append(str(message["params"]["exceptionDetails"]))
        return message

    def show(self, width: int, *, dark: bool = False, height: int = 900) -> None:
        """Set the width of the screen and the colour scheme."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        loads = self._loads
        self.send("Page.navigate", url=url)
        while self._loads == loads:
            self._read()

    def follow(self) -> None:
        """Press Enter and wait for the page that it leads to."""
        loads = self._loads
        self.press("Enter")
        while self._loads == loads:
            self._read()

    @property
    def loads(self) -> int:
        """How many pages were loaded so far."""
        return self._loads

    def js(self, expression: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True)  # fmt: skip
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true."""
        return self.js(
            "new Promise((done, fail) => { let left = 2000; const look = () => { const found = " + expression + "; "
            "if (found) done(found); else if (left--) setTimeout(look, 50); else fail(document.body.innerText); }; look(); })"
        )

    def press(self, key: str) -> None:
        """Press a key: Tab, Enter or the space bar."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for sort in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=sort, key=key, code=key if key != " " else "Space", windowsVirtualKeyCode=KEYS[key], **({"text": text} if text and sort == "keyDown" else {}))  # fmt: skip

    def type(self, text: str) -> None:
        """Type into the focused field."""
        # A page gives the focus to its field some time after it is loaded.
        self.until("document.activeElement.matches('input, textarea')")
        self.send("Input.insertText", text=text)

    def tab_to(self, expression: str, most: int = 60) -> None:
        """Press Tab until the focused element, ``at``, fulfils an expression."""
        for _ in range(most):
            self.press("Tab")
            if self.js(f"(at => Boolean({expression}))(document.activeElement)"):
                return
        raise AssertionError(f"not reached with the keyboard: {expression}")

    def picture(self, path: Path) -> None:
        """Save a picture of the screen."""
        found = self.send("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def a_browser(folder: Path) -> Iterator[Tab]:
    """Start a browser with a profile in a folder."""
    assert BROWSER
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()

    def connect() -> None:
        # The browser reads from 3 and writes to 4. Both pipes may have those numbers here.
        one, other = os.dup(to_read), os.dup(back_write)
        os.dup2(one, 3)
        os.dup2(other, 4)

    process = subprocess.Popen(
        [BROWSER, *QUIET, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe"],
        preexec_fn=connect,  # noqa: PLW1509 - the only way to give a child these descriptors
        close_fds=False,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(back_write)
    try:
        with os.fdopen(to_write, "wb") as to, os.fdopen(back_read, "rb", buffering=0) as back:
            yield Tab(to, back)
    finally:
        process.kill()
        process.wait()
