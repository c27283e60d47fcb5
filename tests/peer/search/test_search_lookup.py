"""What the index finds, and in which order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto.ids import FolderId, NodeId
from peer.search.search import parse
from peer.search.search_index import Document, SearchIndex, connect
from peer.search.search_lookup import SearchLookup, Tier, snippet
from peer.search.text_formats import words_of
from peer.search.text_reader import ReadText
from protocol.nodes import ROOT, Kind

WORK, HOME = FolderId(b"w" * 32), FolderId(b"h" * 32)
NOW_NS = time.time_ns()
DAY_NS = 86_400 * 10**9
FILES = {
    # name, above, owner, age in days, text
    1: ("walrus.txt", "", "laptop", 10, "about seals"),
    2: ("old walrus.pdf", "animals", "phone", 400, "a walrus, a walrus, a walrus"),
    3: ("notes.md", "walrus", "phone", 1, "nothing here"),
    4: ("diary.txt", "", "laptop", 2, "saw a walrus. " + "and much else happened " * 300),
    5: ("report.txt", "", "laptop", 3, "walrus walrus walrus walrus"),
    6: ("Ärger.txt", "", "laptop", 4, "die größte Mühe mit dem Walroß"),
    7: ("walrus", "", "laptop", 900, ""),
    8: ("old.Txr.gz", "", "laptop", 901, ""),
    9: ("odd.gz", "", "laptop", 902, ""),
    10: ("the.es.md", "", "laptop", 903, "hello"),
}


@pytest.fixture
def lookup(tmp_path: Path) -> Iterator[SearchLookup]:
    index = SearchIndex.open(tmp_path / "search.db")
    for number, (name, above, owner, age, text) in FILES.items():
        node = NodeId(bytes(14) + bytes((number, Kind.FILE)))
        one = Document(
            node, ROOT, name, above, owner, Kind.FILE, len(text), NOW_NS - age * DAY_NS,
            bytes([number]),
        )  # fmt: skip
        index.note(HOME if number == 5 else WORK, [one], [])
    for folder in (WORK, HOME):
        for unread in index.unread(folder, 1 << 62, 100):
            text = FILES[unread.node[14]][4]
            index.put_texts(folder, [(unread.id, ReadText(text, sorted(words_of(text))))])
    db = connect(tmp_path / "search.db", is_reader=True)
    yield SearchLookup(db)
    db.close()
    index.close()


def find(lookup: SearchLookup, text: str, folders: list[FolderId] | None = None) -> list[int]:
    return [hit.node[14] for hit in lookup.find(parse(text), folders, 50)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("walrus", [7, 1, 2, 3, 5, 4]),  # is it, begins so, has it, lies there, says it often, once
        ("WALRUS type:pdf", [2]),
        ("walrus owner:Phone", [2, 3]),
        ("walrus after:2020 type:txt owner:laptop", [1, 5, 4]),
        ("walr", [1, 7, 2, 3, 5, 6, 4]),
        ("lrus", [1, 2, 7, 3]),
        ("saw walrus", [4]),
        ("diary walrus", [4]),
        ('"saw a walrus"', [4]),
        ("mühe größ", [6]),
        ("arger", [6]),  # in a text an accent may be left out, as it often is
        ("a", [4, 1, 2, 7]),
        ("wa", [1, 7, 2, 5, 6, 4]),
        ("type:md", [3, 10]),
        ("type:gz", [8, 9]),
        ("type:txr.gz", [8]),
        ("old type:.TXR.gz", [8]),
        ("hello type:es.md", [10]),
        ("hello type:fr.md", []),
        ("owner:phone", [3, 2]),
        ("larger:100", [4]),
        ("%", []),
        ("walrus smaller:1", [7]),
    ],
)
def test_the_best_comes_first(lookup: SearchLookup, text: str, found: list[int]) -> None:
    assert find(lookup, text) == found


def test_what_filters_name_is_there_or_not(lookup: SearchLookup) -> None:
    assert [lookup.has_owner(name) for name in ("Phone", "phon", "")] == [True, False, False]
    assert [lookup.has_ending(ending) for ending in ("pdf", "foo")] == [True, False]
    assert [lookup.has_ending(ending) for ending in ("txr.gz", "foo.gz")] == [True, False]


def test_only_these_folders_are_searched(lookup: SearchLookup) -> None:
    assert find(lookup, "walrus", [HOME]) == [5]
    assert find(lookup, "walrus", []) == []


def test_a_hit_says_why(lookup: SearchLookup) -> None:
    hits = {hit.node[14]: hit for hit in lookup.find(parse("walrus"), None, 50)}
    assert {n: hits[n].tier for n in hits} == {
        7: Tier.NAME_IS, 1: Tier.NAME_BEGINS, 2: Tier.NAME, 3: Tier.PLACE, 5: Tier.TEXT,
        4: Tier.TEXT,
    }  # fmt: skip
    assert hits[4].snippet.startswith("saw a walrus. and much")
    assert hits[2].owner == "phone"


def test_what_is_typed_is_completed(lookup: SearchLookup) -> None:
    assert lookup.completions("wal", 5) == ["walrus", "walroß"]
    assert lookup.completions("GRÖ", 5) == ["größte"]
    assert lookup.names("WAL", 5) == ["walrus.txt", "walrus"]
    assert lookup.completions("zz", 5) == lookup.names("zz", 5) == []


@pytest.mark.parametrize(
    "text", ['"', "a\0b", "NEAR(a b)", "'name:walrus'", "a*", "-walrus", "{x}", "'; DROP TABLE x"]
)
def test_no_query_is_a_mistake(lookup: SearchLookup, text: str) -> None:
    find(lookup, text)


def test_a_snippet_is_one_line_around_the_word() -> None:
    text = "x" * 300 + " the\n\nwalrus\tsleeps " + "y" * 300
    shown = snippet(text, text.lower(), ["walrus"])
    assert " the walrus sleeps " in shown
    assert (shown[0], shown[-1]) == ("…", "…")
    assert snippet("short", "short", ["nothing"]) == "short"
