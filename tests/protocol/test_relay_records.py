"""Devices that tell each other their relays end with the same, in whatever order they hear."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import RelayId
from protocol.errors import Malformed, TooLong
from protocol.relay_address import RelayAddress
from protocol.relay_records import (
    RECORDS,
    RECORDS_MAX,
    RELAYS_MAX,
    VERSION_MAX,
    RelayRecord,
    merge,
    next_version,
    read_records,
    used,
    write_records,
)


def address(number: int, host: str = "relay.example") -> str:
    return str(RelayAddress(host, 443, RelayId(bytes([number]) * 32)))


records = st.builds(
    RelayRecord,
    st.builds(address, st.integers(0, 5), st.sampled_from(["a.example", "192.0.2.1", "::1"])),
    st.sampled_from([b"", b"t" * 16]),
    st.integers(0, 4),
    st.booleans(),
)


@given(st.lists(records), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(told: list[RelayRecord], rng: random.Random) -> None:
    one = merge({}, told)
    shuffled = told + told[:3]
    rng.shuffle(shuffled)
    assert merge({}, shuffled) == one
    assert merge(one, one.values()) == one
    assert merge(merge({}, told[:2]), merge({}, told[2:]).values()) == one


@given(st.lists(records))
def test_what_is_kept_is_read(told: list[RelayRecord]) -> None:
    kept = merge({}, told)
    assert read_records(write_records(kept)) == kept
    assert RECORDS.read([[*record] for record in kept.values()]) == tuple(kept.values())


def test_what_a_person_says_last_counts() -> None:
    known = merge({}, [RelayRecord(address(1), b"", 3, is_used=True)])
    assert next_version(known) == 4
    removed = RelayRecord(address(1), b"", 4, is_used=False)
    assert used(merge(known, [removed])) == []
    assert used(merge(merge(known, [removed]), known.values())) == []
    assert next_version(merge({}, [removed._replace(version=VERSION_MAX)])) == VERSION_MAX


def test_of_too_many_the_latest_are_used_and_few_are_kept() -> None:
    known = merge({}, [RelayRecord(address(n), b"", n, is_used=True) for n in range(6)])
    assert [record.version for record in used(known)] == [5, 4, 3, 2]
    assert len(used(known)) == RELAYS_MAX
    many = [RelayRecord(address(n), b"", n, is_used=n < 3) for n in range(100)]
    kept = merge({}, many)
    assert len(kept) == RECORDS_MAX
    assert len(used(kept)) == 3


def test_the_token_is_not_shown() -> None:
    assert "7474" not in repr(RelayRecord(address(1), b"t" * 16, 1, is_used=True))
    assert "t" * 16 not in repr(RelayRecord(address(1), b"t" * 16, 1, is_used=True))


@pytest.mark.parametrize(
    "value",
    [
        [address(1).upper(), b"", 1, True],
        [address(1) + " ", b"", 1, True],
        ["http://relay.example", b"", 1, True],
        [address(1), b"short", 1, True],
        [address(1), b"", 1 << 32, True],
        [address(1), b"", 1, 1],
        [address(1), b"", 1],
        [7, b"", 1, True],
        ["holdfast-relay://" + "a" * 500, b"", 1, True],
    ],
)
def test_what_is_no_record_is_refused(value: list[object]) -> None:
    with pytest.raises(Malformed):
        RECORDS.read([value])
    with pytest.raises(TooLong):
        RECORDS.read([[address(1), b"", 1, True]] * (RECORDS_MAX + 1))
