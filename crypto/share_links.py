"""Share links: what a URL's secret opens, and what the relay that serves it can check (CRYPTO 10).

    "HFLK" || u8 1 || u8 flags || u32 version || salt32 || commit32 || link_pk65
        || SHA-256(segments) || sig64 || segments

A browser has to do all of this, so it is what WebCrypto has: SHA-256, HKDF, AES-GCM and ECDSA over
P-256. The link's own key signs: everybody who was given the secret could otherwise make another
manifest for everybody else, with the relay's help. The link's id is the hash of that key, so that
the URL pins it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from enum import IntFlag
from hashlib import sha256
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.pwhash import argon2id

from crypto.chunks import SealedChunk, open_chunk_with
from crypto.errors import BadKeyError, OpenError, SignatureError
from crypto.ids import ChunkId
from crypto.labels import (
    SHARE_LINK_END_PREFIX,
    SHARE_LINK_ID_PREFIX,
    SHARE_LINK_MANIFEST_PREFIX,
    SHARE_LINK_PAGE_PREFIX,
    SHARE_LINK_PREFIX,
    SHARE_LINK_REVOKE_PREFIX,
    SHARE_LINK_SEGMENT_PREFIX,
    SHARE_LINK_TOKEN_PREFIX,
)
from crypto.primitives import is_equal

MAGIC: Final = b"HFLK"
FORMAT: Final = 1
LINK_SECRET_SIZE: Final = 32
LINK_ID_SIZE: Final = 16
LINK_SEED_SIZE: Final = 40
"""Randomness for the link's key: 64 bits more than the key, so that the remainder is even."""
LINK_KEY_SIZE: Final = 65
"""A point of P-256, uncompressed, as WebCrypto takes it."""
LINK_SIGNATURE_SIZE: Final = 64
"""r and s, 32 bytes each."""
SALT_SIZE: Final = 32
PASSWORD_SALT_SIZE: Final = 16
TOKEN_SIZE: Final = 32
END_KEY_SIZE: Final = 32
"""Random: by it the other devices of a link's maker end the link, and do nothing else to it."""
SEGMENT_SIZE: Final = 64 << 10
"""Of the manifest, before it is sealed."""
SEGMENT_OVERHEAD: Final = 16
MANIFEST_SIZE_MAX: Final = 64 << 20
"""Of a manifest: 90 bytes a chunk are 90 GB of small files, or any number of large ones."""
PASSWORD_SIZE_MAX: Final = 1024

MEMORY_KIB: Final = 65536
PASSES: Final = 3
"""64 MiB and 3 passes: 0.3 s in a browser's WebAssembly, and a phone has the memory."""

_HEADER: Final = Struct(">4sBBI32s32s65s32s")
HEADER_SIZE: Final = _HEADER.size
SEGMENTS_AT: Final = HEADER_SIZE + LINK_SIGNATURE_SIZE
BLOB_SIZE_MAX: Final = (
    SEGMENTS_AT + MANIFEST_SIZE_MAX + MANIFEST_SIZE_MAX // SEGMENT_SIZE * SEGMENT_OVERHEAD
)
_CURVE: Final = ec.SECP256R1()
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# Deterministic: no randomness can be poor or repeated, and the vectors are what they are.
_ECDSA_SIGN: Final = ec.ECDSA(SHA256(), deterministic_signing=True)
_ECDSA: Final = ec.ECDSA(SHA256())


class LinkFlags(IntFlag):
    """What a link is; signed, and part of the key."""

    NONE = 0
    PASSWORD = 1
    """Whoever opens it has to know a password as well."""
    UPLOAD = 2
    """Files go in by it, not out."""


_FLAGS_ALL: Final = int(LinkFlags.PASSWORD | LinkFlags.UPLOAD)
"""A number: what is not in an enumeration, its complement does not have either."""


@dataclass(frozen=True, slots=True, eq=False)
class LinkKey:
    """The key that signs a link's manifest and its revocation; only its maker has it."""

    secret: bytes = field(repr=False)
    public: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> LinkKey:
        """The key that 40 random bytes give."""
        assert len(seed) == LINK_SEED_SIZE
        number = 1 + int.from_bytes(seed, "big") % (_ORDER - 1)
        return cls.from_secret(number.to_bytes(32, "big"))

    @classmethod
    def from_secret(cls, secret: bytes) -> LinkKey:
        """The key whose 32 secret bytes were kept; raises BadKeyError if there is no such key."""
        try:
            private = ec.derive_private_key(int.from_bytes(secret, "big"), _CURVE)
        except ValueError:
            raise BadKeyError from None
        public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return cls(secret, public)

    @property
    def link_id(self) -> bytes:
        """The id of this key's link."""
        return link_id_of(self.public)

    def sign(self, data: bytes) -> bytes:
        """64 bytes, r and s."""
        private = ec.derive_private_key(int.from_bytes(self.secret, "big"), _CURVE)
        r, s = decode_dss_signature(private.sign(data, _ECDSA_SIGN))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def revocation(self, time_s: int) -> bytes:
        """The signature that ends the link for ever."""
        return self.sign(_revocation(self.link_id, time_s))


@dataclass(frozen=True, slots=True)
class LinkSecrets:
    """What a visitor has: the secret of the URL, and a key made of the password, if there is one.

    `password_key` is empty without a password.
    """

    secret: bytes = field(repr=False)
    password_salt: bytes
    password_key: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, secret: bytes, password_salt: bytes, password: str | None = None) -> LinkSecrets:
        """With a password this takes 0.3 s and 64 MiB; OpenError for one that is unusable."""
        if len(secret) != LINK_SECRET_SIZE or len(password_salt) != PASSWORD_SALT_SIZE:
            raise OpenError
        key = b"" if password is None else password_key(password, password_salt)
        return cls(secret, password_salt, key)

    def token(self, link_id: bytes) -> bytes:
        """What shows a relay that the visitor has secret and password, and opens nothing."""
        salt = link_id + self.password_salt
        return _hkdf(self._ikm, salt, SHARE_LINK_TOKEN_PREFIX, TOKEN_SIZE)

    def keys(self, link_id: bytes, flags: int, salt: bytes) -> ManifestKeys:
        """The keys of the manifest that was sealed with this salt."""
        info = SHARE_LINK_MANIFEST_PREFIX + link_id + bytes([flags])
        derived = _hkdf(self._ikm, salt, info, 76)
        return ManifestKeys(derived[:32], derived[32:44], derived[44:])

    @property
    def _ikm(self) -> bytes:
        return self.secret + self.password_key


@dataclass(frozen=True, slots=True)
class ManifestKeys:
    """How one sealing of a manifest is opened."""

    key: bytes = field(repr=False)
    base: bytes = field(repr=False)
    commit: bytes
    """It is in the blob and is compared first: a password is a key that a person chose."""


@dataclass(frozen=True, slots=True)
class LinkHeader:
    """What a blob says of itself before it is opened, checked against the link's id."""

    flags: LinkFlags
    version: int
    """A link that is made again under its own id has a higher one."""
    salt: bytes
    commit: bytes
    public: bytes
    segments_hash: bytes

    @property
    def link_id(self) -> bytes:
        """The id that this key has."""
        return link_id_of(self.public)


def link_id_of(public: bytes) -> bytes:
    """The 16 bytes by which a link is asked for."""
    return sha256(SHARE_LINK_ID_PREFIX + public).digest()[:LINK_ID_SIZE]


def token_hash(token: bytes) -> bytes:
    """What a relay keeps of a token."""
    return sha256(token).digest()


def end_key_hash(link_id: bytes, end_key: bytes) -> bytes:
    """What a relay keeps of the key by which others than the maker may end a link."""
    return sha256(SHARE_LINK_END_PREFIX + link_id + end_key).digest()


def page_id(page: bytes) -> ChunkId:
    """What a page of a manifest is sealed as a chunk under. It may be a plain hash: who can guess
    what is in it, and so its id, has no read secret, and who has one needs no guess.
    """
    return ChunkId(sha256(SHARE_LINK_PAGE_PREFIX + page).digest())


def password_key(password: str, salt: bytes) -> bytes:
    """32 bytes of Argon2id over the password in NFKC; OpenError for an empty or endless one."""
    text = unicodedata.normalize("NFKC", password).encode()
    if not text or len(text) > PASSWORD_SIZE_MAX:
        raise OpenError
    key: bytes = argon2id.kdf(32, text, salt, opslimit=PASSES, memlimit=MEMORY_KIB << 10)
    return key


def seal_link(
    key: LinkKey, secrets: LinkSecrets, manifest: bytes, *, flags: int, version: int, salt: bytes
) -> bytes:
    """The blob that rests at a relay; the salt is 32 fresh random bytes for each sealing."""
    assert 0 < len(manifest) <= MANIFEST_SIZE_MAX, "a link's manifest has 1 byte to 64 MiB"
    assert len(salt) == SALT_SIZE
    assert bool(secrets.password_key) == bool(flags & LinkFlags.PASSWORD)
    keys = secrets.keys(key.link_id, flags, salt)
    gcm, aad = AESGCM(keys.key), SHARE_LINK_SEGMENT_PREFIX + key.link_id
    starts = range(0, len(manifest), SEGMENT_SIZE)
    segments = b"".join(
        gcm.encrypt(
            _nonce(keys.base, i, i == len(starts) - 1), manifest[at : at + SEGMENT_SIZE], aad
        )
        for i, at in enumerate(starts)
    )
    header = _HEADER.pack(
        MAGIC, FORMAT, flags, version, salt, keys.commit, key.public, sha256(segments).digest()
    )
    return header + key.sign(SHARE_LINK_PREFIX + header) + segments


def check_link(link_id: bytes, blob: bytes | memoryview) -> LinkHeader:
    """The header of a blob that belongs to this id, is whole and is signed by the link's key.

    A relay checks as much before it keeps one. Raises OpenError for what is no blob or of another
    link, and SignatureError.
    """
    if not SEGMENTS_AT + SEGMENT_OVERHEAD < len(blob) <= BLOB_SIZE_MAX:
        raise OpenError
    header = bytes(blob[:HEADER_SIZE])
    magic, form, flags, version, salt, commit, public, segments_hash = _HEADER.unpack(header)
    if magic != MAGIC or form != FORMAT or flags & ~_FLAGS_ALL:
        raise OpenError
    if not is_equal(link_id_of(public), link_id):
        raise OpenError
    _verify(public, bytes(blob[HEADER_SIZE:SEGMENTS_AT]), SHARE_LINK_PREFIX + header)
    if not is_equal(sha256(blob[SEGMENTS_AT:]).digest(), segments_hash):
        raise OpenError
    return LinkHeader(LinkFlags(flags), version, salt, commit, public, segments_hash)


def open_link(link_id: bytes, secrets: LinkSecrets, blob: bytes) -> bytes:
    """The manifest's bytes; OpenError or SignatureError, in the order in which a page checks.

    A wrong password is an OpenError like all others: the commitment does not match.
    """
    header = check_link(link_id, blob)
    if bool(secrets.password_key) != bool(header.flags & LinkFlags.PASSWORD):
        raise OpenError
    keys = secrets.keys(link_id, header.flags, header.salt)
    if not is_equal(keys.commit, header.commit):
        raise OpenError
    gcm, aad = AESGCM(keys.key), SHARE_LINK_SEGMENT_PREFIX + link_id
    starts = range(SEGMENTS_AT, len(blob), SEGMENT_SIZE + SEGMENT_OVERHEAD)
    view = memoryview(blob)
    try:
        return b"".join(
            gcm.decrypt(
                _nonce(keys.base, i, i == len(starts) - 1),
                view[at : at + SEGMENT_SIZE + SEGMENT_OVERHEAD],
                aad,
            )
            for i, at in enumerate(starts)
        )
    except (InvalidTag, ValueError):
        raise OpenError from None


def check_revocation(public: bytes, signature: bytes, link_id: bytes, time_s: int) -> None:
    """Returns if the link's key ended this link; raises OpenError or SignatureError."""
    if not is_equal(link_id_of(public), link_id):
        raise OpenError
    _verify(public, signature, _revocation(link_id, time_s))


def open_shared_chunk(key: bytes, sealed_hash: bytes, chunk: SealedChunk) -> bytes:
    """A chunk that a manifest names, known by the SHA-256 of what is sealed; else OpenError."""
    if not is_equal(sha256(chunk.sealed).digest(), sealed_hash):
        raise OpenError
    return open_chunk_with(key, chunk)


def _verify(public: bytes, signature: bytes, data: bytes) -> None:
    # WebCrypto takes neither a compressed point nor a signature of another length.
    if len(public) != LINK_KEY_SIZE or public[0] != 4 or len(signature) != LINK_SIGNATURE_SIZE:
        raise SignatureError
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, public)
        point.verify(encode_dss_signature(r, s), data, _ECDSA)
    except (InvalidSignature, ValueError):
        raise SignatureError from None


def _revocation(link_id: bytes, time_s: int) -> bytes:
    return SHARE_LINK_REVOKE_PREFIX + link_id + time_s.to_bytes(8, "big")


def _nonce(base: bytes, index: int, is_last: bool) -> bytes:
    number = int.from_bytes(base, "big") ^ (index << 1 | is_last)
    return number.to_bytes(12, "big")


def _hkdf(ikm: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(ikm)
