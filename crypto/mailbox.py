"""A folder's mailbox at one relay: tag, capabilities, and how what lies there is sealed (CRYPTO 9).

Everything follows from an epoch's secrets and the relay's id: a new epoch has another mailbox, and
two relays have nothing in common to compare. The tag is a hash of both capabilities' public keys,
so a relay learns nothing from it, and nobody takes a tag that is not theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from crypto.changesets import pad, unpad
from crypto.errors import OpenError
from crypto.ids import RelayId
from crypto.primitives import (
    SEAL_OVERHEAD,
    derive,
    digest,
    open_sealed,
    seal,
    sign,
    sign_public,
    verify,
)

TAG_SIZE: Final = 16
GROUP_SIZE: Final = 14
NAME_SIZE: Final = GROUP_SIZE + 2
"""The parts of one thing share the first 14 bytes; the last two count them."""
PLAIN_SIZE_MAX: Final = (8 << 10) - 9
"""What fits into the highest rung in use, 8 KiB: an item and its message into a frame of 16 KiB."""
ITEM_SIZE_MAX: Final = (8 << 10) + SEAL_OVERHEAD


class Area(IntEnum):
    """What an item is for; a relay keeps each kind by rules of its own."""

    CONTROL = 0
    """Ledger entries and wraps: appended, and never taken away to make room."""
    CHANGESETS = 1
    CONTENTS = 2
    """Bytes of small files: the oldest make room for new ones."""
    HEARTBEATS = 3
    """How far each device is; its newer one takes the place of the older."""


class Capability(IntEnum):
    """What a holder of a tier's secret may do at a relay."""

    READ = 0
    """List and get."""
    WRITE = 1
    """Put and drop."""


@dataclass(frozen=True, slots=True, eq=False)
class MailboxKeys:
    """One epoch's mailbox at one relay, as a member that may write knows it."""

    relay_id: RelayId
    tag: bytes
    read_public: bytes
    write_public: bytes
    _read_seed: bytes = field(repr=False)
    _write_seed: bytes = field(repr=False)
    _item_key: bytes = field(repr=False)
    _control_key: bytes = field(repr=False)
    _name_key: bytes = field(repr=False)

    @classmethod
    def from_secrets(cls, read: bytes, write: bytes, relay_id: RelayId) -> MailboxKeys:
        """Derives them from the read and the write secret of an epoch."""
        read_seed = derive(read, "node key", relay_id, bytes([Capability.READ]))
        write_seed = derive(write, "node key", relay_id, bytes([Capability.WRITE]))
        read_public, write_public = sign_public(read_seed), sign_public(write_seed)
        tag = tag_of(relay_id, read_public, write_public)
        return cls(
            relay_id, tag, read_public, write_public, read_seed, write_seed,
            derive(read, "mailbox", tag), derive(read, "control", tag),
            derive(read, "mailbox name", tag),
        )  # fmt: skip

    def prove(self, capability: Capability, link_id: bytes) -> bytes:
        """Shows on this one link that the capability is held."""
        seed = self._write_seed if capability is Capability.WRITE else self._read_seed
        return sign(seed, "node open", self.relay_id, self.tag, bytes([capability]), link_id)

    def group(self, area: Area, what: bytes) -> bytes:
        """What the names of a thing's parts begin with, the same for whoever puts it there."""
        return derive(self._name_key, "mailbox name", bytes([area]), what, size=GROUP_SIZE)

    def seal(self, area: Area, name: bytes, plain: bytes, random32: bytes) -> bytes:
        """An item, padded and sealed into its place."""
        assert len(plain) <= PLAIN_SIZE_MAX
        key, label = self._key(area)
        return seal(key, label, self.tag, name, plaintext=pad(plain), random32=random32)

    def open(self, area: Area, name: bytes, sealed: bytes) -> bytes:
        """What was sealed into this place; OpenError for anything else."""
        if len(sealed) > ITEM_SIZE_MAX:
            raise OpenError
        key, label = self._key(area)
        return unpad(open_sealed(key, label, self.tag, name, sealed=sealed))

    def _key(self, area: Area) -> tuple[bytes, str]:
        if area is Area.CONTROL:
            return self._control_key, "control"
        return self._item_key, "mailbox"


def tag_of(relay_id: RelayId, read_public: bytes, write_public: bytes) -> bytes:
    """The tag that these two public keys have at a relay: whoever shows others has another."""
    return digest("namespace", relay_id, read_public, write_public)[:TAG_SIZE]


def check_proof(
    public: bytes,
    proof: bytes,
    capability: Capability,
    relay_id: RelayId,
    tag: bytes,
    link_id: bytes,
) -> None:
    """Returns if `prove` made this for this link; raises SignatureError if not."""
    verify(public, proof, "node open", relay_id, tag, bytes([capability]), link_id)
