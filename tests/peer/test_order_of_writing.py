"""In which order things become durable: staged bytes, names, directories, then the index; never
another.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import NodeId
from peer.core import commands as c
from peer.core.disk_types import DiskError
from peer.core.engine import FIRST_PAGE
from peer.device.home_store import HomeStore
from peer.disk import syscalls
from peer.disk.durability import sync_files
from peer.folders.index_store import IndexStore
from protocol.log_outcomes import Accepted
from protocol.logs import LogBook
from protocol.records import Stamp, decode_records
from tests.peer.folder_stage import FolderDevice, two_places
from tests.protocol.people import Place

FULL = 2
"""What SQLite calls `synchronous = FULL`."""


class Journal:
    """What happened on one device's disk and index, in order."""

    def __init__(self, device: FolderDevice, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self._root = device.root
        self._perform = device.performer.perform
        self._fsync, self._rename = os.fsync, syscalls.rename_noreplace
        self._swap = syscalls.rename_exchange
        monkeypatch.setattr(os, "fsync", self._note_fsync)
        monkeypatch.setattr(syscalls, "rename_noreplace", self._note_rename)
        monkeypatch.setattr(syscalls, "rename_exchange", self._note_swap)
        monkeypatch.setattr(device.performer, "perform", self._note_commit)

    def _name(self, fd: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else ""

    def _note_fsync(self, fd: int) -> None:
        self._fsync(fd)
        self.done.append(f"sync {self._name(fd)}")

    def _note_rename(self, source_fd: int, source: str, target_fd: int, target: str) -> None:
        self._rename(source_fd, source, target_fd, target)
        self.done.append(f"move {self._name(source_fd)}/{source} {self._name(target_fd)}/{target}")

    def _note_swap(self, source_fd: int, source: str, target_fd: int, target: str) -> None:
        self._swap(source_fd, source, target_fd, target)
        self.done.append(f"swap {self._name(source_fd)}/{source} {self._name(target_fd)}/{target}")

    async def _note_commit(self, command: c.Command[Any]) -> Any:
        answer = await self._perform(command)
        if isinstance(command, c.Commit):
            self.done.append("commit")
        return answer

    def place_of(self, *parts: str) -> int:
        """The place of the one act that says all of this."""
        (place,) = (n for n, act in enumerate(self.done) if all(part in act for part in parts))
        return place

    def places_of(self, act: str) -> list[int]:
        return [n for n, done in enumerate(self.done) if done == act]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[FolderDevice, FolderDevice]]:
    one, two = two_places()
    devices = (
        await FolderDevice.open(tmp_path, "one", one),
        await FolderDevice.open(tmp_path, "two", two),
    )
    yield devices
    for device in devices:
        await device.close()


Pair = tuple[FolderDevice, FolderDevice]


async def bring(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """What the first device wrote comes to the second one's disk."""
    one, two = pair
    await one.scan()
    await two.ingest(one.authored)
    journal = Journal(two, monkeypatch)
    await two.bring(one)
    assert one.tree() == two.tree()
    return journal


@pytest.mark.row("F03")
async def test_bytes_then_name_then_directory_then_index(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    (one.root / "d").mkdir()
    await one.scan()
    await two.sync(one)
    (one.root / "d" / "file").write_bytes(b"bytes")
    journal = await bring(pair, monkeypatch)
    published = journal.place_of("move", " d/file")
    staged = journal.done[published].split()[1]
    assert journal.places_of(f"sync {staged}")[0] < published
    directory = journal.places_of("sync d")[-1]
    assert published < directory
    assert next(n for n in journal.places_of("commit") if n > published) > directory
    assert not [n for n in journal.places_of("commit") if published < n < directory]


@pytest.mark.row("F03")
async def test_what_leaves_a_removed_directory_is_durable_before_the_removal_is(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    for name in ("a/old", "a/to"):
        (one.root / name).mkdir(parents=True)
    (one.root / "a" / "old" / "file").write_bytes(b"bytes")
    await one.scan()
    await two.sync(one)
    (one.root / "a" / "old" / "file").rename(one.root / "a" / "to" / "file")
    (one.root / "a" / "old").rmdir()
    journal = await bring(pair, monkeypatch)
    moved = journal.place_of("move a/old/file a/to/file")
    first = [journal.done.index(f"sync {name}", moved) for name in ("a/to", "a")]
    assert first == sorted(first)


@pytest.mark.row("F03")
async def test_a_move_is_durable_on_both_sides_before_the_index_says_so(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    for name in ("from", "to"):
        (one.root / name).mkdir()
    (one.root / "from" / "file").write_bytes(b"bytes")
    await one.scan()
    await two.sync(one)
    (one.root / "from" / "file").rename(one.root / "to" / "file")
    journal = await bring(pair, monkeypatch)
    moved = journal.place_of("move from/file to/file")
    committed = next(n for n in journal.places_of("commit") if n > moved)
    for name in ("from", "to"):
        assert any(moved < n < committed for n in journal.places_of(f"sync {name}"))


@pytest.mark.row("F03")
async def test_a_removal_is_durable_before_the_index_says_so(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    (one.root / "d").mkdir()
    for name in ("goes", "stays"):
        (one.root / "d" / name).write_bytes(name.encode())
    await one.scan()
    await two.sync(one)
    (one.root / "d" / "goes").unlink()
    journal = await bring(pair, monkeypatch)
    removed = journal.place_of("move d/goes .holdfast/")
    committed = next(n for n in journal.places_of("commit") if n > removed)
    assert any(removed < n < committed for n in journal.places_of("sync d"))


@pytest.mark.row("F03")
async def test_a_directory_that_cannot_be_synced_is_not_in_the_index(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F04: what the disk did not promise is not told to anybody, and found again by a scan."""
    one, two = pair
    (one.root / "file").write_bytes(b"bytes")
    await one.scan()
    await two.ingest(one.authored)
    fsync = os.fsync

    def fail(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}") == str(two.root):
            raise OSError(errno.EIO, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskError):
        await two.bring(one)
    summary = await two.store.summary()
    assert (summary.files, summary.need_files) == (0, 1)


# ---------------------------------------------------------------- a copy, then what it was


async def both_edit(pair: Pair, names: Sequence[str]) -> None:
    """Both save other bytes into each file; the first device's count, and the second has them."""
    one, two = pair
    for name in names:
        (one.root / name).write_bytes(b"old")
    await one.scan()
    await two.sync(one)
    for name in names:
        (two.root / name).write_bytes(b"the second's " + name.encode())
    await two.scan()
    for serial in range(2):
        for name in names:
            (one.root / name).write_bytes(b"the first's" + bytes(serial))
        await one.scan()
    await two.ingest(one.authored)


async def test_what_loses_is_a_copy_before_it_is_replaced(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in between must not leave its bytes nowhere (MERGE 14)."""
    one, two = pair
    names = [f"file {number}" for number in range(8)]
    await both_edit(pair, names)
    journal = Journal(two, monkeypatch)
    await two.bring(one)
    for name in names:
        copied = journal.place_of("move .holdfast/incoming/", f" ./{name} (conflict two ")
        assert copied < journal.place_of("swap", f" ./{name}")


async def test_what_cannot_be_copied_is_not_replaced(pair: Pair) -> None:
    one, two = pair
    names = [f"file {number}" for number in range(4)]
    await both_edit(pair, names)
    survey = await two.performer.drive(
        two.engine.survey(FIRST_PAGE, 1000, two.staged)  # type: ignore[arg-type]
    )
    for need in survey.needs:
        two.stage(need, [one])
    survey = await two.performer.drive(
        two.engine.survey(FIRST_PAGE, 1000, two.staged)  # type: ignore[arg-type]
    )
    minute = int(time.time() // 60)
    for name in names:  # a person has such names already, and nobody has looked
        for when in (minute - 1, minute, minute + 1):
            text = datetime.fromtimestamp(60 * when, UTC).strftime("%Y-%m-%d %H%M")
            (two.root / f"{name} (conflict two {text})").write_bytes(b"in the way")
    applied, _ = await two.performer.drive(
        two.engine.apply(survey.ready, two.staged)  # type: ignore[arg-type]
    )
    assert len(applied.refused) >= len(names)
    for name in names:
        assert (two.root / name).read_bytes() == b"the second's " + name.encode()


# ---------------------------------------------------------------- an error is told once


@pytest.mark.row("F04")
@pytest.mark.parametrize("fails", [0, 1, 2])
def test_an_fsync_that_failed_is_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """The second one finds nothing left to write and succeeds, with the data gone (F04)."""
    tried: list[str] = []

    def fail_once(fd: int) -> None:
        tried.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        if len(tried) == fails + 1:
            raise OSError(errno.EIO, "Input/output error")

    names = ["a", "b", "c"]
    for name in names:
        (tmp_path / name).touch()
    root_fd = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(os, "fsync", fail_once)
    try:
        with pytest.raises(DiskError, match="Input/output error"):
            sync_files(root_fd, root_fd, names)
    finally:
        os.close(root_fd)
    assert tried == names[: fails + 1]


# ---------------------------------------------------------------- databases (F05)


async def pragma(db: Any, name: str) -> Any:
    return next(iter(await db.execute_fetchall(f"PRAGMA {name}")))[0]


@pytest.mark.row("F05")
async def test_a_commit_of_the_index_is_on_the_disk(tmp_path: Path) -> None:
    store = await IndexStore.open(tmp_path / "index.db")
    try:
        assert await pragma(store._db, "journal_mode") == "wal"
        assert await pragma(store._db, "synchronous") == FULL
    finally:
        await store.close()


@pytest.mark.row("F05")
@pytest.mark.parametrize("is_new", [True, False])
async def test_a_commit_of_the_home_is_on_the_disk(tmp_path: Path, is_new: bool) -> None:
    if not is_new:
        await (await HomeStore.open(tmp_path / "home.db", is_new=True)).close()
    store = await HomeStore.open(tmp_path / "home.db", is_new=is_new)
    try:
        assert await pragma(store._connection, "journal_mode") == "wal"
        assert await pragma(store._connection, "synchronous") == FULL
    finally:
        await store.close()


async def scan_and_tell(base: Path, place: Place, told: int, killed_at: str, nth: int) -> None:
    """A scan that is killed at its N-th commit; what others may be told goes into a pipe."""
    device = await FolderDevice.open(base, "one", place)
    perform, commits = device.performer.perform, 0

    def tell() -> None:
        os.write(told, bytes([sum(entry.seq for entry in device.engine.frontier)]))

    def die(statement: str) -> None:
        if killed_at == "within" and commits == nth and statement.startswith("COMMIT"):
            os.kill(os.getpid(), signal.SIGKILL)

    await device.store._db.set_trace_callback(die)

    async def watched(command: c.Command[Any]) -> Any:
        nonlocal commits
        tell()
        if is_commit := isinstance(command, c.Commit) and bool(command.changesets):
            commits += 1
            if killed_at == "before" and commits == nth:
                os.kill(os.getpid(), signal.SIGKILL)
        answer = await perform(command)
        tell()
        if is_commit and killed_at == "after" and commits == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    device.performer.perform = watched  # type: ignore[method-assign]
    await device.scan()


async def scan_again(base: Path, place: Place, reader: LogBook) -> Counter[NodeId]:
    """A start after a kill, and a scan to its end; how often each node was told by then, as another
    device reads it.
    """
    store = await IndexStore.open(base / "one.db")
    values = await store.values()
    place.book.restore(values, await store.positions(), await store.quarantined())
    await store.close()
    device = await FolderDevice.open(base, "one", place)
    told: Counter[NodeId] = Counter()
    try:
        await device.scan()
        log = place.book.log_id(place.keys.device_id, device.engine.incarnation)
        for wire in await device.store.perform(c.LoadChangesets(log, 0, 1 << 20)):
            received = reader.receive(wire)
            assert isinstance(received, Accepted)
            reader.accept(received)
            slot = received.changeset.slot
            stamp = Stamp(log, slot.seq, slot.lamport)
            told.update(list(decode_records(received.body.records, stamp, received.frontier).nodes))
        return told
    finally:
        await device.close()


@pytest.mark.row("F02", "F05")
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("killed_at", ["before", "within", "after"])
def test_what_was_told_is_in_the_index_of_who_was_killed(
    tmp_path: Path, killed_at: str, nth: int
) -> None:
    """A process of its own, its index real. Told and not stored, a position would be given to
    another changeset after the next start. The scan is gone on with, and tells nothing twice.
    """
    place, other = two_places()
    device = tmp_path / "one"
    for name in ("a", "d/b"):  # read and told apart from the directory, so these are two commits
        (device / name).parent.mkdir(exist_ok=True, parents=True)
        (device / name).write_bytes(name.encode())
    out, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            asyncio.run(scan_and_tell(tmp_path, place, told, killed_at, nth))
        finally:
            os._exit(1)
    os.close(told)
    with open(out, "rb") as pipe:
        last_told = max(pipe.read())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    async def stored() -> list[int]:
        store = await IndexStore.open(tmp_path / "one.db")
        try:
            return [seq for _, seq, _, _ in await store.positions()]
        finally:
            await store.close()

    there = asyncio.run(stored())
    assert there == list(range(1, nth + (killed_at == "after")))
    assert last_told <= len(there)
    times = asyncio.run(scan_again(tmp_path, place, other.book))
    assert len(times) == len(("a", "d", "d/b"))
    assert set(times.values()) == {1}
