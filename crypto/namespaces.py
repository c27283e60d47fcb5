"""A folder's namespace at one node: who may do what there, by capability keys alone (CRYPTO 9).

A node knows a namespace by a hash of its first owner key and of a sealed-away emergency key. What
may be done follows from four public keys, one a tier, which a delegation names; a newer delegation
takes the place of the older, as an epoch does. Nothing is common to two nodes, and a node learns
neither the folder nor who its members are.

Delegations are of fixed width, where the construction first had CBOR: this package parses none.
The keys have a label of their own, so that a mailbox at the same relay shows none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from crypto.epochs import Tier, TierSecrets
from crypto.errors import FormError
from crypto.ids import RelayId
from crypto.primitives import KEY_SIZE, derive, digest, sign, sign_public, verify

NAMESPACE_SIZE: Final = 16
SALT_SIZE: Final = 16
NODE_TAG_SIZE: Final = 16
GENERATION_MAX: Final = (1 << 32) - 1

_DELEGATION: Final = Struct(">B16sI32s32s32s32s16s")
DELEGATION_SIZE: Final = _DELEGATION.size
"""165 bytes."""
_VERSION: Final = 1


class Signer(IntEnum):
    """Whose key signed a delegation."""

    OWNER = 0
    """That of the delegation before; of the first one its own."""
    ADMIN = 1
    """May replace the keys to write and to read, and nothing else."""
    EMERGENCY = 2
    """From the recovery kit: stands above an owner key that was stolen."""


def emergency_hash(emergency_pk: bytes, salt: bytes) -> bytes:
    """What a namespace fixes of the emergency key without showing it."""
    assert len(emergency_pk) == KEY_SIZE
    assert len(salt) == SALT_SIZE
    return digest("emergency", emergency_pk, salt)


def namespace_id(node_id: RelayId, owner_pk: bytes, emergency: bytes) -> bytes:
    """The 16 bytes of a namespace at a node: who shows other keys has another one."""
    return digest("namespace", node_id, owner_pk, emergency)[:NAMESPACE_SIZE]


def node_tag(read_secret: bytes, node_id: RelayId) -> bytes:
    """By this a member that has been away finds which epoch a delegation is of."""
    return derive(read_secret, "node tag", node_id, size=NODE_TAG_SIZE)


def capability_seed(secret: bytes, node_id: RelayId, tier: Tier) -> bytes:
    """The Ed25519 seed of one tier's capability at one node, from the tier's secret."""
    return derive(secret, "store key", node_id, bytes([tier]))


def capability_public(secret: bytes, node_id: RelayId, tier: Tier) -> bytes:
    """The public half of it."""
    return sign_public(capability_seed(secret, node_id, tier))


@dataclass(frozen=True, slots=True)
class Delegation:
    """Whose keys a namespace's tiers are, from this generation on."""

    namespace: bytes
    generation: int
    owner_pk: bytes
    admin_pk: bytes
    write_pk: bytes
    read_pk: bytes
    tag: bytes
    """`node_tag` of the epoch; to the node it says nothing."""

    def encode(self) -> bytes:
        """The delegation as it is signed and kept."""
        return _DELEGATION.pack(
            _VERSION, self.namespace, self.generation, self.owner_pk, self.admin_pk,
            self.write_pk, self.read_pk, self.tag,
        )  # fmt: skip

    def public(self, tier: Tier) -> bytes:
        """The key that opens the namespace for this tier."""
        return (self.read_pk, self.write_pk, self.admin_pk, self.owner_pk)[tier]

    def may_follow(self, previous: Delegation, signer: Signer) -> bool:
        """Whether that signer may put this one in the place of the previous one."""
        if self.namespace != previous.namespace or self.generation <= previous.generation:
            return False
        upper = (previous.owner_pk, previous.admin_pk)
        return signer is not Signer.ADMIN or (self.owner_pk, self.admin_pk) == upper


def delegate(
    secrets: TierSecrets, node_id: RelayId, namespace: bytes, generation: int
) -> Delegation:
    """The delegation of an epoch's secrets; whoever makes one holds all four tiers."""
    publics = []
    for tier, secret in zip(Tier, secrets.in_order, strict=True):
        assert secret is not None, "only an owner holds every tier"
        publics.append(capability_public(secret, node_id, tier))
    read_pk, write_pk, admin_pk, owner_pk = publics
    tag = node_tag(secrets.read, node_id)
    return Delegation(namespace, generation, owner_pk, admin_pk, write_pk, read_pk, tag)


def decode_delegation(encoded: bytes) -> Delegation:
    """A delegation from its bytes; raises FormError."""
    if len(encoded) != DELEGATION_SIZE:
        raise FormError
    version, *fields = _DELEGATION.unpack(encoded)
    if version != _VERSION:
        raise FormError
    return Delegation(*fields)


def sign_delegation(seed: bytes, node_id: RelayId, delegation: Delegation) -> bytes:
    """The signature by the seed of the owner's or admin's capability, or of the emergency key."""
    return sign(seed, "delegation", node_id, delegation.encode())


def check_delegation(
    public: bytes, signature: bytes, node_id: RelayId, delegation: Delegation
) -> None:
    """Returns if this key signed it for this node; raises SignatureError."""
    verify(public, signature, "delegation", node_id, delegation.encode())


# ---------------------------------------------------------------- proofs on a link


def prove_capability(
    seed: bytes, node_id: RelayId, namespace: bytes, generation: int, tier: Tier, link_id: bytes
) -> bytes:
    """Shows on this one link that a tier's capability is held."""
    return sign(seed, *_capability_parts(node_id, namespace, generation, tier, link_id))


def check_capability(
    public: bytes,
    proof: bytes,
    node_id: RelayId,
    namespace: bytes,
    generation: int,
    tier: Tier,
    link_id: bytes,
) -> None:
    """Returns if `prove_capability` made it for this link; raises SignatureError."""
    verify(public, proof, *_capability_parts(node_id, namespace, generation, tier, link_id))


def _capability_parts(
    node_id: RelayId, namespace: bytes, generation: int, tier: Tier, link_id: bytes
) -> tuple[str, bytes, bytes, bytes, bytes, bytes]:
    number = generation.to_bytes(4, "big")
    return "store open", node_id, namespace, number, bytes([tier]), link_id


def prove_node(sign_seed: bytes, node_id: RelayId, link_id: bytes) -> bytes:
    """Shows another node, on this one link, which node is calling."""
    return sign(sign_seed, "store peer", node_id, link_id)


def check_node(sign_pk: bytes, proof: bytes, node_id: RelayId, link_id: bytes) -> None:
    """Returns if `prove_node` made it; raises SignatureError."""
    verify(sign_pk, proof, "store peer", node_id, link_id)


def prove_pseudonym(sign_seed: bytes, node_id: RelayId, link_id: bytes) -> bytes:
    """Shows a relay which of its devices a storage link belongs to."""
    return sign(sign_seed, "store voucher", node_id, link_id)


def check_pseudonym(sign_pk: bytes, proof: bytes, node_id: RelayId, link_id: bytes) -> None:
    """Returns if `prove_pseudonym` made it; raises SignatureError."""
    verify(sign_pk, proof, "store voucher", node_id, link_id)


# ---------------------------------------------------------------- receipts


def sign_receipt(
    sign_seed: bytes, descriptor_id: bytes, number: int, lease_until_s: int, time_s: int
) -> bytes:
    """A node's word that it holds a share on disk, until when, and when it said so."""
    return sign(sign_seed, *_receipt_parts(descriptor_id, number, lease_until_s, time_s))


def check_receipt(
    sign_pk: bytes,
    receipt: bytes,
    descriptor_id: bytes,
    number: int,
    lease_until_s: int,
    time_s: int,
) -> None:
    """Returns if the node signed exactly this; raises SignatureError."""
    verify(sign_pk, receipt, *_receipt_parts(descriptor_id, number, lease_until_s, time_s))


def _receipt_parts(
    descriptor_id: bytes, number: int, lease_until_s: int, time_s: int
) -> tuple[str, bytes, bytes, bytes, bytes]:
    lease, time = lease_until_s.to_bytes(8, "big"), time_s.to_bytes(8, "big")
    return "receipt", descriptor_id, bytes([number]), lease, time
