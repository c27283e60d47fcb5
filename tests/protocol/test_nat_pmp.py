"""NAT-PMP's datagrams, byte for byte as RFC 6886 draws them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Malformed
from protocol.mapped_port import PortRefused
from protocol.nat_pmp import External, Mapped, external_request, map_request, read_answer

MAPPED = bytes.fromhex("0081000000000064573a573b00000e10")


def test_requests() -> None:
    assert external_request() == bytes.fromhex("0000")
    assert map_request(22330, 22331, 3600) == bytes.fromhex("00010000573a573b00000e10")


def test_answers() -> None:
    assert read_answer(bytes.fromhex("00800000000000640b00000a")) == External(100, "11.0.0.10")
    assert read_answer(MAPPED) == Mapped(100, 22330, 22331, 3600)


@pytest.mark.parametrize(("code", "words"), [(2, "switched off"), (4, "no port"), (9, "error 9")])
def test_a_refusal_says_why(code: int, words: str) -> None:
    with pytest.raises(PortRefused, match=words):
        read_answer(bytes((0, 129, 0, code, 0, 0, 0, 1)))


@pytest.mark.parametrize(
    "datagram", [b"", MAPPED[:-1], MAPPED + b"\0", b"\1" + MAPPED[1:], b"\0\1" + MAPPED[2:]]
)
def test_anything_else_is_malformed(datagram: bytes) -> None:
    with pytest.raises(Malformed):
        read_answer(datagram)


@pytest.mark.row("A32")
@given(st.binary(max_size=64))
def test_no_datagram_does_anything_else(datagram: bytes) -> None:
    with contextlib.suppress(Malformed, PortRefused):
        assert isinstance(read_answer(datagram), External | Mapped)
