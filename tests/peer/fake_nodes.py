"""Nodes that hold shares in memory and answer as they are told to: rightly, or with lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from crypto.ids import RelayId
from crypto.packs import LEAF_SIZE, pack_id
from crypto.shares import Descriptor, describe
from peer.backup.share_transfers import Opened
from protocol.erasure import encode
from protocol.errors import LinkError, StorageRefused
from protocol.relay_address import RelayAddress
from protocol.storage_messages import StoreOutcome
from tests.crypto.seeded import Seeded

ADDRESS = RelayAddress("192.0.2.1", 4433, RelayId(b"n" * 32))
Lie = Callable[[bytes], bytes]


@dataclass
class FakeNode:
    """One of them (protocol.storage_client.StorageClient, as far as it is read from)."""

    shares: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    lie: Lie = lambda data: data
    refuses: bool = False
    is_gone: bool = False
    read_leaves: int = 0
    is_closed: bool = False
    address: RelayAddress = ADDRESS

    async def read(
        self, namespace: bytes, descriptor_id: bytes, share: int, first: int, count: int
    ) -> bytes:
        if self.is_gone:
            raise LinkError("The link has ended.")
        if self.refuses or (descriptor_id, share) not in self.shares:
            raise StorageRefused(StoreOutcome.UNKNOWN, "It does not have that.")
        self.read_leaves += count
        data = self.shares[descriptor_id, share]
        return self.lie(data[first * LEAF_SIZE : (first + count) * LEAF_SIZE])

    async def challenge(
        self, namespace: bytes, descriptor: Descriptor, share: int, leaves: Sequence[int]
    ) -> bool:
        if self.is_gone:
            raise LinkError("The link has ended.")
        return (descriptor.id(), share) in self.shares and not self.refuses


def opened(node: FakeNode) -> Opened:
    return Opened(cast(Any, node), b"n" * 16)


def spread(
    leaves: int, needed: int, count: int, seed: str = "pack"
) -> tuple[bytes, Descriptor, list[FakeNode]]:
    """A pack, its descriptor and a node for each of its shares."""
    pack = Seeded(seed)(leaves * LEAF_SIZE)
    shares = encode(pack, needed, count)
    descriptor = describe(pack_id(pack), len(pack), needed, shares)
    id_ = descriptor.id()
    return pack, descriptor, [FakeNode({(id_, n): bytes(share)}) for n, share in enumerate(shares)]
