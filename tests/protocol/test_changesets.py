from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.changesets import BODY_SIZE_MAX, RAW_SIZE_MAX, body_hash, seal_body
from crypto.ids import EntryId, FolderId, LogId
from crypto.keys import DeviceKeys
from crypto.primitives import digest
from protocol import wire
from protocol.changesets import (
    HEADS_MAX,
    NO_CHANGESET,
    Changeset,
    Evidence,
    FrontierEntry,
    Slot,
    author_changeset,
    check_fork,
    decode_changeset,
    decode_frontier,
    decode_slot,
    log_id_of,
    open_changeset,
)
from protocol.errors import BadRecord, BadSignature, Fork, Malformed, ProtocolError, TooLong

RANDOM = Random(5).randbytes
KEYS = DeviceKeys.generate(RANDOM)
KEY = RANDOM(32)
FOLDER = FolderId(b"\1" * 32)
SLOT = Slot(
    FOLDER, KEYS.device_id, b"\2" * 8, 2, b"\3" * 32, EntryId(b"\4" * 32),
    (EntryId(b"\5" * 32), EntryId(b"\6" * 32)), 1, 9,
)  # fmt: skip
FRONTIER = (FrontierEntry(LogId(b"\7" * 16), 3, b"\7" * 32),)
RECORDS = [[1, b"id", "name", None, True], [2]]


def make(slot: Slot = SLOT, records: list[Any] = RECORDS, random: bytes = b"\0") -> Changeset:
    return author_changeset(KEYS, KEY, slot, FRONTIER, records, lambda n: random * n)


def test_the_slot_and_the_hash_never_change() -> None:
    changeset = make()
    assert len(changeset.slot_bytes) == 219
    assert changeset.hash == digest(
        "changeset", changeset.slot_bytes, digest("changeset body", changeset.body)
    )
    assert changeset.log_id == digest("log", FOLDER, KEYS.device_id, b"\2" * 8)[:16]
    assert digest("changeset", SLOT.encode()).hex() == GOLDEN_SLOT


GOLDEN_SLOT = "4112882e0c5f9548b8881dbce417a2daec1fe92c50901a6da704b055ccf86d88"


def test_decode_and_open_give_back_what_was_authored() -> None:
    changeset = make()
    decoded = decode_changeset(changeset.wire)
    assert decoded == changeset
    body = open_changeset(decoded, KEY)
    assert body.frontier == FRONTIER
    assert body.records == RECORDS
    assert decoded.evidence.check(KEYS.sign_public) == SLOT


@given(
    st.integers(1, 1 << 52),
    st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=HEADS_MAX, unique=True),
    st.integers(1, 1 << 52),
    st.binary(min_size=8, max_size=8),
)
@settings(max_examples=50)
def test_any_slot_round_trips(
    seq: int, heads: list[bytes], lamport: int, incarnation: bytes
) -> None:
    previous = NO_CHANGESET if seq == 1 else b"\1" * 32
    slot = Slot(
        FOLDER, KEYS.device_id, incarnation, seq, previous, EntryId(b"\4" * 32),
        tuple(map(EntryId, sorted(heads))), 1 + lamport % seq, lamport,
    )  # fmt: skip
    assert decode_slot(slot.encode()) == slot


@pytest.mark.parametrize(
    "changes",
    [
        {"folder_id": b""},
        {"device_id": b"\1" * 31},
        {"incarnation": b"\2" * 7},
        {"seq": 0},
        {"seq": True},
        {"seq": 1 << 60},
        {"seq": 1},
        {"previous": NO_CHANGESET},
        {"epoch_id": b""},
        {"heads": ()},
        {"heads": (b"\6" * 32, b"\5" * 32)},
        {"heads": (b"\5" * 32, b"\5" * 32)},
        {"heads": tuple(bytes([i]) * 32 for i in range(9))},
        {"heads": ("text",)},
        {"floor": 0},
        {"floor": 3},
        {"lamport": 0},
        {"lamport": 1 << 63},
    ],
)
def test_slots_of_another_shape_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decode_slot(replace(SLOT, **changes).encode())


@pytest.mark.row("A07", "A09")
def test_every_flipped_byte_is_refused() -> None:
    good = make()
    for place in range(len(good.wire)):
        data = bytearray(good.wire)
        data[place] ^= 1
        with pytest.raises(ProtocolError):
            decode_changeset(bytes(data)).evidence.check(KEYS.sign_public)


def test_a_body_opens_only_in_its_slot_and_under_its_key() -> None:
    changeset = make()
    moved = replace(changeset, slot_bytes=replace(SLOT, lamport=10).encode())
    with pytest.raises(BadRecord):
        open_changeset(moved, KEY)
    with pytest.raises(BadRecord):
        open_changeset(changeset, bytes(32))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        wire.encode([]),
        wire.encode([[], [], []]),
        wire.encode([None, []]),
        wire.encode([[[b"\7" * 16, 0, b"\7" * 32]], []]),
        wire.encode([[[b"\7" * 15, 1, b"\7" * 32]], []]),
        wire.encode([[[b"\7" * 16, 1, b"\7" * 31]], []]),
        wire.encode([[[b"\7" * 16, True, b"\7" * 32]], []]),
        wire.encode([[[b"\7" * 16, 1, b"\7" * 32]] * 2, []]),
        wire.encode([[7], []]),
        b"\xa0",
    ],
)
def test_bodies_of_another_shape_are_bad_records(content: bytes) -> None:
    body = seal_body(KEY, SLOT.encode(), content, bytes(32))
    with pytest.raises(BadRecord):
        open_changeset(replace(make(), body=body), KEY)


def test_what_does_not_fit_is_not_made() -> None:
    big = [Random(1).randbytes(BODY_SIZE_MAX)]
    with pytest.raises(TooLong):
        make(records=big)
    with pytest.raises(TooLong):
        make(records=[bytes(17 << 20)])


@pytest.mark.row("A31")
@pytest.mark.parametrize("inner", ["80" * 40, "8100" * 20, "626162" * 13])
def test_a_body_of_millions_of_small_values_is_refused_before_they_are_made(
    inner: str, record_property: Callable[[str, object], None]
) -> None:
    times = (RAW_SIZE_MAX - 64) // (len(inner) // 2)
    items = times * {"80": 40, "81": 20, "62": 13}[inner[:2]]
    raw = b"\x82\x80\x9a" + items.to_bytes(4, "big") + bytes.fromhex(inner) * times
    evil = author_changeset(KEYS, KEY, SLOT, FRONTIER, RECORDS, RANDOM)
    evil = replace(evil, body=seal_body(KEY, SLOT.encode(), raw, RANDOM(32)))
    assert len(evil.body) < 64 << 10
    started = time.process_time()
    with pytest.raises(BadRecord):
        open_changeset(evil, KEY)
    elapsed_s = time.process_time() - started
    tracemalloc.start()
    with pytest.raises(BadRecord):
        open_changeset(evil, KEY)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The body and the decoder's piece of it, and not what it would become: a gigabyte.
    assert peak_bytes < 2 * RAW_SIZE_MAX + (2 << 20)
    assert elapsed_s < 1
    record_property("figure", f"{peak_bytes >> 20} MiB for a body of {items:,} small values")


def test_what_no_reader_takes_is_not_written() -> None:
    with pytest.raises(TooLong):
        make(records=[[]] * wire.ITEMS_MAX)
    most = make(records=[[]] * (wire.ITEMS_MAX - 8))
    assert len(open_changeset(most, KEY).records) == wire.ITEMS_MAX - 8


@pytest.mark.row("A31")
def test_sizes_are_checked_before_anything_is_looked_at() -> None:
    with pytest.raises(TooLong):
        decode_changeset(bytes(5 << 20))
    with pytest.raises(TooLong):
        decode_changeset(wire.encode([SLOT.encode(), bytes(BODY_SIZE_MAX + 1), bytes(64)]))
    for fields in ([SLOT.encode(), bytes(99), bytes(63)], [SLOT.encode(), bytes(99)], []):
        with pytest.raises(Malformed):
            decode_changeset(wire.encode(fields))


def test_two_sealings_of_the_same_records_differ_only_by_chance() -> None:
    assert make(random=b"\0").body == make(random=b"\0").body
    assert make(random=b"\0").body != make(random=b"\1").body
    assert make(records=[[1]]).body[:24] != make(records=[[2]]).body[:24]


@pytest.mark.row("A14")
def test_a_fork_is_proved_by_two_slots_and_by_nothing_less() -> None:
    one, two = make(records=[[1]]), make(records=[[2]])
    assert check_fork(one.evidence, two.evidence, KEYS.sign_public) == SLOT
    decoded = Evidence.decode(one.evidence.encode())
    assert decoded == one.evidence
    assert decoded.hash == one.hash
    elsewhere = make(replace(SLOT, seq=3))
    other_log = make(replace(SLOT, incarnation=bytes(8)))
    for second in (one, elsewhere, other_log):
        with pytest.raises(Fork):
            check_fork(one.evidence, second.evidence, KEYS.sign_public)
    with pytest.raises(BadSignature):
        check_fork(one.evidence, two.evidence._replace(body_hash=body_hash(b"")), KEYS.sign_public)
    with pytest.raises(BadSignature):
        check_fork(one.evidence, two.evidence, DeviceKeys.generate(RANDOM).sign_public)
    for data in (wire.encode([b"", b"", b""]), wire.encode([]), b""):
        with pytest.raises(Malformed):
            Evidence.decode(data)


def test_a_second_signature_on_the_same_bytes_is_no_fork() -> None:
    one = make()
    forged = one.evidence._replace(signature=bytes(64))
    assert forged.hash == one.hash


def test_log_ids_differ_by_folder_device_and_incarnation() -> None:
    ids = {
        log_id_of(folder, device, incarnation)
        for folder in (FOLDER, FolderId(bytes(32)))
        for device in (KEYS.device_id, DeviceKeys.generate(RANDOM).device_id)
        for incarnation in (bytes(8), b"\1" * 8)
    }
    assert len(ids) == 8


@pytest.mark.row("A30")
@given(st.binary(max_size=300))
def test_any_bytes_raise_only_protocol_errors(data: bytes) -> None:
    for decode in (decode_changeset, decode_slot, Evidence.decode):
        with pytest.raises(ProtocolError):
            decode(data)
    with pytest.raises(BadRecord):
        decode_frontier([data])
