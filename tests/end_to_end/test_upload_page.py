"""Files from a real browser through a real relay into a folder of a real daemon, and its end."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from playwright.async_api import FilePayload

from tests.end_to_end.device import FOLDER, Device, end, found, wait_until
from tests.end_to_end.test_share_links import WebRelay
from tests.relay.browsing import chromium, visiting

PICTURE = Random(7).randbytes(5_300_001)
PASSWORD = {"HOLDFAST_LINK_PASSWORD": "Blaue Täler"}


@pytest.mark.row("A38")
@pytest.mark.row("A39")
async def test_files_come_from_a_browser_into_a_folder(tmp_path: Path) -> None:
    relay, device = WebRelay(tmp_path / "relay-home"), Device(tmp_path, "alpha")
    try:
        inbox = prepared(device, relay)
        made = device.command("link", "request", str(inbox), "--max-files", "3", "--name", "Party")
        files = {"picture.raw": PICTURE, "empty.txt": b""}
        async with chromium() as browser, visiting(browser, made["url"]) as visit:
            await visit.state("upload")
            assert "#" not in visit.page.url
            await visit.page.locator("input[type=file]").set_input_files(
                [FilePayload(name=n, mimeType="", buffer=data) for n, data in files.items()]
            )
            await visit.page.get_by_label("Your name").fill("Ada / ../Brown")
            await visit.page.get_by_role("button", name="Send 2 files").click()
            await visit.outcome("sent")
            wait_until(lambda: arrived(inbox).keys() == files.keys(), "what was sent", 60)
            assert arrived(inbox) == {n: sha256(data).digest() for n, data in files.items()}
            assert [d.name.split(" (")[0] for d in inbox.iterdir()] == ["From Ada _ .._Brown"]
            (listed,) = device.command("link", "list")["requests"]
            assert (listed["files"], listed["waiting"], listed["state"]) == (2, 0, "live")
            assert listed["senders"][0]["label"] == "Ada / ../Brown"
            news = device.command("notifications")["notifications"]
            assert any("2 files have come" in each["text"] for each in news), news
            device.command("link", "revoke", "Party")
            await visit.page.locator("input[type=file]").set_input_files(
                FilePayload(name="late.txt", mimeType="", buffer=b"too late")
            )
            await visit.page.get_by_role("button", name="Send 1 file").click()
            await visit.state("failure", "revoked")
        assert list((tmp_path / "relay-home" / "uploads").iterdir()) == []
        relay.stop()
    finally:
        relay.process.kill()
        relay.process.communicate()
        end([device])


def prepared(device: Device, relay: WebRelay) -> Path:
    """A directory in a folder of a device that uses the relay."""
    found(device)
    device.command("relay", "add", relay.address)
    device.command("folder", "add", str(device.folder), "--name", FOLDER)
    inbox = device.folder / "Inbox"
    inbox.mkdir()
    wait_until(lambda: device.folder_status()["state"] == "in sync", "the folder to be known", 60)
    return inbox


def arrived(inbox: Path) -> dict[str, bytes]:
    return {
        path.name: sha256(path.read_bytes()).digest() for path in inbox.rglob("*") if path.is_file()
    }
