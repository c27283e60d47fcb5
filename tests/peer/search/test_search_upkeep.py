"""The search index follows what folders show, through changes, restarts and damage."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from crypto.ids import NodeId
from peer.core.rows import Row
from peer.daemon import Daemon
from peer.device.config import write_value
from peer.folders.folder import Folder
from peer.folders.folder_setup import index_path
from peer.search.search_index import SearchIndex, connect
from peer.search.search_upkeep import BUSY_S_MAX, SearchUpkeep
from peer.search.text_reader import TextUnreadable
from peer.status import FolderState
from tests.peer.device_stage import devices, folder_of, until


async def paths(daemon: Daemon, text: str) -> list[str]:
    return [one["path"] for one in (await daemon.search(text, 50))["found"]]


async def found(daemon: Daemon, text: str, wanted: list[str]) -> None:
    """Waits until a query finds exactly this."""
    for _ in range(600):
        last = sorted(await paths(daemon, text))
        if last == wanted:
            return
        folder_of(daemon).rescan()
        await asyncio.sleep(0.1)
    raise AssertionError(f"{text!r} finds {last}, and not {wanted}")


async def test_it_follows_what_people_do(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        root = stage.root("one")
        (root / "plans").mkdir()
        (root / "plans" / "a.txt").write_text("We meet the ambassador at noon.")
        (root / "b.md").write_text("# Holidays\n\nThe ambassador's cat is grey.")
        (root / "picture.jpeg").write_bytes(b"ambassador")
        await daemon.add_folder(root, "f")
        await found(daemon, "ambassador", ["b.md", "plans/a.txt"])
        await found(daemon, "ambassador type:md", ["b.md"])
        await found(daemon, "ambass owner:one", ["b.md", "plans/a.txt"])
        await found(daemon, "ambassador owner:one type:pdf", [])
        await found(daemon, "'ambassador at noon'", ["plans/a.txt"])
        await found(daemon, "holidays grey", ["b.md"])
        (entry,) = (await daemon.search("noon", 5))["found"]
        assert (entry["matched"], entry["owner"]) == ("text", "one")
        assert entry["snippet"] == "We meet the ambassador at noon."
        assert (await daemon.suggest("the amb", 5))["suggestions"] == ["the ambassador"]
        assert (await daemon.suggest("x folder:", 5))["suggestions"] == ["x folder:f"]

        os.rename(root / "plans", root / "schemes")
        await found(daemon, "noon schemes", [])  # the name of a directory is not in a text
        await found(daemon, "schemes", ["schemes", "schemes/a.txt"])
        await found(daemon, "plans", [])
        await found(daemon, "noon", ["schemes/a.txt"])
        (root / "b.md").write_text("Nothing at all.")
        await found(daemon, "ambassador", ["schemes/a.txt"])
        os.unlink(root / "schemes" / "a.txt")
        await found(daemon, "ambassador", [])
        await until(lambda: daemon.search_upkeep.is_idle)
        assert (await daemon.suggest("ambas", 5))["suggestions"] == []
        told = daemon.witness.events._number
        (root / "late.txt").write_text("A walrus.")
        await found(daemon, "walrus", ["late.txt"])
        await until(  # who shows what is found asks again when it hears of that
            lambda: any(
                event.kind == "search" and event.number > told
                for event in daemon.witness.events._kept
            )
        )


@pytest.mark.parametrize("damage", ["none", "lost", "overwritten", "behind"])
async def test_it_survives_a_restart(tmp_path: Path, damage: str) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        root = stage.root("one")
        (root / "a.txt").write_text("A walrus.")
        await daemon.add_folder(root, "f")
        await found(daemon, "walrus", ["a.txt"])
        home = daemon.home.path
    database = home / "search.db"
    if damage == "lost":
        database.unlink()
    elif damage == "overwritten":
        database.write_bytes(b"no database" * 1000)
    elif damage == "behind":
        index = SearchIndex.open(database)
        for folder in index.folders():
            index.forget_folder(folder)
        index.close()
    async with devices(tmp_path) as stage:
        daemon = await stage.start("one")
        await found(daemon, "walrus", ["a.txt"])
        assert index_path(daemon.home, folder_of(daemon).folder_id).exists()


async def test_no_text_is_kept_that_is_not_wanted(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        root = stage.root("one")
        (root / "a.txt").write_text("A walrus.")
        await daemon.add_folder(root, "f")
        await found(daemon, "walrus", ["a.txt"])
        home = daemon.home.path
        config = daemon.home.config_path
    write_value(config, "search_text", False)
    index = SearchIndex.open(home / "search.db", has_texts=False)
    index.close()
    assert b"walrus" not in b"".join(path.read_bytes() for path in home.glob("search.db*"))


async def test_a_comparison_that_fails_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        (stage.root("one") / "a.txt").write_text("A walrus.")
        await daemon.add_folder(stage.root("one"), "f")
        await found(daemon, "walrus", ["a.txt"])
        upkeep, folder = daemon.search_upkeep, folder_of(daemon)
        await until(lambda: upkeep.is_idle)
        was_behind: list[bool] = []

        def locked(*_: object) -> None:
            was_behind.append(upkeep.is_behind(folder.folder_id))
            raise sqlite3.OperationalError("database is locked")

        index = upkeep._index
        assert index is not None
        monkeypatch.setattr(index, "differences", locked)
        with pytest.raises(sqlite3.OperationalError):
            await upkeep._compare(index, folder, upkeep._notes[folder.folder_id])
        assert was_behind == [True]  # what is being compared is not known yet
        assert upkeep.is_behind(folder.folder_id)
        monkeypatch.undo()
        upkeep._wake.set()
        await until(lambda: upkeep.is_idle)


async def test_it_waits_for_a_state_and_not_by_the_clock(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        (stage.root("one") / "a.txt").write_text("A walrus.")
        await daemon.add_folder(stage.root("one"), "f")
        await found(daemon, "walrus", ["a.txt"])
        upkeep, folder = daemon.search_upkeep, folder_of(daemon)
        await until(lambda: upkeep.is_idle and folder.progress.state is FolderState.IN_SYNC)
        notes = upkeep._notes[folder.folder_id]
        for state in (FolderState.OFFERED, FolderState.NO_DISK, FolderState.SYNCING):
            upkeep._wake.clear()
            notes.texts_below = 7
            folder.progress.state = state
            assert upkeep._wake.is_set()
            is_awaited = state is FolderState.SYNCING
            assert upkeep._due() == (notes.since + BUSY_S_MAX if is_awaited else None)
        folder.progress.state = FolderState.IN_SYNC
        await until(lambda: upkeep.is_idle)


async def test_what_changes_again_while_it_is_taken_up_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        (stage.root("one") / "a.txt").write_text("A walrus.")
        await daemon.add_folder(stage.root("one"), "f")
        await found(daemon, "walrus", ["a.txt"])
        upkeep, folder = daemon.search_upkeep, folder_of(daemon)
        await until(lambda: upkeep.is_idle and folder.progress.state is FolderState.IN_SYNC)
        index, notes, take = upkeep._index, upkeep._notes[folder.folder_id], upkeep._note
        assert index is not None
        (row,) = (await folder.call(lambda: folder_rows(folder))).values()

        async def note(index: SearchIndex, folder: Folder, nodes: Sequence[NodeId]) -> None:
            await take(index, folder, nodes)
            assert upkeep.is_behind(folder.folder_id)  # for who asks meanwhile
            upkeep.note(folder.folder_id, nodes)  # what was read of it is old by now
            monkeypatch.undo()

        monkeypatch.setattr(upkeep, "_note", note)
        upkeep.note(folder.folder_id, [row.id])
        await upkeep._take_nodes(index, folder, notes)
        assert list(notes.nodes) == [row.id]

        async def fails(index: SearchIndex, folder: Folder, nodes: Sequence[NodeId]) -> None:
            raise sqlite3.OperationalError("database is locked")

        monkeypatch.setattr(upkeep, "_note", fails)
        with pytest.raises(sqlite3.OperationalError):
            await upkeep._take_nodes(index, folder, notes)
        assert list(notes.nodes) == [row.id]
        monkeypatch.undo()
        await until(lambda: upkeep.is_idle)


async def folder_rows(folder: Folder) -> dict[tuple[str, ...], Row]:
    assert folder.history is not None
    return await folder.history.rows_below(())


async def test_closing_writes_into_nobody_s_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reading thread is about to write goes to the process that reads, or nowhere: never to
    what was opened after that process's pipes.
    """
    upkeep = SearchUpkeep(tmp_path / "search.db", lambda _: tmp_path, {})
    is_there, may_go = threading.Event(), threading.Event()

    def wait(fd: int, event: int, deadline: float) -> None:
        is_there.set()
        may_go.wait()

    monkeypatch.setattr("peer.search.text_reader._wait", wait)
    reading = upkeep._writing.submit(upkeep._reader.read, "a.txt", b"of a person")
    await asyncio.to_thread(is_there.wait)
    closing = asyncio.ensure_future(upkeep.close())
    await asyncio.sleep(0)
    with ExitStack() as stack:
        others = [stack.enter_context((tmp_path / f"{n}").open("w+b")) for n in range(16)]
        may_go.set()
        await closing
        assert isinstance(reading.exception(), TextUnreadable)
        assert [os.fstat(other.fileno()).st_size for other in others] == [0] * 16


async def test_an_index_of_which_half_could_be_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a note, too: nothing need ever happen in a folder again."""
    monkeypatch.setattr("peer.search.search_upkeep.BUSY_S_MAX", 0.01)
    tried = 0

    def fails(path: Path, *, is_reader: bool) -> sqlite3.Connection:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path, is_reader=is_reader)

    monkeypatch.setattr("peer.search.search_upkeep.connect", fails)
    upkeep = SearchUpkeep(tmp_path / "search.db", lambda _: tmp_path, {})
    running = asyncio.ensure_future(upkeep.run())
    await until(lambda: running.done() or upkeep._lookup is not None)
    assert await upkeep.ask(lambda _: True, False)
    running.cancel()
    await asyncio.wait([running])
    await upkeep.close()
