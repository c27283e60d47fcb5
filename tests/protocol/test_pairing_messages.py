"""Every pairing message reads back, and what breaks its form is refused before it is believed."""

from __future__ import annotations

from typing import Any

import pytest

from crypto.ids import DeviceId, EntryId, FolderId, LogId, UserId
from protocol import wire
from protocol.errors import Malformed, TooLong
from protocol.messages import FrontierEntry
from protocol.pairing_messages import (
    FOLDERS_MAX,
    FORMS,
    DiallerConfirmation,
    Introduction,
    ListenerConfirmation,
    PairHello,
    PairingMessage,
    PairingNumber,
    PairingWrap,
    PairReply,
    Refusal,
    Welcome,
    WelcomeFolder,
    decode,
    encode,
)
from protocol.relay_records import RelayRecord

ID = b"i" * 32
FOLDER = WelcomeFolder(
    FolderId(ID),
    "photos",
    (b"genesis",),
    (PairingWrap(EntryId(ID), DeviceId(ID), b"w" * 176),),
    (FrontierEntry(LogId(b"l" * 16), (1 << 64) - 1, ID),),
)
RELAY = RelayRecord(f"holdfast-relay://relay.example:443#{'a' * 52}", b"t" * 16, 1, True)
MESSAGES: list[PairingMessage] = [
    PairHello(1, 1, ID, 7, b"A" * 33),
    PairHello(1, 2, ID, 9999, b""),
    PairReply(1, ID, b"B" * 33),
    DiallerConfirmation(ID),
    ListenerConfirmation(ID, UserId(ID)),
    Introduction(1, 0, "beta", b"certificate", b"s" * 64),
    Welcome(1, 0, "alpha", DeviceId(ID), (b"genesis", b"add"), (FOLDER,), (RELAY,)),
    Welcome(1, 0, "", DeviceId(ID), (b"genesis",), (), ()),
    Refusal(17),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_reads_back(message: PairingMessage) -> None:
    number, payload = encode(message)
    assert number == FORMS[type(message)].number
    assert decode(type(message), payload) == message


def test_every_form_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set(FORMS)


def test_numbers_are_those_before_the_session() -> None:
    assert [int(number) for number in PairingNumber] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (PairHello, [2, 1, ID, 7, b""]),  # another version
        (PairHello, [1, 3, ID, 7, b""]),  # no kind of link
        (PairHello, [True, 1, ID, 7, b""]),
        (PairHello, [1, 1, ID[1:], 7, b""]),
        (PairHello, [1, 1, ID, 0, b""]),
        (PairHello, [1, 1, ID, 10000, b""]),
        (PairHello, [1, 1, ID, True, b""]),
        (PairHello, [1, 1, ID, 7, b"A" * 32]),
        (PairHello, [1, 1, ID, 7]),
        (PairHello, [1, 1, ID, 7, b"", 0]),
        (PairReply, [1, ID, "text"]),
        (DiallerConfirmation, [ID, ID]),
        (DiallerConfirmation, [ID + b"x"]),
        (ListenerConfirmation, [ID]),
        (Introduction, [1, 1, "beta", b"c", b"s" * 64]),  # no such purpose
        (Introduction, [1, 0, "be\x1bta", b"c", b"s" * 64]),
        (Introduction, [1, 0, "beta", b"", b"s" * 64]),
        (Introduction, [1, 0, "beta", b"c", b"s" * 63]),
        (Welcome, [1, 0, "alpha", ID, [], [], []]),  # a ledger has a genesis
        (Welcome, [1, 0, "alpha", ID, [b"g"], [[ID, "f", [b"g"], []]], []]),
        (Welcome, [1, 0, "alpha", ID, [b"g"], [[ID, "f", [b"g"], [], [[b"l" * 16, -1, ID]]]], []]),
        (Refusal, [-1]),
        (Refusal, 17),
        (Refusal, []),
    ],
)
def test_what_breaks_the_form_is_malformed(form: type[Any], value: Any) -> None:
    with pytest.raises(Malformed):
        decode(form, wire.encode(value))


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (Introduction, [1, 0, "n" * 65, b"c", b"s" * 64]),
        (Introduction, [1, 0, "beta", b"c" * 257, b"s" * 64]),
        (Introduction, [1, 0, "beta", b"c" * 2000, b"s" * 64]),
        (Welcome, [1, 0, "alpha", ID, [b"e" * 70_000], [], []]),
        (Welcome, [1, 0, "alpha", ID, [b"g"], [[ID, "f" * 256, [b"g"], [], []]], []]),
        (Welcome, [1, 0, "alpha", ID, [b"g"], [[]] * (FOLDERS_MAX + 1), []]),
    ],
)
def test_too_much_is_too_long(form: type[Any], value: Any) -> None:
    with pytest.raises(TooLong):
        decode(form, wire.encode(value))


@pytest.mark.parametrize("form", [form for form in FORMS if form is not Welcome])
def test_only_a_welcome_may_be_long(form: type[Any]) -> None:
    """Whoever has not proved that it knows the code cannot make us parse more than a kilobyte."""
    assert FORMS[form].length_max == 1024
    with pytest.raises(TooLong):
        decode(form, bytes(1025))
