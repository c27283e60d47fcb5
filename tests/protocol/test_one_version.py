"""There is one version and one suite: whatever names another is refused, wherever it stands (A05).

Each object is made rightly, signatures and all, but for the number that says how it was made: that
is lower, higher, of another type, left out or there twice.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from crypto.errors import KeyFileError
from crypto.key_file import decode_key_file, encode_key_file
from crypto.keys import DeviceKeys
from protocol import pairing_messages, wire
from protocol.changesets import decode_slot
from protocol.errors import ProtocolError
from protocol.folder_actions import Epoch, Genesis, decode_action, decode_core
from protocol.handshake import ACCEPT, HELLO, ClientHandshake, PeerKeys, ServerHandshake
from protocol.invitations import Invitation
from protocol.ledger import LedgerKind, ledger_id_of
from protocol.link import LinkKind
from protocol.pairing import PairingDialler, PairingListener
from protocol.user_ledger import UserLedger, check_certificate, make_certificate
from tests.protocol.people import Person, Place

OTHERS: dict[str, list[Any]] = {
    "lower": [0], "higher": [2], "far": [2**32], "negative": [-1], "true": [True], "text": ["1"],
    "bytes": [b"1"], "a list": [[1]], "nothing": [None], "left out": [], "twice": [1, 1],
}  # fmt: skip
BINDING = b"b" * 32
RANDOM = Random(5).randbytes
PERSON = Person(5)
PLACE = Place.found(PERSON)
SERVER = DeviceKeys.generate(RANDOM)


def peer_keys(keys: DeviceKeys) -> PeerKeys:
    return PeerKeys(keys.device_id, keys.sign_public, keys.dh_public)


def slot(change: Callable[[bytes], bytes]) -> None:
    decode_slot(change(PLACE.draft_and_seal().changeset.slot_bytes))


def ledger_entry(change: Callable[[bytes], bytes]) -> None:
    genesis, _ = wire.decode(PERSON.ledger.export()[0])
    encoded = change(genesis)
    signature = PERSON.kit.sign("entry", ledger_id_of(LedgerKind.USER, encoded), encoded)
    UserLedger(wire.encode([encoded, signature]))


def certificate(change: Callable[[bytes], bytes]) -> None:
    encoded = change(make_certificate(SERVER, PERSON.id)[0])
    check_certificate(encoded, SERVER.sign("device certificate", encoded), PERSON.id)


def epoch(change: Callable[[bytes], bytes]) -> None:
    actions = [decode_action(action) for entry in PLACE.ledger for action in entry.actions]
    (core,) = [action.core for action in actions if isinstance(action, Epoch)]
    decode_core(change(core.encoded))


def folder_suite(change: Callable[[bytes], bytes]) -> None:
    genesis = Genesis(PLACE.ledger.genesis.kind, PERSON.id, b"n" * 16).encode()
    decode_action([genesis[0], *wire.decode(change(wire.encode(genesis[1:])))])


def hello(change: Callable[[bytes], bytes]) -> None:
    client = ClientHandshake(PERSON.device, peer_keys(SERVER), LinkKind.TLS, BINDING, RANDOM)
    ((_, payload),) = client.frames_to_send()
    server = ServerHandshake(
        SERVER, LinkKind.TLS, BINDING, RANDOM, lambda *_: peer_keys(PERSON.device)
    )
    try:
        server.receive(HELLO, change(payload))
    finally:
        SENT.extend(server.frames_to_send())


def accept(change: Callable[[bytes], bytes]) -> None:
    client = ClientHandshake(PERSON.device, peer_keys(SERVER), LinkKind.TLS, BINDING, RANDOM)
    server = ServerHandshake(
        SERVER, LinkKind.TLS, BINDING, RANDOM, lambda *_: peer_keys(PERSON.device)
    )
    server.receive(*client.frames_to_send()[0])
    ((_, payload),) = server.frames_to_send()
    try:
        client.receive(ACCEPT, change(payload))
    finally:
        SENT.extend(client.frames_to_send())


def pair_hello(change: Callable[[bytes], bytes]) -> None:
    invitation = Invitation.create(7, RANDOM, 0.0)
    dialler = PairingDialler(invitation.code, LinkKind.TLS, BINDING, RANDOM)
    number, payload = dialler.hello()
    listener = PairingListener({7: invitation}.get, PERSON.id, LinkKind.TLS, BINDING, RANDOM)
    SENT.extend(listener.receive(number, change(payload), 1.0))


def pair_reply(change: Callable[[bytes], bytes]) -> None:
    invitation = Invitation.create(7, RANDOM, 0.0)
    dialler = PairingDialler(invitation.code, LinkKind.TLS, BINDING, RANDOM)
    listener = PairingListener({7: invitation}.get, PERSON.id, LinkKind.TLS, BINDING, RANDOM)
    ((number, payload),) = listener.receive(*dialler.hello(), 1.0)
    SENT.extend(dialler.receive(number, change(payload)))


def introduction(change: Callable[[bytes], bytes]) -> None:
    message = pairing_messages.Introduction(1, 0, "new", b"c", b"s" * 64)
    pairing_messages.decode(
        pairing_messages.Introduction, change(pairing_messages.encode(message)[1])
    )


SENT: list[Any] = []
"""What the tried side sent in answer."""
OBJECTS = (
    slot, ledger_entry, certificate, epoch, folder_suite, hello, accept, pair_hello, pair_reply,
    introduction,
)  # fmt: skip


@pytest.mark.row("A05")
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("make", OBJECTS, ids=lambda make: make.__name__)
def test_another_version_is_refused_and_not_answered(
    make: Callable[[Callable[[bytes], bytes]], None], other: list[Any]
) -> None:
    SENT.clear()
    with pytest.raises(ProtocolError):
        make(lambda encoded: wire.encode([*other, *wire.decode(encoded)[1:]]))
    assert SENT == []


@pytest.mark.parametrize("make", OBJECTS, ids=lambda make: make.__name__)
def test_the_right_version_passes(make: Callable[[Callable[[bytes], bytes]], None]) -> None:
    """Else the test above would prove nothing."""
    make(lambda encoded: encoded)


@pytest.mark.row("A05")
@pytest.mark.parametrize("at", [4, 5], ids=["version", "mode"])
def test_a_key_file_of_another_version_or_mode_is_refused(at: int) -> None:
    data = encode_key_file(SERVER, RANDOM)
    decode_key_file(data)
    for value in range(256):
        if value != data[at]:
            with pytest.raises(KeyFileError):
                decode_key_file(data[:at] + bytes([value]) + data[at + 1 :], passphrase="x")
