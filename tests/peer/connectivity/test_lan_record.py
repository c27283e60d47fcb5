"""A record is read by the devices it was made for, and tells nothing to anybody else."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from crypto.pair_secret import LAN_TAG_SIZE
from peer.connectivity.lan_record import DEVICES_MAX, NONCE_SIZE, TAGS_STEP, LanTags

NONCE = b"n" * NONCE_SIZE


def device(number: int) -> DeviceKeys:
    return DeviceKeys(*(bytes([number, place]) * 16 for place in range(4)))


A, B, C, D = map(device, (1, 2, 3, 4))


def knows(keys: DeviceKeys, *others: DeviceKeys) -> LanTags:
    return LanTags(keys, {other.device_id: other.dh_public for other in others})


def as_received(record: dict[str, bytes]) -> dict[bytes, bytes | None]:
    return {name.encode(): value for name, value in record.items()}


def tags_in(record: dict[str, bytes]) -> list[bytes]:
    joined = b"".join(value for name, value in record.items() if name != "r")
    return [joined[i : i + LAN_TAG_SIZE] for i in range(0, len(joined), LAN_TAG_SIZE)]


def test_only_those_it_was_made_for_can_tell() -> None:
    record = as_received(knows(A, B, C).record(NONCE, os.urandom))
    assert knows(B, A, C).announcer(record) == A.device_id
    assert knows(C, A).announcer(record) == A.device_id
    assert knows(D, A, B, C).announcer(record) is None
    assert knows(B, C, D).announcer(record) is None


def test_a_device_does_not_take_its_own_record_for_anothers() -> None:
    record = as_received(knows(A, B).record(NONCE, os.urandom))
    assert knows(A, B).announcer(record) is None


def test_another_nonce_shows_nothing_in_common() -> None:
    first = set(tags_in(knows(A, B).record(NONCE, lambda size: bytes(size))))
    second = set(tags_in(knows(A, B).record(b"m" * NONCE_SIZE, lambda size: bytes(size))))
    assert first & second == {bytes(LAN_TAG_SIZE)}  # the filling alone


@pytest.mark.parametrize(("count", "shown"), [(1, 16), (15, 16), (16, 16), (17, 32), (256, 256)])
def test_the_number_of_devices_is_rounded_up(count: int, shown: int) -> None:
    assert shown % TAGS_STEP == 0
    others = {DeviceId(bytes([i, i >> 8]) * 16): B.dh_public for i in range(count)}
    record = LanTags(A, others).record(NONCE, os.urandom)
    tags = tags_in(record)
    assert len(tags) == shown
    assert tags == sorted(tags)
    assert all(len(name) + 1 + len(value) <= 255 for name, value in record.items())


def test_more_devices_than_fit_are_not_announced_to() -> None:
    others = {DeviceId(bytes([i % 256, i // 256]) * 16): B.dh_public for i in range(300)}
    assert len(tags_in(LanTags(A, others).record(NONCE, os.urandom))) == DEVICES_MAX


def test_the_last_of_many_devices_still_finds_its_tag() -> None:
    others = {DeviceId(bytes([i, 9]) * 16): C.dh_public for i in range(DEVICES_MAX - 1)}
    others[B.device_id] = B.dh_public
    record = as_received(LanTags(A, others).record(NONCE, os.urandom))
    assert knows(B, A).announcer(record) == A.device_id


def test_a_device_with_a_bad_key_is_left_out() -> None:
    tags = LanTags(A, {C.device_id: bytes(32), B.device_id: B.dh_public})
    assert knows(B, A).announcer(as_received(tags.record(NONCE, os.urandom))) == A.device_id


@pytest.mark.row("A32")
@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([b"r", b"t0", b"t1", b"t5", b"t6", b"x"]),
        st.none() | st.binary(max_size=255),
    )
)
def test_any_record_is_read_without_trouble(properties: dict[bytes, bytes | None]) -> None:
    assert knows(B, A).announcer(properties) is None
