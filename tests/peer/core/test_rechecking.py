"""Each file is read once in a round, however large it is, and a round goes on where it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import NodeId
from peer.core.disk_types import Kind, Stat
from peer.core.rechecking import (
    FILE_COST_BYTES,
    LEEWAY,
    PIECE_BYTES,
    Damage,
    Round,
    is_untouched,
)
from peer.core.rows import DiskFacts, Row, Shown
from protocol.nodes import Content, Node
from protocol.records import encode_manifest

DAY_S = 86_400
MONTH_S = 30 * DAY_S


def file_of(number: int, lengths: list[int]) -> tuple[int, Row]:
    """A file of chunks of these lengths."""
    node, hash_ = NodeId(number.to_bytes(16, "big")), number.to_bytes(32, "big")
    ids = [bytes([at]) + hash_[1:] for at in range(len(lengths))]
    manifest = encode_manifest(zip(ids, lengths, strict=True)) if len(lengths) > 1 else b""
    content = Content(
        (), 0, hash_, hash_, sum(lengths), manifest, 0, 0, "",  # type: ignore[arg-type]
    )  # fmt: skip
    shown = Shown(node, "", node, "name", 0, hash_, sum(lengths))
    return number, Row(node, base=Node(contents=(content,)), shown=shown)


def read_all(files: list[tuple[int, Row]], now: Round) -> list[tuple[int, int, int]]:
    """What is read, piece by piece: number, offset and length."""
    out: list[tuple[int, int, int]] = []
    for _ in range(1000):
        parts = now.parts([one for one in files if one[0] > now.number])
        if not parts:
            return out
        chunks = [chunk for part in parts for chunk in part.chunks]
        assert sum(length for _, _, length in chunks[:-1]) < PIECE_BYTES
        out += [(p.number, at, length) for p in parts for _, at, length in p.chunks]
        now.advance(parts)
        now = Round.decode(now.encode())  # as after a restart
    raise AssertionError("it comes to no end")


SIZES = st.sampled_from([1, 100, FILE_COST_BYTES, 512 << 10, 3 << 20, 16 << 20])


@given(st.lists(st.lists(SIZES, max_size=12), max_size=12))
def test_all_is_read_once_and_in_pieces(sizes: list[list[int]]) -> None:
    files = [file_of(3 * number + 1, lengths) for number, lengths in enumerate(sizes)]
    expected = []
    for number, lengths in enumerate(sizes):
        at = 0
        for length in lengths:
            expected.append((3 * number + 1, at, length))
            at += length
    assert read_all(files, Round(began_s=1)) == expected


def test_a_file_that_went_while_it_was_read_in_part_costs_the_next_nothing() -> None:
    large, after = file_of(4, [4 << 20] * 5), file_of(9, [4 << 20] * 5)
    now = Round(began_s=1)
    now.advance(now.parts([large, after]))
    assert (now.number, now.partial, now.chunk) == (0, 4, 2)
    (part,) = now.parts([after])
    assert part.chunks[0][1] == 0


def test_a_round_takes_most_of_the_interval_however_much_there_is() -> None:
    total = 1 << 40
    now = Round(began_s=1000)
    early = now.due_s(MONTH_S, total)
    assert 1000 < early < 1000 + 60
    now.done = total // 2
    assert now.due_s(MONTH_S, total) == pytest.approx(1000 + LEEWAY * MONTH_S / 2, rel=0.001)
    now.done = 2 * total  # it was more than it is
    assert now.due_s(MONTH_S, total) == 1000 + LEEWAY * MONTH_S
    assert Round(began_s=1000).due_s(MONTH_S, 100) == 1000 + LEEWAY * MONTH_S, "a small folder"
    assert Round(began_s=1000).due_s(MONTH_S, 0) == 1000 + LEEWAY * MONTH_S


def test_the_next_round_does_not_come_sooner() -> None:
    now = Round(began_s=1000, number=7, done=5)
    now.begin(1000 + DAY_S, MONTH_S)
    assert now == Round(began_s=1000 + int(LEEWAY * MONTH_S), whole_s=1000)
    late = Round(began_s=1000)
    late.begin(1000 + 2 * MONTH_S, MONTH_S)
    assert late == Round(began_s=1000 + 2 * MONTH_S, whole_s=1000)


@pytest.mark.parametrize("stored", [b"", b"x", bytes(43)])
def test_what_cannot_be_read_begins_anew(stored: bytes) -> None:
    assert Round.decode(stored) == Round()
    assert Damage.decode(stored[:11]) == Damage()


def test_what_was_found_is_kept() -> None:
    damage = Damage(mended=3)
    damage.found(NodeId(b"n" * 16), b"h" * 32, 77)
    damage.found(NodeId(b"m" * 16), b"i" * 32, 78)
    assert Damage.decode(damage.encode()) == damage


def test_a_file_that_somebody_wrote_to_has_not_rotted() -> None:
    row = Row(NodeId(b"n" * 16), disk=DiskFacts(5, 100, 7, 8))
    stat = Stat(Kind.FILE, 5, 1, 100, 7, 8, False)
    assert is_untouched(row, stat)
    assert not is_untouched(row, None)
    for other in (
        stat._replace(inode=6), stat._replace(size=99), stat._replace(mtime_ns=8),
        stat._replace(ctime_ns=9),
    ):  # fmt: skip
        assert not is_untouched(row, other)


def test_what_was_long_ago_is_told_no_more() -> None:
    damage = Damage(mended=3, last_s=1000)
    assert damage.count(1000 + 29 * DAY_S) == 3
    assert damage.count(1000 + 31 * DAY_S) == 0
    damage.found(NodeId(b"n" * 16), b"h" * 32, 1000 + 31 * DAY_S)
    assert damage.count(1000 + 31 * DAY_S) == 1
