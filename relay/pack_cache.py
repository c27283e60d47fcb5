"""Packs that were gathered from other nodes, kept on this disk for whoever asks next.

It may be thrown away at any time, and is at every start. A leaf that the disk gives back otherwise
than it was written is not given to anybody.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple

from crypto.packs import LEAF_SIZE
from crypto.shares import leaf_hashes
from relay.shares import DISK_SPARE_BYTES

log = logging.getLogger(__name__)

CACHE_BYTES_MAX: Final = 1 << 30
"""128 packs of the usual 8 MiB: a link to a gigabyte is gathered once for all its visitors."""


class _Kept(NamedTuple):
    size: int
    hashes: list[bytes]
    """32 bytes a leaf: half a mebibyte of memory for a full cache."""


class PackCache:
    """One directory of packs, each a file."""

    def __init__(self, directory: Path, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._directory, self._bytes_max = directory, bytes_max
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def start(self) -> None:
        """Makes the directory, and empties it: nothing says of an older run's files what they are.
        Raises OSError.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for path in self._directory.iterdir():
            path.unlink()

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return sum(kept.size for kept in self._kept.values())

    async def put(self, pack_id: bytes, data: bytes) -> None:
        """Keeps a pack, in place of those that were asked for least recently; one that does not fit
        is not kept.
        """
        if len(data) > self._bytes_max:
            return
        while self._kept and self.size + len(data) > self._bytes_max:
            oldest, _ = self._kept.popitem(last=False)
            self._path(oldest).unlink(missing_ok=True)
        try:
            hashes = await asyncio.to_thread(self._write, pack_id, data)
        except OSError as error:
            log.warning("a pack cannot be kept for the next visitor: %s", error)
            self._path(pack_id).unlink(missing_ok=True)
            return
        if hashes:
            self._kept[pack_id] = _Kept(len(data), hashes)

    async def read(self, pack_id: bytes, first: int, end: int) -> bytes | None:
        """Whole leaves of a pack that is here; None if it is not, or not as it was."""
        kept = self._kept.get(pack_id)
        if kept is None:
            return None
        self._kept.move_to_end(pack_id)
        try:
            data = await asyncio.to_thread(self._read, pack_id, first, end)
        except OSError:
            data = b""
        expected = kept.hashes[first // LEAF_SIZE : end // LEAF_SIZE]
        if len(data) == end - first and leaf_hashes(data, first // LEAF_SIZE) == expected:
            return data
        if self._kept.pop(pack_id, None) is not None:
            self._path(pack_id).unlink(missing_ok=True)
        return None

    # Private

    def _path(self, pack_id: bytes) -> Path:
        return self._directory / pack_id.hex()

    def _write(self, pack_id: bytes, data: bytes) -> list[bytes]:
        found = os.statvfs(self._directory)
        if found.f_bavail * found.f_frsize < len(data) + DISK_SPARE_BYTES:
            return []
        self._path(pack_id).write_bytes(data)
        return leaf_hashes(data)

    def _read(self, pack_id: bytes, first: int, end: int) -> bytes:
        with self._path(pack_id).open("rb") as file:
            return os.pread(file.fileno(), end - first, first)
