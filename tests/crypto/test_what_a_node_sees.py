"""A node that knows what the files may be looks for one of them in what it stores: neither bytes
nor sizes confirm a guess.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from blake3 import blake3

from crypto.chunks import CHUNK_SEAL_OVERHEAD, ChunkHasher, SealedChunk, seal_chunk
from crypto.compression import compress
from crypto.packs import (
    PACK_SIZE_TARGET,
    SALT_SIZE,
    Pack,
    PackKind,
    PackWriter,
    is_pack_of,
    pack_hint,
    pack_id,
)
from crypto.shares import Descriptor, descriptor_id, leaf_hash, leaf_hashes, share_root

PINS = 10_000
FILES = 200
WINDOW = 8
"""Bytes in a row that two things do not have in common by chance."""


def letter(pin: int) -> bytes:
    """A document of which everything but four digits is known."""
    return b"Dear customer, the PIN of your card is %04d.\n" % pin


class Folder:
    """The keys of one, and what is put at nodes under them."""

    def __init__(self) -> None:
        self.read = os.urandom(32)
        self._hasher = ChunkHasher(os.urandom(32))

    def stored(self, *contents: bytes) -> Pack:
        writer = PackWriter(self.read, PackKind.CHUNKS, os.urandom)
        for data in contents:
            chunk_id = self._hasher.chunk_id(data)
            writer.add(chunk_id, seal_chunk(self.read, chunk_id, data, os.urandom(12)))
        return writer.close()

    def stored_sizes(self, *sizes: int) -> Pack:
        """A pack of chunks of these sizes."""
        writer = PackWriter(self.read, PackKind.CHUNKS, os.urandom)
        for number, size in enumerate(sizes):
            sealed = SealedChunk(0, size, bytes(size + CHUNK_SEAL_OVERHEAD))
            writer.add(number.to_bytes(32, "big"), sealed)
        return writer.close()


def described(pack: Pack) -> Descriptor:
    hashes = leaf_hashes(pack.data)
    return Descriptor(pack.pack_id, len(pack.data), 1, (share_root(pack.pack_id, 0, hashes),))


def seen(pack: Pack) -> bytes:
    """All that comes to a node, of a pack that is its only share."""
    descriptor = described(pack)
    return b"".join((pack.data, descriptor.encode(), descriptor.id(), *leaf_hashes(pack.data)))


def guesses(content: bytes) -> Iterator[bytes]:
    """What anybody without a key of the folder can compute of a content that they guess."""
    _, compressed = compress(content)
    for data in {content, compressed}:
        yield data
        yield blake3(data).digest()
        yield hashlib.sha256(data).digest()
        yield hashlib.blake2b(data, digest_size=32).digest()
        yield pack_id(data)
        yield descriptor_id(data)
        yield leaf_hash(0, data)
        yield ChunkHasher(bytes(32)).chunk_id(data)
        yield ChunkHasher(blake3(data).digest()).chunk_id(data)


@pytest.mark.row("A15")
def test_no_guess_of_ten_thousand_is_confirmed_by_what_is_stored() -> None:
    """Neither as bytes nor as a key: the key of a convergent encryption is such a guess."""
    folder = Folder()
    pack = folder.stored(letter(4711))
    view = seen(pack)
    windows = {view[at : at + WINDOW] for at in range(len(view) - WINDOW + 1)}
    salt, hint = pack.data[:SALT_SIZE], pack_hint(folder.read, pack.data[:SALT_SIZE])
    assert hint in windows
    for pin in range(PINS):
        for guess in guesses(letter(pin)):
            assert guess[:WINDOW] not in windows, pin
        assert not is_pack_of(blake3(letter(pin)).digest(), salt, hint), pin


@pytest.mark.row("A15")
@pytest.mark.parametrize("is_one_folder", [True, False])
def test_one_file_twice_has_nothing_in_common_at_a_node(is_one_folder: bool) -> None:
    """In two folders, or in one, of which two devices have sealed it."""
    first = Folder()
    second = first if is_one_folder else Folder()
    views = [seen(folder.stored(letter(4711))) for folder in (first, second)]
    one, other = ({v[at : at + WINDOW] for at in range(len(v) - WINDOW + 1)} for v in views)
    assert one & other <= {bytes(WINDOW)}


# ---------------------------------------------------------------- sizes


@pytest.mark.row("A16")
def test_of_two_hundred_known_files_a_node_tells_the_size_class_and_no_more() -> None:
    """Each has a pack to itself, which is the worst case: a node that knows them all, and sees one
    come, can only choose among those of its class, and is right once a class by chance.
    """
    random = Random(16)
    sizes = [int(1024 * 2 ** random.uniform(0, 12.9)) for _ in range(FILES)]
    folder = Folder()
    classes: Counter[tuple[int, ...]] = Counter()
    for size in sizes:
        pack = folder.stored_sizes(size)
        descriptor = described(pack)
        lengths = len(pack.data), len(descriptor.encode()), descriptor.leaves
        classes[lengths] += 1
    assert len(classes) <= FILES / 5
    assert classes.most_common(1)[0][1] > FILES / 3  # all up to 64 KiB are one


@pytest.mark.row("A16")
def test_hiding_sizes_costs_an_eighth_at_most() -> None:
    random = Random(17)
    sizes = [int(1024 * 2 ** random.uniform(0, 12)) for _ in range(FILES)]
    folder, total, waiting = Folder(), 0, list[int]()
    for size in sizes:
        if sum(waiting) + size > PACK_SIZE_TARGET - (64 << 10):
            total += len(folder.stored_sizes(*waiting).data)
            waiting = []
        waiting.append(size)
    total += len(folder.stored_sizes(*waiting).data)
    assert sum(sizes) < total <= sum(sizes) * 1.12
