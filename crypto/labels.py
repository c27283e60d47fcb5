"""The closed set of labels: one for each type of thing that is hashed, derived, signed or sealed.

A label goes into the key, the associated data and the signature at once, so bytes of one type never
pass for another (ATTACKS A11). Raw prefixes play the same part where the other side is a browser or
where bulk bytes are sealed and no framed hash is wanted.
"""

from __future__ import annotations

from typing import Final

_NAMES: Final = (
    # ids and ledgers (CRYPTO 1, 3, 4)
    "ledger",
    "entry",
    "device",
    "device certificate",
    "log",
    "safety",
    # changesets (5)
    "changeset",
    "changeset body",
    "conflict",
    "record key",
    "mailbox",
    "mailbox name",
    "heartbeat",
    "frontier",
    # epochs (4.4)
    "epoch core",
    "epoch link",
    "tier commit",
    "wrap",
    "wraps",
    # chunks and packs (6, 11)
    "chunk id",
    "cdc seed",
    "chunk key",
    "log slot key",
    "pack key",
    "pack index",
    "pack trailer",
    "pack hint",
    "pack descriptor",
    # links (7)
    "link hello",
    "link hello box",
    "link transcript",
    "accept",
    "link accept",
    "link proof",
    # pairing (8)
    "pair code",
    "pair id",
    "pair transcript",
    "pair confirm a",
    "pair confirm b",
    "pair check",
    "pair qr",
    "pair secret",
    # relays and nodes (9, 11)
    "rendezvous",
    "address",
    "lan",
    "inbox",
    "card",
    "invite",
    "relay",
    "relay pseudonym",
    "relay ask",
    "relay invitation",
    "punch key",
    "punch round",
    "datagram tag",
    "address mask",
    "node key",
    "node tag",
    "node open",
    "namespace",
    "emergency",
    "delegation",
    "control",
    "store key",
    # share links, what of them is not a browser's (10)
    "share link",
    "told links",
    "end key",
    "told end keys",
    "told uploads",
    "upload link",
    "link space",
    "link head",
    "store open",
    "store peer",
    "store voucher",
    "repair turn",
    "receipt",
    "version record",
    # kit, vault, key file, audit log (2, 11)
    "vault secret",
    "vault tag",
    "vault box",
    "keyfile",
    "keyfile commit",
    "identity",
    "recovery dh",
    "audit",
    "audit checkpoint",
    # inside the hedged nonce of a seal (0)
    "nonce",
)


def _framed(name: str) -> bytes:
    encoded = name.encode("ascii")
    return len(encoded).to_bytes(4, "big") + encoded


LABELS: Final[dict[str, bytes]] = {name: _framed(name) for name in _NAMES}
"""Every label with its framed bytes, u32 length and ASCII."""

PERSON: Final = b"holdfast/1".ljust(16, b"\0")
"""BLAKE2b's personalisation: no hash of ours equals anybody else's hash of the same bytes."""

SIGNATURE_PREFIX: Final = b"holdfast/1 signature\0"
CHUNK_PREFIX: Final = b"holdfast/1 chunk\0"
LOG_SLOT_PREFIX: Final = b"holdfast/1 log slot\0"
LINK_CERTIFICATE_PREFIX: Final = b"holdfast/1 link certificate\0"
KIT_PREFIX: Final = b"holdfast/1 kit\0"
SHARE_LINK_PREFIX: Final = b"holdfast/1 link\0"
SHARE_LINK_ID_PREFIX: Final = b"holdfast/1 link id\0"
SHARE_LINK_MANIFEST_PREFIX: Final = b"holdfast/1 link manifest\0"
SHARE_LINK_SEGMENT_PREFIX: Final = b"holdfast/1 link segment\0"
SHARE_LINK_TOKEN_PREFIX: Final = b"holdfast/1 link token\0"
SHARE_LINK_REVOKE_PREFIX: Final = b"holdfast/1 link revoke\0"
SHARE_LINK_END_PREFIX: Final = b"holdfast/1 link end\0"
SHARE_LINK_PAGE_PREFIX: Final = b"holdfast/1 link page\0"
UPLOAD_PREFIX: Final = b"holdfast/1 upload\0"
UPLOAD_GATE_PREFIX: Final = b"holdfast/1 upload gate\0"
UPLOAD_FILE_PREFIX: Final = b"holdfast/1 upload file\0"
UPLOAD_HEAD_PREFIX: Final = b"holdfast/1 upload head\0"
UPLOAD_SEGMENT_PREFIX: Final = b"holdfast/1 upload segment\0"

RAW_PREFIXES: Final = (
    SIGNATURE_PREFIX,
    CHUNK_PREFIX,
    LOG_SLOT_PREFIX,
    LINK_CERTIFICATE_PREFIX,
    KIT_PREFIX,
    SHARE_LINK_PREFIX,
    SHARE_LINK_ID_PREFIX,
    SHARE_LINK_MANIFEST_PREFIX,
    SHARE_LINK_SEGMENT_PREFIX,
    SHARE_LINK_TOKEN_PREFIX,
    SHARE_LINK_REVOKE_PREFIX,
    SHARE_LINK_END_PREFIX,
    SHARE_LINK_PAGE_PREFIX,
    UPLOAD_PREFIX,
    UPLOAD_GATE_PREFIX,
    UPLOAD_FILE_PREFIX,
    UPLOAD_HEAD_PREFIX,
    UPLOAD_SEGMENT_PREFIX,
)
"""All raw prefixes; none begins another."""
