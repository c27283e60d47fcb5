"""Shares of packs: which bytes are right, checkable by whoever holds a descriptor (CRYPTO 11).

A pack is cut by an erasure code into n shares, of which any k give it back. A share is a whole
number of leaves of 64 KiB; a Merkle tree over them (in the shape of RFC 6962) has one root a share.
The descriptor lists the roots, and its hash names it: nodes check every byte of a share without a
key and without trusting each other, and a challenge is answered with leaves and their paths.

The descriptor is of fixed width, where the construction first had CBOR: this package parses none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from blake3 import blake3

from crypto.errors import FormError
from crypto.packs import LEAF_SIZE, PACK_SIZE_MAX
from crypto.primitives import HASH_SIZE, digest

SHARES_MAX: Final = 32
"""Of one pack: more nodes than this are no household, and a descriptor stays at 1 KiB."""
SHARE_LEAVES_MAX: Final = PACK_SIZE_MAX // LEAF_SIZE
"""288, of the largest pack in one share."""
PATH_LENGTH_MAX: Final = (SHARE_LEAVES_MAX - 1).bit_length()
DESCRIPTOR_HEAD_SIZE: Final = 1 + HASH_SIZE + 4 + 1 + 1
DESCRIPTOR_SIZE_MAX: Final = DESCRIPTOR_HEAD_SIZE + SHARES_MAX * HASH_SIZE

_HEAD: Final = Struct(">B32sIBB")
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a pack's shares have to be."""

    pack_id: bytes
    pack_size: int
    """Bytes; a multiple of 64 KiB."""
    needed: int
    """k: so many shares give the pack back."""
    roots: tuple[bytes, ...]
    """Of each share, by its number from 0; there are n."""

    @property
    def count(self) -> int:
        """n: how many shares there are."""
        return len(self.roots)

    @property
    def share_size(self) -> int:
        """Bytes of each share."""
        return share_size(self.pack_size, self.needed)

    @property
    def leaves(self) -> int:
        """Leaves of each share."""
        return self.share_size // LEAF_SIZE

    def encode(self) -> bytes:
        """The descriptor as it is stored and hashed."""
        head = _HEAD.pack(_VERSION, self.pack_id, self.pack_size, self.needed, self.count)
        return head + b"".join(self.roots)

    def id(self) -> bytes:
        """The 32 bytes that name it, and all shares by it."""
        return descriptor_id(self.encode())

    def is_share(self, number: int, hashes: Sequence[bytes]) -> bool:
        """Whether leaves with these hashes are that share."""
        return (
            0 <= number < self.count
            and len(hashes) == self.leaves
            and share_root(self.pack_id, number, hashes) == self.roots[number]
        )

    def is_leaf(self, number: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
        """Whether this is that leaf of that share, by the path up to the root."""
        if not (0 <= number < self.count and 0 <= index < self.leaves and len(leaf) == LEAF_SIZE):
            return False
        top = _climb(leaf_hash(index, leaf), index, self.leaves, path)
        if top is None:
            return False
        return _root(self.pack_id, number, self.leaves, top) == self.roots[number]


def share_size(pack_size: int, needed: int) -> int:
    """Bytes of a share: the pack's k-th part, rounded up to whole leaves."""
    return -(-pack_size // (needed * LEAF_SIZE)) * LEAF_SIZE


def descriptor_id(encoded: bytes) -> bytes:
    """The id of an encoded descriptor."""
    return digest("pack descriptor", encoded)


def describe(
    pack_id: bytes, pack_size: int, needed: int, shares: Sequence[bytes | memoryview]
) -> Descriptor:
    """The descriptor of these shares, all of them in order of their numbers."""
    return describe_hashed(pack_id, pack_size, needed, [leaf_hashes(share) for share in shares])


def describe_hashed(
    pack_id: bytes, pack_size: int, needed: int, hashes: Sequence[Sequence[bytes]]
) -> Descriptor:
    """The descriptor of shares whose leaves have these hashes."""
    roots = tuple(share_root(pack_id, number, each) for number, each in enumerate(hashes))
    descriptor = Descriptor(pack_id, pack_size, needed, roots)
    assert all(len(each) == descriptor.leaves for each in hashes)
    return descriptor


def decode_descriptor(encoded: bytes) -> Descriptor:
    """A descriptor from its bytes; raises FormError."""
    if not DESCRIPTOR_HEAD_SIZE < len(encoded) <= DESCRIPTOR_SIZE_MAX:
        raise FormError
    version, pack_id, pack_size, needed, count = _HEAD.unpack_from(encoded)
    is_pack = 0 < pack_size <= PACK_SIZE_MAX and pack_size % LEAF_SIZE == 0
    is_scheme = 1 <= needed <= count <= SHARES_MAX
    if version != _VERSION or not is_pack or not is_scheme:
        raise FormError
    if len(encoded) != DESCRIPTOR_HEAD_SIZE + count * HASH_SIZE:
        raise FormError
    roots = tuple(
        encoded[at : at + HASH_SIZE] for at in range(DESCRIPTOR_HEAD_SIZE, len(encoded), HASH_SIZE)
    )
    return Descriptor(pack_id, pack_size, needed, roots)


def repair_rank(descriptor_id: bytes, node_id: bytes) -> bytes:
    """The nodes that stand by for a pack have their turns in the order of this, smallest first: the
    same for all without a word, and another order for each pack.
    """
    return digest("repair turn", descriptor_id, node_id)


# ---------------------------------------------------------------- leaves and trees


def leaf_hash(index: int, leaf: bytes | memoryview) -> bytes:
    """The hash of one leaf at its place."""
    hasher = blake3(b"\x00" + index.to_bytes(4, "big"))
    hasher.update(leaf)
    return hasher.digest()


def leaf_hashes(data: bytes | memoryview, first: int = 0) -> list[bytes]:
    """The hashes of whole leaves, the first of which has this index in its share."""
    view = memoryview(data)
    assert len(view) % LEAF_SIZE == 0
    return [
        leaf_hash(first + at // LEAF_SIZE, view[at : at + LEAF_SIZE])
        for at in range(0, len(view), LEAF_SIZE)
    ]


def share_root(pack_id: bytes, number: int, hashes: Sequence[bytes]) -> bytes:
    """The root of a share: bound to the pack, its number and its length."""
    return _root(pack_id, number, len(hashes), _top(hashes))


def merkle_path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes beside the way from a leaf up to the top, the lowest first."""
    path: list[bytes] = []
    first, end = 0, len(hashes)
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            path.append(_top(hashes[middle:end]))
            end = middle
        else:
            path.append(_top(hashes[first:middle]))
            first = middle
    return path[::-1]


def _root(pack_id: bytes, number: int, leaves: int, top: bytes) -> bytes:
    head = b"\x02" + pack_id + bytes([number]) + leaves.to_bytes(4, "big")
    return blake3(head + top).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return blake3(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """How many leaves are left of the middle: the largest power of two below their count."""
    return 1 << (count - 1).bit_length() - 1


def _top(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    middle = _split(len(hashes))
    return _node(_top(hashes[:middle]), _top(hashes[middle:]))


def _climb(hashed: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """The top that a leaf's hash and its path lead to; None if the path is not of that length."""
    turns: list[bool] = []
    first, end = 0, count
    while end - first > 1:
        middle = first + _split(end - first)
        turns.append(index < middle)
        first, end = (first, middle) if index < middle else (middle, end)
    if len(path) != len(turns):
        return None
    for beside, is_left in zip(path, reversed(turns), strict=True):
        hashed = _node(hashed, beside) if is_left else _node(beside, hashed)
    return hashed
