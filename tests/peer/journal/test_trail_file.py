"""The audit trail on disk: nothing that was written can be changed, a crash costs half a line."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crypto.keys import DeviceKeys
from peer.journal import trail_file
from peer.journal.trail_file import (
    SEGMENTS_MAX,
    TrailFile,
    goes_through,
    hash_at,
    heads_of,
    read_back,
    segments_of,
    verify_trail,
)

KEYS = DeviceKeys.generate(Random(1).randbytes)
NOW = 1_700_000_000
RANDOM = Random(3)


def open_trail(path: Path, **options: Any) -> TrailFile:
    return TrailFile.open(path, KEYS, RANDOM.randbytes, NOW, **options)


def write(path: Path, count: int) -> None:
    trail = open_trail(path)
    for number in range(count):
        trail.append({"time": NOW, "what": f"w{number}"}, NOW)
    trail.close(NOW)


def whats(path: Path) -> list[str]:
    return [line.entry["what"] for line in read_back(path)][::-1]


def test_what_was_written_is_read_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, 3)
    write(tmp_path, 2)
    assert whats(tmp_path) == ["w0", "w1", "w2", "w0", "w1"]
    verdict = verify_trail(tmp_path)
    assert (verdict.entries, verdict.first, verdict.last, verdict.signed) == (5, 1, 5, 5)
    assert verdict.problems == []
    assert verdict.device_id == KEYS.device_id
    (segment,) = segments_of(tmp_path)
    assert segment.stat().st_mode & 0o777 == 0o600


@pytest.mark.row("A41")
def test_no_line_can_be_changed_left_out_moved_or_put_in(tmp_path: Path) -> None:
    write(tmp_path, 5)
    (segment,) = segments_of(tmp_path)
    lines = segment.read_bytes().splitlines(keepends=True)
    changes = [
        [*lines[:i], *lines[i + 1 :]] for i in range(len(lines) - 1)
    ] + [
        [*lines[:3], lines[4], lines[3], *lines[5:]],
        [*lines[:4], lines[3], *lines[4:]],
        [line.replace(b"w2", b"w9") for line in lines],
        [line.replace(b"E ", b"F ") for line in lines],
        [*lines[:-1], lines[1]],
    ]  # fmt: skip
    for changed in changes:
        segment.write_bytes(b"".join(changed))
        assert verify_trail(tmp_path).problems
    segment.write_bytes(b"".join(lines))
    assert not verify_trail(tmp_path).problems


@pytest.mark.row("A41")
def test_who_has_no_key_cannot_write_a_trail_anew(tmp_path: Path) -> None:
    write(tmp_path / "own", 5)
    others = DeviceKeys.generate(Random(2).randbytes)
    forged = TrailFile.open(tmp_path / "forged", others, RANDOM.randbytes, NOW)
    forged.append({"what": "nothing"}, NOW)
    forged.close(NOW)
    (own,), (other,) = segments_of(tmp_path / "own"), segments_of(tmp_path / "forged")
    own.write_bytes(other.read_bytes())
    assert verify_trail(tmp_path / "own").device_id != KEYS.device_id
    trail = open_trail(tmp_path / "own")
    trail.close(NOW)
    assert any("another device" in notice for notice in trail.notices)


def test_half_a_line_is_taken_away_and_said(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (segment,) = segments_of(tmp_path)
    whole = segment.read_bytes()
    starts = [len(b"".join(whole.splitlines(keepends=True)[:n])) for n in range(2, 6)]
    for size in range(starts[0] + 1, len(whole)):
        segment.write_bytes(whole[:size])
        is_torn = size not in starts
        assert not verify_trail(tmp_path).problems  # it may be under way
        trail = open_trail(tmp_path)
        assert bool(trail.notices) == is_torn
        trail.append({"what": "after"}, NOW)
        trail.close(NOW)
        verdict = verify_trail(tmp_path)
        assert verdict.problems == []
        assert whats(tmp_path)[-1] == "after"
        assert len(segments_of(tmp_path)) == 1


def test_a_segment_that_was_only_being_begun_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path, 3)
    for size in (0, 5, 100):
        (tmp_path / "00000002.trail").write_bytes(b"T {" + b"x" * size)
        trail = open_trail(tmp_path)
        assert trail.count == 3
        trail.close(NOW)
        assert len(segments_of(tmp_path)) == 1


def test_damage_in_the_middle_is_kept_and_a_new_chain_begins(tmp_path: Path) -> None:
    write(tmp_path, 4)
    (segment,) = segments_of(tmp_path)
    damaged = segment.read_bytes().replace(b"w1", b"xx")
    segment.write_bytes(damaged)
    trail = open_trail(tmp_path)
    assert "entry 2" in trail.notices[0]
    trail.append({"what": "after"}, NOW)
    trail.close(NOW)
    assert segment.read_bytes() == damaged
    assert whats(tmp_path) == ["w0", "after"]
    assert len(verify_trail(tmp_path).problems) == 1


def test_a_copy_of_a_home_begins_a_chain_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, 2)
    trail = open_trail(tmp_path, begins_anew=True)
    trail.append({"what": "copy"}, NOW)
    trail.close(NOW)
    verdict = verify_trail(tmp_path)
    assert (verdict.entries, verdict.problems) == (3, [])
    assert verdict.notes == ["A new chain begins in 00000002.trail."]


def test_it_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail_file, "SEGMENT_SIZE_MAX", 1_000)
    monkeypatch.setattr(trail_file, "SEGMENTS_MAX", 3)
    write(tmp_path, 60)
    assert len(segments_of(tmp_path)) == 3
    assert sum(path.stat().st_size for path in segments_of(tmp_path)) < 6_000
    verdict = verify_trail(tmp_path)
    assert verdict.problems == []
    assert (verdict.last, verdict.signed) == (60, 60)
    assert 1 < verdict.first == 60 - verdict.entries + 1
    assert verdict.notes == [f"Entries 1 to {verdict.first - 1} have been deleted for room."]
    segments_of(tmp_path)[1].unlink()
    assert "missing" in verify_trail(tmp_path).problems[0]


def test_every_so_many_entries_are_signed(tmp_path: Path) -> None:
    trail = open_trail(tmp_path)
    for _ in range(trail_file.CHECKPOINT_EVERY):
        trail.append({"what": "x"}, NOW)
    assert trail.checkpoint.entries == trail.count == trail_file.CHECKPOINT_EVERY
    trail.sign(NOW)
    size = segments_of(tmp_path)[0].stat().st_size
    trail.close(NOW)
    assert segments_of(tmp_path)[0].stat().st_size == size  # nothing new, nothing signed


def test_what_a_full_disk_does_not_take_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = open_trail(tmp_path)
    trail.append({"what": "before"}, NOW)
    write_really = os.write

    def half(descriptor: int, data: Any) -> int:
        if len(data) > 10:
            return write_really(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    trail.append({"what": "lost one"}, NOW)
    trail.append({"what": "lost two"}, NOW)
    monkeypatch.setattr(os, "write", write_really)
    trail.append({"what": "after"}, NOW)
    trail.close(NOW)
    assert whats(tmp_path) == ["before", "lost", "after"]
    assert next(line.entry for line in read_back(tmp_path) if line.number == 2)["count"] == 2
    assert verify_trail(tmp_path).problems == []


def test_no_name_forges_a_line_and_none_is_too_long(tmp_path: Path) -> None:
    trail = open_trail(tmp_path)
    trail.append({"what": "a\nE 00 {}", "name": "\x1b[2J\u2028"}, NOW)
    trail.append({"what": "long", "name": "x" * trail_file.ENTRY_LENGTH_MAX}, NOW)
    trail.close(NOW)
    assert whats(tmp_path) == ["a\nE 00 {}", "long"]
    assert b"\x1b" not in segments_of(tmp_path)[0].read_bytes()


@pytest.mark.row("A41")
def test_a_trail_goes_through_what_it_has_signed_and_not_once_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_file, "SEGMENT_SIZE_MAX", 2000)
    trail = open_trail(tmp_path)
    signed = [trail.checkpoint]
    for number in range(60):
        trail.append({"time": NOW, "what": f"w{number}"}, NOW)
        trail.sign(NOW)
        signed.append(trail.checkpoint)
    assert 1 < len(segments_of(tmp_path)) < SEGMENTS_MAX
    assert all(goes_through(tmp_path, each) for each in signed)
    assert heads_of(tmp_path) == {signed[-1].nonce: signed[-1]}
    assert hash_at(tmp_path, signed[-1]._replace(entries=61)) is None
    assert not goes_through(tmp_path, signed[7]._replace(hash=b"x" * 32))
    assert not goes_through(tmp_path, signed[7]._replace(nonce=b"x" * 16))
    middle = next(path for path in segments_of(tmp_path) if b"w30" in path.read_bytes())
    whole = middle.read_bytes()
    middle.write_bytes(whole.replace(b"w30", b"w31"))
    assert not goes_through(tmp_path, signed[31])
    assert goes_through(tmp_path, signed[3])
    middle.write_bytes(whole)
    # What gave way to later segments is not missed; what was taken away at the end is.
    for number in range(60, 600):
        trail.append({"time": NOW + number, "what": f"w{number}"}, NOW + number)
    trail.close(NOW + 600)
    assert len(segments_of(tmp_path)) == SEGMENTS_MAX
    assert goes_through(tmp_path, signed[7])
    last = trail.checkpoint
    segments_of(tmp_path)[-1].unlink()
    assert not goes_through(tmp_path, last)
    assert not goes_through(tmp_path, signed[7]), "fewer than there can be: something is gone"


def test_what_a_full_segment_got_last_is_made_durable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_file, "SEGMENT_SIZE_MAX", 0)
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.fstat(fd).st_ino))
    trail = open_trail(tmp_path)
    for number in range(3):
        trail.append({"time": NOW, "what": f"w{number}"}, NOW)
    trail.sync()
    segments = segments_of(tmp_path)
    assert len(segments) == 4
    assert synced == {path.stat().st_ino for path in segments}
    open_before = len(os.listdir("/proc/self/fd"))
    trail.close(NOW)
    assert len(os.listdir("/proc/self/fd")) == open_before - 1, "none of the full ones was open"


def test_a_segment_may_become_full_while_it_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is done in a thread, and takes as long as the disk likes."""
    monkeypatch.setattr(trail_file, "SEGMENT_SIZE_MAX", 0)
    trail, fsync = open_trail(tmp_path), os.fsync
    synced: list[int] = []

    def slow(fd: int) -> None:
        if not synced:
            trail.append({"time": NOW, "what": "meanwhile"}, NOW)
        synced.append(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    trail.sync()
    old, new = (path.stat().st_ino for path in segments_of(tmp_path))
    assert synced == [old]
    trail.close(NOW)
    assert synced == [old, old, new]
