"""PCP's datagrams, byte for byte as RFC 6887 draws them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Malformed
from protocol.mapped_port import PortRefused
from protocol.pcp import Mapped, OtherVersion, map_request, read_announcement, read_answer

NONCE = bytes(range(12))
HEAD = bytes.fromhex("0281000000000e1000000064000000000000000000000000")
BODY = NONCE + bytes.fromhex("11000000573a573b00000000000000000000ffff0b00000a")


def test_the_request() -> None:
    assert map_request(NONCE, "10.0.0.2", 22330, 22331, 3600) == (
        bytes.fromhex("0201000000000e1000000000000000000000ffff0a000002")
        + NONCE
        + bytes.fromhex("11000000573a573b00000000000000000000ffff00000000")
    )


def test_the_answer() -> None:
    assert read_answer(HEAD + BODY) == Mapped(100, 3600, NONCE, 22330, 22331, "11.0.0.10")


def test_options_after_it_are_passed_over() -> None:
    assert isinstance(read_answer(HEAD + BODY + bytes(8)), Mapped)


def test_a_router_of_another_version() -> None:
    assert read_answer(bytes((0, 129, 0, 1, 0, 0, 0, 1))) == OtherVersion()
    unsupported = bytes.fromhex("01810001") + bytes(20)
    assert read_answer(unsupported) == OtherVersion()


@pytest.mark.parametrize(("code", "words"), [(2, "nobody"), (8, "no port"), (77, "error 77")])
def test_a_refusal_says_why(code: int, words: str) -> None:
    with pytest.raises(PortRefused, match=words):
        read_answer(HEAD[:3] + bytes((code,)) + HEAD[4:] + BODY)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        HEAD,
        HEAD + BODY[:-4],
        HEAD + BODY + bytes(1100),
        b"\x03" + HEAD[1:] + BODY,
        b"\x02\x01" + HEAD[2:] + BODY,
        HEAD + NONCE + b"\x06" + BODY[13:],
        HEAD + BODY[:20] + bytes(16),
    ],
)
def test_anything_else_is_malformed(datagram: bytes) -> None:
    with pytest.raises(Malformed):
        read_answer(datagram)


def test_announcements_of_both_protocols_tell_the_epoch() -> None:
    assert read_announcement(bytes.fromhex("02800000000000000000000700000000") + bytes(8)) == 7
    assert read_announcement(bytes.fromhex("00800000000000070b00000a")) == 7
    for other in (b"", HEAD + BODY, bytes(12), bytes(2000)):
        with pytest.raises(Malformed):
            read_announcement(other)


@pytest.mark.row("A32")
@given(st.binary(max_size=128))
def test_no_datagram_does_anything_else(datagram: bytes) -> None:
    with contextlib.suppress(Malformed, PortRefused):
        assert isinstance(read_answer(datagram), Mapped | OtherVersion)
    with contextlib.suppress(Malformed):
        assert 0 <= read_announcement(datagram) < 2**32
