"""Search by name: what is typed becomes a query, and the query finds what it says."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pytest

from peer.daemon import Daemon
from peer.errors import UnknownDevice, UnknownFolder, UsageError
from peer.search.search import NameSearch, Query, parse
from peer.status import SearchEntry
from tests.peer.device_stage import devices, folder_of, until
from tests.peer.history.test_history import nothing

T = TypeVar("T")
FILES = {
    "report.pdf": 10, "Report 2025.PDF": 2_000, "d/annual report.odt": 30, "d/notes.txt": 40,
    "d/100%_sure.txt": 50, "d/1000 sure.txt": 60, "Ärger über Öl.txt": 70, "beach.jpeg": 3_000_000,
}  # fmt: skip


def time_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", Query()),
        ("a  B", Query(("a", "B"))),
        ("'a b' c", Query(("a b", "c"))),
        ("'a b", Query(("a", "b"))),
        ("type:pdf", Query((), ("pdf",), False)),
        ("TYPE:.Pdf x", Query(("x",), ("pdf",), False)),
        ("type:dir x", Query(("x",), (), True)),
        ("folder:'my work'", Query(folder="my work")),
        ("after:2026", Query(after_s=time_of("2026-01-01"))),
        ("before:2026-02", Query(before_s=time_of("2026-02-01"))),
        ("after:2026-02-03", Query(after_s=time_of("2026-02-03"))),
        ("larger:20M smaller:1gb", Query(larger=20_000_000, smaller=10**9)),
        ("http://x type: :y", Query(("http://x", "type:", ":y"))),
        ("12:30 std::map C:\\\\x", Query(("12:30", "std::map", "C:\\x"))),
        ("'size:1M' \"a type:pdf\"", Query(("size:1M", "a type:pdf"))),
        ("folder:'a:b'", Query(folder="a:b")),
    ],
)
def test_what_is_typed_is_read(text: str, query: Query) -> None:
    assert parse(text) == query


def test_a_kind_stands_for_its_endings() -> None:
    assert {"jpg", "png"} <= set(parse("type:image").endings)


@pytest.mark.parametrize(
    "text", ["after:yesterday", "after:2026-13", "larger:big", "larger:-1", "a " * 17, "a" * 1001]
)
def test_what_means_nothing_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize("text", ["size:1M", "x Name:y", "x 'open size:1M"])
def test_a_filter_that_is_none_is_told_with_those_there_are(text: str) -> None:
    with pytest.raises(UsageError, match=r"no filter (size|Name): .* larger:, smaller:"):
        parse(text)


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        root = stage.root("one")
        (root / "d").mkdir()
        for number, (name, size) in enumerate(FILES.items()):
            (root / name).write_bytes(b"x" * size)
            os.utime(root / name, (1e9 + number, 1e9 + number))
        await daemon.add_folder(root, "f")
        await until(lambda: folder_of(daemon).progress.summary.files == len(FILES))
        await folder_of(daemon).call(nothing)
        yield daemon


async def find(daemon: Daemon, text: str, limit: int = 50) -> list[SearchEntry]:
    return (await daemon.search(text, limit))["found"]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("report", ["Report 2025.PDF", "report.pdf", "d/annual report.odt"]),
        ("report.pdf", ["report.pdf"]),
        ("report annual", ["d/annual report.odt"]),
        ("report type:pdf", ["Report 2025.PDF", "report.pdf"]),
        ("type:dir", ["d"]),
        ("d type:dir", ["d"]),
        ("100%_", ["d/100%_sure.txt"]),
        ("ärger", ["Ärger über Öl.txt"]),
        ("ÖL arger", []),
        ("type:image", ["beach.jpeg"]),
        ("larger:1K", ["beach.jpeg", "Report 2025.PDF"]),
        ("notes smaller:40", []),
        ("notes smaller:41", ["d/notes.txt"]),
        ("notes before:2001-09-10 after:2001-09-08", ["d/notes.txt"]),
        ("notes after:2001-09-10", []),
        ("notes folder:f", ["d/notes.txt"]),
        ("notes owner:one after:2002", []),
        ("notes type:pdf", []),
    ],
)
async def test_a_query_finds_what_it_says(one: Daemon, text: str, paths: list[str]) -> None:
    assert [entry["path"] for entry in await find(one, text)] == paths


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("notes folder:other", UnknownFolder, "no folder 'other'"),
        ("owner:phone", UnknownDevice, "no device 'phone'"),
        ("notes type:foo", UsageError, r"ends in \.foo\. .* one of: dir, archive"),
    ],
)
async def test_what_finds_nothing_because_there_is_no_such_thing_is_told(
    one: Daemon, text: str, error: type[Exception], said: str
) -> None:
    await until(lambda: one.search_upkeep.is_idle)
    with pytest.raises(error, match=said):
        await find(one, text)


async def test_an_entry_says_where_it_is(one: Daemon, tmp_path: Path) -> None:
    (entry,) = await find(one, "notes")
    assert entry["place"] == str(tmp_path / "one" / "d" / "notes.txt")
    assert (entry["folder"], entry["size"], entry["directory"]) == ("f", 40, False)
    assert entry["modified_s"] == 1e9 + 3
    (directory,) = await find(one, "type:dir")
    assert (directory["directory"], directory["modified_s"]) == (True, None)


async def test_no_more_is_told_than_was_asked_for(one: Daemon) -> None:
    answer = await one.search("type:txt", 2)
    assert (len(answer["found"]), answer["more"]) == (2, True)
    assert not (await one.search("type:txt", 4))["more"]


async def test_what_is_gone_is_not_found(one: Daemon) -> None:
    (entry,) = await find(one, "notes")
    os.unlink(entry["place"])
    folder = folder_of(one)
    folder.rescan()
    await until(lambda: folder.progress.summary.files == len(FILES) - 1)
    assert await find(one, "notes") == []


async def test_what_the_index_takes_up_while_it_answers_is_found(
    one: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep, is_behind = one.search_upkeep, [True]

    async def catching_up(question: object, otherwise: T) -> T:
        is_behind[0] = False
        return otherwise

    monkeypatch.setattr(upkeep, "is_behind", lambda folder_id: is_behind[0])
    monkeypatch.setattr(upkeep, "ask", catching_up)
    assert [entry["path"] for entry in await find(one, "notes")] == ["d/notes.txt"]


async def test_the_walk_reads_one_index_and_no_records(one: Daemon) -> None:
    sql: list[str] = []
    folder = folder_of(one)
    db = folder.store._db
    await db.set_trace_callback(sql.append)
    # By itself: a search asks the index of texts instead as soon as that is whole.
    await NameSearch(db).find(folder.engine.directories, parse("report larger:1"), 10)
    await db.set_trace_callback(None)  # type: ignore[arg-type]
    (query,) = [text for text in sql if "ORDER BY" in text]
    plan = await db.execute_fetchall(f"EXPLAIN QUERY PLAN {query}")
    assert "COVERING INDEX node_shown" in " ".join(row[3] for row in plan)
