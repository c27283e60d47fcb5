"""Share links from a real daemon through a real relay: made, fetched without a browser, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.end_to_end.device import FOLDER, ROOT, Device, Refused, end, found, wait_until
from tests.end_to_end.test_relay import RelayProcess

NOISE = Random(9).randbytes(3_000_000)
WEB = {"HOLDFAST_LINK_PASSWORD": "Blaue Täler"}


class WebRelay(RelayProcess):
    """One that serves share links as well: `holdfast relay run --web`."""

    words = ("--web", "127.0.0.1:0")
    stops_within_s = 60

    @property
    def web(self) -> str:
        """Where they are served."""
        web: str = self.said["web"]
        return web


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[WebRelay]:
    relay = WebRelay(tmp_path / "relay-home")
    try:
        yield relay
    finally:
        relay.kill()


@pytest.fixture
def device(tmp_path: Path, relay: WebRelay) -> Iterator[Device]:
    device = Device(tmp_path, "alpha")
    try:
        found(device)
        device.command("relay", "add", relay.address)
        device.command("folder", "add", str(device.folder), "--name", FOLDER)
        (device.folder / "Reise" / "Tag 1").mkdir(parents=True)
        (device.folder / "Reise" / "leer").mkdir()
        (device.folder / "Reise" / "Bild.raw").write_bytes(NOISE)
        (device.folder / "Reise" / "Tag 1" / "Notiz.txt").write_text("warm und hell\n" * 5000)
        wait_until(lambda: device.folder_status()["files"] == 2, "the files to be known", 60)
        yield device
    finally:
        end([device])


def get(url: str, place: Path, **environment: str) -> dict[str, Any]:
    """`holdfast get`, by somebody who has no device."""
    done = subprocess.run(
        [sys.executable, "-m", "peer", "get", url, "-o", str(place), "--json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        cwd=ROOT, env={**os.environ, **environment},
    )  # fmt: skip
    if done.returncode:
        raise Refused(done.returncode, done.stderr.strip())
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def hashes(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def link_of(device: Device, link_id: str) -> dict[str, Any]:
    return next(each for each in device.command("link", "list")["links"] if each["id"] == link_id)


@pytest.mark.row("A38")
@pytest.mark.row("A39")
def test_a_link_is_made_fetched_and_revoked(
    tmp_path: Path, relay: WebRelay, device: Device
) -> None:
    shared = device.folder / "Reise"
    made = device.command("link", "create", str(shared), "--expires", "2d", "--max-downloads", "9")
    assert made["url"].startswith(f"{relay.web}/s/")
    assert (made["files"], made["bytes"]) == (3, 3_000_000 + 70_000)
    got = get(made["url"], tmp_path / "there")
    assert got["names"] == ["Reise"]
    assert hashes(tmp_path / "there" / "Reise") == hashes(shared)
    assert (tmp_path / "there" / "Reise" / "leer").is_dir()
    listed = link_of(device, made["id"])
    assert (listed["state"], listed["downloads"]) == ("live", 1)

    # What is at the relay is not uploaded again, for another link or another name.
    again = device.command("link", "create", str(shared / "Bild.raw"), "--name", "Foto.raw")
    assert again["uploaded_bytes"] == 0
    assert again["manifest_bytes"] < 200_000
    assert get(again["url"], tmp_path / "foto")["names"] == ["Foto.raw"]
    assert (tmp_path / "foto" / "Foto.raw").read_bytes() == NOISE

    device.command("link", "revoke", made["url"])
    assert link_of(device, made["id"])["state"] == "revoked"
    with pytest.raises(Refused, match="revoked") as refused:
        get(made["url"], tmp_path / "late")
    assert refused.value.exit_code == 61
    assert get(again["url"], tmp_path / "other")["files"] == 1, "the other link is not ended"

    # The relay holds no name, no secret and none of the bytes, and has said nothing of a visit.
    said = relay.stop()
    secret = made["url"].partition("#")[2]
    canaries = [b"Bild.raw", b"Reise", b"warm und hell", secret.encode(), NOISE[:64]]
    for path in relay.home.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not [canary for canary in canaries if canary in data], path
    assert made["id"] not in said
    assert secret not in said


def test_a_password_an_edit_and_an_end_of_the_relay(
    tmp_path: Path, relay: WebRelay, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = device.folder / "Reise" / "Tag 1" / "Notiz.txt"
    made = device.client.request(
        "POST", "/api/links/create",
        {"path": str(note), "password": WEB["HOLDFAST_LINK_PASSWORD"], "downloads_max": 1}, 60,
    )  # fmt: skip
    before = note.read_bytes()
    note.write_text("umgeschrieben")
    wait_until(lambda: device.folder_status()["files"] == 2, "the edit")
    with pytest.raises(Refused) as refused:
        get(made["url"], tmp_path / "wrong", HOLDFAST_LINK_PASSWORD="Rote Täler")
    assert refused.value.exit_code == 62
    get(made["url"], tmp_path / "there", **WEB)
    assert (tmp_path / "there" / "Notiz.txt").read_bytes() == before, "what it was when shared"
    with pytest.raises(Refused, match="used as often") as refused:
        get(made["url"], tmp_path / "second", **WEB)
    assert refused.value.exit_code == 61
    relay.stop()
    assert link_of(device, made["id"])["state"] == "unknown"
    with pytest.raises(Refused) as refused:
        device.command("link", "revoke", made["id"])
    assert refused.value.exit_code == 36
    assert "Blaue" not in device.log.read_text()


class StoringRelay(RelayProcess):
    """One that stores shares and serves no links."""

    stops_within_s = 60

    def __init__(self, home: Path) -> None:
        config = home.with_suffix(".toml")
        config.write_text(f'[storage]\npath = "{home}-shares"\n')
        self.words = ("--config", str(config))
        super().__init__(home)


@pytest.mark.row("F25")
def test_a_link_on_a_kept_folder_is_instant_and_opens_while_three_of_seven_nodes_are_dead(
    tmp_path: Path, relay: WebRelay, device: Device
) -> None:
    nodes = [StoringRelay(tmp_path / f"node-{number}") for number in range(6)]
    try:
        places = ",".join([*(node.address for node in nodes), relay.address])
        device.command("backup", "add", FOLDER, "--nodes", places, "--scheme", "4/7")

        def is_kept() -> bool:
            (entry,) = device.command("backup", "status")["backups"]
            return bool(entry["stored_until_s"]) and entry["health"] == "healthy"

        wait_until(is_kept, "the folder to be kept at seven nodes", 120)
        for node in nodes[:3]:
            node.process.kill()
            node.process.wait()
        shared = device.folder / "Reise"
        made = device.command("link", "create", str(shared))
        assert made["url"].startswith(f"{relay.web}/s/")
        assert made["uploaded_bytes"] == 0
        assert made["manifest_bytes"] < 200_000
        assert get(made["url"], tmp_path / "there")["names"] == ["Reise"]
        assert hashes(tmp_path / "there" / "Reise") == hashes(shared)
        assert "Traceback" not in relay.stop()
    finally:
        for node in nodes:
            node.process.kill()
            node.process.communicate()
