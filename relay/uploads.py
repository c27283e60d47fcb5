"""Files that are put in by upload links, until their makers have them (SPEC 20).

The relay can open none of it. It takes what a link's maker allows: a place is claimed before a byte
comes in, so that no two senders have the last one, and given back when nobody goes on with it. What
is whole is kept until its maker says that it has it, whatever became of the link meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from crypto.primitives import is_equal
from crypto.share_links import LinkFlags
from crypto.uploads import (
    FILE_SIZE_MAX,
    HEAD_SIZE_MAX,
    HEAD_SIZE_MIN,
    SEALED_SEGMENT_SIZE,
    UPLOAD_ID_SIZE,
    sealed_size,
)
from relay import upload_rows as rows
from relay.allowance import Allowance
from relay.link_rows import Ended
from relay.origins import origin_of
from relay.share_links import Later, ShareLinks
from relay.store import RelayStore
from relay.upload_rows import UploadRow, UploadRules, UploadState

log = logging.getLogger(__name__)

IDLE_S: Final = 3600
"""So long without a byte, and a place that was claimed is given back. Only the page that began an
upload can go on with it."""
GIVES_WAY_S: Final = 600
"""So long without a byte, as long as a ticket lives, and a place gives way to a sender who would
have none.
"""
BEGUN_PER_MINUTE: Final = 600
"""From one address: each writes to the disk."""
DISK_SPARE_BYTES: Final = 1 << 30
"""Left free on the disk, as of shares."""
FILES_MAX: Final = 10_000
"""Of one link, over its whole life: each has a row that stays."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """How much a relay keeps for makers who have not fetched it yet."""

    total_bytes: int = 64 << 30
    owner_bytes: int = 16 << 30


class Refused(Enum):
    """Why a file is not taken; the words are the page's too."""

    TOO_LARGE = "too large"
    TOO_MANY = "too many"
    NO_ROOM = "no room"
    """What the link takes in all is used, or the relay's disk is."""
    OTHER = "other"
    """There is another upload of that id."""


@dataclass(slots=True)
class Upload:
    """One upload at work."""

    row: UploadRow
    turn: int = 0
    """Which request goes on with it; an older one that is still there writes no more."""
    requests: int = 0
    """That bring some of it now."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a link still takes."""

    files: int
    files_max: int
    bytes: int
    bytes_max: int
    file_bytes_max: int


class Uploads:
    """All uploads of one relay."""

    def __init__(
        self,
        store: RelayStore,
        directory: Path,
        links: ShareLinks,
        limits: UploadLimits,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._store, self._directory, self._links = store, directory, links
        self._limits, self._wall_clock, self._clock = limits, wall_clock, clock
        self._rules: dict[bytes, UploadRules] = {}
        self._uploads: dict[bytes, dict[bytes, Upload]] = {}
        self._begun = Allowance(BEGUN_PER_MINUTE)

    async def start(self) -> None:
        """Reads what an earlier run left; of what was under way stays what was durable."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        rules, found = await rows.load(self._store)
        self._rules = {each.link_id: each for each in rules}
        self._uploads = {each.link_id: {} for each in rules}
        for row in found:
            self._uploads[row.link_id][row.upload_id] = Upload(row)
        kept = {self.path(row).name for row in found if row.state != UploadState.TAKEN}
        for path in self._directory.iterdir():
            if path.name not in kept:
                path.unlink()
        await self.sweep()

    # ------------------------------------------------------------ makers

    async def allow(self, rules: UploadRules) -> bool:
        """Lets senders put files in by a live upload link; False if it is none."""
        link = self._links.row_of(rules.link_id)
        if link is None or link.ended != Ended.LIVE or not link.flags & LinkFlags.UPLOAD:
            return False
        rules.files_max = min(rules.files_max, FILES_MAX)
        async with self._store.transaction() as db:
            await rows.write_rules(db, rules)
        self._rules[rules.link_id] = rules
        self._uploads.setdefault(rules.link_id, {})
        return True

    def waiting(self, link_id: bytes) -> list[UploadRow]:
        """What is whole and a link's maker has not yet, the oldest first."""
        found = [
            upload.row
            for upload in self._uploads.get(link_id, {}).values()
            if upload.row.state == UploadState.WHOLE
        ]
        return sorted(found, key=lambda row: row.used_s)

    def whole(self, link_id: bytes, upload_id: bytes) -> UploadRow | None:
        """One that waits to be fetched."""
        upload = self._uploads.get(link_id, {}).get(upload_id)
        return upload.row if upload and upload.row.state == UploadState.WHOLE else None

    def read(self, row: UploadRow, at: int, size: int) -> bytes:
        """Some of its sealed bytes. Blocking."""
        with self.path(row).open("rb") as file:
            return os.pread(file.fileno(), size, at)

    async def taken(self, link_id: bytes, upload_id: bytes) -> None:
        """Its maker has it: what was sealed goes, and that it was stays."""
        row = self.whole(link_id, upload_id)
        if row is None:
            return
        row.state, row.head = UploadState.TAKEN, b""
        async with self._store.transaction() as db:
            await rows.write_upload(db, row)
        self.path(row).unlink(missing_ok=True)

    # ------------------------------------------------------------ senders

    def room(self, link_id: bytes) -> Room | None:
        """What a link takes and has taken; None if it takes nothing."""
        rules = self._rules.get(link_id)
        if rules is None:
            return None
        uploads = self._uploads[link_id].values()
        return Room(
            len(uploads), rules.files_max, sum(upload.row.size for upload in uploads),
            rules.bytes_max, rules.file_bytes_max,
        )  # fmt: skip

    async def begin(
        self, link_id: bytes, upload_id: bytes, size: int, head: bytes, host: str
    ) -> Upload | Refused | Later:
        """Claims a place for a file, or finds the one that this sender has claimed."""
        assert len(upload_id) == UPLOAD_ID_SIZE
        now = self._clock()
        if not self._begun.take(origin_of(host), now):
            return Later(self._begun.seconds_left(now))
        rules = self._rules.get(link_id)
        if rules is None:
            return Refused.TOO_MANY
        known = self._uploads[link_id].get(upload_id)
        if known is not None:
            is_taken = known.row.state == UploadState.TAKEN
            is_same = known.row.size == size and (is_taken or is_equal(known.row.head, head))
            return known if is_same else Refused.OTHER
        refused, left = self._refused(rules, size, head), dict[bytes, Upload]()
        if refused in (Refused.TOO_MANY, Refused.NO_ROOM):
            left = self._idle(link_id, GIVES_WAY_S)
            for idle_id in left:
                del self._uploads[link_id][idle_id]
            refused = self._refused(rules, size, head)
        if refused is not None:
            self._uploads[link_id] |= left
            return refused
        upload = Upload(
            UploadRow(
                link_id, upload_id, UploadState.UNDER_WAY, size, head, 0, int(self._wall_clock())
            )
        )  # fmt: skip
        # Entered before anything is awaited: who asks meanwhile finds the place claimed.
        self._uploads[link_id][upload_id] = upload
        try:
            os.close(os.open(self.path(upload.row), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            async with self._store.transaction() as db:
                await rows.delete_uploads(db, [each.row for each in left.values()])
                await rows.write_upload(db, upload.row)
        except BaseException:
            del self._uploads[link_id][upload_id]
            self._uploads[link_id] |= left
            self.path(upload.row).unlink(missing_ok=True)
            raise
        for each in left.values():
            self.path(each.row).unlink(missing_ok=True)
        return upload

    def find(self, link_id: bytes, upload_id: bytes) -> Upload | None:
        """One that was begun."""
        return self._uploads.get(link_id, {}).get(upload_id)

    def is_live(self, upload: Upload) -> bool:
        """Whether more of it may come in."""
        link = self._links.row_of(upload.row.link_id)
        is_known = self.find(upload.row.link_id, upload.row.upload_id) is upload
        return is_known and link is not None and link.ended == Ended.LIVE

    async def keep(self, upload: Upload, turn: int, segments: int) -> None:
        """So many segments have come in; they count when they are durable."""
        row = upload.row
        await asyncio.to_thread(_sync, self.path(row), segments, row)
        is_mine = upload.turn == turn and row.state == UploadState.UNDER_WAY
        if not is_mine or not self.is_live(upload) or segments < row.segments:
            return
        row.segments, row.used_s = segments, int(self._wall_clock())
        if segments == row.segments_max:
            row.state = UploadState.WHOLE
        async with self._store.transaction() as db:
            await rows.write_upload(db, row)

    def path(self, row: UploadRow) -> Path:
        """Where its segments lie."""
        return self._directory / f"{row.link_id.hex()}-{row.upload_id.hex()}"

    # ------------------------------------------------------------ ends

    async def sweep(self) -> None:
        """Gives back what nobody goes on with, and what was under way when its link ended."""
        for link_id, uploads in list(self._uploads.items()):
            link = self._links.row_of(link_id)
            is_over = link is None or link.ended != Ended.LIVE
            left = [
                upload.row
                for upload in uploads.values()
                if is_over and upload.row.state == UploadState.UNDER_WAY
            ] or [upload.row for upload in self._idle(link_id, IDLE_S).values()]
            for row in left:
                del uploads[row.upload_id]
                self.path(row).unlink(missing_ok=True)
            if left:
                async with self._store.transaction() as db:
                    await rows.delete_uploads(db, left)
            if link is None:  # it was forgotten, and with it its rows
                for upload in uploads.values():
                    self.path(upload.row).unlink(missing_ok=True)
                del self._uploads[link_id], self._rules[link_id]

    def _idle(self, link_id: bytes, idle_s: int) -> dict[bytes, Upload]:
        """What was begun by a link and has not come on for so long."""
        until = self._wall_clock() - idle_s
        return {
            upload_id: upload
            for upload_id, upload in self._uploads[link_id].items()
            if upload.row.state == UploadState.UNDER_WAY
            and not upload.requests
            and upload.row.used_s <= until
        }

    def _refused(self, rules: UploadRules, size: int, head: bytes) -> Refused | None:
        room = self.room(rules.link_id)
        assert room is not None
        if not HEAD_SIZE_MIN <= len(head) <= HEAD_SIZE_MAX:
            return Refused.OTHER
        if size > min(rules.file_bytes_max, FILE_SIZE_MAX):
            return Refused.TOO_LARGE
        if room.files >= rules.files_max:
            return Refused.TOO_MANY
        if room.bytes + size > rules.bytes_max:
            return Refused.NO_ROOM
        owner, space = self._owner_of(rules.link_id), sealed_size(size)
        held = [
            (self._owner_of(link_id), sealed_size(upload.row.size))
            for link_id, uploads in self._uploads.items()
            for upload in uploads.values()
            if upload.row.state != UploadState.TAKEN
        ]
        own = sum(each for whose, each in held if whose == owner)
        found = os.statvfs(self._directory)
        is_full = (
            sum(each for _, each in held) + space > self._limits.total_bytes
            or own + space > self._limits.owner_bytes
            or found.f_bavail * found.f_frsize < space + DISK_SPARE_BYTES
        )
        return Refused.NO_ROOM if is_full else None

    def _owner_of(self, link_id: bytes) -> bytes:
        link = self._links.row_of(link_id)
        return b"" if link is None else link.owner


def _sync(path: Path, segments: int, row: UploadRow) -> None:
    """Makes the segments durable; those behind the last whole one were none."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if segments == row.segments_max:
            os.ftruncate(descriptor, min(sealed_size(row.size), segments * SEALED_SEGMENT_SIZE))
        os.fsync(descriptor)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        os.close(descriptor)
