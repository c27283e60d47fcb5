"""Making a first device, and joining with a code: what is there afterwards, and what is not."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import logging
import secrets
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peer.daemon import Daemon
from peer.device import setup
from peer.device.home import Home
from peer.device.home_store import FolderState
from peer.device.ledgers import Ledgers
from peer.errors import DeviceExists, DeviceUnreachable, KeyFileUnusable, OtherDeviceFailed
from protocol import quic_link
from protocol.errors import BadName, ExpiredCode, MistypedCode, ProtocolError, WrongCode
from protocol.kit import decode_kit
from protocol.pairing_messages import Welcome
from tests.peer.device_stage import LOOPBACK, Stage, devices, port_of
from tests.protocol.people import Person, Place


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with devices(tmp_path) as stage:
        yield stage


@pytest.fixture
async def one(stage: Stage) -> Daemon:
    return await stage.found("one")


def other_code(code: str) -> str:
    nameplate, first, second = code.split("-")
    return f"{nameplate}-{second}-{first}" if first != second else f"{nameplate}-{first}-abdomen"


async def test_a_first_device_has_a_user_a_name_and_a_kit(tmp_path: Path) -> None:
    made = await setup.init_home(tmp_path / "home", "alpha")
    assert made["name"] == "alpha"
    assert len(decode_kit(made["recovery_kit"])) == 32
    home = await Home.open(tmp_path / "home")
    try:
        assert home.keys.device_id.hex() == made["device"]
        assert await home.store.device_name() == "alpha"
        user_id = await home.store.user_id()
        assert user_id is not None
        ledgers = Ledgers(home.store, home.keys)
        await ledgers.load(user_id)
        assert set(ledgers.user.live_devices()) == {home.keys.device_id}
    finally:
        await home.close()


@pytest.mark.row("A37")
async def test_the_kit_s_secret_is_stored_nowhere(tmp_path: Path) -> None:
    """It is on paper only (A37)."""
    made = await setup.init_home(tmp_path / "home", "alpha")
    secret = decode_kit(made["recovery_kit"])
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes()
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_a_home_is_made_once(tmp_path: Path) -> None:
    await setup.init_home(tmp_path / "home", "alpha")
    key = (tmp_path / "home" / "key").read_bytes()
    for again in (
        setup.init_home(tmp_path / "home", "beta"),
        setup.join(tmp_path / "home", "7-cranberry-clubhouse", (LOOPBACK, 1), "beta"),
    ):
        with pytest.raises(DeviceExists):
            await again
    assert (tmp_path / "home" / "key").read_bytes() == key


@pytest.mark.parametrize("name", ["", "a/b", "a (b)", "\x1b[2J", "a" * 65, "\udcff"])
async def test_a_name_that_would_spoil_file_names_is_refused_before_anything_is_made(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(BadName):
        await setup.init_home(tmp_path / "home", name)
    with pytest.raises(BadName):
        await setup.join(tmp_path / "home", "7-cranberry-clubhouse", (LOOPBACK, 1), name)
    assert not (tmp_path / "home").exists()


async def test_a_mistyped_code_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(MistypedCode):
        await setup.join(tmp_path / "home", "7-no-such-words", (LOOPBACK, 1), "two")
    assert not (tmp_path / "home").exists()


async def test_a_joined_device_knows_the_user_the_folders_and_where_the_other_is(
    stage: Stage, one: Daemon
) -> None:
    await one.add_folder(stage.root("one"), "f")
    code = (await one.invite())["code"]
    made = await setup.join(stage.home("two"), code, (LOOPBACK, port_of(one)), "two")
    assert made["with"] == "one"
    assert made["user"] == one.ledgers.user_id.hex()
    assert made["check"]
    home = await Home.open(stage.home("two"))
    try:
        (folder,) = await home.store.folders()
        assert (folder.path, folder.state) == (None, FolderState.OFFERED)
        (address,) = await home.store.addresses(one.home.keys.device_id)
        assert (address.host, address.port) == (LOOPBACK, port_of(one))
        ledgers = Ledgers(home.store, home.keys)
        await ledgers.load(one.ledgers.user_id)
        assert set(ledgers.user.live_devices()) == set(one.ledgers.user.live_devices())
        keys = ledgers.folders[folder.folder_id].chain.folder_keys()
        there = one.ledgers.folders[folder.folder_id].chain.folder_keys()
        assert keys is not None
        assert there is not None
        assert keys.chunk_id_key == there.chunk_id_key
    finally:
        await home.close()


async def test_a_wrong_code_is_told_and_the_right_one_works_afterwards(
    stage: Stage, one: Daemon
) -> None:
    code = (await one.invite())["code"]
    address = (LOOPBACK, port_of(one))
    with pytest.raises(WrongCode):
        await setup.join(stage.home("two"), other_code(code), address, "two")
    assert not (stage.home("two") / "key").exists()
    assert len(one.ledgers.user.live_devices()) == 1
    await setup.join(stage.home("two"), code, address, "two")
    assert len(one.ledgers.user.live_devices()) == 2


@pytest.mark.row("A24")
async def test_a_code_is_burnt_by_three_wrong_tries_and_by_its_use(
    stage: Stage, one: Daemon
) -> None:
    """A24: no more guesses than that, whoever makes them."""
    address = (LOOPBACK, port_of(one))
    code = (await one.invite())["code"]
    for _ in range(3):
        with pytest.raises(WrongCode):
            await setup.join(stage.home("evil"), other_code(code), address, "evil")
    with pytest.raises(ExpiredCode):
        await setup.join(stage.home("two"), code, address, "two")
    code = (await one.invite())["code"]
    await setup.join(stage.home("two"), code, address, "two")
    with pytest.raises(ProtocolError):
        await setup.join(stage.home("three"), code, address, "three")
    assert len(one.ledgers.user.live_devices()) == 2


async def test_nobody_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quic_link, "DIAL_TIMEOUT_S", 0.1)  # nobody answers on UDP, not even no
    with pytest.raises(DeviceUnreachable):
        await setup.join(tmp_path / "home", "7-cranberry-clubhouse", (LOOPBACK, 1), "two")
    assert not (tmp_path / "home" / "key").exists()
    await setup.init_home(tmp_path / "home", "two")  # an attempt leaves nothing in the way


async def test_two_who_join_at_once_with_two_codes(stage: Stage, one: Daemon) -> None:
    address = (LOOPBACK, port_of(one))
    codes = [(await one.invite())["code"] for _ in range(2)]
    await asyncio.gather(
        *(
            setup.join(stage.home(name), code, address, name)
            for name, code in zip(("two", "three"), codes, strict=True)
        )
    )
    assert len(one.ledgers.user.live_devices()) == 3


@pytest.mark.row("A02")
@pytest.mark.parametrize("lie", ["user_entries", "device_id", "folders", "foreign folders"])
async def test_what_the_other_device_gives_is_checked(
    stage: Stage, one: Daemon, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knew the code, and still is not believed: A01, A04."""
    await one.add_folder(stage.root("one"), "f")
    pair = setup._pair

    stranger = Place.found(Person(5)).ledger.export()

    async def pair_with_liar(*given: Any) -> tuple[Welcome, Any]:
        welcome, pairing = await pair(*given)
        folders = welcome.folders
        lies: dict[str, dict[str, Any]] = {
            "user_entries": {"user_entries": welcome.user_entries[:1]},
            "device_id": {"device_id": secrets.token_bytes(32)},
            "folders": {"folders": tuple(f._replace(entries=f.entries[:1]) for f in folders)},
            "foreign folders": {
                "folders": tuple(f._replace(entries=tuple(stranger)) for f in folders)
            },
        }
        return replace(welcome, **lies[lie]), pairing

    monkeypatch.setattr(setup, "_pair", pair_with_liar)
    code = (await one.invite())["code"]
    with pytest.raises(OtherDeviceFailed):
        await setup.join(stage.home("two"), code, (LOOPBACK, port_of(one)), "two")
    assert not (stage.home("two") / "key").exists()


@pytest.mark.row("A37")
async def test_no_secret_is_logged(
    stage: Stage, one: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        code = (await one.invite())["code"]
        await setup.join(stage.home("two"), code, (LOOPBACK, port_of(one)), "two")
        one.home.keys.sign("entry", b"so that the keys were used")
        logging.getLogger("peer").debug("%r %r", one.home.keys, one.home)  # what a crash would show
    words = code.split("-", 1)[1]
    assert words not in caplog.text
    fields = dataclasses.fields(one.home.keys)
    hidden = [
        getattr(one.home.keys, each.name)
        for each in fields
        if "public" not in each.name and each.name != "device_id"
    ]
    assert len(hidden) >= 3
    for secret in hidden:
        for shown in (secret.hex(), repr(secret)[2:-1], base64.b64encode(secret).decode()):
            assert shown[:12] not in caplog.text


async def test_a_key_file_with_a_passphrase_opens_by_it_alone(tmp_path: Path) -> None:
    await setup.init_home(tmp_path / "home", "alpha", "correct horse")
    with pytest.raises(KeyFileUnusable):
        await Home.open(tmp_path / "home", ask=lambda: "battery staple")
    home = await Home.open(tmp_path / "home", ask=lambda: "correct horse")
    await home.close()
