"""A link from a real daemon, through a real relay, in a real browser: opened, saved, revoked."""

from __future__ import annotations

import io
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from tests.end_to_end.device import FOLDER, Device, end, found, wait_until
from tests.end_to_end.test_share_links import NOISE, WebRelay
from tests.relay.browsing import chromium, visiting


@pytest.mark.row("A38")
@pytest.mark.row("A39")
async def test_a_link_opens_in_a_browser_until_it_is_revoked(tmp_path: Path) -> None:
    relay, device = WebRelay(tmp_path / "relay-home"), Device(tmp_path, "alpha")
    try:
        shared = prepared(device, relay)
        url = device.command("link", "create", str(shared))["url"]
        async with chromium() as browser, visiting(browser, url) as visit:
            await visit.state("ready")
            _, saved = await visit.download("Save picture.raw")
            assert sha256(saved).digest() == sha256(NOISE).digest()
            name, data = await visit.download("Save all as a zip")
            assert name == "Trip.zip"
            with zipfile.ZipFile(io.BytesIO(data)) as whole:
                names = {"Trip/picture.raw", "Trip/Day 1/note.txt", "Trip/empty/"}
                assert set(whole.namelist()) == names
                assert whole.read("Trip/Day 1/note.txt") == b"warm and bright\n" * 5000
            device.command("link", "revoke", url)
            await visit.page.get_by_role("button", name="Save picture.raw").click()
            await visit.state("failure", "revoked")
        relay.stop()
    finally:
        relay.process.kill()
        relay.process.communicate()
        end([device])


def prepared(device: Device, relay: WebRelay) -> Path:
    """A directory that the device has in a folder, and a relay that it uses."""
    found(device)
    device.command("relay", "add", relay.address)
    device.command("folder", "add", str(device.folder), "--name", FOLDER)
    shared = device.folder / "Trip"
    (shared / "Day 1").mkdir(parents=True)
    (shared / "empty").mkdir()
    (shared / "picture.raw").write_bytes(NOISE)
    (shared / "Day 1" / "note.txt").write_bytes(b"warm and bright\n" * 5000)
    wait_until(lambda: device.folder_status()["files"] == 2, "the files to be known", 60)
    return shared
