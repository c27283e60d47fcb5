"""Steps of the synced tree towards the replica, on a real disk that is not always as it was."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from crypto.ids import NodeId
from peer.core.applying import Applied, sure_at
from peer.core.disk_types import Kind, Operation, Refusal, RefusalKind, SetMtime, Stat
from peer.core.engine import FIRST_PAGE, Need, Survey
from peer.core.local_changes import facts_of
from protocol.nodes import Node
from tests.peer.folder_stage import HASHER, FolderDevice, two_places


class Bench:
    """What one device wrote, about to be brought to the other's disk."""

    def __init__(self, one: FolderDevice, two: FolderDevice) -> None:
        self.one, self.two = one, two

    async def both_have(self, **files: bytes) -> None:
        """These files are on both, and in sync."""
        for name, data in files.items():
            (self.one.root / name).write_bytes(data)
        await self.write()
        await self.two.bring(self.one)

    async def write(self) -> None:
        """The first device tells what was done to its disk."""
        await self.one.scan()
        await self.two.ingest(self.one.authored)

    async def survey(self) -> Survey:
        two = self.two
        return await two.performer.drive(
            two.engine.survey(FIRST_PAGE, 1000, two.staged)  # type: ignore[arg-type]
        )

    async def ready(self) -> dict[NodeId, Node]:
        """All that is to be applied, with its bytes staged."""
        for need in (await self.survey()).needs:
            self.two.stage(need, [self.one])
        survey = await self.survey()
        assert not survey.needs
        return survey.ready

    async def apply(self, ready: dict[NodeId, Node]) -> tuple[Applied, list[Need]]:
        return await self.two.performer.drive(
            self.two.engine.apply(ready, self.two.staged)  # type: ignore[arg-type]
        )

    def kinds(self, applied: Applied) -> dict[str, RefusalKind]:
        return {"/".join(applied.paths[i]): r.kind for i, r in applied.refused.items()}

    async def settle(self) -> None:
        """What a scan then finds is told, and both end with the same."""
        for _ in range(3):
            await self.two.scan()
            await self.two.bring(self.one)
            await self.one.sync(self.two)
            await self.write()
        assert self.one.tree() == self.two.tree()
        assert (await self.two.store.summary())[2:] == (0, 0)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    one, two = two_places()
    devices = (
        await FolderDevice.open(tmp_path, "one", one),
        await FolderDevice.open(tmp_path, "two", two),
    )
    yield Bench(*devices)
    for device in devices:
        await device.close()


# ---------------------------------------------------------------- as planned


async def test_what_is_staged_is_published_and_noted(bench: Bench) -> None:
    (bench.one.root / "d").mkdir()
    (bench.one.root / "d" / "a").write_bytes(b"1")
    (bench.one.root / "b").write_bytes(b"2")
    await bench.write()
    ready = await bench.ready()
    applied, needs = await bench.apply(ready)
    assert (needs, applied.refused, applied.look_again) == ([], {}, set())
    assert applied.nodes == set(ready)
    assert applied.used == set(bench.two.staged.values())
    assert applied.made == [("d",)]
    assert bench.two.tree() == {"b": b"2", "d": None, "d/a": b"1"}
    assert (await bench.survey()).ready == {}


async def test_nothing_is_done_for_a_file_whose_bytes_are_not_here(bench: Bench) -> None:
    await bench.both_have(a=b"old", b=b"old")
    (bench.one.root / "a").write_bytes(b"new bytes")
    (bench.one.root / "c").write_bytes(b"staged")
    await bench.write()
    ready = await bench.ready()
    (key,) = [k for k in bench.two.staged if k[1] == HASHER.chunk_id(b"new bytes")]
    del bench.two.staged[key]
    lacking = NodeId(key[0])
    applied, (need,) = await bench.apply(ready)
    assert (need.node, need.owner, need.content.size) == (lacking, lacking, 9)
    assert set(applied.unstaged) == {lacking}
    assert applied.nodes == set(ready) - {lacking}
    assert bench.two.tree() == {"a": b"old", "b": b"old", "c": b"staged"}


async def test_names_that_change_places(bench: Bench) -> None:
    await bench.both_have(a=b"1", b=b"2", c=b"3")
    for old, new in (("a", "x"), ("b", "a"), ("c", "b"), ("x", "c")):
        (bench.one.root / old).rename(bench.one.root / new)
    await bench.write()
    applied, _ = await bench.apply(await bench.ready())
    assert not applied.refused
    assert bench.two.tree() == {"a": b"2", "b": b"3", "c": b"1"}


async def test_a_directory_moves_with_what_is_in_it_and_a_file_leaves_it(bench: Bench) -> None:
    (bench.one.root / "d").mkdir()
    (bench.one.root / "d" / "a").write_bytes(b"1")
    (bench.one.root / "d" / "b").write_bytes(b"2")
    await bench.write()
    await bench.two.bring(bench.one)
    inode = (bench.two.root / "d" / "a").stat().st_ino
    (bench.one.root / "d").rename(bench.one.root / "e")
    (bench.one.root / "e" / "b").rename(bench.one.root / "b")
    await bench.write()
    applied, _ = await bench.apply(await bench.ready())
    assert not applied.refused
    assert applied.made == [("e",)]
    assert bench.two.tree() == {"b": b"2", "e": None, "e/a": b"1"}
    assert (bench.two.root / "e" / "a").stat().st_ino == inode


async def test_a_mode_or_a_time_alone_is_set_in_place(bench: Bench) -> None:
    await bench.both_have(a=b"1")
    inode = (bench.two.root / "a").stat().st_ino
    (bench.one.root / "a").chmod(0o755)
    os.utime(bench.one.root / "a", ns=(10**18, 10**18))
    await bench.write()
    applied, _ = await bench.apply(await bench.ready())
    assert not applied.refused
    found = (bench.two.root / "a").stat()
    assert (found.st_ino, found.st_mtime_ns) == (inode, 10**18)
    assert found.st_mode & 0o100


# ---------------------------------------------------------------- what the disk refuses


@pytest.mark.row("F20")
async def test_what_a_person_changed_meanwhile_is_not_overwritten(bench: Bench) -> None:
    await bench.both_have(a=b"1", b=b"2")
    (bench.one.root / "a").write_bytes(b"of one")
    (bench.one.root / "b").write_bytes(b"of one, too")
    await bench.write()
    ready = await bench.ready()
    (bench.two.root / "a").write_bytes(b"of two")
    applied, _ = await bench.apply(ready)
    assert bench.kinds(applied) == {"a": RefusalKind.CHANGED}
    assert () in applied.look_again
    assert bench.two.tree() == {"a": b"of two", "b": b"of one, too"}
    assert len(applied.nodes) == 1  # the other was done all the same
    await bench.settle()
    assert sorted(v for v in bench.one.tree().values() if v) == [
        b"of one", b"of one, too", b"of two"
    ]  # fmt: skip


async def test_what_appeared_meanwhile_is_not_overwritten(bench: Bench) -> None:
    (bench.one.root / "a").write_bytes(b"of one")
    await bench.write()
    ready = await bench.ready()
    (bench.two.root / "a").write_bytes(b"of two")
    applied, _ = await bench.apply(ready)
    assert bench.kinds(applied) == {"a": RefusalKind.EXISTS}
    assert applied.nodes == set()
    assert bench.two.tree() == {"a": b"of two"}
    await bench.settle()
    assert sorted(v for v in bench.one.tree().values() if v) == [b"of one", b"of two"]


async def test_what_was_edited_meanwhile_is_not_removed(bench: Bench) -> None:
    await bench.both_have(a=b"1", b=b"2")
    (bench.one.root / "a").unlink()
    (bench.one.root / "b").unlink()
    await bench.write()
    ready = await bench.ready()
    (bench.two.root / "a").write_bytes(b"worth keeping")
    applied, _ = await bench.apply(ready)
    assert bench.kinds(applied) == {"a": RefusalKind.CHANGED}
    assert bench.two.tree() == {"a": b"worth keeping"}
    await bench.settle()
    assert bench.one.tree() == {"a": b"worth keeping"}


async def test_a_directory_with_something_new_in_it_is_not_removed(bench: Bench) -> None:
    (bench.one.root / "d").mkdir()
    (bench.one.root / "d" / "a").write_bytes(b"1")
    await bench.write()
    await bench.two.bring(bench.one)
    (bench.one.root / "d" / "a").unlink()
    (bench.one.root / "d").rmdir()
    await bench.write()
    ready = await bench.ready()
    (bench.two.root / "d" / "new").write_bytes(b"2")
    applied, _ = await bench.apply(ready)
    assert bench.kinds(applied) == {"d": RefusalKind.NOT_EMPTY}
    assert ("d",) in applied.look_again
    assert (bench.two.root / "d" / "new").read_bytes() == b"2"
    await bench.settle()
    assert bench.one.tree() == {"d": None, "d/new": b"2"}


async def test_what_was_to_lie_in_a_refused_directory_is_not_lost(bench: Bench) -> None:
    (bench.one.root / "d").mkdir()
    (bench.one.root / "d" / "a").write_bytes(b"1")
    (bench.one.root / "b").write_bytes(b"2")
    await bench.write()
    ready = await bench.ready()
    (bench.two.root / "d").write_bytes(b"a file of this name")
    applied, _ = await bench.apply(ready)
    assert "d" in bench.kinds(applied)
    assert bench.two.tree() == {"b": b"2", "d": b"a file of this name"}
    await bench.settle()
    assert sorted(v for v in bench.two.tree().values() if v) == [
        b"1", b"2", b"a file of this name"
    ]  # fmt: skip


async def test_names_that_cannot_change_places_go_back(bench: Bench) -> None:
    await bench.both_have(a=b"1", b=b"2")
    for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
        (bench.one.root / old).rename(bench.one.root / new)
    await bench.write()
    ready = await bench.ready()
    (bench.two.root / "b").write_bytes(b"edited meanwhile")
    applied, _ = await bench.apply(ready)
    assert applied.refused
    assert bench.two.tree() == {"a": b"1", "b": b"edited meanwhile"}
    await bench.settle()
    assert bench.one.tree() == {"a": b"edited meanwhile", "b": b"1"}


async def test_a_disk_that_was_emptied_meanwhile_is_looked_at_again(bench: Bench) -> None:
    (bench.one.root / "d").mkdir()
    (bench.one.root / "d" / "a").write_bytes(b"1")
    await bench.write()
    await bench.two.bring(bench.one)
    (bench.one.root / "d" / "a").write_bytes(b"edited")
    await bench.write()
    ready = await bench.ready()
    (bench.two.root / "d" / "a").unlink()
    (bench.two.root / "d").rmdir()
    applied, _ = await bench.apply(ready)
    assert set(bench.kinds(applied)) == {"d/a"}
    assert () in applied.look_again
    assert applied.nodes == set()
    await bench.settle()
    assert bench.one.tree() == {"d": None, "d/a": b"edited"}  # an edit is worth more


async def test_what_was_surveyed_before_a_scan_undoes_nothing_that_it_found(bench: Bench) -> None:
    await bench.both_have(a=b"1")
    (bench.one.root / "a").write_bytes(b"of one")
    await bench.write()
    ready = await bench.ready()
    (bench.two.root / "a").rename(bench.two.root / "b")
    await bench.two.scan()
    applied, _ = await bench.apply(ready)
    assert not applied.refused
    assert bench.two.tree() == {"b": b"of one"}
    await bench.settle()
    assert bench.one.tree() == {"b": b"of one"}


async def test_a_file_that_somebody_moves_as_it_appears_keeps_one_mtime_on_all_devices(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mtime is of another record than its bytes, and is set after it was published."""
    one, two = bench.one, bench.two
    (one.root / "a").write_bytes(b"1")
    await bench.write()
    os.utime(one.root / "a", ns=(10**18, 2 * 10**18))
    await bench.write()
    real = two.disk.apply

    def apply(operations: Sequence[Operation]) -> list[Stat | Refusal]:
        if any(isinstance(operation, SetMtime) for operation in operations):
            (two.root / "a").rename(two.root / "b")
        return real(operations)

    monkeypatch.setattr(two.disk, "apply", apply)
    await bench.apply(await bench.ready())
    assert bench.two.tree() == {"b": b"1"}
    await two.scan()
    await one.sync(two)
    assert (one.root / "b").stat().st_mtime_ns == (two.root / "b").stat().st_mtime_ns


async def test_what_is_not_staged_any_more_is_fetched_again(bench: Bench) -> None:
    """A disk that failed in the middle of a replacement may have kept it elsewhere."""
    await bench.both_have(a=b"1")
    (bench.one.root / "a").write_bytes(b"22")
    await bench.write()
    ready = await bench.ready()
    (name,) = bench.two.staged.values()
    bench.two.disk.sync_staged()
    (bench.two.root / ".holdfast" / "incoming" / name).unlink()
    applied, _ = await bench.apply(ready)
    assert bench.kinds(applied) == {"a": RefusalKind.UNSTAGED}
    assert applied.used == {name}


@pytest.mark.row("F22")
def test_what_is_published_where_times_are_coarse_is_read_once_more() -> None:
    """Who saves over it within that second, and sets the mtime back, would not be seen."""
    fine = Stat(Kind.FILE, 1, 0, 5, 1, 10**18 + 1, False)
    assert facts_of(fine, sure_at(fine)).ctime_ns == fine.ctime_ns
    coarse = fine._replace(ctime_ns=10**18)
    assert facts_of(coarse, sure_at(coarse)).ctime_ns == 0
