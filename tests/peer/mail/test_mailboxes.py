"""Devices that are never awake together: everything goes by the mailboxes of one relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.mailbox import Area
from peer.mail.folder_mail import RIDE_SIZE_MAX
from peer.status import FolderState
from tests.peer.device_stage import device_id, folder_of, make_homes, until
from tests.peer.mail_stage import Apart, apart


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two"))
    return base


@pytest.fixture(scope="module")
def three_homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("three-homes")
    asyncio.run(make_homes(base, "one", "two", "three"))
    return base


@pytest.fixture
async def town(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Apart]:
    async with apart(homes, tmp_path, monkeypatch, "one", "two") as town:
        yield town


async def test_what_one_wrote_the_other_finds_when_it_comes(town: Apart) -> None:
    await town.connect(0)
    await town.write(0, "note", b"while the other slept")
    await town.disconnect(0)
    await town.connect(1)
    await town.until_shown(1, "note", b"while the other slept")


async def test_who_is_there_is_told_at_once(town: Apart) -> None:
    await town.connect(0, 1)
    for number in range(5):
        (town.root(number % 2) / "note").write_bytes(b"%d" % number)
        await town.until_shown(1 - number % 2, "note", b"%d" % number)


async def test_deletions_renames_and_conflicts_arrive(town: Apart) -> None:
    await town.connect(0)
    root = town.root(0)
    (root / "d").mkdir()
    for name in ("a", "b", "c"):
        (root / "d" / name).write_bytes(name.encode() * 100)
    await town.write(0, "x", b"x")
    (root / "d").rename(root / "e")
    (root / "e" / "b").unlink()
    await town.write(0, "first", b"mine")
    (town.root(1) / "first").write_bytes(b"theirs")
    await town.connect(1)
    await town.until_same()
    names = {path.name for path in town.root(1).rglob("*") if ".holdfast" not in path.parts}
    assert {"e", "a", "c", "first"} <= names
    assert not {"d", "b"} & names
    texts = {path.read_bytes() for path in town.root(0).glob("first*")}
    assert texts == {b"mine", b"theirs"}, "both versions are kept"


async def test_what_everybody_has_goes_again(town: Apart) -> None:
    await town.connect(0, 1)
    (town.root(0) / "note").write_bytes(b"1")
    await town.until_shown(1, "note", b"1")
    (town.root(1) / "other").write_bytes(b"2")
    await town.until_shown(0, "other", b"2")
    kinds = town.boxes.uses.tags
    await until(
        lambda: all(
            use.bytes[Area.CHANGESETS] == use.bytes[Area.CONTENTS] == 0 for use in kinds.values()
        )
    )
    assert any(use.bytes[Area.HEARTBEATS] for use in kinds.values())


async def test_nothing_is_put_for_who_is_linked(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with apart(homes, tmp_path, monkeypatch, "one", "two") as town:
        monkeypatch.undo()
        await town.stage.meet(*town.daemons)
        await town.connect(0, 1)
        (town.root(0) / "note").write_bytes(b"1")
        await town.until_shown(1, "note", b"1")
        assert town.items() == 0


async def test_a_large_file_waits_and_status_says_for_whom(town: Apart) -> None:
    await town.connect(0)
    large = b"x" * (RIDE_SIZE_MAX + 1)
    await town.write(0, "film", large)
    await town.write(0, "note", b"small")
    await town.connect(1)
    await town.until_shown(1, "note", b"small")
    daemon = town.daemons[1]

    async def problems() -> dict[str, str]:
        (status,) = (await daemon.status())["folders"]
        return {error["path"]: error["reason"] for error in status["errors"]}

    async with asyncio.timeout(60):
        while "film" not in (said := await problems()):
            await asyncio.sleep(0.01)
    assert "waits for one" in said["film"]
    assert not (town.root(1) / "film").exists()
    assert (await daemon.status())["folders"][0]["state"] != FolderState.IN_SYNC


async def test_a_restart_forgets_neither_what_is_there_nor_who_has_it(
    town: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = town.daemons[0]
    await one.mailboxes._keep()
    mail = one.mailboxes._mail_of(folder_of(one).folder_id)
    assert mail.holdings.heard_s(device_id(town.daemons[1]))
    await one.mailboxes.start()
    again = one.mailboxes._mail_of(folder_of(one).folder_id)
    assert again is not mail
    assert again.holdings.encode() == mail.holdings.encode()


async def test_going_puts_what_is_not_there_yet(
    town: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.mail.mailboxes.AWAY_AFTER_S", 3600.0)
    monkeypatch.setattr("peer.mail.mailboxes.FLUSH_S", 10.0)
    one = town.daemons[0]
    one.mailboxes._gone_at.clear()
    await town.connect(0)
    (town.root(0) / "note").write_bytes(b"1")
    seqs = folder_of(one).engine.frontier
    await until(lambda: folder_of(one).engine.frontier != seqs)
    assert town.items() == 0, "the other may only be on its way"
    await one.mailboxes.flush()
    assert town.items() >= 3


async def test_three_devices_of_which_two_are_never_awake_together(
    three_homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with apart(three_homes, tmp_path, monkeypatch, "one", "two", "three") as town:
        await town.connect(0)
        await town.write(0, "a", b"from one")
        await town.disconnect(0)
        await town.connect(1)
        await town.until_shown(1, "a", b"from one")
        await town.write(1, "a", b"from two")
        await town.disconnect(1)
        await town.connect(2)
        await town.until_shown(2, "a", b"from two")
        await town.connect(0, 1)
        await town.until_same()
