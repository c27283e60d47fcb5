"""What is held of other devices' trails: it only grows, and tells what contradicts it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.keys import DeviceKeys
from peer.journal.held_checkpoints import (
    ARCHIVED_ENTRIES,
    CHAINS_MAX,
    HeldCheckpoints,
    contradiction,
)
from protocol.trail import Checkpoint

KEYS = DeviceKeys.generate(os.urandom)
ONE = KEYS.device_id


def signed(entries: int, nonce: bytes = b"n" * 16, hash_: bytes = b"h" * 32) -> Checkpoint:
    return Checkpoint.sign(KEYS, nonce, entries, hash_, 1_800_000_000 + entries)


def held_in(path: Path) -> HeldCheckpoints:
    held = HeldCheckpoints(path)
    held.load()
    return held


@pytest.mark.row("A41")
def test_what_is_less_or_other_than_what_was_signed_contradicts_it() -> None:
    held = signed(10)
    assert contradiction(held, signed(10)) == contradiction(held, signed(11, hash_=b"x" * 32)) == ""
    assert "cut off" in contradiction(held, signed(9))
    assert "changed" in contradiction(held, signed(10, hash_=b"x" * 32))
    assert "begun anew" in contradiction(held, None)


@pytest.mark.row("A41")
def test_a_contradiction_is_told_once_and_stays(tmp_path: Path) -> None:
    held = held_in(tmp_path)
    nonce = b"n" * 16
    assert held.shown(ONE, "one", {nonce: signed(10)}, 5) == []
    assert held.shown(ONE, "one", {nonce: signed(12)}, 6) == []
    assert held.shown(ONE, "one", {}, 7) == [], "who shows nothing says nothing"
    (problem,) = held.shown(ONE, "one", {nonce: signed(11)}, 8)
    assert "it ends after entry 11, and had 12" in problem
    assert held.shown(ONE, "one", {nonce: signed(11)}, 9) == []
    again = held_in(tmp_path)
    (one,) = again.all()
    assert (one.checkpoint, one.name, one.seen_s, one.problem) == (signed(12), "one", 6, problem)
    assert again.shown(ONE, "one", {nonce: signed(20)}, 9) == []
    assert again.all()[0].checkpoint.entries == 12, "what was signed is what counts"


def test_a_new_chain_beside_the_old_one_is_none(tmp_path: Path) -> None:
    held = held_in(tmp_path)
    old, new = b"1" * 16, b"2" * 16
    held.shown(ONE, "one", {old: signed(10, old)}, 5)
    assert held.shown(ONE, "one", {old: signed(10, old), new: signed(1, new)}, 6) == []
    assert len(held.shown(ONE, "one", {new: signed(2, new)}, 7)) == 1


def test_what_gave_way_to_later_entries_is_not_missed(tmp_path: Path) -> None:
    held = held_in(tmp_path)
    old, new = b"1" * 16, b"2" * 16
    held.shown(ONE, "one", {old: signed(10, old)}, 5)
    assert held.shown(ONE, "one", {new: signed(ARCHIVED_ENTRIES, new)}, 6) == []
    assert [h.checkpoint.nonce for h in held.all()] == [new]


def test_what_others_hold_is_taken_over_where_it_is_further(tmp_path: Path) -> None:
    held = held_in(tmp_path)
    held.told([(signed(5), "5d")])
    held.told([(signed(4), "x"), (signed(7), "x")])
    held.told((signed(1, bytes([n]) * 16), "x") for n in range(2 * CHAINS_MAX))
    again = held_in(tmp_path)
    assert len(again.checkpoints()) == CHAINS_MAX
    assert signed(7) in again.checkpoints()
    assert "cut off" in again.shown(ONE, "one", {b"n" * 16: signed(6)}, 1)[0]


def test_lines_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    held = held_in(tmp_path)
    held.shown(ONE, "one", {b"n" * 16: signed(3)}, 5)
    path = tmp_path / "held"
    path.write_text("garbage\n{}\n" + path.read_text())
    assert [h.checkpoint for h in held_in(tmp_path).all()] == [signed(3)]
    assert held.contradicted(signed(3), "this device", "it is not there")
    assert not held.contradicted(signed(3), "this device", "it is not there")
