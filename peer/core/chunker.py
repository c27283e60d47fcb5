"""Cuts contents into chunks where the contents say, so an insertion moves few of them.

FastCDC from pyfastcdc, its gear table changed by the folder's seed, of which some 48 bits count.
Such a seed does not keep the cuts secret from who sees the lengths of chosen plaintexts (LIBRARIES
T8), but here nobody does: ids and lengths are inside sealed records and packs, and super-nodes are
read in whole leaves (CRYPTO 6). The stronger cut, a keyed BLAKE3 at each micro-boundary of 2 KiB,
was measured at 0.84 GB/s for the cutting alone against 2.0, which takes reading a file from 1.3
GB/s to 0.6: too much for a second wall behind the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from pyfastcdc import FastCDC

CHUNKS_MAX: Final = 8_000
"""What a file has at most, up to some 40 GB; then the largest average stays and the number grows.
"""
AVERAGE_MIN: Final = 128 << 10
AVERAGE_MAX: Final = 4 << 20
CHUNK_BYTES_MAX: Final = (8 << 20) - (64 << 10)
"""A sealed chunk and a pack's own fields have to fit a pack of 8 MiB."""
_SEED_BITS: Final = 63
"""pyfastcdc refuses larger seeds."""


class ChunkSizes(NamedTuple):
    """What a file is cut with, in bytes; the average is that of FastCDC's paper, the real one is
    average + minimum.
    """

    minimum: int
    average: int
    maximum: int


def chunk_sizes(file_size: int, previous_average: int | None = None) -> ChunkSizes:
    """Chooses the sizes for a file: the smallest average, doubling from 128 KiB, that keeps it
    under CHUNKS_MAX chunks.

    A changed file keeps its previous average, so that its old chunks still count, until it has
    grown to twice the number of chunks or shrunk to an eighth of the average it would need.
    """
    fitting = AVERAGE_MIN
    while fitting < AVERAGE_MAX and file_size > fitting * CHUNKS_MAX:
        fitting *= 2
    average = fitting
    if previous_average is not None and AVERAGE_MIN <= previous_average <= AVERAGE_MAX:
        is_coarse_enough = file_size <= 2 * previous_average * CHUNKS_MAX
        is_fine_enough = previous_average < 8 * fitting
        if (is_coarse_enough or previous_average == AVERAGE_MAX) and is_fine_enough:
            average = previous_average
    return ChunkSizes(average // 4, average, min(average * 4, CHUNK_BYTES_MAX))


def average_of(chunks: Iterable[tuple[bytes, int]]) -> int | None:
    """The average that a file was most likely cut with, from its chunks, as (id, length).

    What comes out of the cutter is a quarter larger than the nominal average; among powers of two
    that leaves no doubt once there are some chunks to count. What repeats counts once: a run of
    zeros is cut into chunks as long as they may be.
    """
    lengths = dict(chunks).values()
    if len(lengths) < 16:
        return None
    average_length = sum(lengths) / len(lengths)
    average = AVERAGE_MIN
    while average < AVERAGE_MAX and average_length > average * 1.25 * 2**0.5:
        average *= 2
    return average


class Chunker:
    """Cuts with one folder's seed: the first 63 bits of `K(R0, "cdc seed")` (CRYPTO 1). For one
    thread at a time.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = int.from_bytes(seed[:8], "big") >> (64 - _SEED_BITS)
        self._cutters: dict[ChunkSizes, FastCDC] = {}

    def __repr__(self) -> str:
        return "Chunker()"

    def cut(self, buffer: bytes | bytearray | memoryview, sizes: ChunkSizes) -> list[int]:
        """The lengths of a buffer's chunks.

        All but the last are where they are whatever follows the buffer; the last ends with it and
        may go on.
        """
        if len(buffer) <= sizes.minimum:
            return [len(buffer)] if buffer else []
        cutter = self._cutters.get(sizes)
        if cutter is None:
            cutter = self._cutters[sizes] = FastCDC(
                sizes.average, min_size=sizes.minimum, max_size=sizes.maximum, seed=self._seed
            )
        return [chunk.length for chunk in cutter.cut_buf(buffer)]
