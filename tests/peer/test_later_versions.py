"""Devices of different versions: the older one takes what it knows, says that it wants an update,
and loses nothing of the rest (F33).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peer.core import engine as engine_module
from peer.daemon import Daemon
from peer.device.home import Home
from peer.errors import HomeDamaged
from peer.folders.folder_setup import index_path
from peer.status import FolderState
from protocol import messages as m
from protocol.changesets import Changeset
from protocol.folder_actions import FolderAct
from protocol.ledger import LedgerKind
from protocol.nodes import ROOT
from protocol.records import RecordType, decode_records
from tests.peer.device_stage import devices, folder_of, make_homes, until
from tests.peer.evil_peer import evil_peer
from tests.peer.evil_stage import EvilStage, evil_stage, node_id, place_record, tell
from tests.protocol.people import Place
from tests.protocol.test_newer import signed

HEADER = [0, "evil", 0]
LATER = max(RecordType) + 1


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two", "evil"))
    return base


@pytest.fixture
async def scene(homes: Path, tmp_path: Path) -> AsyncIterator[EvilStage]:
    """`evil` is honest here, and of a later version than `one` and `two`."""
    async with evil_stage(homes, tmp_path) as scene:
        yield scene


def write(place: Place, *records: list[Any]) -> Changeset:
    return place.write([HEADER, *records]).changeset


async def warnings(daemon: Daemon) -> list[str]:
    (folder,) = (await daemon.status())["folders"]
    return folder.get("warnings", [])


async def is_told_to_update(daemon: Daemon) -> bool:
    return any("update Holdfast here" in warning for warning in await warnings(daemon))


@pytest.mark.row("F33")
async def test_records_of_a_later_version_wait_and_are_taken_after_the_update(
    scene: EvilStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = scene.place()
    known = write(place, place_record(node_id(1), ROOT, "known"))
    later = write(place, [LATER, b"a way of writing that is not known yet"])
    after = write(place, place_record(node_id(2), ROOT, "after"))
    async with evil_peer(scene.one, scene.evil) as peer:
        assert await peer.meet() == scene.folder_id
        tell(peer, scene.folder_id, known, later, after)
        book = scene.folder.engine.book
        await until(lambda: book.seq_of(known.log_id) == 1)
        await until(lambda: scene.counts.get("NewerForm"))
        await scene.lives_on()  # what is known goes on, on the same links
        log = book.log(known.log_id)
        assert log is not None
        assert not log.stopped_at, "nobody is blamed"
        assert await is_told_to_update(scene.one)
        assert not any("devices remove" in warning for warning in await warnings(scene.one))
    assert not await is_told_to_update(scene.two)

    # The update: the record is known now, and does nothing that a test could see.
    def of_later_version(records: list[Any], *rest: Any) -> Any:
        return decode_records([r for r in records if r[0] != LATER], *rest)

    monkeypatch.setattr(engine_module, "decode_records", of_later_version)
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        tell(peer, scene.folder_id, later, after)
        await until(lambda: book.seq_of(known.log_id) == 3)
    there = folder_of(scene.two).engine.book
    await until(lambda: there.seq_of(known.log_id) == 3)  # and `two` has it from `one`
    await scene.lives_on()


@pytest.mark.row("F33")
async def test_a_slot_of_a_later_version_ends_no_link(scene: EvilStage) -> None:
    place = scene.place()
    wire_bytes = write(place, place_record(node_id(1), ROOT, "x")).wire
    later = wire_bytes.replace(b"\x8a\x01", b"\x8a\x02", 1)  # the slot's version
    assert later != wire_bytes
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        peer.claim(scene.folder_id)
        peer.send(m.Changesets(scene.folder_id, (later,)))
        await until(lambda: scene.counts.get("NewerForm"))
        await scene.lives_on()
        assert await is_told_to_update(scene.one)
        peer.session.doubt(asyncio.get_running_loop().time())
        peer.flush()
        assert scene.evil.keys.device_id in scene.one.network.connections


@pytest.mark.row("F33")
async def test_ledger_actions_of_a_later_version_end_no_link_and_change_nothing(
    scene: EvilStage,
) -> None:
    place = scene.place()
    before = place.ledger.export()
    newer, _ = signed(place, [[max(FolderAct) + 1, b"?"]], place.ledger.heads())
    async with evil_peer(scene.one, scene.evil) as peer:
        await peer.meet()
        peer.send(m.Ledger(LedgerKind.FOLDER, scene.folder_id, (newer,)))
        peer.send(m.Ledger(LedgerKind.FOLDER, scene.folder_id, (newer,)))
        await until(lambda: scene.one.network.newer)
        await scene.lives_on()
        assert await is_told_to_update(scene.one)
        assert scene.evil.keys.device_id in scene.one.network.connections
    (membership,) = scene.one.ledgers.folders.values()
    assert membership.ledger.export() == before


@pytest.mark.row("F33")
@pytest.mark.parametrize("name", ["home.db", "the index"])
async def test_a_home_of_a_later_version_is_refused_and_left_as_it_is(
    homes: Path, tmp_path: Path, name: str
) -> None:
    async with evil_stage(homes, tmp_path) as scene:
        home, root = scene.stage.home("one"), scene.root(scene.one)
        (root / "file").write_bytes(b"saved")
        await scene.lives_on()
        database = home / name if name == "home.db" else index_path(scene.one.home, scene.folder_id)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 99")
    was = database.read_bytes()
    if name == "home.db":
        with pytest.raises(HomeDamaged, match=r"newer version of Holdfast\. Update this one"):
            await Home.open(home)
    else:
        async with devices(tmp_path) as stage:
            one = await stage.start("one")
            (folder,) = (await one.status())["folders"]
            assert folder["state"] == FolderState.TROUBLE
            assert "Use a newer Holdfast" in folder["errors"][0]["reason"]
    assert database.read_bytes() == was
    assert (root / "file").read_bytes() == b"saved"
