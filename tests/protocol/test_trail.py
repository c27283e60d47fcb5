"""The chain of an audit trail and its checkpoints."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from protocol.errors import ProtocolError
from protocol.trail import Checkpoint, begin, extend

KEYS = DeviceKeys.generate(Random(1).randbytes)
OTHERS = DeviceKeys.generate(Random(2).randbytes)
NONCE = b"n" * 16


def checkpoint() -> Checkpoint:
    last = extend(begin(KEYS.device_id, NONCE), b"entry")
    return Checkpoint.sign(KEYS, NONCE, 1, last, 1_700_000_000)


def test_a_hash_depends_on_all_that_is_before_it() -> None:
    start = begin(KEYS.device_id, NONCE)
    assert extend(extend(start, b"a"), b"b") != extend(extend(start, b"b"), b"a")
    assert begin(KEYS.device_id, b"m" * 16) != start != begin(OTHERS.device_id, NONCE)


def test_a_checkpoint_is_its_device_s_word() -> None:
    one = checkpoint()
    assert Checkpoint.decode(one.encode()) == one
    assert one.is_signed_by(KEYS.sign_public)
    assert not one.is_signed_by(OTHERS.sign_public)


@pytest.mark.parametrize(
    "change",
    [
        {"entries": 2},
        {"hash": bytes(32)},
        {"time_s": 1},
        {"nonce": bytes(16)},
        {"device_id": DeviceId(bytes(32))},
        {"signature": bytes(64)},
    ],
)
def test_nothing_in_a_checkpoint_can_be_changed(change: dict[str, object]) -> None:
    assert not checkpoint()._replace(**change).is_signed_by(KEYS.sign_public)  # type: ignore[arg-type]


@given(st.binary(max_size=300))
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    for hostile in (data, data + checkpoint().encode(), checkpoint().encode()[: len(data)]):
        try:
            decoded = Checkpoint.decode(hostile)
        except ProtocolError:
            continue
        assert decoded.encode() == hostile
