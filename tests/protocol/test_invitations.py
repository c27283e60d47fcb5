"""An invitation ends by success, by three tries or by time; a QR ticket holds one losslessly."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ExpiredCode, Malformed, MistypedCode
from protocol.invitations import (
    LIFETIME_S,
    TRIES,
    Invitation,
    QrTicket,
    decode_base45,
    encode_base45,
)
from protocol.wire import encode

NOW = 1000.0


def invitation() -> Invitation:
    seed = count()
    return Invitation.create(7, lambda size: next(seed).to_bytes(size, "big"), NOW)


def test_three_tries_and_no_fourth() -> None:
    opened = invitation()
    for _ in range(TRIES):
        assert opened.is_open(NOW)
        opened.begin_try(NOW)
    assert not opened.is_open(NOW)
    with pytest.raises(ExpiredCode):
        opened.begin_try(NOW)
    assert opened.tries_left == 0


def test_the_last_try_may_win() -> None:
    opened = invitation()
    for _ in range(TRIES):
        opened.begin_try(NOW)
    opened.win(NOW)
    assert opened.is_won


def test_ten_minutes_to_the_instant() -> None:
    opened = invitation()
    opened.begin_try(NOW + LIFETIME_S - 0.001)
    with pytest.raises(ExpiredCode):
        opened.begin_try(NOW + LIFETIME_S)
    with pytest.raises(ExpiredCode):
        opened.win(NOW + LIFETIME_S)
    assert not opened.is_won


def test_success_burns_it_for_everybody_else() -> None:
    opened = invitation()
    opened.begin_try(NOW)
    opened.begin_try(NOW)
    opened.win(NOW)
    with pytest.raises(ExpiredCode):
        opened.win(NOW)
    with pytest.raises(ExpiredCode):
        opened.begin_try(NOW)


def test_the_repr_shows_no_secret() -> None:
    opened = invitation()
    assert opened.code.words[0] not in repr(opened)
    assert opened.qr_secret.hex() not in repr(opened)
    assert repr(opened.qr_secret) not in repr(opened)


@given(st.binary(max_size=100))
def test_base45_reads_back(data: bytes) -> None:
    assert decode_base45(encode_base45(data)) == data


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"AB", "BB8"),
        (b"Hello!!", "%69 VD92EX0"),
        (b"base-45", "UJCLQE7W581"),
        (b"ietf!", "QED8WEX0"),
    ],
)
def test_base45_examples_of_the_rfc(data: bytes, text: str) -> None:
    assert encode_base45(data) == text
    assert decode_base45(text) == data


@pytest.mark.parametrize("text", ["A", "GGW", ":::", "ab8", "B\u00e48", "::", "BB8A"])
def test_what_base45_never_yields_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        decode_base45(text)


def ticket(**changes: object) -> QrTicket:
    values: dict[str, object] = {
        "secret": b"s" * 32,
        "binding": b"b" * 32,
        "addresses": (("192.0.2.1", 22330), ("fd00::2", 22330)),
        "relay": "",
        "nameplate": 7,
    }
    return QrTicket(**(values | changes))  # type: ignore[arg-type]


def test_a_ticket_reads_back_and_hides_its_secret() -> None:
    assert QrTicket.decode(ticket().encode()) == ticket()
    assert "ssss" not in repr(ticket())


@pytest.mark.parametrize(
    "bad",
    [
        ticket(secret=b"s" * 31),
        ticket(binding=b""),
        ticket(addresses=(("h", 1),) * 4),
        ticket(addresses=(("h", 65536),)),
        ticket(addresses=(("h", True),)),
        ticket(nameplate=0),
        ticket(nameplate=True),
        ticket(relay="r" * 256),
        ticket(addresses=(("h" * 5000, 1),)),
    ],
)
def test_a_bad_ticket_is_mistyped(bad: QrTicket) -> None:
    with pytest.raises(MistypedCode):
        QrTicket.decode(bad.encode())


@pytest.mark.parametrize("text", ["", "https://example.org", encode_base45(encode([2]))])
def test_another_qr_code_is_mistyped(text: str) -> None:
    with pytest.raises(MistypedCode):
        QrTicket.decode(text)
