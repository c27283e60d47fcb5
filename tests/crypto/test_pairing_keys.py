"""Pairing: one key for one code on one link, and nothing for anybody else."""

from __future__ import annotations

import pytest

from crypto.errors import PairingError
from crypto.pairing_keys import (
    SPAKE2_MESSAGE_SIZE,
    PairingExchange,
    PairingKey,
    Side,
    pairing_password,
    pairing_transcript,
)
from crypto.primitives import derive
from tests.crypto.seeded import Seeded

PASSWORD = pairing_password("7", "crossover-clockwork")
BINDING = b"\x0b" * 32
TRANSCRIPT = pairing_transcript(b"hello", b"reply", BINDING)


def pair(
    password_a: bytes = PASSWORD,
    password_b: bytes = PASSWORD,
    binding_a: bytes = BINDING,
    binding_b: bytes = BINDING,
) -> tuple[PairingKey, PairingKey]:
    a = PairingExchange(Side.A, password_a, binding_a, Seeded("a"))
    b = PairingExchange(Side.B, password_b, binding_b, Seeded("b"))
    assert len(a.message) == len(b.message) == SPAKE2_MESSAGE_SIZE
    return a.finish(b.message), b.finish(a.message)


def test_the_password_is_the_one_of_the_design_page_in_any_case() -> None:
    assert PASSWORD.hex() == "7b89b5da5c8cdda6aa076733a1a316c8b443d9bf9c36c6771d6cd1580448c09d"
    assert pairing_password("7", "Crossover-CLOCKWORK") == PASSWORD
    assert pairing_password("8", "crossover-clockwork") != PASSWORD


def test_one_code_on_one_link_gives_one_key() -> None:
    a, b = pair()
    assert a.key == b.key
    for side in Side:
        b.check_confirmation(side, TRANSCRIPT, a.confirmation(side, TRANSCRIPT))
    assert a.check_number(TRANSCRIPT) == b.check_number(TRANSCRIPT)


@pytest.mark.row("A24")
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"password_b": pairing_password("7", "crossover-clockworks")}, id="word"),
        pytest.param({"password_b": pairing_password("8", "crossover-clockwork")}, id="nameplate"),
        pytest.param({"binding_b": b"\x0c" * 32}, id="somebody in between"),
    ],
)
def test_another_code_or_link_gives_another_key(changed: dict[str, bytes]) -> None:
    a, b = pair(**changed)
    assert a.key != b.key
    with pytest.raises(PairingError):
        b.check_confirmation(Side.A, TRANSCRIPT, a.confirmation(Side.A, TRANSCRIPT))


def test_confirmations_are_of_one_side_and_one_transcript() -> None:
    key, _ = pair()
    mine = key.confirmation(Side.A, TRANSCRIPT)
    other = pairing_transcript(b"hello", b"another reply", BINDING)
    assert other != pairing_transcript(b"hello", b"reply", bytes(32))
    for side, transcript, received in (
        (Side.B, TRANSCRIPT, mine),  # reflected
        (Side.A, other, mine),  # replayed
        (Side.A, TRANSCRIPT, b""),
        (Side.A, TRANSCRIPT, mine[:-1] + bytes([mine[-1] ^ 1])),
    ):
        with pytest.raises(PairingError):
            key.check_confirmation(side, transcript, received)


def test_a_reflected_message_is_refused() -> None:
    for side in Side:
        exchange = PairingExchange(side, PASSWORD, BINDING, Seeded("x"))
        with pytest.raises(PairingError):
            exchange.finish(exchange.message)
        exchange = PairingExchange(side, PASSWORD, BINDING, Seeded("x"))
        other = b"B" if side is Side.A else b"A"
        with pytest.raises(PairingError):  # reflected with the side byte turned round
            exchange.finish(other + exchange.message[1:])


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(b"\1" + bytes(31), id="the neutral element"),
        pytest.param(bytes(32), id="order four"),
        pytest.param(b"\xec" + b"\xff" * 30 + b"\x7f", id="order two"),
        pytest.param(b"\xff" * 32, id="not reduced"),
        pytest.param(b"\2" + bytes(31), id="not on the curve"),
        pytest.param(b"", id="empty"),
        pytest.param(bytes(33), id="too long"),
    ],
)
def test_elements_that_nobody_sends_are_refused(element: bytes) -> None:
    exchange = PairingExchange(Side.B, PASSWORD, BINDING, Seeded("b"))
    with pytest.raises(PairingError) as caught:
        exchange.finish(b"A" + element)
    assert caught.value.args == ()


def test_an_exchange_is_used_once() -> None:
    a = PairingExchange(Side.A, PASSWORD, BINDING, Seeded("a"))
    b = PairingExchange(Side.B, PASSWORD, BINDING, Seeded("b"))
    a.finish(b.message)
    with pytest.raises(PairingError):
        a.finish(b.message)


def test_what_was_sent_fits_every_code() -> None:
    # Nothing in A's message rules a code out: with another code there is another random scalar that
    # sends the same 33 bytes. What can be tested is that guesses need B: without B's scalar, each
    # guess gives a key of its own, and no confirmation of the true run is any of theirs.
    a, b = pair()
    seen = a.confirmation(Side.A, TRANSCRIPT)
    b_message = PairingExchange(Side.B, PASSWORD, BINDING, Seeded("b")).message
    for guess in ("abacus-abdomen", "crossover-clockwork", "zoom-zoning"):
        eve = PairingExchange(Side.A, pairing_password("7", guess), BINDING, Seeded("eve"))
        assert eve.finish(b_message).confirmation(Side.A, TRANSCRIPT) != seen
    assert b.key == a.key


def test_a_scanned_secret_gives_a_key_too() -> None:
    key = PairingKey.from_qr_secret(b"\x09" * 32)
    assert key.key == derive(b"\x09" * 32, "pair qr")


def test_check_numbers_have_six_digits() -> None:
    numbers = [PairingKey(Seeded(n)(32)).check_number(TRANSCRIPT) for n in range(50)]
    assert all(len(number) == 6 and number.isdigit() for number in numbers)
    assert len(set(numbers)) > 45
    assert any(number < "100000" for number in numbers)  # leading zeros are kept


def test_nothing_secret_is_shown() -> None:
    exchange = PairingExchange(Side.A, PASSWORD, BINDING, Seeded("a"))
    key, _ = pair()
    assert repr(exchange) == "PairingExchange()"
    assert repr(key) == "PairingKey()"
