"""What makers ask of a relay's upload links, on their storage links: allow, list, read, take."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import Final

from crypto.epochs import Tier
from protocol.storage_messages import StoreOutcome
from protocol.upload_messages import (
    UPLOAD_PIECE_MAX,
    WAITING_LISTED_MAX,
    UploadAllow,
    UploadAnswer,
    UploadBytes,
    UploadDone,
    UploadList,
    UploadListed,
    UploadRead,
    UploadRequest,
    UploadTaken,
    Waiting,
)
from relay.link_desk import LinkDesk, Rights
from relay.upload_rows import UploadRules

log = logging.getLogger(__name__)
_DONE: Final = StoreOutcome.DONE


class UploadTalk:
    """What one device asks; `desk` is None at a relay that serves no links."""

    def __init__(self, desk: LinkDesk | None, may: Rights) -> None:
        self._desk, self._may = desk, may

    async def answer(self, request: UploadRequest, *, is_busy: bool = False) -> UploadAnswer:
        """Does what is asked, as far as it may be done; nothing for who has asked too much."""
        desk = self._desk
        if is_busy:
            return refusal(request, StoreOutcome.BUSY)
        if desk is None:
            return refusal(request, StoreOutcome.NOT_STORING)
        outcome = self._right(desk, request)
        if outcome is not _DONE:
            return refusal(request, outcome)
        uploads = desk.uploads
        try:
            match request:
                case UploadAllow(number, link_id, files_max, file_bytes_max, bytes_max):
                    rules = UploadRules(link_id, files_max, file_bytes_max, bytes_max)
                    is_done = await uploads.allow(rules)
                    return UploadDone(number, _DONE if is_done else StoreOutcome.REFUSED)
                case UploadList(number, link_id):
                    found = uploads.waiting(link_id)[:WAITING_LISTED_MAX]
                    waiting = tuple(
                        Waiting(row.upload_id, row.size, row.used_s, row.head) for row in found
                    )
                    return UploadListed(number, _DONE, waiting)
                case UploadRead(number, link_id, upload_id, at, size):
                    row = uploads.whole(link_id, upload_id)
                    if row is None:
                        return refusal(request, StoreOutcome.UNKNOWN)
                    size = min(size, UPLOAD_PIECE_MAX)
                    data = await asyncio.to_thread(uploads.read, row, at, size)
                    return UploadBytes(number, _DONE, data)
                case UploadTaken(number, link_id, upload_id):
                    await uploads.taken(link_id, upload_id)
                    return UploadDone(number, _DONE)
        except (OSError, sqlite3.Error) as error:
            log.error("what was put in by upload links cannot be read or written: %s", error)
            return refusal(request, StoreOutcome.UNABLE)

    def _right(self, desk: LinkDesk, request: UploadRequest) -> StoreOutcome:
        """All of it is for the maker of the link alone."""
        link = desk.links.row_of(request.link_id)
        if link is None or self._may(link.owner, Tier.ADMIN) is not _DONE:
            return StoreOutcome.UNKNOWN
        return _DONE


def refusal(request: UploadRequest, outcome: StoreOutcome) -> UploadAnswer:
    """An answer of the kind that was asked for, with an outcome and nothing else."""
    match request:
        case UploadList(number):
            return UploadListed(number, outcome, ())
        case UploadRead(number):
            return UploadBytes(number, outcome, b"")
        case UploadAllow(number) | UploadTaken(number):
            return UploadDone(number, outcome)
