"""All devices burn, and some of the super-nodes with them: a kit brings every byte back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crypto.ids import ChunkId, FolderId
from crypto.packs import LEAF_SIZE
from peer.backup.backup_source import BackupSource
from peer.backup.folder_backup import FolderBackup
from peer.backup.recovery import recover
from peer.command_line.demo_tree import differences, list_tree
from peer.device import setup
from peer.device.home import Home
from peer.errors import (
    DeviceExists,
    NothingToRecover,
    NotReadBack,
    PathUnusable,
    RelayUnreachable,
)
from peer.status import FolderState
from protocol.kit import decode_kit
from protocol.version_records import item_id
from tests.peer.backup_stage import keep, nodes, until_kept
from tests.peer.device_stage import DEADLINE_S, Stage, device_id, devices, folder_of, until


def plant(root: Path) -> None:
    """Files of all kinds: small, empty, of many chunks, executable, deep, and a link."""
    random = Random(5)
    (root / "d" / "e").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a").write_bytes(b"hello")
    (root / "nothing").write_bytes(b"")
    (root / "d" / "large").write_bytes(random.randbytes(3 << 20))
    (root / "d" / "e" / "run").write_bytes(b"#!/bin/sh\n")
    (root / "d" / "e" / "run").chmod(0o755)
    (root / "link").symlink_to("d/large")
    for number in range(40):
        (root / "d" / f"{number}.txt").write_bytes(random.randbytes(number * 100 + 1))


async def found(stage: Stage, name: str) -> bytes:
    """The first device of a new user, and the secret of its kit."""
    made = await setup.init_home(stage.home(name), name)
    return decode_kit(made["recovery_kit"])


@pytest.mark.row("F23")
async def test_everything_comes_back_though_a_node_is_gone(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        kit = await found(stage, "one")
        one = await stage.start("one")
        plant(stage.root("one"))
        await one.add_folder(stage.root("one"), "f")
        entry = await keep(stage, one, some, 2)
        assert (entry["lost"], entry["at_risk"], entry["packs"]) == (0, 0, 2)
        # What a person saves later is there, too.
        (stage.root("one") / "later").write_bytes(os.urandom(200_000))
        await until_kept(one, packs=4)
        gone = some.addresses[0]
        await some.stages[0].relay.stop()
        for path in some.files(0):
            path.unlink()

        relays = [gone, *some.addresses[1:]]
        with pytest.raises(NothingToRecover):
            await recover(stage.home("x"), os.urandom(32), relays, "x")
        with pytest.raises(RelayUnreachable) as failed:
            await recover(stage.home("x"), kit, [gone], "x")
        said = str(failed.value)
        assert said.count(gone.host) == 1
        assert "refused." in said
        assert "Errno" not in said
        assert "Name another relay" in said
        with pytest.raises(DeviceExists):  # said before a relay is asked
            await recover(stage.home("one"), kit, [gone], "one")
        with pytest.raises(PathUnusable, match="own home"):
            await recover(stage.home("x"), kit, relays, "x", into=stage.home("x"))
        told: list[tuple[int, int]] = []
        made = await recover(
            stage.home("two"), kit, relays, "two", into=tmp_path / "back",
            tell=lambda done, size: told.append((done, size)),
        )  # fmt: skip
        assert told == sorted(told)
        assert (told[0][0], told[-1][0]) == (0, told[-1][1])
        assert told[-1][1] >= 2 * LEAF_SIZE  # a pack at least at each of the two that are there
        assert [(f["name"], f["path"]) for f in made["folders"]] == [
            ("f", str(tmp_path / "back" / "f"))
        ]
        assert (made["user"], made["devices"]) == (one.ledgers.user_id.hex(), 2)
        with pytest.raises(PathUnusable, match="not empty"):
            await recover(stage.home("x"), kit, relays, "x", into=tmp_path / "back")
        lost = device_id(one).hex()
        assert made["others"] == [lost]
        two = await stage.start("two")
        root = tmp_path / "back" / "f"
        await until(lambda: folder_of(two).progress.state is FolderState.IN_SYNC)
        await until(lambda: list_tree(root) == list_tree(stage.root("one")))
        assert differences(stage.root("one"), root) == []
        # It is a whole device: what it writes is kept, under keys that the kit opens again.
        (root / "new").write_bytes(b"new")
        entry = await until_kept(two, "at risk", packs=5)
        assert entry["nodes"][0]["problem"]


@pytest.mark.row("F23")
async def test_the_lost_devices_are_removed_once_all_is_back_and_take_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To remove one before its log is read back would void all that it wrote."""
    async with nodes(tmp_path, 2) as some, devices(tmp_path) as stage:
        kit = await found(stage, "one")
        one = await stage.start("one")
        (stage.root("one") / "a").write_bytes(b"only at one")
        await one.add_folder(stage.root("one"), "f")
        await keep(stage, one, some, 1)
        lost = device_id(one).hex()[:8]
        one.network.close_all()
        await recover(stage.home("two"), kit, some.addresses, "two", into=tmp_path / "back")
        may_read = asyncio.Event()
        look = FolderBackup.look

        async def late(self: FolderBackup, needed: int = 1) -> None:
            await may_read.wait()
            await look(self, needed)

        monkeypatch.setattr(FolderBackup, "look", late)
        two = await stage.start("two")
        with pytest.raises(NotReadBack, match="f: not all of it has come back"):
            await two.remove_device(lost)
        may_read.set()
        file = tmp_path / "back" / "f" / "a"
        await until(lambda: file.exists() and file.read_bytes() == b"only at one")
        await until(lambda: not two.backups.read_back.is_awaited)
        await two.remove_device(lost)
        assert [d["name"] for d in (await two.devices())["devices"]] == ["two"]
        (file.parent / "b").write_bytes(b"after")
        await until_kept(two, packs=3)
        assert file.read_bytes() == b"only at one"
        assert await two.home.store.setting("unread folders") == b""


async def test_small_files_do_not_wait_for_a_large_one_that_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with nodes(tmp_path, 1) as some, devices(tmp_path) as stage:
        kit = await found(stage, "one")
        one, root = await stage.start("one"), stage.root("one")
        (root / "large").write_bytes(os.urandom(12 << 20))
        await one.add_folder(root, "f")
        await until(lambda: folder_of(one).progress.summary.files == 1)
        for name in "xyz":
            (root / name).write_bytes(os.urandom(1000))
        folder_of(one).rescan()
        await until(lambda: folder_of(one).progress.summary.files == 4)
        await keep(stage, one, some, 1)
        one.network.close_all()
        await recover(stage.home("two"), kit, some.addresses, "two", into=tmp_path / "back")
        asked: list[ChunkId] = []
        ask = BackupSource.ask

        def noted(self: BackupSource, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> None:
            asked.extend(chunk_ids)
            ask(self, folder_id, chunk_ids)

        monkeypatch.setattr(BackupSource, "ask", noted)
        two = await stage.start("two")
        await until(lambda: folder_of(two).progress.state is FolderState.IN_SYNC)
        await until(lambda: list_tree(tmp_path / "back" / "f") == list_tree(root))
        store = two.backups._backups[folder_of(two).folder_id].store
        places = await store.find(asked)
        small = [at for at, id_ in enumerate(asked) if places[id_].slot.length < 2000]
        assert len(small) == 3
        assert max(small) < len(asked) / 2


async def test_the_home_that_it_makes_is_private_and_knows_the_kit_s_vault(tmp_path: Path) -> None:
    async with nodes(tmp_path, 1) as some, devices(tmp_path) as stage:
        kit = await found(stage, "one")
        one = await stage.start("one")
        (stage.root("one") / "a").write_bytes(b"hello")
        await one.add_folder(stage.root("one"), "f")
        await keep(stage, one, some, 1)
        await recover(stage.home("two"), kit, some.addresses, "two")
        home = await Home.open(stage.home("two"))
        try:
            assert await home.store.setting("vault secret")
            (stored,) = await home.store.folders()
            assert (stored.name, stored.path) == ("f", None)
        finally:
            await home.close()
        files = [path for path in stage.home("two").rglob("*") if path.is_file()]
        assert all(kit not in path.read_bytes() for path in files)
        async with asyncio.timeout(DEADLINE_S):
            assert await one.backups.every()


def were(entries: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """What is said of the versions of a file, without what each device numbers for itself."""
    return [(e["size"], e["written_s"], e["device"], e["deleted"]) for e in entries]


async def test_files_come_back_with_what_they_were_before(tmp_path: Path) -> None:
    """Small, of several chunks, a link, and deleted; changed by a person at the one device that had
    them, which therefore kept hardly any. Every byte of every version is the same.
    """
    random = Random(8)
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        kit = await found(stage, "one")
        one = await stage.start("one")
        root, back = stage.root("one"), tmp_path / "back" / "f"
        (root / "d").mkdir()
        was = {"a": [b""] * 3, "d/large": [b""] * 3, "gone": [b""] * 1}
        for path, size in (("a", 1000), ("d/large", 2 << 20), ("gone", 50_000)):
            was[path] = [random.randbytes(size) for _ in was[path]]
            (root / path).write_bytes(was[path][0])
        (root / "link").symlink_to("a")
        await one.add_folder(root, "f")
        await keep(stage, one, some, 2)
        for turn in (1, 2):
            for path in ("a", "d/large"):
                (root / path).write_bytes(was[path][turn])
            await until_kept(one, packs=2 + 2 * turn)
        (root / "link").unlink()
        (root / "link").symlink_to("d/large")
        (root / "gone").unlink()
        paths = [*was, "link"]
        backup = one.backups._backups[folder_of(one).folder_id]
        wanted = one.network.folders[folder_of(one).folder_id].store.wanted
        async with asyncio.timeout(2 * DEADLINE_S):
            while True:  # all that ended is written down at the nodes
                ended = [v.record().encode() async for some_ in wanted.versions() for v in some_]
                ids = [item_id(record) for record in ended]
                if len(ids) == 6 and len(await backup.store.find(ids)) == 6:
                    break
                await asyncio.sleep(0.05)
        before = {path: (await one.versions(root / path))["versions"] for path in paths}
        await until_kept(one)

        await recover(stage.home("two"), kit, some.addresses, "two", into=tmp_path / "back")
        two = await stage.start("two")
        await until(lambda: folder_of(two).progress.state is FolderState.IN_SYNC)
        await until(lambda: list_tree(back) == list_tree(root))
        assert differences(root, back) == []
        for path in paths:
            after = (await two.versions(back / path))["versions"]
            assert were(after) == were(before[path])
            contents = list(reversed(was.get(path, [])))
            old = [entry for entry in after if entry["version"]]
            for entry, content in zip(old, contents[-len(old) :], strict=False):
                out = tmp_path / "out"
                report = await two.restore(back / path, entry["version"], None, out)
                assert report["failed"] == []
                assert out.read_bytes() == content
                out.unlink()
        report = await two.restore(back / "gone", None, None, None)
        assert report["failed"] == []
        assert (back / "gone").read_bytes() == was["gone"][0]
