"""Hello, Accept, Proof: how two devices prove on a fresh link who they are (CRYPTO 7). No I/O.

The client already knows the server's keys; the server learns who calls from inside a box that
only it can open, and says nothing to a stranger. Everything that fails is one error without a
reason: a prober must not learn which check it failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Never

from crypto.errors import CryptoError
from crypto.ids import DeviceId
from crypto.keys import DeviceKeys, device_id_of
from crypto.link_auth import (
    HELLO_NONCE_SIZE,
    INTRO_SIZE_MAX,
    open_intro,
    seal_intro,
    sign_accept,
    sign_hello,
    sign_proof,
    transcript,
    verify_accept,
    verify_hello,
    verify_proof,
)
from protocol.errors import NotAuthenticated, ProtocolError
from protocol.wire import HANDSHAKE_FRAME_LENGTH_MAX, decode, encode

HELLO: Final = 1
ACCEPT: Final = 2
PROOF: Final = 3
INTRO_ENTRIES_MAX: Final = 32
INTRO_OVERHEAD_MAX: Final = 128
"""Length, device id, signature and the heads of three arrays and strings."""
BYTES_HEAD_MAX: Final = 3
"""CBOR's head of a byte string below 64 KiB."""
_ITEMS_MAX: Final = 1 + 3 + INTRO_ENTRIES_MAX
"""CBOR values of an intro; the other three have fewer."""
_VERSION: Final = 1
_ID_SIZE: Final = 32
_SIGNATURE_SIZE: Final = 64

Frame = tuple[int, bytes]
"""Message number and payload."""
Lookup = Callable[[DeviceId, list[bytes]], "PeerKeys | None"]
"""Who a device is, given ledger entries that it brings; None for who is not known or not live."""


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """Another device's id and the public keys that it stands for."""

    device_id: DeviceId
    sign_pk: bytes
    dh_pk: bytes

    def __post_init__(self) -> None:
        assert self.device_id == device_id_of(self.sign_pk, self.dh_pk)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """What a handshake ends with."""

    peer: PeerKeys
    link_id: bytes
    """32 bytes that name this link on both sides; later signatures include them (CRYPTO 9)."""


class ClientHandshake:
    """The side that dialled; `frames_to_send` has the Hello from the start."""

    def __init__(
        self,
        keys: DeviceKeys,
        server: PeerKeys,
        kind: int,
        binding: bytes,
        random: Callable[[int], bytes],
        ledger_entries: Sequence[bytes] = (),
    ) -> None:
        self.result: Authenticated | None = None
        """Set when the handshake is done."""
        self._keys = keys
        self._server = server
        self._binding = binding
        nonce = random(HELLO_NONCE_SIZE)
        signature = sign_hello(keys, kind, nonce, binding, server.device_id)
        intro = encode([keys.device_id, _newest_that_fit(ledger_entries), signature])
        box = seal_intro(server.dh_pk, kind, nonce, binding, intro)
        self._hello = encode([_VERSION, int(kind), nonce, box])
        self._frames: list[Frame] = [(HELLO, self._hello)]

    def frames_to_send(self) -> list[Frame]:
        """Takes what has to go out now."""
        frames, self._frames = self._frames, []
        return frames

    def receive(self, number: int, payload: bytes) -> None:
        """Takes the Accept; NotAuthenticated if this is not the server that was dialled."""
        if self.result is not None or number != ACCEPT:
            _refuse()
        version, nonce, signature = _fields(payload, 3)
        _require(_is_int(version, _VERSION) and _is_bytes(nonce, HELLO_NONCE_SIZE))
        _require(_is_bytes(signature, _SIGNATURE_SIZE))
        server = self._server
        t = transcript(self._hello, nonce, self._binding, self._keys.device_id, server.device_id)
        try:
            verify_accept(server.sign_pk, signature, t)
        except CryptoError:
            _refuse()
        self._frames.append((PROOF, encode([sign_proof(self._keys, t, payload)])))
        self.result = Authenticated(server, t)


class ServerHandshake:
    """The side that was dialled; it sends nothing before it knows who calls."""

    def __init__(
        self,
        keys: DeviceKeys,
        kind: int,
        binding: bytes,
        random: Callable[[int], bytes],
        lookup: Lookup,
    ) -> None:
        self.result: Authenticated | None = None
        """Set when the handshake is done."""
        self._keys = keys
        self._kind = int(kind)
        self._binding = binding
        self._random = random
        self._lookup = lookup
        self._client: PeerKeys | None = None
        self._t = b""
        self._accept = b""
        self._frames: list[Frame] = []

    def frames_to_send(self) -> list[Frame]:
        """Takes what has to go out now."""
        frames, self._frames = self._frames, []
        return frames

    def receive(self, number: int, payload: bytes) -> None:
        """Takes the Hello, then the Proof; NotAuthenticated for everything else."""
        if self._client is None and number == HELLO:
            self._receive_hello(payload)
        elif self._client is not None and self.result is None and number == PROOF:
            self._receive_proof(self._client, payload)
        else:
            _refuse()

    def _receive_hello(self, hello: bytes) -> None:
        version, kind, nonce, box = _fields(hello, 4)
        _require(_is_int(version, _VERSION) and _is_int(kind, self._kind))
        _require(_is_bytes(nonce, HELLO_NONCE_SIZE) and type(box) is bytes)
        own_id = self._keys.device_id
        try:
            intro = open_intro(self._keys, self._kind, nonce, self._binding, box)
            device_id, entries, signature = _fields(intro, 3)
            _require(_is_bytes(device_id, _ID_SIZE) and device_id != own_id)
            _require(_is_bytes(signature, _SIGNATURE_SIZE) and type(entries) is list)
            _require(len(entries) <= INTRO_ENTRIES_MAX)
            _require(all(type(entry) is bytes for entry in entries))
            client = self._lookup(DeviceId(device_id), entries)
            if client is None or client.device_id != device_id:
                _refuse()
            verify_hello(
                client.sign_pk, signature, self._kind, nonce, self._binding, device_id, own_id
            )
        except CryptoError:
            _refuse()
        server_nonce = self._random(HELLO_NONCE_SIZE)
        self._t = transcript(hello, server_nonce, self._binding, client.device_id, own_id)
        signature = sign_accept(self._keys, self._t)
        self._accept = encode([_VERSION, server_nonce, signature])
        self._frames.append((ACCEPT, self._accept))
        self._client = client

    def _receive_proof(self, client: PeerKeys, proof: bytes) -> None:
        (signature,) = _fields(proof, 1)
        _require(_is_bytes(signature, _SIGNATURE_SIZE))
        try:
            verify_proof(client.sign_pk, signature, self._t, self._accept)
        except CryptoError:
            _refuse()
        self.result = Authenticated(client, self._t)


def _newest_that_fit(entries: Sequence[bytes]) -> list[bytes]:
    """The last entries, as many as an intro can hold; the other side asks for the rest later."""
    fitting: list[bytes] = []
    room = INTRO_SIZE_MAX - INTRO_OVERHEAD_MAX
    for entry in reversed(entries[-INTRO_ENTRIES_MAX:]):
        room -= len(entry) + BYTES_HEAD_MAX
        if room < 0:
            break
        fitting.append(entry)
    return fitting[::-1]


def _fields(payload: bytes, count: int) -> list[Any]:
    try:
        value = decode(payload, HANDSHAKE_FRAME_LENGTH_MAX, _ITEMS_MAX)
    except ProtocolError:
        _refuse()
    _require(type(value) is list and len(value) == count)
    fields: list[Any] = value
    return fields


def _is_int(value: Any, expected: int) -> bool:
    """True is equal to 1, but not the encoding of it."""
    return type(value) is int and value == expected


def _is_bytes(value: Any, size: int) -> bool:
    return type(value) is bytes and len(value) == size


def _require(holds: bool) -> None:
    if not holds:
        _refuse()


def _refuse() -> Never:
    raise NotAuthenticated("the handshake failed") from None
