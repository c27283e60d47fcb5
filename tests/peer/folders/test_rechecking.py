"""What a disk changes by itself is found by reading, told as no edit, and made good: whole daemons,
and bits that flip below times and sizes that stay.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from peer.core.disk_types import RangeRequest
from peer.daemon import Daemon
from peer.folders import rechecking as rechecking_module
from peer.folders.folder import Folder
from peer.folders.rechecking import Rechecking
from peer.folders.restoring import note_restored
from tests.peer.backup_stage import keep, nodes
from tests.peer.device_stage import Stage, devices, folder_of, until
from tests.peer.disk_of_its_own import DiskOfItsOwn

DAY_S = 86_400
LATER_S = 10**10
"""When a round is due, whenever it has begun."""
TEXT = b"what a person has written\n" * 100
NEVER_RESTS = float("inf")


def rechecking_of(folder: Folder) -> Rechecking:
    assert folder.history is not None
    return folder.history.rechecking


async def settle(folder: Folder, *names: str) -> None:
    """These files were written long ago: no scan has to read them once more."""

    async def notes() -> None:
        history = folder.history
        assert history is not None
        stats = {}
        for name in names:
            row, stat = await history.row_at((name,)), await history.on_disk((name,))
            assert row is not None
            assert stat is not None
            stats[row.id] = stat
        await folder.drive(note_restored(folder.engine.directories, stats))

    await folder.call(notes)


async def rot(folder: Folder, root: Path, name: str, at: int = 100) -> bytes:
    """One bit flips, and no time or size says so; gives what the file holds now. A test cannot
    write without another ctime, so the index is told of it, before anybody looks.
    """

    async def flips() -> None:
        history = folder.history
        assert history is not None
        row = await history.row_at((name,))
        assert row is not None
        times = (root / name).stat()
        with (root / name).open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
        os.utime(root / name, ns=(times.st_atime_ns, times.st_mtime_ns))
        stat = await history.on_disk((name,))
        assert stat is not None
        await folder.drive(note_restored(folder.engine.directories, {row.id: stat}))

    await folder.call(flips)
    return (root / name).read_bytes()


async def read_again(folder: Folder) -> None:
    """A whole round, as if it were due."""
    rechecking = rechecking_of(folder)

    async def round_() -> None:
        rechecking.round.began_s, rechecking.round.whole_s = 1, 0
        while rechecking.round.whole_s != 1:
            assert await rechecking.look(LATER_S, NEVER_RESTS)

    await folder.call(round_)


async def alone(stage: Stage) -> tuple[Daemon, Folder]:
    """A device with a folder that no other has."""
    one = await stage.found("one")
    await one.add_folder(stage.root("one"), "f")
    return one, folder_of(one)


async def written(stage: Stage, names: Sequence[str], *devices: Folder) -> None:
    """Files that all devices have, and have committed."""
    for name in names:
        (stage.root("one") / name).write_bytes(TEXT + name.encode())
    roots = [stage.root(name) for name in ("one", "two")[: len(devices)]]
    await until(lambda: all((root / name).exists() for root in roots for name in names))
    for folder in devices:
        await until(lambda folder=folder: folder.progress.summary.files == len(names))  # type: ignore[misc]
        await settle(folder, *names)


@pytest.mark.row("F08", "F38")
async def test_a_rotted_file_is_brought_back_and_told_as_no_edit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.meet(one, two)
        here, there = await stage.share(one, two)
        await written(stage, ["note", "other"], here, there)
        path = stage.root("two") / "note"
        right, told = path.read_bytes(), here.engine.frontier
        wrong = await rot(there, stage.root("two"), "note")
        assert wrong != right
        there.rescan()  # a scan sees nothing
        await there.call(lambda: asyncio.sleep(0))
        await read_again(there)
        await until(lambda: path.read_bytes() == right)
        rechecking = rechecking_of(there)
        await until(lambda: not rechecking.damage.files)
        await read_again(there)
        assert not rechecking.damage.files
        _, version = (await two.versions(path))["versions"]
        trash = stage.root("two") / ".holdfast" / "trash"
        (kept,) = trash.glob("kept-*")
        assert kept.read_bytes() == wrong, "what the disk made of it is lost to nobody"
        assert version["here"]
        assert (stage.root("one") / "note").read_bytes() == right
        assert here.engine.frontier == there.engine.frontier == told
        assert (stage.root("two") / "other").read_bytes() == TEXT + b"other"
        (status,) = (await two.status())["folders"]
        assert any("had changed a file by itself" in line for line in status["warnings"])
        assert any("the disk has changed a file" in r.getMessage() for r in caplog.records)
        assert status["damaged_files"] == 1
        assert status["checked_s"] == 1
        warned = await two._reports.suspicions(there)
        assert len(warned) == 1


@pytest.mark.row("F08")
async def test_a_bit_that_flips_below_the_file_system_is_read_and_not_remembered(
    tmp_path: Path,
) -> None:
    disk = DiskOfItsOwn(tmp_path / "image", tmp_path / "two")
    try:
        async with devices(tmp_path) as stage:
            one = await stage.found("one")
            two = await stage.join(one, "two")
            await stage.meet(one, two)
            here, there = await stage.share(one, two)
            data = os.urandom(300_000)
            (stage.root("one") / "note").write_bytes(data)
            path = stage.root("two") / "note"
            await until(lambda: path.exists() and path.read_bytes() == data)
            await until(lambda: there.progress.summary.files == 1)
            await settle(there, "note")
            told = here.engine.frontier, there.engine.frontier
            if disk.is_mounted:
                disk.flip(data[100_000:100_064])
                assert path.read_bytes() == data, "as far as the kernel knows"
            else:
                await rot(there, stage.root("two"), "note", 100_000)
            await read_again(there)
            await until(lambda: there.history and there.history.rechecking.damage.mended)
            (kept,) = (stage.root("two") / ".holdfast" / "trash").glob("kept-*")
            assert [at for at, byte in enumerate(kept.read_bytes()) if byte != data[at]] == [
                100_000
            ]
            assert path.read_bytes() == data
            assert told == (here.engine.frontier, there.engine.frontier)
    finally:
        disk.remove()


@pytest.mark.row("F38")
async def test_super_nodes_give_it_where_there_is_no_device(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage, nodes(tmp_path, 3) as some:
        one, folder = await alone(stage)
        data = os.urandom(20 << 20)
        (stage.root("one") / "large").write_bytes(data)
        await written(stage, ["note", "large"], folder)
        (stage.root("one") / "large").write_bytes(data)
        await until(lambda: folder.progress.summary.size_bytes > len(data))
        await keep(stage, one, some, 2)
        await rot(folder, stage.root("one"), "large", 9 << 20)
        await read_again(folder)
        await until(lambda: (stage.root("one") / "large").read_bytes() == data)
        await until(lambda: not rechecking_of(folder).damage.files)


async def test_what_nobody_has_is_told_until_somebody_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rechecking_module, "WAIT_S", 0.5)
    async with devices(tmp_path) as stage:
        one, folder = await alone(stage)
        await written(stage, ["note", "other"], folder)
        path, told = stage.root("one") / "note", folder.engine.frontier
        right = path.read_bytes()
        await rot(folder, stage.root("one"), "note")
        await read_again(folder)
        rechecking = rechecking_of(folder)
        await until(lambda: rechecking._lacking)
        (status,) = (await one.status())["folders"]
        assert any("changed note by itself" in line for line in status["warnings"])
        assert folder.engine.frontier == told
        assert not list((stage.root("one") / ".holdfast" / "trash").glob("kept-*"))
        # It is remembered, and somebody who has the bytes brings them.
        again = Rechecking(
            folder.engine, folder.store, folder._performer, rechecking._fetcher,
            rechecking._hinting, rechecking._hasher, DAY_S, folder.wake,
        )  # fmt: skip
        again.load(await folder.store.values())
        assert again.damage == rechecking.damage
        assert again.round == rechecking.round
        two = await stage.join(one, "two")
        (stage.root("two") / "note").write_bytes(right)
        (stage.root("two") / "other").write_bytes(TEXT + b"other")
        await stage.meet(one, two)
        await until(lambda: any(two._name_of(s) == "f" for s in two.stored.values()))
        await two.attach_folder("f", stage.root("two"))
        await until(lambda: path.read_bytes() == right)


async def test_what_a_person_writes_over_is_a_persons_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rechecking_module, "WAIT_S", 0.5)
    async with devices(tmp_path) as stage:
        _, folder = await alone(stage)
        await written(stage, ["note", "other"], folder)
        await rot(folder, stage.root("one"), "note")
        await read_again(folder)
        rechecking = rechecking_of(folder)
        await until(lambda: rechecking._lacking)
        told = folder.engine.frontier
        (stage.root("one") / "note").write_bytes(b"anew")
        await until(lambda: folder.engine.frontier != told)
        assert await folder.call(lambda: rechecking.step(float("inf")))
        assert not rechecking.damage.files
        assert (stage.root("one") / "note").read_bytes() == b"anew"
        assert rechecking.warnings(0) == []


async def test_a_wrong_bit_on_the_way_from_the_disk_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with devices(tmp_path) as stage:
        _, folder = await alone(stage)
        await written(stage, ["note"], folder)
        disk = folder.disk
        assert disk is not None
        reads, count = disk.read_ranges, 0

        def wrong_once(requests: Sequence[RangeRequest]) -> list[bytes | None]:
            nonlocal count
            count += 1
            return [b"x" for _ in requests] if count == 1 else reads(requests)

        monkeypatch.setattr(disk, "read_ranges", wrong_once)
        await read_again(folder)
        assert count == 2
        assert not rechecking_of(folder).damage.files
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert not rechecking_of(folder).warnings(0)


async def test_what_is_written_while_it_is_read_is_an_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with devices(tmp_path) as stage:
        _, folder = await alone(stage)
        await written(stage, ["note"], folder)
        disk, told = folder.disk, folder.engine.frontier
        assert disk is not None
        reads = disk.read_ranges

        def after_a_write(requests: Sequence[RangeRequest]) -> list[bytes | None]:
            (stage.root("one") / "note").write_bytes(b"anew")
            return reads(requests)

        monkeypatch.setattr(disk, "read_ranges", after_a_write)
        await read_again(folder)
        monkeypatch.undo()
        assert not rechecking_of(folder).damage.files
        assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
        await until(lambda: folder.engine.frontier != told)
        assert (stage.root("one") / "note").read_bytes() == b"anew"


async def test_a_round_is_not_begun_before_its_time_and_never_if_it_is_off(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        _, folder = await alone(stage)
        await written(stage, ["note"], folder)
        rechecking = rechecking_of(folder)

        async def looks() -> None:
            rechecking.round.began_s = LATER_S
            rechecking._interval_s = 30 * DAY_S
            assert not await rechecking.look(LATER_S + 26 * DAY_S, NEVER_RESTS)
            assert await rechecking.look(LATER_S + 28 * DAY_S, NEVER_RESTS)
            rechecking._interval_s = 0
            assert not await rechecking.look(LATER_S + 28 * DAY_S, NEVER_RESTS)
            assert rechecking.next_due() == float("inf")

        await folder.call(looks)
