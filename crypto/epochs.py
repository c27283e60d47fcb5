"""The secrets of an epoch: four tiers, commitments, wraps, the link to the parent (CRYPTO 4.4).

An epoch's author signs the commitments; whoever opens a wrap compares what came out with them. So
every member holds the same secrets or knows that it does not, and any member may wrap again for a
recipient who got garbage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from crypto.errors import OpenError
from crypto.ids import EntryId, FolderId
from crypto.primitives import (
    KEY_SIZE,
    WRAP_OVERHEAD,
    derive,
    digest,
    is_equal,
    open_sealed,
    seal,
    unwrap,
    wrap,
)

TIERS: Final = 4
EPOCH_NONCE_SIZE: Final = 16
WRAP_SIZE: Final = WRAP_OVERHEAD + TIERS * KEY_SIZE
"""176 bytes, whatever is inside: a wrap does not show its recipient's role."""
_ABSENT: Final = bytes(KEY_SIZE)

Commits = tuple[bytes | None, bytes | None, bytes | None, bytes | None]
"""One 32-byte commitment a tier, in the order R W A O; None where the tier is the parent's."""


class Tier(IntEnum):
    """The tiers of an epoch; a member of role level n holds the first n, read = 1 to owner = 4."""

    READ = 0
    WRITE = 1
    ADMIN = 2
    OWNER = 3


@dataclass(frozen=True, slots=True, eq=False)
class TierSecrets:
    """The secrets of one epoch that somebody holds, 32 bytes each; None where it holds none.

    `read` keys the data. The other three only make capability keys at nodes.
    """

    read: bytes = field(repr=False)
    write: bytes | None = field(default=None, repr=False)
    admin: bytes | None = field(default=None, repr=False)
    owner: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        held = [secret for secret in self.in_order if secret is not None]
        assert all(len(secret) == KEY_SIZE and secret != _ABSENT for secret in held)

    @classmethod
    def generate(cls, random: Callable[[int], bytes], tiers: int = TIERS) -> TierSecrets:
        """New independent secrets for the first `tiers` tiers: 4 by an owner, 2 by a writer."""
        assert 1 <= tiers <= TIERS
        secrets = [random(KEY_SIZE) for _ in range(tiers)]
        return cls(secrets[0], *secrets[1:])

    @property
    def in_order(self) -> tuple[bytes, bytes | None, bytes | None, bytes | None]:
        """The secrets in the order R W A O."""
        return (self.read, self.write, self.admin, self.owner)

    def limited(self, tiers: int) -> TierSecrets:
        """What a recipient of the first `tiers` tiers is given."""
        assert 1 <= tiers <= TIERS
        return TierSecrets(self.read, *self.in_order[1:tiers])

    def commitments(self, folder_id: FolderId, nonce: bytes) -> Commits:
        """What the epoch's core says of these secrets, and any holder of one can check."""
        return (
            _commit(folder_id, Tier.READ, self.read, nonce),
            _commit(folder_id, Tier.WRITE, self.write, nonce),
            _commit(folder_id, Tier.ADMIN, self.admin, nonce),
            _commit(folder_id, Tier.OWNER, self.owner, nonce),
        )


def _commit(folder_id: FolderId, tier: Tier, secret: bytes | None, nonce: bytes) -> bytes | None:
    assert len(nonce) == EPOCH_NONCE_SIZE
    if secret is None:
        return None
    return digest("tier commit", folder_id, bytes([tier]), secret, nonce)


def core_hash(core: bytes) -> bytes:
    """The hash of an epoch's core as it was received; every wrap is bound to it."""
    return digest("epoch core", core)


def wraps_hash(wraps: Sequence[bytes]) -> bytes:
    """The hash of an epoch's wraps in the order of its recipients, as the ledger entry has it."""
    return digest("wraps", b"".join(wraps))


def wrap_tiers(
    dh_pk: bytes, folder_id: FolderId, core: bytes, recipient_id: bytes, secrets: TierSecrets
) -> bytes:
    """176 bytes that give one recipient (a device id, or a user id for its kit) these secrets.

    Each secret has its place, R W A O, zero where none is given: a member that holds fewer tiers
    can still wrap again what it has.
    """
    payload = b"".join(secret or _ABSENT for secret in secrets.in_order)
    return wrap(dh_pk, "wrap", folder_id, core_hash(core), recipient_id, plaintext=payload)


def open_tiers(
    dh_secret: bytes,
    folder_id: FolderId,
    core: bytes,
    recipient_id: bytes,
    wrapped: bytes,
    *,
    commits: Sequence[bytes | None],
    nonce: bytes,
) -> TierSecrets:
    """The secrets in a wrap, if every one of them is what the core committed to; else OpenError.

    A secret without a commitment is refused like a wrong one: it would be a key that nobody signed.
    """
    if len(wrapped) != WRAP_SIZE or len(commits) != TIERS or len(nonce) != EPOCH_NONCE_SIZE:
        raise OpenError
    payload = unwrap(dh_secret, "wrap", folder_id, core_hash(core), recipient_id, wrapped=wrapped)
    secrets: list[bytes | None] = []
    is_good = True
    for tier in Tier:
        secret = payload[tier * KEY_SIZE : (tier + 1) * KEY_SIZE]
        if secret == _ABSENT:
            secrets.append(None)
            continue
        secrets.append(secret)
        is_good &= is_committed(folder_id, tier, secret, commits[tier], nonce)
    read, write, admin, owner = secrets
    if read is None or not is_good:
        raise OpenError
    return TierSecrets(read, write, admin, owner)


def is_committed(
    folder_id: FolderId, tier: Tier, secret: bytes, commit: bytes | None, nonce: bytes
) -> bool:
    """Whether `commit` is the commitment to this secret; compared in constant time."""
    expected = _commit(folder_id, tier, secret, nonce)
    return expected is not None and commit is not None and is_equal(commit, expected)


def link_seal(
    read_secret: bytes,
    folder_id: FolderId,
    parent: EntryId,
    parent_read_secret: bytes,
    random32: bytes,
) -> bytes:
    """The parent epoch's read secret under this epoch's: who reads now reads the whole past."""
    return seal(
        derive(read_secret, "epoch link"),
        "epoch link",
        folder_id,
        parent,
        plaintext=parent_read_secret,
        random32=random32,
    )


def link_open(read_secret: bytes, folder_id: FolderId, parent: EntryId, sealed: bytes) -> bytes:
    """The parent epoch's read secret; OpenError for anything else.

    The caller compares it with the parent's own commitment (`is_committed`): the link's author
    could have sealed any 32 bytes.
    """
    key = derive(read_secret, "epoch link")
    secret = open_sealed(key, "epoch link", folder_id, parent, sealed=sealed)
    if len(secret) != KEY_SIZE or secret == _ABSENT:
        raise OpenError
    return secret


def record_key(read_secret: bytes) -> bytes:
    """The key of changeset bodies under one epoch's read secret."""
    return derive(read_secret, "record key")


@dataclass(frozen=True, slots=True, eq=False)
class FolderKeys:
    """What stays the same over all epochs of a folder; made from the first epoch's read secret."""

    chunk_id_key: bytes = field(repr=False)
    """Keys the BLAKE3 of chunk ids, so that nobody outside can confirm a guess."""
    cdc_seed: bytes = field(repr=False)
    """32 bytes from which the chunker takes its cut points."""

    @classmethod
    def from_first_read_secret(cls, read_secret: bytes) -> FolderKeys:
        """Derives both; every member can, since the chain of epochs is always whole."""
        return cls(derive(read_secret, "chunk id"), derive(read_secret, "cdc seed"))
