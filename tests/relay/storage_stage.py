"""Packs, shares and namespaces for tests of nodes: small, and made from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crypto.epochs import Tier, TierSecrets
from crypto.ids import RelayId
from crypto.namespaces import (
    Delegation,
    Signer,
    capability_public,
    capability_seed,
    delegate,
    emergency_hash,
    namespace_id,
    sign_delegation,
)
from crypto.packs import LEAF_SIZE, pack_id
from crypto.primitives import sign_public
from crypto.shares import Descriptor, describe
from protocol import erasure
from protocol.storage_client import StorageClient
from relay.shares import StorageLimits
from tests.crypto.seeded import Seeded

MIB: Final = 1 << 20
ROOMY: Final = StorageLimits(1 << 30, 1 << 30)
FAR_S: Final = 1 << 52
"""A lease as long as anybody can ask for."""


@dataclass(frozen=True)
class Packed:
    """A pack with its shares."""

    pack: bytes
    descriptor: Descriptor
    shares: Sequence[bytes]

    @classmethod
    def of(cls, leaves: int, needed: int, count: int, seed: int | str = 0) -> Packed:
        pack = Seeded(f"pack {seed}")(leaves * LEAF_SIZE)
        shares = [bytes(share) for share in erasure.encode(pack, needed, count)]
        return cls(pack, describe(pack_id(pack), len(pack), needed, shares), shares)


class Owner:
    """Who has all secrets of a folder."""

    def __init__(self, seed: int | str = "owner") -> None:
        random = Seeded(f"folder {seed}")
        self.secrets = TierSecrets.generate(random)
        self.founding = self.secrets
        """Those that the namespaces were founded with."""
        self.emergency_seed, self.salt = random(32), random(16)
        self.generation = 0

    @property
    def emergency(self) -> bytes:
        return emergency_hash(sign_public(self.emergency_seed), self.salt)

    def namespace(self, node_id: RelayId) -> bytes:
        secret = self.founding.owner
        assert secret is not None
        return namespace_id(node_id, capability_public(secret, node_id, Tier.OWNER), self.emergency)

    def seed(self, node_id: RelayId, tier: Tier) -> bytes:
        secret = self.secrets.in_order[tier]
        assert secret is not None
        return capability_seed(secret, node_id, tier)

    def delegation(self, node_id: RelayId) -> Delegation:
        return delegate(self.secrets, node_id, self.namespace(node_id), self.generation)

    async def found(self, client: StorageClient) -> None:
        node_id = client.address.relay_id
        delegation = self.delegation(node_id)
        signature = sign_delegation(self.seed(node_id, Tier.OWNER), node_id, delegation)
        await client.delegate(delegation, signature, Signer.OWNER, self.emergency)

    async def open(self, client: StorageClient, tier: Tier = Tier.OWNER) -> bytes:
        """The namespace, open on that link."""
        node_id = client.address.relay_id
        namespace = self.namespace(node_id)
        await client.open(namespace, self.generation, tier, self.seed(node_id, tier))
        return namespace

    async def found_and_open(self, client: StorageClient, tier: Tier = Tier.OWNER) -> bytes:
        await self.found(client)
        return await self.open(client, tier)


def files_of(home: Path) -> list[Path]:
    """All files of shares of a node that is at home there, whole ones first."""
    root = home / "shares"
    return [
        path
        for folder in ("shares", "incoming", "aside")
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    ]
