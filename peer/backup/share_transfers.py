"""Whole packs, or pieces of them, out of whatever is right of their shares at the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crypto.packs import LEAF_SIZE, pack_id
from crypto.shares import Descriptor, describe_hashed, leaf_hashes
from protocol.erasure import Buffer, decode, encode, restored
from protocol.errors import LinkError, StorageRefused
from protocol.relay_address import RelayAddress
from protocol.storage_client import StorageClient

NODE_TROUBLE = (LinkError, StorageRefused)
"""Why a node does not do what it is asked for."""


def trouble_at(address: RelayAddress, error: Exception) -> str:
    """What went wrong at a node, with its place, which some errors say themselves."""
    said = str(error)
    return said if address.host in said else f"{address.host} port {address.port}: {said}"


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
    """Bytes of a pack from a leaf's beginning at or before `first` to one at or after `end`, and
    where they begin: out of the shares that are the pack itself, and where one of those cannot be
    read, out of the same leaves of any k others. Unverified: what is sealed in them shows whether
    they are right. Raises PackLost.
    """
    begin, stop = first // LEAF_SIZE, -(-end // LEAF_SIZE)
    leaves = descriptor.leaves
    parts: list[Buffer] = []
    for number in range(begin // leaves, (stop - 1) // leaves + 1):
        low = max(begin, number * leaves) - number * leaves
        high = min(stop, (number + 1) * leaves) - number * leaves
        part = await _read_leaves(holders, descriptor, number, low, high)
        if part is not None:
            parts.append(part)
        else:
            parts.append(await _restore_leaves(holders, descriptor, number, low, high))
    return begin * LEAF_SIZE, b"".join(parts)


async def _read_leaves(
    holders: Holders, descriptor: Descriptor, number: int, low: int, high: int
) -> bytes | None:
    """These leaves of a share, by whoever of its holders gives them."""
    for client, namespace in holders.get(number, ()):
        try:
            data = await client.read(namespace, descriptor.id(), number, low, high - low)
        except NODE_TROUBLE:
            continue
        if len(data) == (high - low) * LEAF_SIZE:
            return data
    return None


async def _restore_leaves(
    holders: Holders, descriptor: Descriptor, number: int, low: int, high: int
) -> Buffer:
    """These leaves of a share of the first k, out of the same of k others."""
    found: dict[int, Buffer] = {}
    untried = [other for other in sorted(holders) if other != number and other < descriptor.count]
    needed = descriptor.needed
    while len(found) < needed:
        batch, untried = untried[: needed - len(found)], untried[needed - len(found) :]
        if not batch:
            raise PackLost(f"{len(found)} shares of a pack can be read and {needed} are needed.")
        read = await asyncio.gather(
            *(_read_leaves(holders, descriptor, other, low, high) for other in batch)
        )
        found |= {other: part for other, part in zip(batch, read, strict=True) if part is not None}
    return restored(found, needed, descriptor.count)[number]


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
    pack = await asyncio.to_thread(_joined, shares, descriptor)
    if pack is None:
        # Each share has its root: whoever made the descriptor did not make it of a pack.
        raise PackLost("The shares of a pack do not make the pack that their descriptor names.")
    return pack, wrong - shares.keys()


def _joined(shares: Mapping[int, bytes], descriptor: Descriptor) -> bytes | None:
    pack = decode(shares, descriptor.needed, descriptor.count, descriptor.pack_size)
    return pack if pack_id(pack) == descriptor.pack_id else None


async def _read(node: Opened, descriptor: Descriptor, number: int) -> bytes | None:
    client, namespace = node
    try:
        share = await client.read(namespace, descriptor.id(), number, 0, descriptor.leaves)
    except NODE_TROUBLE:
        return None
    is_right = len(share) == descriptor.share_size and await asyncio.to_thread(
        lambda: descriptor.is_share(number, leaf_hashes(share))
    )
    return share if is_right else None
