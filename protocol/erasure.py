"""Erasure coding of packs: n shares, any k of which are the pack again.

reedsolo defines the code, over GF(256) with x^8 + x^4 + x^3 + x^2 + 1 and first root 0: each byte
place of the shares is one of its codewords, and what it makes of the k unit vectors is the matrix.
The code is systematic: the first k shares, end to end, are the pack and its padding, so a healthy
pack is read without decoding. The bytes are done here, by tables in numpy, some 500 times faster.

Nothing here tells a wrong share from a right one: whoever decodes checks each against its root
first and counts a wrong one as lost. numpy is imported when it is needed, for most runs of a daemon
do without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import reedsolo

from crypto.packs import LEAF_SIZE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Octets = NDArray[np.uint8]

Buffer = bytes | memoryview
"""A share that was made here may be a piece of the pack, and is then not copied."""
SHARES_MAX: Final = 255
"""A codeword over GF(256) has no more places."""

_PRIMITIVE: Final = 0x11D
_ROWS_AT_ONCE: Final = 8
"""A table's entry holds one byte for each row that is computed, at most eight in 64 bits."""
_STRIPE: Final = 64 << 10
"""Bytes of each share that are worked on together: they, the sums and the tables stay in a core's
second-level cache."""


def share_length(pack_len: int, k: int) -> int:
    """Bytes of every share of a pack: whole leaves, as few as hold a k-th of it."""
    step = k * LEAF_SIZE
    return -(-pack_len // step) * LEAF_SIZE


def encode(pack: bytes, k: int, n: int) -> list[Buffer]:
    """The n shares of a pack in the order of their numbers, each `share_length` bytes long."""
    assert 1 <= k <= n <= SHARES_MAX
    length = share_length(len(pack), k)
    padding = k * length - len(pack)
    view = memoryview(pack + bytes(padding) if padding else pack)
    shares: list[Buffer] = [view[i * length : (i + 1) * length] for i in range(k)]
    return shares + _combined(_parity_rows(k, n), shares)


def decode(shares: Mapping[int, Buffer], k: int, n: int, pack_len: int) -> bytes:
    """The pack, from any k shares by number; more than k are not looked at, nor are they needed."""
    assert 1 <= k <= n <= SHARES_MAX
    assert len(shares) >= k, "k shares are needed"
    chosen = sorted(shares)[:k]
    assert chosen[-1] < n
    length = share_length(pack_len, k)
    assert all(len(shares[number]) == length for number in chosen)
    data = restored(shares, k, n)
    # Padding is cut off the pieces: of the whole it would be a copy.
    return b"".join(
        memoryview(piece)[: max(0, pack_len - i * length)] for i, piece in enumerate(data)
    )


def restored(shares: Mapping[int, Buffer], k: int, n: int) -> list[Buffer]:
    """The first k shares from any k, by number; or one and the same range of each of those, from
    that range of these.
    """
    chosen = sorted(shares)[:k]
    lost = [i for i in range(k) if i not in shares]
    rows = _rows_of_lost(k, n, tuple(chosen))
    found = dict(zip(lost, _combined(rows, [shares[i] for i in chosen]), strict=True))
    return [found[i] if i in found else shares[i] for i in range(k)]


@cache
def _parity_rows(k: int, n: int) -> tuple[tuple[int, ...], ...]:
    """For each parity share, what each of the k data shares is multiplied by in it."""
    if k == n:
        return ()
    codec = reedsolo.RSCodec(n - k, nsize=n, fcr=0, prim=_PRIMITIVE, generator=2, c_exp=8)
    units = (bytes(1 if i == j else 0 for j in range(k)) for i in range(k))
    columns = [bytes(codec.encode(unit))[k:] for unit in units]
    return tuple(zip(*columns, strict=True))


def _rows_of_lost(k: int, n: int, chosen: tuple[int, ...]) -> list[tuple[int, ...]]:
    """For each data share that is not among the chosen, what each of those is multiplied by."""
    parity = _parity_rows(k, n)
    unit = [tuple(1 if i == j else 0 for j in range(k)) for i in range(k)]
    matrix = [unit[number] if number < k else parity[number - k] for number in chosen]
    inverse = _inverse(matrix)
    return [inverse[i] for i in range(k) if i not in chosen]


def _inverse(matrix: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The inverse by Gauss and Jordan; any k rows of the code have one."""
    size = len(matrix)
    products = _products()
    work = [list(row) + [1 if i == j else 0 for j in range(size)] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(row for row in range(column, size) if work[row][column])
        work[column], work[pivot] = work[pivot], work[column]
        factor = products[work[column][column]].index(1)
        work[column] = [products[factor][value] for value in work[column]]
        for row in range(size):
            if row != column and (factor := work[row][column]):
                work[row] = [
                    value ^ products[factor][other]
                    for value, other in zip(work[row], work[column], strict=True)
                ]
    return [tuple(row[size:]) for row in work]


@cache
def _products() -> tuple[bytes, ...]:
    """The multiplication table of the field.

    reedsolo's own functions work on tables that are set by whichever codec was used last, and the
    kit's is one over another field.
    """

    def product(a: int, b: int) -> int:
        result = 0
        while b:
            if b & 1:
                result ^= a
            a = a << 1 ^ (_PRIMITIVE if a & 0x80 else 0)
            b >>= 1
        return result

    return tuple(bytes(product(a, b) for b in range(256)) for a in range(256))


def _combined(rows: Sequence[tuple[int, ...]], shares: Sequence[Buffer]) -> list[Buffer]:
    """For each row the sum of the shares, each multiplied by its factor in the row."""
    if not rows:
        return []
    import numpy as np

    sources = [np.frombuffer(share, np.uint8) for share in shares]
    result = np.empty((len(rows), len(shares[0])), np.uint8)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[first : first + _ROWS_AT_ONCE]
        _sum_stripes(some, sources, result[first : first + len(some)])
    return [row.data for row in result]


def _sum_stripes(
    rows: Sequence[tuple[int, ...]], sources: Sequence[Octets], result: Octets
) -> None:
    import numpy as np

    word: Any = np.uint32 if len(rows) <= 4 else np.uint64
    width = word().itemsize
    tables = []
    for column in zip(*rows, strict=True):
        table = np.zeros((256, width), np.uint8)
        for lane, factor in enumerate(column):
            table[:, lane] = np.frombuffer(_products()[factor], np.uint8)
        tables.append(table.view(word)[:, 0].copy())
    sums, one = np.empty(_STRIPE, word), np.empty(_STRIPE, word)
    for begin in range(0, result.shape[1], _STRIPE):
        stripe = slice(begin, begin + _STRIPE)
        # "clip" because only with it does `take` write straight into `out`; no index is too high.
        np.take(tables[0], sources[0][stripe], out=sums, mode="clip")
        for table, source in zip(tables[1:], sources[1:], strict=True):
            np.take(table, source[stripe], out=one, mode="clip")
            np.bitwise_xor(sums, one, out=sums)
        lanes = sums.view(np.uint8).reshape(_STRIPE, width)
        for lane in range(len(rows)):
            result[lane, stripe] = lanes[:, lane]
