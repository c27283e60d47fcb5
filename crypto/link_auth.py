"""The bytes that authenticate a link: Hello, Accept, Proof, bound to its certificate (CRYPTO 7).

Everything is bound to `binding`, the hash of the certificate that the server's end of this very
connection holds. Only the holder of that TLS key can end the client's channel, so a signature over
the binding is worthless on any other connection.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from crypto.errors import OpenError
from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from crypto.labels import LINK_CERTIFICATE_PREFIX
from crypto.primitives import WRAP_OVERHEAD, digest, verify, wrap

BINDING_SIZE: Final = 32
HELLO_NONCE_SIZE: Final = 32
INTRO_STEP: Final = 1024
INTRO_SIZE_MAX: Final = 15 << 10
_VERSION: Final = b"\x01"
_LENGTH_SIZE: Final = 4


def link_binding(certificate: bytes) -> bytes:
    """The 32-byte binding of a link: the hash of the server's certificate in DER."""
    return sha256(LINK_CERTIFICATE_PREFIX + certificate).digest()


def _version_and_kind(kind: int) -> bytes:
    # The kind of link is signed, so that nobody carries a Hello from QUIC to TLS or back.
    return _VERSION + bytes([kind])


def pad_intro(intro: bytes) -> bytes:
    """u32 length, the intro, zeros to a multiple of 1,024: a Hello hides how much it says."""
    size = -(-(_LENGTH_SIZE + len(intro)) // INTRO_STEP) * INTRO_STEP
    assert size <= INTRO_SIZE_MAX, "an intro is at most 15 KiB"
    return (len(intro).to_bytes(_LENGTH_SIZE, "big") + intro).ljust(size, b"\0")


def unpad_intro(padded: bytes) -> bytes:
    """What `pad_intro` was given; OpenError for anything that it does not make."""
    if not padded or len(padded) % INTRO_STEP or len(padded) > INTRO_SIZE_MAX:
        raise OpenError
    end = _LENGTH_SIZE + int.from_bytes(padded[:_LENGTH_SIZE], "big")
    if not len(padded) - INTRO_STEP < end <= len(padded) or any(padded[end:]):
        raise OpenError
    return padded[_LENGTH_SIZE:end]


def seal_intro(server_dh_pk: bytes, kind: int, nonce: bytes, binding: bytes, intro: bytes) -> bytes:
    """The Hello's box: nobody but this server on this link learns who calls."""
    return wrap(
        server_dh_pk,
        "link hello box",
        _version_and_kind(kind),
        nonce,
        binding,
        plaintext=pad_intro(intro),
    )


def open_intro(keys: DeviceKeys, kind: int, nonce: bytes, binding: bytes, box: bytes) -> bytes:
    """The intro that was sealed to us on this link; OpenError for anything else, sizes first."""
    if len(box) > INTRO_SIZE_MAX + WRAP_OVERHEAD:
        raise OpenError
    context = (_version_and_kind(kind), nonce, binding)
    return unpad_intro(keys.unwrap("link hello box", *context, wrapped=box))


def sign_hello(
    keys: DeviceKeys, kind: int, nonce: bytes, binding: bytes, server: DeviceId
) -> bytes:
    """The client's first signature: it means this server, on this link."""
    parts = (_version_and_kind(kind), nonce, binding, keys.device_id, server)
    return keys.sign("link hello", *parts)


def verify_hello(
    client_sign_pk: bytes,
    signature: bytes,
    kind: int,
    nonce: bytes,
    binding: bytes,
    client: DeviceId,
    server: DeviceId,
) -> None:
    """Returns if the client meant us on this link; raises SignatureError if not."""
    parts = (_version_and_kind(kind), nonce, binding, client, server)
    verify(client_sign_pk, signature, "link hello", *parts)


def transcript(
    hello: bytes, server_nonce: bytes, binding: bytes, client: DeviceId, server: DeviceId
) -> bytes:
    """The hash t of what both have seen, `hello` as on the wire; it is also the link's id."""
    return digest("link transcript", hello, server_nonce, binding, client, server)


def sign_accept(keys: DeviceKeys, t: bytes) -> bytes:
    """The server's signature over the transcript."""
    return keys.sign("link accept", t)


def verify_accept(server_sign_pk: bytes, signature: bytes, t: bytes) -> None:
    """Returns if the server accepted this very Hello; raises SignatureError if not."""
    verify(server_sign_pk, signature, "link accept", t)


def sign_proof(keys: DeviceKeys, t: bytes, accept: bytes) -> bytes:
    """The client's last signature: it is live on this link now, and no replay."""
    return keys.sign("link proof", t, digest("accept", accept))


def verify_proof(client_sign_pk: bytes, signature: bytes, t: bytes, accept: bytes) -> None:
    """Returns if the client answered this very Accept; raises SignatureError if not."""
    verify(client_sign_pk, signature, "link proof", t, digest("accept", accept))
