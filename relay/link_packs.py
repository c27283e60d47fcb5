"""The packs of share links, from wherever their shares are (relay.web.Packs).

Shares are systematic: one of the first k holds a run of the pack's own bytes. So a range is read
from the one share in which it lies, here or at another node; and when that cannot be had, or more
of a pack is asked for, the whole pack is made of any k shares and kept for a while.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from crypto.packs import LEAF_SIZE
from crypto.shares import Descriptor
from protocol.storage_messages import ShareState
from relay import share_rows
from relay.co_holders import CoHolders, PackOutOfReach
from relay.pack_cache import PackCache
from relay.share_rows import PackRow, ShareRow
from relay.shares import ShareFault, Shares
from relay.web import PackUnavailable

KNOWN_MAX: Final = 256
"""Packs whose rows are remembered: 10 KiB each, of as many downloads at work."""
FEW_LEAVES: Final = 16
"""So much of a pack is fetched by ranges; who wants more of it is given the whole pack's."""
GATHERED_AT_ONCE: Final = 3
"""Each takes twice a pack of memory, 36 MiB at most."""


@dataclass(slots=True)
class _Known:
    row: PackRow
    descriptor: Descriptor
    shares: dict[int, ShareRow]
    """Those that are here."""
    ranged_leaves: int = 0
    """Of what was fetched from other nodes by ranges."""
    gathering: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_here(self) -> bool:
        """Whether all of it lies here, without decoding."""
        return set(range(self.descriptor.needed)) <= set(self.shares)

    def runs(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """In which shares these bytes of the pack lie: number, first leaf and count of each."""
        leaf, last = first // LEAF_SIZE, end // LEAF_SIZE
        while leaf < last:
            number, at = divmod(leaf, self.descriptor.leaves)
            count = min(last - leaf, self.descriptor.leaves - at)
            yield number, at, count
            leaf += count


class StoredPacks:
    """All packs of which this node has a part."""

    def __init__(self, shares: Shares, others: CoHolders, cache: PackCache) -> None:
        self._shares, self._others, self._cache = shares, others, cache
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._gathering = asyncio.Semaphore(GATHERED_AT_ONCE)

    async def size_of(self, pack_id: bytes) -> int | None:
        """How long a pack is; None if this node has no part in it."""
        known = await self._find(pack_id)
        return None if known is None else known.descriptor.pack_size

    async def read(self, pack_id: bytes, first: int, end: int) -> bytes:
        """Whole leaves of it; raises PackUnavailable."""
        known = await self._find(pack_id)
        if known is None:
            raise PackUnavailable
        if known.is_here:
            try:
                return await self._read_ranges(known, first, end)
            except (ShareFault, OSError):
                self._known.pop(pack_id, None)  # its rows say by now what is damaged
        kept = await self._cache.read(pack_id, first, end)
        if kept is not None:
            return kept
        known.ranged_leaves += (end - first) // LEAF_SIZE
        if known.ranged_leaves <= FEW_LEAVES and not known.is_here:
            try:
                return await self._read_ranges(known, first, end)
            except (PackOutOfReach, ShareFault, OSError):
                known.ranged_leaves = FEW_LEAVES  # the next ones need not try
        return await self._gathered(known, first, end)

    async def _read_ranges(self, known: _Known, first: int, end: int) -> bytes:
        parts = []
        for number, at, count in known.runs(first, end):
            row = known.shares.get(number)
            if row is not None:
                parts.append(await self._shares.read(row, at, count))
            else:
                leaves = self._others.leaves(known.row, known.descriptor, number, at, count)
                parts.append(await leaves)
        return b"".join(parts)

    async def _gathered(self, known: _Known, first: int, end: int) -> bytes:
        """Whoever comes first has the pack made, and those who wait find it in the cache."""
        pack_id = known.descriptor.pack_id
        async with known.gathering:
            kept = await self._cache.read(pack_id, first, end)
            if kept is not None:
                return kept
            try:
                async with self._gathering:
                    data = await self._others.pack(known.row, known.descriptor)
            except (PackOutOfReach, OSError):
                raise PackUnavailable from None
            await self._cache.put(pack_id, data)
        return data[first:end]

    async def _find(self, pack_id: bytes) -> _Known | None:
        known = self._known.get(pack_id)
        if known is not None:
            self._known.move_to_end(pack_id)
            return known
        for pack in await share_rows.packs_of_pack_id(self._shares.store, pack_id):
            descriptor = share_rows.descriptor_of(pack)
            if descriptor is None or pack.trashed_s is not None:
                continue
            rows = await share_rows.shares_of(self._shares.store, pack.pack)
            whole = {row.number: row for row in rows if row.state == ShareState.WHOLE}
            found = _Known(pack, descriptor, whole)
            if known is None or (found.is_here and not known.is_here):
                known = found
        if known is not None:
            self._known[pack_id] = known
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return known
