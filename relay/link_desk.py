"""What devices ask of a relay's share links, on their storage links: put, list and end them."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from crypto.epochs import Tier
from crypto.errors import CryptoError
from crypto.shares import Descriptor
from protocol.link_messages import (
    LINKS_LISTED_MAX,
    LinkAnswer,
    LinkAsk,
    LinkDone,
    LinkEnd,
    LinkEndKey,
    LinkKeep,
    LinkList,
    LinkListed,
    LinkPages,
    LinkPiece,
    LinkPlace,
    LinkPut,
    LinkRequest,
    LinkRevoke,
    LinkUse,
)
from protocol.storage_messages import StoreOutcome
from relay import share_rows
from relay.link_rows import Ended
from relay.share_links import NewLink, PacksGone, ShareLinks
from relay.store import RelayStore
from relay.uploads import Uploads

log = logging.getLogger(__name__)

PUTS_PER_LINK_MAX: Final = 4
"""Blobs of one device that come in at once, each with a file."""


Rights = Callable[[bytes, Tier], StoreOutcome]
"""Whether a tier's rights in a namespace are open on one link: DONE, or why not."""


@dataclass(slots=True)
class _Incoming:
    new: NewLink
    path: Path
    size: int
    file: int
    packs: Mapping[bytes, Descriptor]
    """By the ids of their descriptors."""
    at: int = 0


class LinkDesk:
    """What all storage links have in common: the links, and where visitors find them."""

    def __init__(self, links: ShareLinks, store: RelayStore, base: str, uploads: Uploads) -> None:
        """`base` is what URLs begin with."""
        self.links, self.store, self.base, self.uploads = links, store, base, uploads


class LinkTalk:
    """What one device has under way; `desk` is None at a relay that serves no links."""

    def __init__(self, desk: LinkDesk | None, may: Rights) -> None:
        self._desk, self._may = desk, may
        self._incoming: dict[bytes, _Incoming] = {}

    def leave(self) -> None:
        """Throws away what did not come whole."""
        for link_id in list(self._incoming):
            self._drop(link_id)

    async def answer(self, request: LinkRequest, *, is_busy: bool = False) -> LinkAnswer:
        """Does what is asked, as far as it may be done; nothing for who has asked too much."""
        desk = self._desk
        if is_busy:
            return refusal(request, StoreOutcome.BUSY)
        if desk is None:
            return refusal(request, StoreOutcome.NOT_STORING)
        try:
            match request:
                case LinkAsk(number):
                    return LinkPlace(number, StoreOutcome.DONE, desk.base, desk.links.now_s())
                case LinkPut(number):
                    return LinkDone(number, await self._begin(desk, request), 0)
                case LinkPiece(number):
                    return LinkDone(number, self._take(request), 0)
                case LinkPages(number):
                    return LinkDone(number, self._list(request), 0)
                case LinkKeep():
                    return await self._keep(desk, request)
                case LinkList(number, namespace):
                    outcome = self._may(namespace, Tier.READ)
                    found = desk.links.listed(namespace) if outcome is StoreOutcome.DONE else []
                    uses = [
                        LinkUse(
                            row.link_id, row.put_s, row.expires_s, row.downloads_max,
                            row.downloads, row.blob_size, row.ended, row.ended_s,
                        )
                        for row in found[:LINKS_LISTED_MAX]
                    ]  # fmt: skip
                    return LinkListed(number, outcome, tuple(uses))
                case LinkRevoke(number, link_id, time_s, signature):
                    is_done = await desk.links.revoke(link_id, signature, time_s)
                    outcome = StoreOutcome.DONE if is_done else StoreOutcome.UNKNOWN
                    return LinkDone(number, outcome, 0)
                case LinkEndKey(number):
                    return LinkDone(number, await self._set_end_key(desk, request), 0)
                case LinkEnd(number, link_id, key):
                    is_done = await desk.links.end_by(link_id, key)
                    outcome = StoreOutcome.DONE if is_done else StoreOutcome.UNKNOWN
                    return LinkDone(number, outcome, 0)
        except (OSError, sqlite3.Error) as error:
            log.error("share links cannot be written: %s", error)
            return refusal(request, StoreOutcome.UNABLE)

    async def _begin(self, desk: LinkDesk, request: LinkPut) -> StoreOutcome:
        outcome = self._may(request.namespace, Tier.ADMIN)
        if outcome is not StoreOutcome.DONE:
            return outcome
        found = await self._descriptors(desk, request)
        if isinstance(found, StoreOutcome):
            return found
        if not desk.links.has_room(request.namespace, request.size, request.link_id):
            return StoreOutcome.FULL
        self._drop(request.link_id)
        if len(self._incoming) >= PUTS_PER_LINK_MAX:
            return StoreOutcome.BUSY
        new = NewLink(
            request.namespace, request.password_salt, request.token_hash, request.lifetime_s,
            request.downloads_max, tuple(sorted({each.pack_id for each in found.values()})),
            sum(each.pack_size for each in found.values()),
        )  # fmt: skip
        path = desk.links.incoming_path()
        descriptor_ = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        self._incoming[request.link_id] = _Incoming(new, path, request.size, descriptor_, found)
        return StoreOutcome.DONE

    async def _descriptors(
        self, desk: LinkDesk, request: LinkPut
    ) -> dict[bytes, Descriptor] | StoreOutcome:
        """Of a link's packs by their ids, or why it cannot have them."""
        asked: dict[bytes, list[bytes]] = defaultdict(list)
        for namespace, descriptor_id in request.packs:
            asked[namespace].append(descriptor_id)
        found: dict[bytes, Descriptor] = {}
        for namespace, ids in asked.items():
            if self._may(namespace, Tier.READ) is not StoreOutcome.DONE:
                return StoreOutcome.REFUSED
            rows = await share_rows.packs(desk.store, namespace, ids)
            if any(id_ not in rows or rows[id_].trashed_s is not None for id_ in ids):
                return StoreOutcome.UNKNOWN
            for id_, row in rows.items():
                descriptor = share_rows.descriptor_of(row)
                if descriptor is None:
                    return StoreOutcome.DAMAGED
                found[id_] = descriptor
        return found

    def _take(self, request: LinkPiece) -> StoreOutcome:
        incoming = self._incoming.get(request.link_id)
        if incoming is None:
            return StoreOutcome.UNKNOWN
        if request.at != incoming.at or incoming.at + len(request.data) > incoming.size:
            self._drop(request.link_id)
            return StoreOutcome.DAMAGED
        view = memoryview(request.data)
        while view:
            count = os.write(incoming.file, view)
            view = view[count:]
        incoming.at += len(request.data)
        return StoreOutcome.DONE

    def _list(self, request: LinkPages) -> StoreOutcome:
        """Of a link that was begun and not kept, these packs hold its list and nothing else."""
        incoming = self._incoming.get(request.link_id)
        if incoming is None:
            return StoreOutcome.UNKNOWN
        told = set(request.descriptor_ids)
        pages, others = dict[bytes, int](), dict[bytes, int]()
        for id_, pack in incoming.packs.items():
            (pages if id_ in told else others)[pack.pack_id] = pack.pack_size
        # The same bytes under two descriptors are one pack to a visitor.
        if not told <= set(incoming.packs) or set(pages) & set(others):
            self._drop(request.link_id)
            return StoreOutcome.REFUSED
        incoming.new = replace(
            incoming.new, pages=frozenset(pages), pages_size=sum(pages.values()),
            packs_size=sum(others.values()),
        )  # fmt: skip
        return StoreOutcome.DONE

    async def _set_end_key(self, desk: LinkDesk, request: LinkEndKey) -> StoreOutcome:
        link = desk.links.row_of(request.link_id)
        if link is None or self._may(link.owner, Tier.ADMIN) is not StoreOutcome.DONE:
            return StoreOutcome.UNKNOWN
        is_set = await desk.links.set_end_key(request.link_id, request.key_hash)
        return StoreOutcome.DONE if is_set else StoreOutcome.REFUSED

    async def _keep(self, desk: LinkDesk, request: LinkKeep) -> LinkDone:
        incoming = self._incoming.get(request.link_id)
        if incoming is None:
            return LinkDone(request.number, StoreOutcome.UNKNOWN, 0)
        try:
            if incoming.at != incoming.size:
                return LinkDone(request.number, StoreOutcome.REFUSED, 0)
            os.fsync(incoming.file)
            ended = await desk.links.put(
                incoming.new, incoming.path, request.link_id, rests_here=True
            )
        except CryptoError:
            return LinkDone(request.number, StoreOutcome.DAMAGED, 0)
        except PacksGone:
            return LinkDone(request.number, StoreOutcome.UNKNOWN, 0)
        finally:
            self._drop(request.link_id)
        if ended is None:
            return LinkDone(request.number, StoreOutcome.FULL, 0)
        if ended is not Ended.LIVE:
            return LinkDone(request.number, StoreOutcome.REFUSED, 0)
        expires_s = desk.links.expires_s(request.link_id)
        return LinkDone(request.number, StoreOutcome.DONE, expires_s)

    def _drop(self, link_id: bytes) -> None:
        incoming = self._incoming.pop(link_id, None)
        if incoming is not None:
            os.close(incoming.file)
            incoming.path.unlink(missing_ok=True)


def refusal(request: LinkRequest, outcome: StoreOutcome) -> LinkAnswer:
    """An answer of the kind that was asked for, with an outcome and nothing else."""
    match request:
        case LinkAsk(number):
            return LinkPlace(number, outcome, "", 0)
        case LinkList(number):
            return LinkListed(number, outcome, ())
        case _:
            return LinkDone(request.number, outcome, 0)
