"""The upload view of the page in a real browser, before the real endpoint: what it sends, what it
refuses, and what it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from crypto.uploads import SEALED_SEGMENT_SIZE, open_head
from protocol.upload_head import UploadHead, decode_upload_head
from relay.web_files import PageFiles
from relay.web_server import SELF_SIGNED_NAME
from tests.crypto.seeded import Seeded
from tests.relay.browsing import PHONE, Visit, chromium, visiting
from tests.relay.made_links import address_of
from tests.relay.relay_stage import LOOPBACK
from tests.relay.test_page import key_hash
from tests.relay.upload_stage import (
    Sender,
    UploadLinkMade,
    make_upload_link,
    put_upload_link,
    sealed_file,
)
from tests.relay.web_stage import WebStage, web_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

RANDOM = Seeded("test of the upload view")
PHOTO = RANDOM(3_400_000)
INPUT = "input[type=file]"


class Stage:
    """The endpoint, and the browser before it."""

    def __init__(self, web: WebStage, browser: Browser) -> None:
        self.web, self.browser = web, browser

    async def link(self, **options: Any) -> UploadLinkMade:
        link = make_upload_link(**options)
        await put_upload_link(self.web.links, link)
        return link

    def visit(self, link: UploadLinkMade, **options: Any) -> AbstractAsyncContextManager[Visit]:
        address = f"http://{LOOPBACK}:{self.web.port}{address_of(link.made)}"
        return visiting(self.browser, address, **options)

    def opened(self, link: UploadLinkMade) -> dict[str, tuple[UploadHead, bytes]]:
        """What waits for the maker, opened with the maker's key alone."""
        found = {}
        uploads = self.web.links.uploads
        for row in uploads.waiting(link.made.link_id):
            plain, keys = open_head(
                link.upload.secret, link.made.link_id, row.upload_id, link.gate, row.head
            )
            head = decode_upload_head(plain)
            sealed = uploads.read(row, 0, 1 << 30)
            pieces = range(0, len(sealed), SEALED_SEGMENT_SIZE)
            data = b"".join(
                keys.open_segment(
                    i, sealed[at : at + SEALED_SEGMENT_SIZE], is_last=i == len(pieces) - 1
                )
                for i, at in enumerate(pieces)
            )
            assert len(data) == head.size
            found[head.path] = (head, data)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    home = tmp_path_factory.mktemp("relay")
    async with web_stage(home, files=PageFiles.load()) as web, chromium() as browser:
        yield Stage(web, browser)


async def choose(visit: Visit, **files: bytes) -> None:
    given = [
        {"name": name.replace("_", "."), "mimeType": "", "buffer": data}
        for name, data in files.items()
    ]
    await visit.page.locator(INPUT).set_input_files(given)  # type: ignore[arg-type]


async def press(visit: Visit, words: str) -> None:
    await visit.page.get_by_role("button", name=words).click()


@pytest.mark.row("A38")
@pytest.mark.row("A39")
async def test_files_are_sealed_in_the_page_to_the_link_s_maker(stage: Stage) -> None:
    link = await stage.link(password="Tal", files_max=3)
    secret = address_of(link.made).split("#")[1]
    async with stage.visit(link, viewport=PHONE, color_scheme="dark") as visit:
        await visit.state("password")
        await visit.page.get_by_label("Password").fill("Tal")
        await press(visit, "Open")
        await visit.state("upload")
        assert secret not in visit.page.url
        assert await visit.violations() == []
        await choose(visit, photo_jpg=PHOTO, empty_txt=b"")
        await visit.page.get_by_label("Your name").fill("Ada\u202e")
        await press(visit, "Send 2 files")
        await visit.outcome("sent")
        assert await visit.violations() == []
        assert not any(secret in request for request in visit.requests)
    opened = stage.opened(link)
    assert {path: data for path, (_, data) in opened.items()} == {
        "photo.jpg": PHOTO, "empty.txt": b"",
    }  # fmt: skip
    heads = [head for head, _ in opened.values()]
    assert {(head.label, head.count) for head in heads} == {("Ada\u202e", 2)}
    assert len({head.batch for head in heads}) == 1
    rests = list((stage.web.links.home / "uploads").iterdir())
    assert all(PHOTO[:64] not in path.read_bytes() for path in rests)


async def test_a_broken_connection_is_gone_on_with(stage: Stage) -> None:
    link = await stage.link()
    async with stage.visit(link) as visit:
        await visit.state("upload")
        left = 2

        async def break_some(route: Route) -> None:
            nonlocal left
            left -= 1
            if left >= 0:
                await route.abort("connectionreset")
            else:
                await route.continue_()

        await visit.page.route("**/uploads/*/1", break_some)
        await choose(visit, photo_jpg=PHOTO)
        await press(visit, "Send 1 file")
        await visit.outcome("sent")
        assert left < 0
    assert stage.opened(link)["photo.jpg"][1] == PHOTO


async def test_who_stops_goes_on_where_it_was(stage: Stage) -> None:
    link = await stage.link()
    async with stage.visit(link) as visit:
        await visit.state("upload")
        await visit.page.route("**/uploads/*/1", lambda route: None)  # it hangs
        await choose(visit, photo_jpg=PHOTO)
        await press(visit, "Send 1 file")
        await expect(visit.page.locator(".size")).to_have_text("1 MB of 3.4 MB")
        await press(visit, "Stop")
        await visit.outcome("stopped")
        await visit.page.unroute("**/uploads/*/1")
        await press(visit, "Go on with 1 file")
        await visit.outcome("sent")
    assert stage.opened(link)["photo.jpg"][1] == PHOTO


@pytest.mark.row("A39")
async def test_each_refusal_has_its_words(stage: Stage) -> None:
    link = await stage.link(files_max=2, file_bytes_max=1000, bytes_max=1500)
    async with stage.visit(link) as visit:
        await visit.state("upload")
        await choose(visit, large_txt=b"x" * 1001, a_txt=b"x" * 1000, b_txt=b"x" * 501)
        said = visit.page.locator(".outcome")
        await expect(said).to_contain_text("large.txt: larger than 1 kB")
        await expect(said).to_contain_text("b.txt: more than the link has room for")
        await expect(visit.page.locator(".files li")).to_have_count(1)
        # Meanwhile somebody else was quicker.
        other = await Sender.claim(stage.web, link)
        await other.send(sealed_file(link, b"y" * 600))
        await press(visit, "Send 1 file")
        await visit.outcome("no-room")
        await press(visit, "Remove a.txt")
        await choose(visit, c_txt=b"x")
        await other.send(sealed_file(link, b""))
        await press(visit, "Send 1 file")
        await visit.outcome("too-many-files")
        await stage.web.links.links.revoke(link.made.link_id, link.made.key.revocation(5), 5)
        await press(visit, "Send 1 file")
        await visit.state("failure", "revoked")


async def test_it_is_used_with_the_keyboard_and_by_dropping(stage: Stage) -> None:
    link = await stage.link()
    async with stage.visit(link) as visit:
        # Listened for from the start: the browser is asked for it in a message of its own, which
        # a key that is pressed at once would overtake.
        chosen = asyncio.get_running_loop().create_future()
        visit.page.once("filechooser", lambda chooser: chosen.set_result(chooser))
        await visit.state("upload")
        await visit.page.keyboard.press("Tab")
        await expect(visit.page.get_by_role("button", name="Choose files")).to_be_focused()
        await visit.page.keyboard.press("Enter")
        assert (await chosen).is_multiple()
        dropped = await visit.page.evaluate_handle(
            "() => { const d = new DataTransfer(); d.items.add(new File(['dropped'], 'd.txt'));"
            " return d; }"
        )
        await visit.page.dispatch_event(".drop", "drop", {"dataTransfer": dropped})
        await expect(visit.page.locator(".files li")).to_have_count(1)
        await visit.page.get_by_label("Your name").focus()
        await visit.page.keyboard.press("Tab")
        await visit.page.keyboard.press("Enter")
        await visit.outcome("sent")
    assert stage.opened(link)["d.txt"][1] == b"dropped"


async def test_files_are_sent_over_http2_and_over_http3(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("tls")
    async with web_stage(home, is_tls=True, files=PageFiles.load()) as web:
        trust = f"--ignore-certificate-errors-spki-list={key_hash(home / SELF_SIGNED_NAME)}"
        quic = f"--origin-to-force-quic-on={LOOPBACK}:{web.port}"
        for flags, protocol in (((trust,), "h2"), ((trust, quic), "h3")):
            async with chromium(*flags) as browser:
                tls = Stage(web, browser)
                link = await tls.link()
                address = f"https://{LOOPBACK}:{web.port}{address_of(link.made)}"
                async with visiting(browser, address) as visit:
                    await visit.state("upload")
                    await choose(visit, photo_jpg=PHOTO)
                    await press(visit, "Send 1 file")
                    await visit.outcome("sent")
                    assert tls.opened(link)["photo.jpg"][1] == PHOTO
                    used = "performance.getEntriesByType('resource').map((r) => r.nextHopProtocol)"
                    assert set(await visit.page.evaluate(used)) == {protocol}
