"""A real browser before a web endpoint: what is asked of the page is done as a person would."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

CHROMIUM = "/usr/bin/chromium"
PATIENCE_MS = 60_000
"""On a machine with other work to do a browser takes its time."""
DESKTOP = {"width": 1100, "height": 760}
PHONE = {"width": 390, "height": 844}
AXE = Path(__file__).parent / "axe.min.js"
PICTURES = Path(__file__).parents[2] / ".pictures"
"""What the page looked like in the last run, for somebody to look at; tests/conftest.py says so."""
NO_PICKER = "delete window.showSaveFilePicker"
"""As most browsers are; and nobody is there to choose a file."""
PRIVATE_PICKER = """
window.showSaveFilePicker = async ({ suggestedName }) => {
    const root = await navigator.storage.getDirectory();
    return root.getFileHandle(suggestedName, { create: true });
};
"""
"""Chooses the suggested name in the browser's own file system, where a test can look."""

expect.set_options(timeout=PATIENCE_MS)


@asynccontextmanager
async def chromium(*flags: str) -> AsyncIterator[Browser]:
    """The browser of the system, without a window."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *flags]
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Visit:
    """One page in a browser of its own, and what it complained of."""

    page: Page
    context: BrowserContext
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def state(self, name: str, error: str | None = None) -> None:
        """Waits until the page is in this state."""
        main = f'#main[data-state="{name}"]'
        await expect(
            self.page.locator(main + (f'[data-error="{error}"]' if error else ""))
        ).to_have_count(1)

    async def outcome(self, kind: str) -> None:
        """Waits until a transfer has ended so."""
        await expect(self.page.locator(f'.outcome[data-kind="{kind}"]')).to_be_visible()

    async def download(self, button: str) -> tuple[str, bytes]:
        """What the browser saves when this is pressed: the name and the bytes."""
        async with self.page.expect_download(timeout=PATIENCE_MS) as waiting:
            await self.page.get_by_role("button", name=button, exact=True).click()
        download = await waiting.value
        path = await download.path()
        return download.suggested_filename, path.read_bytes()

    async def picture(self, name: str) -> None:
        """Keeps what the page looks like now."""
        PICTURES.mkdir(exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")

    async def violations(self) -> list[str]:
        """What axe finds that would keep somebody out."""
        await self.page.evaluate(AXE.read_text())
        found = await self.page.evaluate("axe.run({ resultTypes: ['violations'] })")
        return [
            f"{one['id']}: {json.dumps([node['html'] for node in one['nodes']])}"
            for one in found["violations"]
        ]


@asynccontextmanager
async def visiting(
    browser: Browser,
    address: str,
    *,
    script: str = NO_PICKER,
    viewport: dict[str, int] | None = None,
    **options: Any,
) -> AsyncIterator[Visit]:
    """Opens the address in a fresh context; what the browser blocks or throws is a failure."""
    size = viewport or DESKTOP
    context = await browser.new_context(viewport=size, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    visit = Visit(page, context)
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on("console", lambda message: note(visit, message.type, message.text))
    context.on("request", lambda request: visit.requests.append(f"{request.url} {request.headers}"))
    await page.add_init_script(script)
    try:
        await page.goto(address)
        yield visit
        assert visit.complaints == []
    finally:
        await context.close()


def note(visit: Visit, kind: str, text: str) -> None:
    """An answer such as 404 is told on the console, and is no fault of the page."""
    if kind == "error" and not text.startswith("Failed to load resource"):
        visit.complaints.append(text)
