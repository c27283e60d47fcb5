"""Conflict copies: they are listed, and a decision is the same on all devices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peer.errors import NotInFolder, NotResolved, PathUnusable
from peer.folders.conflicts import original_of
from peer.status import Choice, ConflictEntry
from tests.peer.device_stage import devices, folder_of, until
from tests.peer.history.test_history import Pair, nothing, tree


class Divided(Pair):
    """Two devices that edit the same file without knowing of each other."""

    async def divide(self, name: str, here: bytes, there: bytes) -> ConflictEntry:
        count = len(tree(self.here).keys() | {name})
        for daemon, root, data in ((self.one, self.here, here), (self.two, self.there, there)):
            await daemon.pause("f")
            await folder_of(daemon).call(nothing)
            (root / name).write_bytes(data)
        for daemon in (self.one, self.two):
            await daemon.resume("f")
        await until(lambda: len(tree(self.here)) == len(tree(self.there)) == count + 1)
        await self.same()
        await folder_of(self.one).call(nothing)
        await folder_of(self.two).call(nothing)
        (found,) = (await self.one.conflicts())["conflicts"]
        return found

    async def both_show(self, files: dict[str, bytes]) -> None:
        await until(lambda: tree(self.here) == files)
        await until(lambda: tree(self.there) == files)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Divided]:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.share(one, two)
        pair = Divided(stage, one, two)
        await pair.write("plan.odt", b"as it was")
        yield pair


async def test_a_number_has_room_beside_an_endless_ending(pair: Divided) -> None:
    name = "n." + "n" * 253
    found = await pair.divide(name, b"mine", b"theirs, longer")
    await pair.one.resolve(pair.here / found["path"], Choice.BOTH)
    await until(lambda: name[:-4] + " (2)" in tree(pair.there))


def test_a_copy_s_original_is_its_name_without_the_mark() -> None:
    copy = ("d", "plan (conflict one 2026-01-31 1400).odt")
    assert original_of(copy) == ("d", "plan.odt")
    assert original_of(("d", "plan.odt")) is None
    assert original_of(()) is None


async def test_both_devices_list_the_copy(pair: Divided) -> None:
    found = await pair.divide("plan.odt", b"mine", b"theirs, longer")
    assert (found["original"], found["folder"]) == ("plan.odt", "f")
    assert found["device"] in ("one", "two")
    assert found["size"] == len({"one": b"mine", "two": b"theirs, longer"}[found["device"]])
    assert found["place"] == str(pair.here / found["path"])
    (other,) = (await pair.two.conflicts())["conflicts"]
    assert other["path"] == found["path"]


@pytest.mark.parametrize("choice", list(Choice))
async def test_a_decision_is_the_same_everywhere(pair: Divided, choice: Choice) -> None:
    found = await pair.divide("plan.odt", b"mine", b"theirs, longer")
    original = (pair.here / "plan.odt").read_bytes()
    copy = (pair.here / found["path"]).read_bytes()
    await pair.one.resolve(pair.here / found["path"], choice)
    await pair.both_show(
        {
            Choice.ORIGINAL: {"plan.odt": original},
            Choice.COPY: {"plan.odt": copy},
            Choice.BOTH: {"plan.odt": original, "plan (2).odt": copy},
        }[choice]
    )
    assert (await pair.one.conflicts())["conflicts"] == []


@pytest.mark.parametrize("has_spare", [False, True])
async def test_what_a_decision_replaces_is_one_version_and_nothing_deleted(
    pair: Divided, has_spare: bool
) -> None:
    folder = folder_of(pair.one)
    history = folder.history
    assert history is not None
    history.spares.settle_s = 0.0 if has_spare else 3600.0
    found = await pair.divide("plan.odt", b"mine", b"theirs, longer")
    original = (pair.here / "plan.odt").read_bytes()
    copy = (pair.here / found["path"]).read_bytes()
    # Whose edit is the copy saw its own in the file's place before it heard of the other.
    before = [original, *([copy] if found["device"] == "one" else []), b"as it was"]
    await pair.one.resolve(pair.here / found["path"], Choice.COPY)
    await pair.both_show({"plan.odt": copy})
    for _ in range(2):
        await folder.call(history.take_stock)
        listed = await pair.versions(pair.one, pair.here / "plan.odt")
        assert [one["size"] for one in listed] == [len(data) for data in (copy, *before)]
        assert listed[1]["here"]
        assert not any(one["deleted"] for one in listed)
        assert all(one["device"] in ("one", "two") for one in listed)
        assert (await pair.one.deleted(pair.here))["versions"] == [], "the copy is the file now"
    await pair.one.restore(pair.here / "plan.odt", listed[1]["version"], None, None)
    await pair.both_show({"plan.odt": original})
    await folder.call(history.take_stock)
    listed = await pair.versions(pair.one, pair.here / "plan.odt")
    assert [one["size"] for one in listed] == [len(data) for data in (original, copy, *before)]
    assert listed[1]["here"]


async def test_a_copy_that_went_is_listed_as_deleted(pair: Divided) -> None:
    found = await pair.divide("plan.odt", b"mine", b"theirs, longer")
    await pair.one.resolve(pair.here / found["path"], Choice.ORIGINAL)
    await pair.both_show({"plan.odt": (pair.here / "plan.odt").read_bytes()})
    await folder_of(pair.one).call(nothing)
    (gone,) = (await pair.one.deleted(pair.here))["versions"]
    assert (gone["path"], gone["deleted"], gone["here"]) == (found["path"], True, True)


NEW = ("new.odt", "n" * 250 + ".odt")
"""Names that both devices give a file of their own; the second has no room for a mark."""


@pytest.mark.parametrize("name", NEW, ids=["short", "long"])
@pytest.mark.parametrize("choice", list(Choice))
async def test_two_new_files_of_one_name_are_a_conflict_like_any(
    pair: Divided, choice: Choice, name: str
) -> None:
    (pair.here / "plan.odt").unlink()
    await until(lambda: not tree(pair.there))
    found = await pair.divide(name, b"mine", b"theirs, longer")
    (other,) = (await pair.two.conflicts())["conflicts"]
    assert other["path"] == found["path"]
    original, copy = (pair.here / name).read_bytes(), (pair.here / found["path"]).read_bytes()
    assert found["original"] == name
    await pair.two.resolve(pair.there / found["path"], choice)
    await pair.both_show(
        {
            Choice.ORIGINAL: {name: original},
            Choice.COPY: {name: copy},
            Choice.BOTH: {name: original, f"{name[:-4][:247]} (2).odt": copy},
        }[choice]
    )
    assert (await pair.one.conflicts())["conflicts"] == []


async def test_what_a_new_file_s_copy_was_is_kept_and_found(pair: Divided) -> None:
    found = await pair.divide("new.odt", b"mine", b"theirs, longer")
    copy = pair.here / found["path"]
    folder = folder_of(pair.one)
    history = folder.history
    assert history is not None
    now, _ = await folder.call(lambda: history.of_path((found["path"],)))
    assert now is not None
    assert now.size == len(copy.read_bytes())


async def test_what_a_decision_removes_can_be_had_back(pair: Divided) -> None:
    found = await pair.divide("plan.odt", b"mine", b"theirs, longer")
    original = (pair.here / "plan.odt").read_bytes()
    await pair.one.resolve(pair.here / found["path"], Choice.COPY)
    await pair.same()
    kept = [p.read_bytes() for p in (pair.here / ".holdfast" / "trash").glob("kept-*")]
    assert original in kept


async def test_a_taken_name_is_not_taken_again(pair: Divided) -> None:
    found = await pair.divide("plan.odt", b"mine", b"theirs, longer")
    copy = (pair.here / found["path"]).read_bytes()
    (pair.here / "plan (2).odt").write_bytes(b"another")
    await pair.one.resolve(pair.here / found["path"], Choice.BOTH)
    await until(lambda: tree(pair.there).get("plan (3).odt") == copy)
    assert (pair.here / "plan (2).odt").read_bytes() == b"another"
    assert (pair.here / "plan (3).odt").read_bytes() == copy


async def test_what_is_no_copy_is_left_alone(pair: Divided, tmp_path: Path) -> None:
    for name in ("plan.odt", "nothing (conflict one 2026-01-31 1400).odt"):
        with pytest.raises(NotResolved):
            await pair.one.resolve(pair.here / name, Choice.ORIGINAL)
    with pytest.raises(NotInFolder):
        await pair.one.resolve(tmp_path / "elsewhere", Choice.ORIGINAL)
    assert tree(pair.here) == {"plan.odt": b"as it was"}


async def test_what_was_just_saved_is_left_alone(pair: Divided) -> None:
    found = await pair.divide("plan.odt", b"mine", b"theirs, longer")
    folder = folder_of(pair.one)
    conflicts = folder.conflicts
    assert conflicts is not None

    async def save_and_decide(name: str, choice: Choice) -> str:
        (pair.here / name).write_bytes(b"saved a moment ago")  # no scan comes in between
        return await conflicts.resolve((found["path"],), choice)

    for name, choice in (("plan.odt", Choice.COPY), (found["path"], Choice.ORIGINAL)):
        reason = await folder.call(lambda n=name, c=choice: save_and_decide(n, c))  # type: ignore[misc]
        assert "changed" in reason
        assert (pair.here / name).read_bytes() == b"saved a moment ago"


async def test_a_paused_folder_decides_nothing(pair: Divided) -> None:
    await pair.one.pause("f")
    with pytest.raises(PathUnusable, match="paused"):
        await pair.one.resolve(pair.here / "plan.odt", Choice.COPY)
