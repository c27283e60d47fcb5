"""The engine with real indexes and disks, two devices in one process, and no network."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.ids import NodeId
from peer.core.commands import Command, Commit
from peer.core.engine import FIRST_PAGE, Scanned
from peer.folders.index_store import Summary
from protocol.errors import BadName, BadRecord
from protocol.log_outcomes import Gap
from protocol.nodes import ROOT
from protocol.records import RecordType
from tests.peer.folder_stage import FolderDevice, two_places

FILE = NodeId(b"\x07" * 15 + b"\x00")
DIRECTORY = NodeId(b"\x08" * 15 + b"\x01")


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


async def meet(pair: Pair) -> None:
    """Both exchange all they wrote, until both disks show the same."""
    one, two = pair
    for _ in range(2):
        await two.sync(one)
        await one.sync(two)
    assert one.tree() == two.tree()


async def test_a_tree_comes_over_whole(pair: Pair) -> None:
    one, two = pair
    (one.root / "d" / "e").mkdir(parents=True)
    (one.root / "d" / "e" / "f.txt").write_bytes(b"deep")
    (one.root / "empty").write_bytes(b"")
    (one.root / "run.sh").write_bytes(b"#!")
    (one.root / "run.sh").chmod(0o755)
    (one.root / "link").symlink_to("d/e")
    await one.scan()
    await meet(pair)
    assert two.tree() == {
        "d": None, "d/e": None, "d/e/f.txt": b"deep", "empty": b"", "link": None, "run.sh": b"#!"
    }  # fmt: skip
    assert os.access(two.root / "run.sh", os.X_OK)
    assert os.readlink(two.root / "link") == "d/e"
    assert (await two.store.summary())[2:] == (0, 0)


async def test_a_scan_after_applying_has_nothing_to_say(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    two.authored.clear()
    scanned = await two.scan()
    assert two.authored == []
    assert scanned.to_read == []


async def test_an_edit_here_and_a_rename_there_both_take_effect(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    (one.root / "a").write_bytes(b"edited")
    (two.root / "a").rename(two.root / "b")
    await one.scan()
    await two.scan()
    await meet(pair)
    assert one.tree() == {"b": b"edited"}


async def test_two_edits_leave_a_conflict_copy_on_both(pair: Pair) -> None:
    one, two = pair
    (one.root / "a.txt").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    (one.root / "a.txt").write_bytes(b"of one")
    (two.root / "a.txt").write_bytes(b"of two")
    await one.scan()
    await two.scan()
    await meet(pair)
    assert sorted(one.tree().values()) == [b"of one", b"of two"]  # type: ignore[type-var]
    assert sum("(conflict " in name for name in one.tree()) == 1


async def test_a_moved_directory_is_one_record_and_one_rename(pair: Pair) -> None:
    one, two = pair
    (one.root / "d").mkdir()
    for number in range(20):
        (one.root / "d" / f"{number}").write_bytes(b"%d" % number)
    await one.scan()
    await meet(pair)
    inode = (two.root / "d").stat().st_ino
    one.authored.clear()
    (one.root / "d").rename(one.root / "moved")
    await one.scan()
    assert len(one.authored) == 1
    assert len(one.authored[0]) < 2_000
    await meet(pair)
    assert (two.root / "moved").stat().st_ino == inode


@pytest.mark.row("F16")
async def test_a_deletion_of_what_somebody_edits_keeps_the_edit(pair: Pair) -> None:
    one, two = pair
    (one.root / "d").mkdir()
    (one.root / "d" / "a").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    (one.root / "d" / "a").unlink()
    (one.root / "d").rmdir()
    (two.root / "d" / "a").write_bytes(b"unseen")
    await one.scan()
    await two.scan()
    await meet(pair)
    assert one.tree() == {"d": None, "d/a": b"unseen"}


async def test_too_many_deletions_are_held_and_nothing_is_recorded(pair: Pair) -> None:
    one, _ = pair
    for number in range(5):
        (one.root / f"{number}").write_bytes(b"%d" % number)
    await one.scan()
    for path in list(one.root.glob("[0-9]")):
        path.unlink()
    one.authored.clear()
    assert (await one.scan(4)).held_deletions == 5
    assert one.authored == []
    assert (await one.scan(5)).held_deletions == 0
    assert len(one.authored) == 1


async def test_what_the_person_changed_meanwhile_is_not_overwritten(pair: Pair) -> None:
    """The disk is compared with what the plan saw: local wins and becomes a conflict."""
    one, two = pair
    (one.root / "a").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    (one.root / "a").write_bytes(b"newer")
    await one.scan()
    await two.ingest(one.authored)
    (two.root / "a").write_bytes(b"unscanned!")
    (applied,) = await two.bring(one)
    assert list(applied.refused)
    assert two.tree()["a"] == b"unscanned!"
    await two.scan()
    await meet(pair)
    assert {b"newer", b"unscanned!"} == set(one.tree().values())


def save_in_place(path: Path, data: bytes) -> None:
    """As programs do that keep the time of what they write to: only the ctime shows it."""
    before = path.stat()
    assert before.st_size == len(data)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.row("F18")
@pytest.mark.parametrize("target", ["a", "d/a", "b"])
async def test_an_edit_that_shows_in_no_size_and_no_mtime_is_told(pair: Pair, target: str) -> None:
    """Where the file is renamed at once, its ctime says nothing either (`b` changes places)."""
    one, two = pair
    (one.root / "d").mkdir()
    (one.root / "a").write_bytes(b"track 1")
    (one.root / "b").write_bytes(b"track 2")
    await one.scan()
    await meet(pair)
    save_in_place(one.root / "a", b"Track 1")
    if target == "b":
        (one.root / "b").rename(one.root / "t")
        (one.root / "a").rename(one.root / "b")
        (one.root / "t").rename(one.root / "a")
    else:
        (one.root / "a").rename(one.root / target)
    await one.scan()
    await meet(pair)
    assert two.tree()[target] == b"Track 1"


async def test_what_was_moved_is_read_after_a_crash_too(pair: Pair, tmp_path: Path) -> None:
    """The move is told before the bytes are looked at."""
    one, two = pair
    (one.root / "a").write_bytes(b"track 1")
    await one.scan()
    await meet(pair)
    save_in_place(one.root / "a", b"Track 1")
    (one.root / "a").rename(one.root / "b")
    scan = one.engine.scan([ROOT], True, lambda path, is_directory: False, time.time_ns() + 10**9)
    one.note((await one.performer.drive(scan)).authored)
    await one.close()
    again = await FolderDevice.open(tmp_path, "one", one.place)
    try:
        again.authored += one.authored
        await again.scan()
        await two.sync(again)
        assert two.tree() == {"b": b"Track 1"}
    finally:
        await again.close()


async def test_a_folder_s_name_travels_and_is_read_back(pair: Pair) -> None:
    one, two = pair
    one.note(await one.performer.drive(one.engine.name_folder("photos", 0)))
    await two.ingest(one.authored)
    assert two.engine.name == one.engine.name == "photos"
    two.engine.name = ""
    await two.performer.drive(two.engine.load_name())
    assert two.engine.name == "photos"


async def test_changesets_out_of_order_wait_and_twice_is_once(pair: Pair) -> None:
    one, two = pair
    for name in ("a", "b", "c"):
        (one.root / name).write_bytes(name.encode())
        await one.scan()
    first, *rest = one.authored
    ingested = await two.ingest(rest[::-1])
    assert ingested.accepted == 0
    assert any(isinstance(w, Gap) for w in ingested.waiting)
    assert (await two.ingest([first])).accepted == 3
    assert (await two.ingest([first, *rest])).accepted == 0
    await two.bring(one)
    assert set(two.tree()) == {"a", "b", "c"}


@pytest.mark.row("A09", "A34")
@pytest.mark.parametrize(
    ("record", "error"),
    [
        ([RecordType.PLACE, FILE, ROOT, "../../etc", 0, [], [], None, None], BadName),
        ([RecordType.PLACE, FILE, FILE, "a", 0, [], [], None, None], BadRecord),
        ([RecordType.CONTENT, FILE, b"h" * 32, 1, 0, b"x" * 37, []], BadRecord),
    ],
)
async def test_a_member_s_hostile_record_is_refused_and_freezes_its_log(
    pair: Pair, record: list[object], error: type[Exception]
) -> None:
    """A valid signature on what no honest device writes: nothing of it enters (A09, A34)."""
    one, two = pair
    hostile = one.place.draft_and_seal([[RecordType.HEADER, "L", 0], record])
    ingested = await two.ingest([hostile.changeset.wire])
    (refused,) = ingested.refused
    assert type(refused.error) is error
    assert refused.is_frozen
    assert ingested.nodes == []
    assert await two.bring(one) == []
    one.place.book.accept(hostile)
    fine = [RecordType.PLACE, DIRECTORY, ROOT, "fine", 0, [], [], None, None]
    after = one.place.draft_and_seal([[RecordType.HEADER, "L", 0], fine])
    assert (await two.ingest([after.changeset.wire])).nodes == []
    assert await two.bring(one) == []


async def test_garbage_is_refused_and_the_rest_goes_on(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"1")
    await one.scan()
    wire = one.authored[0]
    flipped = wire[:-1] + bytes([wire[-1] ^ 1])
    ingested = await two.ingest([b"", b"\xff" * 100, flipped, wire])
    assert len(ingested.refused) == 3
    assert ingested.accepted == 1


async def test_a_restart_goes_on_where_it_was(pair: Pair, tmp_path: Path) -> None:
    one, two = pair
    (one.root / "d").mkdir()
    (one.root / "d" / "a").write_bytes(b"1")
    await one.scan()
    await two.sync(one)
    again = await FolderDevice.open(tmp_path, "two", two.place)
    try:
        assert (await again.scan()).to_read == []
        assert again.authored == []
        assert again.engine.find(("d",)) == two.engine.find(("d",))
    finally:
        await again.close()


async def test_looking_up_paths(pair: Pair) -> None:
    one, _ = pair
    (one.root / "d" / "e").mkdir(parents=True)
    (one.root / "d" / "a").write_bytes(b"1")
    await one.scan()
    item, is_exact = one.engine.find(("d", "e"))
    assert is_exact
    assert await one.performer.drive(one.engine.path_of(item)) == ("d", "e")
    assert one.engine.find(("d", "e", "x", "y")) == (item, False)
    assert one.engine.find(()) == (ROOT, True)
    assert await one.performer.drive(one.engine.path_of(FILE)) is None


async def test_a_rename_does_not_wait_for_the_bytes_of_an_edit(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    one.authored.clear()
    (one.root / "a").rename(one.root / "b")
    await one.scan()
    (one.root / "b").write_bytes(b"edited")
    await one.scan()
    for wire in one.authored:
        await two.ingest([wire])
    survey = await two.performer.drive(two.engine.survey(FIRST_PAGE, 9, {}))
    (need,) = survey.needs
    assert need.content.size == len(b"edited")
    await two.performer.drive(two.engine.apply(survey.ready, {}))
    assert two.tree() == {"b": b"1"}


async def test_a_survey_comes_in_pages(pair: Pair) -> None:
    one, two = pair
    for number in range(7):
        (one.root / f"{number}").write_bytes(b"%d" % number)
    await one.scan()
    await two.ingest(one.authored)
    page, needs = FIRST_PAGE, set()
    pages = 0
    while True:
        survey = await two.performer.drive(two.engine.survey(page, 3, {}))
        needs |= {n.node for n in survey.needs}
        pages += 1
        if survey.next_page is None:
            break
        page = survey.next_page
    assert (pages, len(needs)) == (3, 7)
    assert await two.store.summary() == Summary(0, 0, 7, 0)


@pytest.mark.row("F05")
async def test_only_what_is_durable_is_told(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before it is stored, it could not be given when asked for, nor after a crash."""
    one, _ = pair
    (one.root / "a").write_bytes(b"1")
    perform, told = one.performer.perform, []

    async def watched(command: Command[object]) -> object:
        if isinstance(command, Commit) and command.changesets:
            told.append([e.seq for e in one.engine.frontier])
        return await perform(command)

    monkeypatch.setattr(one.performer, "perform", watched)
    await one.scan()
    assert told == [[]]
    assert [e.seq for e in one.engine.frontier] == [1]


async def test_bytes_are_not_taken_for_those_of_a_file_that_has_moved_on(pair: Pair) -> None:
    """Between a scan of one directory and the reading, another scan may find that it was a swap."""
    one, two = pair
    for path in ("d/a", "e/b"):
        (one.root / path).parent.mkdir()
        (one.root / path).write_bytes(path.encode())
    await one.scan()
    await meet(pair)
    (one.root / "d/a").rename(one.root / "d/x")
    (one.root / "e/b").rename(one.root / "d/a")
    (one.root / "d/x").rename(one.root / "e/b")

    async def look(path: tuple[str, ...]) -> Scanned:
        scope = [one.engine.find(path)[0]]
        return await one.performer.drive(
            one.engine.scan(scope, True, lambda p, d: False, time.time_ns())
        )

    early = await look(("d",))
    assert [entry.name for entry in early.to_read] == ["a"]
    one.note((await look(())).authored)
    read = await one.performer.drive(one.engine.read_back(early.to_read, time.time_ns()))
    assert (read.again, read.authored) == (early.to_read, [])
    await meet(pair)
    assert two.tree() == {"d": None, "d/a": b"e/b", "e": None, "e/b": b"d/a"}


async def test_what_lies_where_no_directory_is_shown_any_more_is_looked_for_again(
    pair: Pair,
) -> None:
    one, two = pair
    (one.root / "d").mkdir()
    await one.scan()
    await meet(pair)
    (two.root / "d" / "new").write_bytes(b"1")
    seen = await two.performer.drive(
        two.engine.scan([ROOT], True, lambda p, d: False, time.time_ns())
    )
    shutil.rmtree(one.root / "d")
    await one.scan()
    await two.ingest(one.authored)
    (two.root / "d").rename(two.root.parent / "aside")
    await two.performer.drive(two.engine.scan([ROOT], True, lambda p, d: False, time.time_ns()))
    read = await two.performer.drive(two.engine.read_back(seen.to_read, time.time_ns()))
    assert read.has_strays


@pytest.mark.row("F19")
async def test_a_directory_in_the_place_of_a_file_is_a_deletion_of_the_file(pair: Pair) -> None:
    one, two = pair
    (one.root / "a").write_bytes(b"1")
    await one.scan()
    await meet(pair)
    (one.root / "a").unlink()
    (one.root / "a").mkdir()
    await one.scan()
    await meet(pair)
    assert two.tree() == {"a": None}
