"""The small datagrams: what is written is read, and nothing else is taken for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.datagrams import (
    NO_COOKIE,
    PREFIX_BITS,
    PREFIX_MASK,
    PROBE_SIZE,
    SHOW_SIZE,
    DatagramType,
    Probe,
    Sight,
    is_authentic,
    new_prefix,
    read_probe,
    read_show,
    read_sight,
    read_type,
    write_probe,
    write_show,
)
from protocol.errors import Malformed

KEY = b"k" * 32
ID = b"client-1"


@pytest.mark.parametrize("kind", [DatagramType.SHOW, DatagramType.SEEN])
@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7", "::1", "::"])
def test_a_show_is_read_as_it_was_written(kind: DatagramType, host: str) -> None:
    sight = Sight(host, 22330, b"cookie-1")
    datagram = write_show(KEY, kind, ID, 7, sight)
    assert len(datagram) == SHOW_SIZE
    show = read_show(datagram)
    assert (show.type, show.client_id, show.counter) == (kind, ID, 7)
    if host != "::1":  # as an IPv4 address it would be 0.0.0.1, which no device has
        assert read_sight(KEY, show) == sight


def test_a_question_and_its_answer_are_of_one_length() -> None:
    asked = write_show(KEY, DatagramType.SHOW, ID, 1, Sight("::", 0, NO_COOKIE))
    answered = write_show(KEY, DatagramType.SEEN, ID, 1, Sight("2001:db8::7", 1, b"c" * 8))
    assert len(asked) == len(answered)
    assert b"\x20\x01\x0d\xb8" not in answered


@given(st.binary(min_size=8, max_size=8), st.booleans(), st.integers(0, 255), st.integers(0, 255))
def test_a_probe_is_read_as_it_was_written(
    round_id: bytes, is_caller: bool, index: int, number: int
) -> None:
    for kind in (DatagramType.PROBE, DatagramType.ECHO):
        probe = Probe(kind, round_id, is_caller, index, number)
        datagram = write_probe(KEY, probe)
        assert len(datagram) == PROBE_SIZE
        assert read_probe(datagram) == probe
        assert is_authentic(KEY, datagram)
        assert not is_authentic(b"x" * 32, datagram)


@pytest.mark.row("A33")
@given(st.binary(max_size=80))
def test_any_bytes_are_a_datagram_or_malformed(data: bytes) -> None:
    for read in (read_type, read_show, read_probe):
        try:
            read(data)
        except Malformed:
            continue
    assert not is_authentic(KEY, data)


@given(st.binary(min_size=SHOW_SIZE, max_size=SHOW_SIZE), st.integers(0, 255))
def test_a_type_is_one_of_four(data: bytes, first: int) -> None:
    datagram = bytes((first,)) + data[1:]
    if first not in (1, 2):
        with pytest.raises(Malformed):
            read_show(datagram)
    with pytest.raises(Malformed):
        read_probe(datagram)


@given(st.binary(min_size=8, max_size=8))
def test_a_prefix_never_looks_like_quic_or_like_another_datagram(random8: bytes) -> None:
    prefix = new_prefix(random8)
    assert prefix[0] & PREFIX_MASK == PREFIX_BITS
    assert not prefix[0] & 0x40
    assert prefix[0] not in list(DatagramType)
    assert prefix[1:] == random8[1:]
