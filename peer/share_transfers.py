"""Whole packs, or pieces of them, out of whatever is right of their shares at the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crypto.packs import LEAF_SIZE, pack_id
from crypto.shares import Descriptor, describe_hashed, leaf_hashes
from protocol.erasure import Buffer, decode, encode
from protocol.errors import LinkError, StorageRefused
from protocol.storage_client import StorageClient

NODE_TROUBLE = (LinkError, StorageRefused)
"""Why a node does not do what it is asked for."""


class PackLost(LinkError):
    """Fewer shares of a pack than are needed can be had just now."""


class Opened(NamedTuple):
    """A node, and a namespace that is open on the link to it."""

    client: StorageClient
    namespace: bytes


Holders = Mapping[int, Sequence[Opened]]
"""For each share of a pack the nodes that hold it."""


class CutPack(NamedTuple):
    """A pack as it goes to nodes."""

    descriptor: Descriptor
    shares: Sequence[Buffer]
    hashes: Sequence[Sequence[bytes]]
    """Of the leaves of each share."""


def cut_pack(pack_id: bytes, data: bytes, needed: int, count: int) -> CutPack:
    """Makes the shares of a pack; each is hashed here once for all who ask for its hashes."""
    shares = encode(data, needed, count)
    hashes = [leaf_hashes(share) for share in shares]
    return CutPack(describe_hashed(pack_id, len(data), needed, hashes), shares, hashes)


async def read_range(
    holders: Holders, descriptor: Descriptor, first: int, end: int
) -> tuple[int, bytes]:
    """Bytes of a pack from a leaf's beginning at or before `first` to one at or after `end`, out of
    the shares that are the pack itself, and where they begin. Unverified: what is sealed in them
    shows whether they are right. Raises LinkError or StorageRefused.
    """
    begin, stop = first // LEAF_SIZE, -(-end // LEAF_SIZE)
    leaves, id_ = descriptor.leaves, descriptor.id()
    parts = []
    for number in range(begin // leaves, (stop - 1) // leaves + 1):
        low = max(begin, number * leaves) - number * leaves
        high = min(stop, (number + 1) * leaves) - number * leaves
        if not holders.get(number):
            raise PackLost(f"nobody who can be reached holds share {number}")
        client, namespace = holders[number][0]
        parts.append(await client.read(namespace, id_, number, low, high - low))
    return begin * LEAF_SIZE, b"".join(parts)


async def read_pack(holders: Holders, descriptor: Descriptor) -> tuple[bytes, set[int]]:
    """A whole pack, out of any k shares that are right, and the numbers of those that were found
    to be wrong or could not be read. Raises PackLost.
    """
    untried = [(number, node) for number, nodes in sorted(holders.items()) for node in nodes]
    shares: dict[int, bytes] = {}
    wrong: set[int] = set()
    while len(shares) < descriptor.needed:
        batch: dict[int, Opened] = {}
        for number, node in list(untried):
            if len(batch) + len(shares) == descriptor.needed:
                break
            if number not in shares and number not in batch:
                batch[number] = node
                untried.remove((number, node))
        if not batch:
            raise PackLost(
                f"Of a pack {len(shares)} shares can be had and {descriptor.needed} are needed."
            )
        read = await asyncio.gather(*(_read(node, descriptor, n) for n, node in batch.items()))
        for number, share in zip(batch, read, strict=True):
            if share is None:
                wrong.add(number)
            else:
                shares[number] = share
    pack = await asyncio.to_thread(
        decode, shares, descriptor.needed, descriptor.count, descriptor.pack_size
    )
    if pack_id(pack) != descriptor.pack_id:
        # Each share has its root: whoever made the descriptor did not make it of a pack.
        raise PackLost("The shares of a pack do not make the pack that their descriptor names.")
    return pack, wrong - shares.keys()


async def _read(node: Opened, descriptor: Descriptor, number: int) -> bytes | None:
    client, namespace = node
    try:
        share = await client.read(namespace, descriptor.id(), number, 0, descriptor.leaves)
    except NODE_TROUBLE:
        return None
    if len(share) != descriptor.share_size:
        return None
    hashes = await asyncio.to_thread(leaf_hashes, share)
    return share if descriptor.is_share(number, hashes) else None
