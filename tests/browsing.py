"""A real browser for the tests of pages and of the dashboard, and where its pictures are kept."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ARTIFACTS = Path(os.environ.get("OPENAGENTPERF_ARTIFACTS") or Path(__file__).parent.parent / "artifacts")
"""Screenshots of the tests: kept by CI, ignored by git, to be looked at."""
WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
PATIENCE_S = 30.0


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium as Debian packs it; skips with a reason where it or its driver is missing."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs a browser: apt-get install chromium")
    driver = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the `dev` extra")
    with driver.sync_playwright() as play:
        found = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield found
        finally:
            found.close()


class Page:
    """A page that remembers what no page may do: errors, dialogs, requests to elsewhere."""

    def __init__(self, found: Any, *, width: int = 1280, scheme: str = "light") -> None:
        self._context = found.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.tab = self._context.new_page()
        self.tab.set_default_timeout(20_000)
        self.errors: list[str] = []
        self.crashes: list[str] = []
        """Exceptions of the page's own code: never, not even while the server is away."""
        self.said: list[str] = []
        """Everything on its console."""
        self.requests: list[str] = []
        """Addresses that it asked for, its own first."""
        self.tab.on("console", self._heard)
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("pageerror", lambda error: self.crashes.append(str(error)))
        self.tab.on("dialog", self._dialog)

    def _heard(self, message: Any) -> None:
        self.said.append(message.text)
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")

    def _dialog(self, dialog: Any) -> None:
        self.crashes.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def show(self, file: Path) -> None:
        """Open a page that lies on the disk, and see that it does nothing of its own."""
        self.tab.goto(file.as_uri())
        self.tab.wait_for_load_state("load")
        self.check_quiet()

    def check_quiet(self) -> None:
        assert (self.said, self.crashes) == ([], [])
        assert len(self.requests) == 1, self.requests[1:]

    @property
    def scroll_width(self) -> int:
        return self.tab.evaluate("document.documentElement.scrollWidth")

    def until(self, script: str) -> None:
        """Wait for a condition in the page. (Playwright's own waiting evaluates text inside the page, which its policy forbids.)"""
        end_s = time.monotonic() + PATIENCE_S
        while not self.tab.evaluate(script):
            assert time.monotonic() < end_s, (
                f"waited {PATIENCE_S:g} s in vain for {script}; the page says: {self.text('body')[:2000]}"
            )
            self.tab.wait_for_timeout(50)

    def text(self, selector: str) -> str:
        return self.tab.locator(selector).inner_text()

    def picture(self, name: str) -> None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self.tab.screenshot(path=str(ARTIFACTS / f"{name}.png"), full_page=True)

    def close(self) -> None:
        self._context.close()
