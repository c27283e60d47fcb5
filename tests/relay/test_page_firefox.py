"""The page of share links in Firefox, which has no picker of files: what it saves there by a
service worker, and what it says. All else of it is tried in Chromium (`test_page.py`).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from relay.web_files import PageFiles
from tests.crypto.seeded import Seeded
from tests.relay.firefox import Firefox, Tab, firefox
from tests.relay.made_links import LinkMaker, address_of, put
from tests.relay.relay_stage import LOOPBACK
from tests.relay.upload_stage import make_upload_link, opened, put_upload_link
from tests.relay.web_stage import Made, WebStage, web_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

RANDOM = Seeded("test of the page in Firefox")
FILM = RANDOM(5_000_000)
PASSWORD = "Blaue T\u00e4ler"
ENTER = "\ue007"
FOLDER = {
    "Norway/Itinerary.txt": b"Dear all,\n" * 9000,
    "Norway/Photos/\u65e5\u672c.jpg": RANDOM(3_000_000),
    "Norway/nothing.bin": b"",
    "Norway/Empty/": b"",
}


class Stage:
    """The endpoint, the browser before it, and links to open."""

    def __init__(self, web: WebStage, browser: Firefox) -> None:
        self.web, self.browser = web, browser
        self.address = f"http://{LOOPBACK}:{web.port}"
        self._maker = LinkMaker("test of the page in Firefox")

    async def link(self, files: dict[str, bytes], **options: Any) -> Made:
        link, packs = self._maker.make(files, **options)
        await put(self.web.links, link, packs)
        return link

    def visit(self, link: Made) -> AbstractAsyncContextManager[Tab]:
        return self.browser.visiting(self.address + address_of(link))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    home, folder = (tmp_path_factory.mktemp(name) for name in ("relay", "firefox"))
    async with web_stage(home, files=PageFiles.load()) as web, firefox(folder) as browser:
        yield Stage(web, browser)


def saved(tab: Tab) -> list[str]:
    return sorted(path.name for path in tab.saved.iterdir())


async def test_a_file_is_saved_as_it_was(stage: Stage) -> None:
    link = await stage.link({"Summer.mov": FILM})
    async with stage.visit(link) as tab:
        await tab.state("ready")
        await tab.press("Save")
        assert sha256(await tab.download()).digest() == sha256(FILM).digest()
        await tab.outcome("saved")
        await tab.picture("saved")
        assert saved(tab) == ["Summer.mov"]


async def test_a_folder_comes_as_one_zip(stage: Stage) -> None:
    link = await stage.link(FOLDER)
    async with stage.visit(link) as tab:
        await tab.state("ready")
        await tab.press("Save all as a zip")
        with zipfile.ZipFile(io.BytesIO(await tab.download())) as whole:
            assert whole.testzip() is None
            assert {name: whole.read(name) for name in whole.namelist()} == FOLDER
        assert saved(tab) == ["Norway.zip"]
        await tab.press("Save nothing.bin")
        assert await tab.download() == b""


async def test_a_text_can_be_looked_at(stage: Stage) -> None:
    link = await stage.link(FOLDER)
    async with stage.visit(link) as tab:
        await tab.state("ready")
        await tab.press("View Itinerary.txt")
        await tab.shown("#viewer pre", "Dear all,")
        await tab.picture("viewer")


@pytest.mark.row("A39")
async def test_a_password_is_asked_for_until_it_is_right(stage: Stage) -> None:
    link = await stage.link({"contract.txt": FILM[:5000]}, password=PASSWORD)
    async with stage.visit(link) as tab:
        await tab.state("password")
        await tab.keys("blaue" + ENTER)  # the field has the focus already
        await tab.shown('[role="alert"]', "not the password")
        await tab.picture("password")
        await tab.keys(PASSWORD + ENTER)
        await tab.state("ready")
        await tab.press("Save")
        assert await tab.download() == FILM[:5000]


@pytest.mark.row("A39")
async def test_a_link_that_was_revoked_says_so(stage: Stage) -> None:
    link = await stage.link({"a.bin": FILM})
    async with stage.visit(link) as tab:
        await tab.state("ready")
        assert await stage.web.links.links.revoke(link.link_id, link.key.revocation(1), 1)
        await tab.press("Save")
        await tab.state("failure", "revoked")
        assert saved(tab) == []
    async with stage.visit(link) as tab:
        await tab.state("failure", "revoked")
        await tab.shown("h1", "This link has been withdrawn")
        await tab.picture("revoked")


@pytest.mark.row("A07")
async def test_what_is_damaged_at_its_beginning_begins_no_download(stage: Stage) -> None:
    link = await stage.link({"a.bin": FILM})
    pack = bytearray(stage.web.links.packs.packs[link.packs[0]])
    pack[1_500_000] ^= 1
    stage.web.links.packs.packs[link.packs[0]] = bytes(pack)
    async with stage.visit(link) as tab:
        await tab.state("ready")
        await tab.press("Save")
        await tab.outcome("damaged")
        # Firefox would list one that failed so early for good, as one that goes on.
        assert await tab.evaluate("() => document.querySelectorAll('iframe').length") == 0
        assert saved(tab) == []


@pytest.mark.row("A39")
async def test_a_file_is_sent_by_an_upload_link(stage: Stage, tmp_path: Path) -> None:
    link = make_upload_link()
    await put_upload_link(stage.web.links, link)
    (tmp_path / "photo.jpg").write_bytes(FILM)
    async with stage.visit(link.made) as tab:
        await tab.state("upload")
        await tab.choose("input[type=file]", tmp_path / "photo.jpg")
        await tab.press("Send 1 file (5 MB)")
        await tab.outcome("sent")
        await tab.picture("sent")
    assert opened(stage.web.links, link)["photo.jpg"][1] == FILM
