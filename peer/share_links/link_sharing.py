"""Share links on all devices of a user: each tells the others of those that it has made.

What another device has told rests here, sealed, so that it is listed while that device is away. To
end such a link is a wish, kept until the device that made it was heard to have done it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple

from crypto.errors import CryptoError
from crypto.ids import DeviceId
from peer.connectivity.connection import Connection
from peer.errors import PeerError
from peer.share_links.link_store import LinkStore, MadeLink
from protocol.errors import ProtocolError
from protocol.events import LinksReceived
from protocol.link_records import NAME_LENGTH_MAX, TOLD_MAX, WISHES_MAX, LinkRecord
from protocol.messages import LinksKnown, presentable

log = logging.getLogger(__name__)

AGAIN_S: Final = 60.0
"""After a relay could not be told that a link has ended."""
_EXPECTED: Final = (PeerError, CryptoError, ProtocolError, OSError, sqlite3.Error)


class ToldLink(NamedTuple):
    """A link of another device of the user."""

    record: LinkRecord
    device: str
    """What that device is called."""
    is_wished: bool
    """Somebody wishes here that it be ended, and that device has not said yet that it is."""

    @property
    def link_id(self) -> bytes:
        """Its id."""
        return self.record.link_id


class LinkSharing:
    """One daemon's."""

    def __init__(
        self,
        store: Callable[[], Awaitable[LinkStore]],
        known_store: Callable[[], Awaitable[LinkStore | None]],
        end: Callable[[MadeLink], Awaitable[None]],
        tell: Callable[[LinksKnown], None],
    ) -> None:
        """`known_store` gives the list of links if there is one, and `store` makes it; `end` ends a
        link of this device; `tell` tells the user's devices that are there.
        """
        self._store, self._known_store = store, known_store
        self._end, self._tell = end, tell
        self._due: set[bytes] = set()
        """Links of this device that others wish to be ended."""
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Ends what others wish to be ended, until cancelled; what cannot be told to its relay is
        tried again.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S if self._due else None):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._fulfil()
            except _EXPECTED as error:
                log.warning("a share link that another device wishes to end stays: %s", error)

    async def known(self) -> LinksKnown:
        """What the user's other devices are told."""
        store = await self._known_store()
        if store is None:
            return LinksKnown((), ())
        now_s = int(time.time())
        living = [_record(link) for link in await store.links() if not 0 < link.expires_s <= now_s]
        wishes = await store.wishes()
        return LinksKnown(tuple(living[:TOLD_MAX]), tuple(wishes[:WISHES_MAX]))

    async def changed(self) -> None:
        """A link was made, or has ended: tells all who are there."""
        try:
            self._tell(await self.known())
        except _EXPECTED as error:
            log.warning("other devices are not told of share links: %s", error)

    async def greet(self, connection: Connection) -> None:
        """Tells a device of the user that has just come. A list that cannot be read is not told as
        an empty one.
        """
        try:
            connection.session.send(await self.known())
        except _EXPECTED as error:
            log.warning("%s is not told of share links: %s", connection.name, error)

    async def others(self) -> list[ToldLink]:
        """The links of the user's other devices, as far as they have told."""
        store = await self._known_store()
        if store is None:
            return []
        wishes, now_s = set(await store.wishes()), time.time()
        return [
            ToldLink(record, device, record.link_id in wishes and not record.revoked_s)
            for device, records in await store.told()
            for record in records
            if not 0 < record.expires_s <= now_s
        ]

    async def wish(self, link_id: bytes) -> None:
        """A person wishes a link of another device to be ended."""
        await (await self._store()).wish(link_id)
        await self.changed()

    async def received(self, event: LinksReceived, connection: Connection) -> None:
        """Another device of the user has told."""
        try:
            await self._keep(connection.device_id, connection.name, event)
            self._due |= set(event.wishes)
            self._wake.set()
        except _EXPECTED as error:
            log.warning("what %s tells of share links is not kept: %s", connection.name, error)

    async def _keep(self, device_id: DeviceId, name: str, event: LinksReceived) -> None:
        store = await self._known_store() if not event.records else await self._store()
        if store is None:
            return
        await store.tell(device_id, name, event.records)
        # What is told as ended, or by nobody any more, is wished for no longer.
        living = {each.link_id for each in await self.others() if not each.record.revoked_s}
        await store.unwish([each for each in await store.wishes() if each not in living])

    async def _fulfil(self) -> None:
        store = await self._known_store() if self._due else None
        own = {} if store is None else {link.link_id: link for link in await store.links()}
        self._due &= set(own)
        for link_id in list(self._due):
            if own[link_id].revoked_s:
                await self.changed()  # it was not heard
            else:
                await self._end(own[link_id])
            self._due.discard(link_id)


def _record(link: MadeLink) -> LinkRecord:
    return LinkRecord(
        link.link_id, link.base, link.secret, link.relay, presentable(link.name, NAME_LENGTH_MAX),
        link.has_password, link.files, link.size, link.made_s, link.expires_s, link.downloads_max,
        link.revoked_s,
    )  # fmt: skip
