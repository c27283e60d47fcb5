"""The upload view of the page in a real browser, before the real endpoint: what it sends, what it
refuses, and what it says.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from protocol.upload_head import UploadHead
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
    opened,
    put_upload_link,
    sealed_file,
)
from tests.relay.web_stage import WebStage, text_of, web_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

RANDOM = Seeded("test of the upload view")
PHOTO = RANDOM(3_400_000)
INPUT = "input[type=file]"
OPENED = """
async function all(store) {
    const database = await new Promise((resolve) => {
        const request = indexedDB.open("holdfast uploads", 1);
        request.onsuccess = () => resolve(request.result);
    });
    const request = database.transaction(store, "readwrite").objectStore(store);
    return { store: request, found: await new Promise((resolve) => {
        const asked = request.getAll();
        asked.onsuccess = () => resolve(asked.result);
    }) };
}
"""
KEPT = (
    "async () => {"
    + OPENED
    + """
    const { found: files } = await all("files");
    const { found: parts } = await all("parts");
    const latin1 = new TextDecoder("latin1");
    const bytes = (file) => latin1.decode(file.head) + latin1.decode(file.label.sealed);
    const text = files.map((file) => JSON.stringify(file) + bytes(file)).join();
    const hashes = parts.reduce((sum, part) => sum + part.bytes.length / 32, 0);
    const readable = files.some((file) => file.key.extractable);
    return { files: files.length, parts: hashes, readable, text };
}"""
)
FORGET_PARTS = "async () => {" + OPENED + "(await all('parts')).store.clear(); }"


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
        """What waits for the maker."""
        return opened(self.web.links, link)


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


async def begun_and_closed(stage: Stage, visit: Visit, link: UploadLinkMade, path: Path) -> bytes:
    """Sends the first part of a file, and closes the page; the id of the upload."""
    await visit.state("upload")
    await visit.page.route("**/uploads/*/1", lambda route: None)  # it hangs
    await visit.page.locator(INPUT).set_input_files(path)
    await visit.page.get_by_label("Your name").fill("Augusta")
    await press(visit, "Send 1 file")
    await expect(visit.page.locator(".size")).to_have_text("1 MB of 3.4 MB")
    (upload_id,) = stage.web.links.uploads._uploads[link.made.link_id]
    # Whoever looks into the browser finds neither the file's name nor the link's secret.
    kept = await visit.page.evaluate(KEPT)
    secret = address_of(link.made).split("#")[1]
    assert (kept["files"], kept["readable"]) == (1, False)
    assert kept["parts"] > 1, "those that are on their way are known, too"
    assert not any(name in kept["text"] for name in ("photo", "Augusta"))
    assert secret not in kept["text"]
    await visit.page.close()
    visit.requests.clear()
    return upload_id


@asynccontextmanager
async def visited_again(stage: Stage, link: UploadLinkMade, first: Visit) -> AsyncIterator[Visit]:
    page = await first.context.new_page()
    again = Visit(page, first.context, first.complaints, first.requests)
    page.on("pageerror", lambda error: again.complaints.append(str(error)))
    await page.goto(f"http://{LOOPBACK}:{stage.web.port}{address_of(link.made)}")
    await again.state("upload")
    yield again


@pytest.mark.row("A39")
async def test_a_page_that_was_closed_goes_on_with_the_same_file(
    stage: Stage, tmp_path: Path
) -> None:
    link = await stage.link(files_max=1)  # its place is kept, and taken by nobody else
    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    async with stage.visit(link) as visit:
        upload_id = await begun_and_closed(stage, visit, link, path)
        async with visited_again(stage, link, visit) as again:
            await expect(again.page.locator(".outcome")).to_contain_text("1 file not sent whole")
            await expect(again.page.get_by_label("Your name")).to_have_value("Augusta")
            await again.picture("upload-begun")
            await again.page.locator(INPUT).set_input_files(path)
            await expect(again.page.locator(".size")).to_contain_text("was begun, and goes on")
            await press(again, "Go on with 1 file")
            await again.outcome("sent")
            await expect(again.page.locator(".facts")).to_contain_text("0 files and 13 MB left")
            puts = [request for request in again.requests if "/uploads/" in request]
            assert len(puts) >= 2
            assert all(f"/uploads/{text_of(upload_id)}" in request for request in puts)
            assert not any("/0 " in request for request in puts), "the first part is there"
            assert (await again.page.evaluate(KEPT))["files"] == 0
    assert list(stage.web.links.uploads._uploads[link.made.link_id]) == [upload_id]
    assert stage.opened(link)["photo.jpg"][1] == PHOTO


@pytest.mark.row("A39")
@pytest.mark.parametrize("what", ["the file was changed", "what was sent is not known any more"])
async def test_what_cannot_be_gone_on_with_begins_anew_and_says_so(
    stage: Stage, tmp_path: Path, what: str
) -> None:
    link = await stage.link()
    path, data = tmp_path / "photo.jpg", PHOTO
    path.write_bytes(PHOTO)
    async with stage.visit(link) as visit:
        upload_id = await begun_and_closed(stage, visit, link, path)
        if what == "the file was changed":  # and whoever did it put its time back
            before = path.stat()
            data = PHOTO[:1_500_000] + b"x" + PHOTO[1_500_001:]
            path.write_bytes(data)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        async with visited_again(stage, link, visit) as again:
            if what != "the file was changed":
                await again.page.evaluate(FORGET_PARTS)
            await again.page.locator(INPUT).set_input_files(path)
            await press(again, "Go on with 1 file")
            await again.outcome("sent")
            await expect(again.page.locator(".size")).to_contain_text("sent ✓ · begun anew")
            # Nothing is sealed a second time under what was used for other bytes.
            old = [r for r in again.requests if f"/uploads/{text_of(upload_id)}/" in r]
            assert old == []
    assert stage.opened(link)["photo.jpg"][1] == data


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
        await expect(visit.page.locator("#main")).to_contain_text("No more files can be sent by it")


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
