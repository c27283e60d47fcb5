"""The packs of share links, read from the shares that are stored here (relay.web.Packs).

Shares are systematic: one of the first k holds a run of the pack's own bytes. Where k is 1 the one
share is the pack.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from crypto.errors import FormError
from crypto.packs import LEAF_SIZE
from crypto.shares import Descriptor, decode_descriptor
from protocol.storage_messages import ShareState
from relay import share_rows
from relay.share_rows import ShareRow
from relay.shares import ShareFault, Shares
from relay.web import PackUnavailable

KNOWN_MAX: Final = 256
"""Packs whose rows are remembered: 10 KiB each, of as many downloads at work."""


class _Known(NamedTuple):
    descriptor: Descriptor
    shares: dict[int, ShareRow]


class StoredPacks:
    """All packs of one node."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def size_of(self, pack_id: bytes) -> int | None:
        """How long a pack is; None if nothing of it is here."""
        known = await self._find(pack_id)
        return None if known is None else known.descriptor.pack_size

    async def read(self, pack_id: bytes, first: int, end: int) -> bytes:
        """Whole leaves of it; raises PackUnavailable."""
        known = await self._find(pack_id)
        if known is None:
            raise PackUnavailable
        parts, leaf, last = [], first // LEAF_SIZE, end // LEAF_SIZE
        while leaf < last:
            number, at = divmod(leaf, known.descriptor.leaves)
            count = min(last - leaf, known.descriptor.leaves - at)
            row = known.shares.get(number)
            if row is None:
                raise PackUnavailable
            try:
                parts.append(await self._shares.read(row, at, count))
            except (ShareFault, OSError):
                self._known.pop(pack_id, None)
                raise PackUnavailable from None
            leaf += count
        return b"".join(parts)

    async def _find(self, pack_id: bytes) -> _Known | None:
        known = self._known.get(pack_id)
        if known is not None:
            self._known.move_to_end(pack_id)
            return known
        store = self._shares.store
        for pack in await share_rows.packs_of_pack_id(store, pack_id):
            try:
                descriptor = decode_descriptor(pack.descriptor)
            except FormError:
                continue
            rows = await share_rows.shares_of(store, pack.pack)
            whole = {row.number: row for row in rows if row.state == ShareState.WHOLE}
            if pack.trashed_s is None and set(range(descriptor.needed)) <= set(whole):
                known = self._known[pack_id] = _Known(descriptor, whole)
                if len(self._known) > KNOWN_MAX:
                    self._known.popitem(last=False)
                return known
        return None
