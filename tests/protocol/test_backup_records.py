"""Devices that tell each other what is kept where end with the same, however they hear of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import DeviceId, FolderId, RelayId
from protocol.backup_records import (
    BACKUPS_MAX,
    RECORDS,
    VERSION_MAX,
    BackupRecord,
    merge,
    next_version,
    read_records,
    write_records,
)
from protocol.errors import Malformed
from protocol.relay_address import RelayAddress


def address(number: int) -> str:
    return str(RelayAddress("node.example", 443, RelayId(bytes([number]) * 32)))


def record(folder: int, version: int = 1, needed: int = 4) -> BackupRecord:
    nodes = tuple(address(number) for number in range(7))
    folder_id, keeper = FolderId(folder.to_bytes(32, "big")), DeviceId(bytes(32))
    return BackupRecord(folder_id, needed, 7, nodes, keeper, version)


records = st.builds(record, st.integers(0, 3), st.integers(0, 4), st.integers(0, 7))


@given(st.lists(records), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(told: list[BackupRecord], rng: random.Random) -> None:
    one = merge({}, told)
    shuffled = told + told[:3]
    rng.shuffle(shuffled)
    assert merge({}, shuffled) == one
    assert merge(merge({}, told[:2]), merge({}, told[2:]).values()) == one


@given(st.lists(records))
def test_what_is_kept_is_read(told: list[BackupRecord]) -> None:
    kept = merge({}, told)
    assert read_records(write_records(kept)) == kept
    assert read_records(b"") == {}


def test_what_a_person_says_last_counts() -> None:
    known = merge({}, [record(1, 3)])
    assert next_version(known) == 4
    ended = record(1, 4, needed=0)
    assert not merge(merge(known, [ended]), known.values())[ended.folder_id].is_on
    assert next_version({ended.folder_id: record(1, VERSION_MAX)}) == VERSION_MAX
    assert record(1).places[2].relay_id == bytes([2]) * 32


def test_records_are_bounded_and_checked() -> None:
    many = [record(number) for number in range(BACKUPS_MAX + 5)]
    known = merge({}, many)
    assert len(known) == BACKUPS_MAX
    assert merge(known, [record(3, 9)])[record(3).folder_id].version == 9
    encoded = [list(field) if isinstance(field, tuple) else field for field in record(1)]
    assert RECORDS.read([encoded]) == (record(1),)
    for place, wrong in ((0, b"short"), (1, -1), (2, 0), (3, ["http://x"]), (4, 1), (5, 1 << 32)):
        with pytest.raises(Malformed):
            RECORDS.read([[*encoded[:place], wrong, *encoded[place + 1 :]]])
