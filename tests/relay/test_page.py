"""The page of share links in a real browser, before the real endpoint: what it saves, what it
refuses, and what it says.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fpdf import FPDF
from playwright.async_api import Browser, Route, expect

from crypto.packs import LEAF_SIZE
from protocol.link_manifest import LinkManifest, SharedFile
from relay.web_files import PageFiles
from relay.web_server import SELF_SIGNED_NAME
from tests.crypto.seeded import Seeded
from tests.relay.browsing import PHONE, PRIVATE_PICKER, Visit, chromium, visiting
from tests.relay.made_links import LinkMaker, address_of, put
from tests.relay.relay_stage import LOOPBACK
from tests.relay.web_stage import Made, WebStage, web_stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

RANDOM = Seeded("test of the page")
PHOTO = RANDOM(3_000_000)
LETTER = b"Dear all, <script>alert(1)</script>\n" * 9000
PASSWORD = "Blaue T\u00e4ler"
FOLDER = {
    "Norway/Itinerary.txt": LETTER,
    "Norway/Photos/fjord 10.jpg": PHOTO,
    "Norway/Photos/fjord 9.jpg": RANDOM(200_000),
    "Norway/Photos/\u65e5\u672c.jpg": RANDOM(5),
    "Norway/nothing.bin": b"",
    "Norway/Empty/": b"",
}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8"
    "cfc000000301010018dd8db00000000049454e44ae426082"
)


class Stage:
    """The endpoint, the browser before it, and links to open."""

    def __init__(self, web: WebStage, browser: Browser) -> None:
        self.web, self.browser = web, browser
        self.maker = LinkMaker("test of the page")
        self.address = f"http://{LOOPBACK}:{web.port}"
        self._minutes = count(1)

    async def link(
        self, files: dict[str, bytes], *, is_paged: bool = False, **options: Any
    ) -> Made:
        make = self.maker.make_paged if is_paged else self.maker.make
        link, packs = make(files, **options)
        await put(self.web.links, link, packs)
        return link

    def visit(self, link: Made, **options: Any) -> AbstractAsyncContextManager[Visit]:
        return visiting(self.browser, self.address + address_of(link), **options)

    def wait_a_minute(self) -> None:
        """What was tried too often may be tried again."""
        self.web.links.clock.now += 61.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    home = tmp_path_factory.mktemp("relay")
    async with web_stage(home, files=PageFiles.load()) as web, chromium() as browser:
        yield Stage(web, browser)


# ---------------------------------------------------------------- saving


@pytest.mark.row("A38")
async def test_a_file_is_saved_as_it_was_and_the_secret_stays_in_the_page(stage: Stage) -> None:
    link = await stage.link({"Summer.mov": PHOTO})
    secret = address_of(link).split("#")[1]
    async with stage.visit(link) as visit:
        await visit.state("ready")
        assert visit.page.url == stage.address + link.path
        name, data = await visit.download("Save")
        assert (name, sha256(data).digest()) == ("Summer.mov", sha256(PHOTO).digest())
        await visit.outcome("saved")
        assert "Summer" not in await visit.page.title()
        # The one request that has the fragment is the browser's own note of where it was sent.
        assert not [asked for asked in visit.requests[1:] if secret in asked]
        assert await visit.context.cookies() == []
        assert await visit.page.evaluate(
            "[localStorage.length, sessionStorage.length, document.referrer, history.length <= 2]"
        ) == [0, 0, "", True]


async def test_a_chosen_file_gets_the_bytes_when_all_of_them_fit(stage: Stage) -> None:
    link = await stage.link({"a letter.txt": LETTER})
    async with stage.visit(link, script=PRIVATE_PICKER) as visit:
        await visit.state("ready")
        await visit.page.get_by_role("button", name="Save").click()
        await visit.outcome("saved")
        assert await files_of(visit) == {"a letter.txt": sha256(LETTER).hexdigest()}


async def files_of(visit: Visit) -> dict[str, str]:
    """The names and hashes of what was saved by PRIVATE_PICKER."""
    saved: dict[str, str] = await visit.page.evaluate(
        """async () => {
            const found = {};
            for await (const [name, handle] of (await navigator.storage.getDirectory()).entries()) {
                const bytes = await (await handle.getFile()).arrayBuffer();
                const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
                found[name] = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
            }
            return found;
        }"""
    )
    return saved


async def test_a_folder_is_listed_and_comes_as_one_zip_or_file_by_file(stage: Stage) -> None:
    link = await stage.link(FOLDER)
    async with stage.visit(link) as visit:
        await visit.state("ready")
        await expect(visit.page.get_by_role("heading")).to_have_text("Norway")
        assert await visit.page.locator(".files .path").all_inner_texts() == [
            "Itinerary.txt",
            "nothing.bin",
            "Photos/fjord 9.jpg",
            "Photos/fjord 10.jpg",
            "Photos/\u65e5\u672c.jpg",
        ]
        name, data = await visit.download("Save all as a zip")
        assert name == "Norway.zip"
        with zipfile.ZipFile(io.BytesIO(data)) as whole:
            assert whole.testzip() is None
            assert {name: whole.read(name) for name in whole.namelist()} == FOLDER
        assert await visit.download("Save fjord 10.jpg") == ("fjord 10.jpg", PHOTO)
        assert await visit.download("Save nothing.bin") == ("nothing.bin", b"")


async def test_a_list_in_pages_is_a_list(stage: Stage) -> None:
    files = {"top/large.bin": PHOTO, "top/sub/b.txt": b"b" * 10, "top/sub/c/d.bin": PHOTO[:900]}
    link = await stage.link(files, is_paged=True)
    async with stage.visit(link) as visit:
        await visit.state("ready")
        assert await visit.page.locator(".files .path").all_inner_texts() == [
            "large.bin",
            "sub/b.txt",
            "sub/c/d.bin",
        ]
        _, data = await visit.download("Save all as a zip")
        with zipfile.ZipFile(io.BytesIO(data)) as whole:
            assert {name: whole.read(name) for name in whole.namelist()} == files
        assert await visit.download("Save large.bin") == ("large.bin", PHOTO)
        assert await visit.download("Save d.bin") == ("d.bin", PHOTO[:900])


async def test_a_large_folder_is_listed_bit_by_bit(stage: Stage) -> None:
    link = await stage.link({f"many/{at}.txt": b"x" for at in range(450)})
    async with stage.visit(link) as visit:
        await visit.state("ready")
        await expect(visit.page.locator(".files li")).to_have_count(200)
        for shown in (400, 450):
            await visit.page.get_by_role("button", name="Show more").click()
            await expect(visit.page.locator(".files li")).to_have_count(shown)
        await expect(visit.page.get_by_role("button", name="Show more")).to_be_hidden()


async def test_far_down_in_a_list_it_is_seen_how_a_save_has_ended(stage: Stage) -> None:
    long = "a directory whose name does not fit into one line of a phone, however it is held"
    link = await stage.link({f"many/{long}/{at}.txt": b"x" for at in range(120)})
    async with stage.visit(link, viewport=PHONE) as visit:
        await visit.state("ready")
        assert await visit.page.evaluate("scrollY") == 0, "it begins at its beginning"
        sides = "[document.documentElement.scrollWidth, innerWidth]"
        assert await visit.page.evaluate(sides) == [PHONE["width"]] * 2
        row = visit.page.locator(".files li").last
        box = await row.bounding_box()
        assert box is not None
        assert box["height"] < 90, "the directory takes one line"
        await row.scroll_into_view_if_needed()
        assert await visit.page.evaluate("scrollY") > 2000
        assert (await visit.download("Save 119.txt"))[1] == b"x"
        await expect(visit.page.locator('.outcome[data-kind="saved"]')).to_be_in_viewport()
        await expect(row).to_be_in_viewport()


@pytest.mark.row("A39")
async def test_who_leaves_without_a_byte_leaves_the_download_to_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await stage.link({"a.bin": PHOTO}, downloads_max=1)
    links, is_asked = stage.web.links.links, asyncio.Event()
    give_back = links.give_back

    async def noted(*asked: bytes) -> Any:
        try:
            return await give_back(*asked)
        finally:
            is_asked.set()

    monkeypatch.setattr(links, "give_back", noted)
    async with stage.visit(link) as visit:
        await visit.state("ready")
        assert (await stage.web.claim(link)).json == {"wait": "taken"}
        await visit.page.goto("about:blank")
        async with asyncio.timeout(60):
            await is_asked.wait()
    async with stage.visit(link) as visit:
        await visit.state("ready")
        assert (await visit.download("Save"))[1] == PHOTO


async def test_whoever_presses_twice_gets_it_once(stage: Stage) -> None:
    link = await stage.link({"a.bin": PHOTO})
    async with stage.visit(link) as visit:
        await visit.state("ready")
        async with visit.page.expect_download():
            await visit.page.get_by_role("button", name="Save").dblclick()
        await visit.outcome("saved")
        await expect(visit.page.locator("iframe")).to_have_count(1)
        await expect(visit.page.get_by_role("button", name="Save")).to_be_focused()


async def test_stopping_saves_nothing(stage: Stage) -> None:
    link = await stage.link({"large.bin": PHOTO * 4})
    async with stage.visit(link, script=PRIVATE_PICKER) as visit:
        await visit.state("ready")
        await visit.page.route("**/pack/**", hold)
        await visit.page.get_by_role("button", name="Save").click()
        await visit.page.get_by_role("button", name="Stop").click()
        await visit.outcome("stopped")
        assert await files_of(visit) == {}
        await visit.page.unroute("**/pack/**")
        await visit.page.get_by_role("button", name="Save").click()
        await visit.outcome("saved")


async def hold(route: Route) -> None:
    """Neither answers nor refuses."""


# ---------------------------------------------------------------- passwords


@pytest.mark.row("A39")
async def test_a_password_is_asked_for_until_it_is_right(stage: Stage) -> None:
    link = await stage.link({"contract.txt": LETTER}, password=PASSWORD)
    async with stage.visit(link) as visit:
        await visit.state("password")
        await visit.page.keyboard.type("blaue t\u00e4ler")  # the field has the focus already
        await visit.page.keyboard.press("Enter")
        await expect(visit.page.get_by_role("alert")).to_contain_text("not the password")
        await visit.page.keyboard.type("Blaue Ta\u0308ler")  # the same, as another system types it
        await visit.page.keyboard.press("Enter")
        await visit.state("ready")
        assert (await visit.download("Save"))[1] == LETTER


@pytest.mark.row("A39")
async def test_guessing_is_told_to_wait(stage: Stage) -> None:
    link = await stage.link({"contract.txt": LETTER}, password=PASSWORD)
    for _ in range(10):
        await stage.web.claim(link, b"x" * 32)
    try:
        async with stage.visit(link) as visit:
            await visit.state("password")
            await visit.page.keyboard.type(PASSWORD)
            await visit.page.keyboard.press("Enter")
            await expect(visit.page.get_by_role("alert")).to_contain_text("Too many tries")
    finally:
        stage.wait_a_minute()


# ---------------------------------------------------------------- ends


async def revoke(stage: Stage, link: Made) -> None:
    assert await stage.web.links.links.revoke(link.link_id, link.key.revocation(1), 1)


async def use_up(stage: Stage, link: Made) -> None:
    ticket = await stage.web.ticket(link)
    await stage.web.range(link, ticket, 0, 16 * LEAF_SIZE)


async def take(stage: Stage, link: Made) -> None:
    await stage.web.ticket(link)


async def expire(stage: Stage, link: Made) -> None:
    stage.web.links.wall_clock.now += 100.0


@pytest.mark.row("A39")
@pytest.mark.parametrize(
    ("end", "options", "error", "words"),
    [
        (revoke, {}, "revoked", "This link has been withdrawn"),
        (use_up, {"downloads_max": 1}, "used-up", "This link has been used up"),
        (take, {"downloads_max": 1}, "taken", "All downloads of this link are taken"),
        (expire, {"lifetime_s": 50}, "expired", "This link has expired"),
    ],
    ids=["revoked", "used up", "taken", "expired"],
)
async def test_a_link_that_has_ended_says_how(
    stage: Stage,
    end: Callable[[Stage, Made], Awaitable[None]],
    options: dict[str, Any],
    error: str,
    words: str,
) -> None:
    link = await stage.link({"a.bin": PHOTO}, **options)
    await end(stage, link)
    async with stage.visit(link) as visit:
        await visit.state("failure", error)
        await expect(visit.page.get_by_role("heading")).to_have_text(words)


@pytest.mark.row("A39")
async def test_revoking_ends_an_open_page_at_its_next_request(stage: Stage) -> None:
    link = await stage.link({"a.bin": PHOTO})
    async with stage.visit(link, script=PRIVATE_PICKER) as visit:
        await visit.state("ready")
        await revoke(stage, link)
        await visit.page.get_by_role("button", name="Save").click()
        await visit.state("failure", "revoked")
        assert await files_of(visit) == {}


async def test_a_link_that_is_not_there_and_one_without_its_secret(stage: Stage) -> None:
    link, _ = stage.maker.make({"a.txt": b"x"})
    async with stage.visit(link) as visit:
        await visit.state("failure", "unknown")
        # The secret is out of the address, so what was loaded again lacks it.
        await visit.page.reload()
        await visit.state("failure", "incomplete")
        # And one whose address lost a character before it.
        path, secret = address_of(link).split("#")
        await visit.page.goto(f"{stage.address}{path[:-1]}#{secret}")
        await visit.state("failure", "incomplete")
    stage.wait_a_minute()


async def test_a_whole_link_in_the_same_page_is_opened(stage: Stage) -> None:
    link = await stage.link({"a.txt": b"x"})
    async with visiting(stage.browser, stage.address + link.path) as visit:
        await visit.state("failure", "incomplete")
        await visit.page.evaluate("(hash) => { location.hash = hash; }", address_of(link)[-43:])
        await visit.state("ready")


async def test_a_download_that_was_given_back_is_claimed_anew(stage: Stage) -> None:
    link = await stage.link({"a.bin": PHOTO})
    async with stage.visit(link) as visit:
        await visit.state("ready")
        stage.web.links.wall_clock.now += 601.0
        assert (await visit.download("Save"))[1] == PHOTO
        claims = [asked for asked in visit.requests if "/claim" in asked]
        assert len(claims) == 2


# ---------------------------------------------------------------- what is refused


def flip(packs: list[bytearray]) -> None:
    packs[0][1_500_000] ^= 1


def cut(packs: list[bytearray]) -> None:
    del packs[0][len(packs[0]) - LEAF_SIZE :]


def reorder(packs: list[bytearray]) -> None:
    # Two leaves change places.
    first, second = packs[0][:LEAF_SIZE], packs[0][LEAF_SIZE : 2 * LEAF_SIZE]
    packs[0][: 2 * LEAF_SIZE] = second + first


@pytest.mark.row("A07")
@pytest.mark.row("A08")
@pytest.mark.parametrize("damage", [flip, reorder])
async def test_what_is_not_what_was_shared_is_not_saved(
    stage: Stage, damage: Callable[[list[bytearray]], None]
) -> None:
    link = await stage.link({"a.bin": PHOTO})
    packs = [bytearray(stage.web.links.packs.packs[pack]) for pack in link.packs]
    damage(packs)
    stage.web.links.packs.packs.update(zip(link.packs, map(bytes, packs), strict=True))
    async with stage.visit(link, script=PRIVATE_PICKER) as visit:
        await visit.state("ready")
        await visit.page.get_by_role("button", name="Save").click()
        await visit.outcome("damaged")
        assert await files_of(visit) == {}
    async with stage.visit(link) as visit:
        await visit.state("ready")
        await visit.page.get_by_role("button", name="Save").click()
        await visit.outcome("damaged")
        # A download would have begun with the first piece of a megabyte, which was not right.
        await expect(visit.page.locator("iframe")).to_have_count(0)


@pytest.mark.row("A07")
async def test_what_is_found_damaged_on_the_way_is_no_whole_download(stage: Stage) -> None:
    link = await stage.link({"a.bin": PHOTO * 4})
    last = bytearray(stage.web.links.packs.packs[link.packs[-1]])
    last[len(last) // 2] ^= 1
    stage.web.links.packs.packs[link.packs[-1]] = bytes(last)
    async with stage.visit(link) as visit:
        await visit.state("ready")
        async with visit.page.expect_download() as waiting:
            await visit.page.get_by_role("button", name="Save").click()
        await visit.outcome("damaged")
        assert await (await waiting.value).failure() is not None


@pytest.mark.row("A08")
async def test_another_link_s_pack_is_refused(stage: Stage) -> None:
    mine, other = [await stage.link({"a.bin": PHOTO}) for _ in range(2)]
    stage.web.links.packs.packs[mine.packs[0]] = stage.web.links.packs.packs[other.packs[0]]
    async with stage.visit(mine) as visit:
        await visit.state("ready")
        await visit.page.get_by_role("button", name="Save").click()
        await visit.outcome("damaged")


@pytest.mark.row("A39")
async def test_a_manifest_that_is_not_the_link_s_is_refused(stage: Stage) -> None:
    mine, other = [await stage.link({"a.bin": b"x"}) for _ in range(2)]
    async with visiting(stage.browser, "about:blank") as visit:

        async def swap(route: Route) -> None:
            await route.fulfill(body=other.blob, headers={"X-Holdfast-Ticket": "A" * 22})

        await visit.page.route("**/claim", swap)
        await visit.page.goto(stage.address + address_of(mine))
        await visit.state("failure", "damaged")


@pytest.mark.row("A34")
async def test_a_manifest_that_would_do_harm_is_refused(stage: Stage) -> None:
    manifest = LinkManifest(0, (), (SharedFile("../../.bashrc", 0, 0),))
    link = stage.maker.seal(manifest.encode(), {})
    await put(stage.web.links, link, {})
    async with stage.visit(link) as visit:
        await visit.state("failure", "damaged")


@pytest.mark.row("A38")
async def test_names_and_texts_of_a_stranger_s_making_are_shown_as_text(stage: Stage) -> None:
    names = ["<img src=x onerror=alert(1)>.txt", "photo\u202egpj.exe", "&amp;.html"]
    link = await stage.link({name: LETTER for name in names})
    async with stage.visit(link) as visit:
        await visit.state("ready")
        shown = await visit.page.locator(".files bdi").all_inner_texts()
        assert sorted(shown) == sorted([names[0], "photo\ufffdgpj.exe", names[2]])
        await visit.page.get_by_role("button", name="View &amp;.html").click()
        await expect(visit.page.locator("#viewer pre")).to_have_text(LETTER.decode())
        assert await visit.page.locator("img, #viewer script").count() == 0


async def test_pictures_and_texts_can_be_looked_at(stage: Stage) -> None:
    files = {"a.png": PIXEL, "b.svg.gz": b"x", "c.pdf": b"%PDF-1.4", "d.jpg": b"no picture"}
    link = await stage.link(files)
    async with stage.visit(link) as visit:
        await visit.state("ready")
        views = visit.page.get_by_role("button", name="View")
        assert await views.count() == 3
        await views.first.click()
        await expect(visit.page.locator("#viewer img")).to_be_visible()
        await visit.page.keyboard.press("Escape")
        await expect(visit.page.locator("#viewer")).to_be_hidden()
        await views.last.click()
        await expect(visit.page.locator("#viewer pre")).to_contain_text("cannot be shown")


async def test_a_pdf_is_shown_in_a_tab_that_cannot_reach_the_page(stage: Stage) -> None:
    paper = FPDF()
    paper.add_page()
    paper.set_font("Helvetica", size=40)
    paper.cell(text="Norway")
    link = await stage.link({"Tickets.pdf": bytes(paper.output())})
    async with stage.visit(link) as visit:
        await visit.state("ready")
        await visit.page.get_by_role("button", name="View").click()
        await visit.picture("page-pdf")
        async with visit.context.expect_page() as opening:
            await visit.page.get_by_role("link", name="Open the PDF in a new tab").click()
        tab = await opening.value
        assert tab.url.startswith("blob:")
        assert await tab.evaluate("window.opener") is None
        async with asyncio.timeout(60):
            # Chromium's viewer is an extension, which shows the bytes in a process of its own.
            while not any(frame.url.startswith("chrome-extension:") for frame in tab.frames):
                await asyncio.sleep(0.05)
        await tab.close()


# ---------------------------------------------------------------- networks


async def test_a_connection_that_breaks_is_gone_on_with(stage: Stage) -> None:
    link = await stage.link({"a.bin": PHOTO})
    async with stage.visit(link) as visit:
        await visit.state("ready")
        broken = 0

        async def shake(route: Route) -> None:
            nonlocal broken
            broken += 1
            await (route.abort() if broken <= 2 else route.continue_())

        await visit.page.route("**/pack/**", shake)
        assert (await visit.download("Save"))[1] == PHOTO
        assert broken > 2


async def test_a_relay_that_cannot_be_reached_is_said_and_can_be_tried_again(stage: Stage) -> None:
    link = await stage.link({"a.txt": b"x"})
    async with visiting(stage.browser, "about:blank") as visit:
        await visit.page.clock.install()
        await visit.page.route("**/head", lambda route: route.abort())
        await visit.page.goto(stage.address + address_of(link))
        await visit.state("opening")
        # Each refusal comes in its own time; the pauses between them are over at once.
        while await visit.page.locator('[data-state="opening"]').count():
            await visit.page.clock.run_for(10_000)
        await visit.state("failure", "unreachable")
        await visit.page.unroute("**/head")
        await visit.page.get_by_role("button", name="Try again").click()
        await visit.state("ready")


# ---------------------------------------------------------------- people


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nobody_is_kept_out(stage: Stage, scheme: str) -> None:
    folder = await stage.link(FOLDER)
    locked = await stage.link({"a.txt": b"x"}, password=PASSWORD)
    gone, _ = stage.maker.make({"a.txt": b"x"})
    for link, state in ((folder, "ready"), (locked, "password"), (gone, "failure")):
        async with stage.visit(link, color_scheme=scheme, bypass_csp=True) as visit:
            await visit.state(state)
            await visit.picture(f"page-{state}-{scheme}")
            assert await visit.violations() == []
            if link is folder:
                await visit.page.get_by_role("button", name="View Itinerary.txt").click()
                await expect(visit.page.locator("#viewer pre")).to_be_visible()
                await visit.picture(f"page-viewer-{scheme}")
                assert await visit.violations() == []
    stage.wait_a_minute()


async def test_a_phone_shows_all_of_it(stage: Stage) -> None:
    long = "a name without a space" + "-and-on" * 25 + ".jpeg"
    link = await stage.link({**FOLDER, f"Norway/{long}": b"x"})
    async with stage.visit(
        link, viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2
    ) as visit:
        await visit.state("ready")
        await visit.picture("page-phone")
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await visit.page.evaluate(wide) == 0
        for button in await visit.page.get_by_role("button").all():
            box = await button.bounding_box()
            assert box is not None
            assert box["height"] >= 44
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
        assert (await visit.download("Save fjord 9.jpg"))[1] == FOLDER["Norway/Photos/fjord 9.jpg"]
        await visit.page.get_by_role("button", name="View Itinerary.txt").tap()
        await expect(visit.page.locator("#viewer pre")).to_be_visible()
        assert await visit.page.evaluate(wide) == 0
        await visit.picture("page-phone-viewer")


async def test_the_keyboard_is_enough(stage: Stage) -> None:
    link = await stage.link({"notes.txt": LETTER, "other.txt": b"y"})
    async with stage.visit(link) as visit:
        await visit.state("ready")
        press = visit.page.keyboard.press
        await press("Tab")
        await expect(visit.page.get_by_role("button", name="Save all as a zip")).to_be_focused()
        await press("Tab")
        await press("Enter")
        await expect(visit.page.locator("#viewer pre")).to_be_visible()
        await press("Escape")
        await expect(visit.page.get_by_role("button", name="View notes.txt")).to_be_focused()
        await press("Tab")
        async with visit.page.expect_download() as waiting:
            await press("Enter")
        assert (await (await waiting.value).path()).read_bytes() == LETTER
        await visit.outcome("saved")
        await expect(visit.page.get_by_role("button", name="Save notes.txt")).to_be_focused()


# ---------------------------------------------------------------- HTTP/2 and 3


async def test_a_file_comes_over_http2_and_over_http3(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("tls")
    async with web_stage(home, is_tls=True, files=PageFiles.load()) as web:
        link, packs = LinkMaker("over TLS").make({"a.bin": PHOTO})
        await put(web.links, link, packs)
        # A browser wants to be told that it may believe a certificate that nobody signed; of QUIC
        # it wants to be told where there is some, for it is not offered to it on the first visit.
        trust = f"--ignore-certificate-errors-spki-list={key_hash(home / SELF_SIGNED_NAME)}"
        quic = f"--origin-to-force-quic-on={LOOPBACK}:{web.port}"
        for flags, protocol in (((trust,), "h2"), ((trust, quic), "h3")):
            async with chromium(*flags) as browser:
                address = f"https://{LOOPBACK}:{web.port}{address_of(link)}"
                async with visiting(browser, address) as visit:
                    await visit.state("ready")
                    assert (await visit.download("Save"))[1] == PHOTO
                    used = "performance.getEntriesByType('resource').map((r) => r.nextHopProtocol)"
                    assert set(await visit.page.evaluate(used)) == {protocol}


def key_hash(certificate: Path) -> str:
    """The hash of a certificate's key, as Chromium names it."""
    public = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(encoded).digest()).decode()
