"""Files that strangers put in by an upload link: sealed in their browser to the link's maker.

    head = HPKE(upload_pk, seed32) || AES-256-GCM(head key, padded head)      then the segments

The seed goes to the maker alone, so that neither the relay nor another holder of the URL reads
what was put in. The keys come of the seed *and* of the gate, which only holders of the URL (and
of its password) know: so a relay, which has the public key too, makes nothing that opens. All of
it is what WebCrypto has in every browser: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crypto.errors import BadKeyError, OpenError
from crypto.labels import (
    UPLOAD_FILE_PREFIX,
    UPLOAD_GATE_PREFIX,
    UPLOAD_HEAD_PREFIX,
    UPLOAD_PREFIX,
    UPLOAD_SEGMENT_PREFIX,
)
from crypto.share_links import LINK_KEY_SIZE, LinkSecrets

UPLOAD_ID_SIZE: Final = 16
UPLOAD_SECRET_SIZE: Final = 32
GATE_SIZE: Final = 32
SEED_SIZE: Final = 32
SEGMENT_SIZE: Final = 1 << 20
"""Of a file: what a page holds of it, a few at once."""
TAG_SIZE: Final = 16
SEALED_SEGMENT_SIZE: Final = SEGMENT_SIZE + TAG_SIZE
FILE_SIZE_MAX: Final = 1 << 40
"""A million segments; the relay's limits are lower."""
HEAD_STEP: Final = 256
"""Heads are padded to a multiple of this: the length of a name is nobody's business."""
HEAD_PLAIN_MAX: Final = 16 * HEAD_STEP
WRAPPED_SIZE: Final = LINK_KEY_SIZE + SEED_SIZE + TAG_SIZE
HEAD_SIZE_MAX: Final = WRAPPED_SIZE + HEAD_PLAIN_MAX + TAG_SIZE
HEAD_SIZE_MIN: Final = WRAPPED_SIZE + HEAD_STEP + TAG_SIZE

_HPKE: Final = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_CURVE: Final = ec.SECP256R1()
_HEAD_NONCE: Final = bytes(12)
"""The head's key seals one head and nothing else."""


def gate_of(secrets: LinkSecrets, link_id: bytes) -> bytes:
    """What the holders of a URL share, and its relay does not know."""
    salt = link_id + secrets.password_salt
    ikm = secrets.secret + secrets.password_key
    return HKDF(SHA256(), GATE_SIZE, salt, UPLOAD_GATE_PREFIX).derive(ikm)


def segment_count(size: int) -> int:
    """How many segments a file of so many bytes is; an empty one has one too, its end."""
    return max(1, -(-size // SEGMENT_SIZE))


def sealed_size(size: int) -> int:
    """Bytes of all the sealed segments of a file."""
    return size + segment_count(size) * TAG_SIZE


@dataclass(frozen=True, slots=True)
class UploadKeys:
    """How one file that was put in is sealed."""

    link_id: bytes
    upload_id: bytes
    key: bytes = field(repr=False)
    base: bytes = field(repr=False)
    head_key: bytes = field(repr=False)

    @classmethod
    def of(cls, link_id: bytes, upload_id: bytes, gate: bytes, seed: bytes) -> UploadKeys:
        """The keys that a seed gives to who knows the gate."""
        derived = HKDF(SHA256(), 76, link_id + upload_id, UPLOAD_FILE_PREFIX).derive(seed + gate)
        return cls(link_id, upload_id, derived[:32], derived[32:44], derived[44:])

    def seal_segment(self, index: int, plain: bytes, *, is_last: bool) -> bytes:
        """One segment where it belongs."""
        return AESGCM(self.key).encrypt(self._nonce(index, is_last), plain, self._aad)

    def open_segment(self, index: int, sealed: bytes, *, is_last: bool) -> bytes:
        """What was sealed as this segment; OpenError for anything else."""
        try:
            return AESGCM(self.key).decrypt(self._nonce(index, is_last), sealed, self._aad)
        except (InvalidTag, ValueError):
            raise OpenError from None

    @property
    def _aad(self) -> bytes:
        return UPLOAD_SEGMENT_PREFIX + self.link_id + self.upload_id

    def _nonce(self, index: int, is_last: bool) -> bytes:
        number = int.from_bytes(self.base, "big") ^ (index << 1 | is_last)
        return number.to_bytes(12, "big")


def seal_head(
    public: bytes, link_id: bytes, upload_id: bytes, gate: bytes, plain: bytes, seed: bytes
) -> tuple[bytes, UploadKeys]:
    """What begins an upload, and the keys of its segments; BadKeyError for what is no key.

    The ephemeral key is the library's own, as in `crypto.primitives.wrap`.
    """
    assert len(plain) <= HEAD_PLAIN_MAX - 2, "a head has a name and a label, and both have limits"
    try:
        recipient = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, public)
        wrapped = _HPKE.encrypt(seed, recipient, info=_info(link_id, upload_id))
    except ValueError:
        raise BadKeyError from None
    keys = UploadKeys.of(link_id, upload_id, gate, seed)
    padded = len(plain).to_bytes(2, "big") + plain
    padded += bytes(-len(padded) % HEAD_STEP)
    sealed = AESGCM(keys.head_key).encrypt(_HEAD_NONCE, padded, _head_aad(link_id, upload_id))
    return wrapped + sealed, keys


def open_head(
    secret: bytes, link_id: bytes, upload_id: bytes, gate: bytes, head: bytes
) -> tuple[bytes, UploadKeys]:
    """What a head says, and the keys of its segments; OpenError for all that is not whole,
    of this link and this upload, and made by somebody who had the URL.
    """
    is_on_steps = (len(head) - WRAPPED_SIZE - TAG_SIZE) % HEAD_STEP == 0
    if not HEAD_SIZE_MIN <= len(head) <= HEAD_SIZE_MAX or not is_on_steps:
        raise OpenError
    private = ec.derive_private_key(int.from_bytes(secret, "big"), _CURVE)
    try:
        seed = _HPKE.decrypt(head[:WRAPPED_SIZE], private, info=_info(link_id, upload_id))
        keys = UploadKeys.of(link_id, upload_id, gate, seed)
        aad = _head_aad(link_id, upload_id)
        padded = AESGCM(keys.head_key).decrypt(_HEAD_NONCE, head[WRAPPED_SIZE:], aad)
    except (InvalidTag, ValueError):
        raise OpenError from None
    size = int.from_bytes(padded[:2], "big")
    if size > len(padded) - 2 or len(padded) - 2 - size >= HEAD_STEP or any(padded[2 + size :]):
        raise OpenError
    return padded[2 : 2 + size], keys


def _info(link_id: bytes, upload_id: bytes) -> bytes:
    return UPLOAD_PREFIX + link_id + upload_id


def _head_aad(link_id: bytes, upload_id: bytes) -> bytes:
    return UPLOAD_HEAD_PREFIX + link_id + upload_id
