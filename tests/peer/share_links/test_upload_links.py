"""Upload links as a person asks for them, by a real daemon at a real relay."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from crypto.keys import DeviceKeys
from crypto.share_links import LinkKey, LinkSecrets
from crypto.uploads import SEGMENT_SIZE
from peer.daemon import Daemon
from peer.errors import LinkNotMade, NoLinkRelay, RelayUnreachable
from peer.share_links.link_entries import UploadLinkEntry
from peer.share_links.upload_links import Place, UploadLinks, UploadWish
from peer.share_links.upload_store import UploadLink
from protocol.share_url import ShareUrl
from protocol.upload_head import UploadHead
from relay.uploads import Upload, Uploads
from tests.peer.device_stage import DEADLINE_S, devices, until
from tests.peer.link_stage import link_relaying

WISH = UploadWish(3600, 10, 5 << 20, 9 << 20)


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[tuple[Daemon, Path]]:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        root = stage.root("one")
        (root / "In").mkdir(parents=True)
        await daemon.add_folder(root, "f")
        yield daemon, root


async def send(
    daemon: Daemon, uploads: Uploads, entry: UploadLinkEntry, data: bytes, path: str
) -> None:
    """To a link of this device."""
    link_id = ShareUrl.parse(entry["url"]).link_id
    (link,) = [each for each in await daemon.uploads.every() if each.link_id == link_id]
    await send_by(link, uploads, data, path)


async def send_by(link: UploadLink, uploads: Uploads, data: bytes, path: str) -> None:
    """As a page does, with no more than the URL, and what the link's blob says."""
    from crypto.uploads import gate_of, seal_head, segment_count

    url, upload_id = link.url, os.urandom(16)
    row = uploads._links.row_of(url.link_id)
    assert row is not None
    gate = gate_of(LinkSecrets(url.secret, row.password_salt), url.link_id)
    public = LinkKey.from_secret(link.secrets.upload_secret).public
    head = UploadHead(path, len(data), 0, "Ada", b"b" * 16, 0, 1).encode()
    sealed, keys = seal_head(public, url.link_id, upload_id, gate, head, os.urandom(32))
    upload = await uploads.begin(url.link_id, upload_id, len(data), sealed, "h")
    assert isinstance(upload, Upload)
    count = segment_count(len(data))
    segments = [
        keys.seal_segment(
            i, data[i * SEGMENT_SIZE : (i + 1) * SEGMENT_SIZE], is_last=i == count - 1
        )
        for i in range(count)
    ]
    uploads.path(upload.row).write_bytes(b"".join(segments))
    await uploads.keep(upload, 0, count)


async def test_what_is_put_in_comes_and_is_told(one: tuple[Daemon, Path], tmp_path: Path) -> None:
    daemon, root = one
    async with link_relaying(tmp_path / "relay") as stage:
        await daemon.add_relay(stage.address)
        made = await daemon.share_links.request(root / "In", "", None, WISH)
        assert (made["name"], made["state"], made["waiting"]) == ("In", "live", 0)
        uploads = stage.desk.uploads
        data = os.urandom(SEGMENT_SIZE + 5)
        await send(daemon, uploads, made, data, "a.raw")
        await send(daemon, uploads, made, b"", "b.txt")
        (entry,) = (await daemon.share_links.listed())["requests"]
        assert (entry["files"], entry["bytes"], entry["waiting"]) == (2, len(data), 0)
        assert entry["senders"][0]["label"] == "Ada"
        (directory,) = await asyncio.to_thread(os.listdir, root / "In")
        assert directory.startswith("From Ada (")
        assert (root / "In" / directory / "a.raw").read_bytes() == data
        (notice,) = daemon.witness.board.listed(unread_only=True, limit=9)
        assert notice["text"] == "2 files have come into f by an upload link, from Ada."
        # Paused, nothing is written; and what was put in before the end still comes after it.
        await send(daemon, uploads, made, b"late", "c.txt")
        await daemon.pause(None)
        (entry,) = (await daemon.share_links.listed())["requests"]
        assert (entry["waiting"], "paused" in entry["problem"]) == (1, True)
        await daemon.share_links.revoke(made["url"])
        await daemon.resume(None)
        (entry,) = (await daemon.share_links.listed())["requests"]
        assert (entry["files"], entry["waiting"], entry["state"]) == (3, 0, "revoked")
        (link,) = await (await daemon.uploads._store.get()).links()
        assert link.is_over
        assert (await daemon.share_links.listed())["requests"][0]["state"] == "revoked"


async def test_what_cannot_be_is_told(one: tuple[Daemon, Path], tmp_path: Path) -> None:
    daemon, root = one
    links = daemon.share_links
    with pytest.raises(NoLinkRelay):
        await links.request(root / "In", "", None, WISH)
    assert (await links.listed())["requests"] == []
    (root / "file").write_text("x")
    (root / "away").symlink_to(tmp_path)
    async with link_relaying(tmp_path / "relay") as stage:
        await daemon.add_relay(stage.address)
        for wrong in (root / "file", root / "away", root / ".holdfast"):
            with pytest.raises(LinkNotMade, match="Name one inside of the folder"):
                await links.request(wrong, "", None, WISH)
        with pytest.raises(LinkNotMade, match=r"no directory .*/nothing\. Make it"):
            await links.request(root / "nothing", "", None, WISH)
        with pytest.raises(LinkNotMade, match="name"):
            await links.request(root, "x" * 201, None, WISH)
        made = await links.request(root, "Party", None, UploadWish(0, 1, 2, 3, "Tal"))
        assert (made["has_password"], made["expires_s"], made["name"]) == (True, 0, "Party")
    (entry,) = (await links.listed())["requests"]
    assert (entry["state"], entry["waiting"], entry["problem"] != "") == ("unknown", None, True)
    with pytest.raises(RelayUnreachable, match="not ended"):
        await links.revoke("Party")


async def test_the_daemon_asks_by_itself(
    one: tuple[Daemon, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, root = one
    monkeypatch.setattr("peer.share_links.upload_links.ASKED_EVERY_S", 0.2)
    async with link_relaying(tmp_path / "relay") as stage:
        await daemon.add_relay(stage.address)
        made = await daemon.share_links.request(root / "In", "", None, WISH)
        await send(daemon, stage.desk.uploads, made, b"data", "a.txt")
        async with asyncio.timeout(60):
            while not [path for path in root.rglob("a.txt") if ".holdfast" not in path.parts]:
                await asyncio.sleep(0.05)


async def test_a_link_that_is_made_while_relays_are_asked_is_asked_for_at_once(
    one: tuple[Daemon, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.share_links.upload_links.ASKED_EVERY_S", 3600.0)
    daemon, _ = one
    links = UploadLinks(
        daemon.home.path / "uploads.db", daemon.home.keys, lambda: (), Place(daemon.history),
        lambda *heard: None,
    )  # fmt: skip
    asked = asyncio.Queue[None]()

    async def ask(*, is_patient: bool) -> None:
        if asked.qsize() == 0:
            links._wake.set()
        asked.put_nowait(None)

    monkeypatch.setattr(links, "ask", ask)
    running = asyncio.ensure_future(links.run())
    async with asyncio.timeout(DEADLINE_S):
        while asked.qsize() < 2:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])


async def test_a_list_that_is_damaged_is_said_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is one of the daemon's tasks: an error that it does not expect would end the daemon."""
    monkeypatch.setattr("peer.share_links.upload_links.ASKED_EVERY_S", 0.01)
    path = tmp_path / "uploads.db"
    path.write_bytes(b"no database" * 1000)
    keys = DeviceKeys.generate(os.urandom)
    uploads = UploadLinks(path, keys, list, cast(Place, None), lambda *_: None)
    running = asyncio.ensure_future(uploads.run())
    await until(lambda: running.done() or caplog.text.count("cannot be taken: The list") > 1)
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
    await uploads.close()
