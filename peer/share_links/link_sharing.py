"""Share links on all devices of a user: each tells the others of those that it has made.

What another device has told rests here, sealed, so that it is listed while that device is away. To
end such a link is a wish, kept until the device that made it was heard to have done it. Whoever has
a link's end key (`link_end_keys`) ends it at its relay meanwhile, so that the wish only tells of
that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

from crypto.ids import DeviceId
from peer.connectivity.connection import Connection
from peer.errors import PeerError, RelayUnreachable
from peer.share_links.link_ending import TROUBLE, OwnLinks, end_by_key
from peer.share_links.link_store import LinkStore
from protocol.errors import LinkError, StorageRefused
from protocol.events import EndKeysReceived, LinksReceived, UploadLinksReceived
from protocol.link_records import TOLD_MAX, WISHES_MAX, AnyRecord
from protocol.messages import (
    EndKeysKnown,
    LinksKnown,
    OwnKnown,
    UploadLinksKnown,
)
from protocol.relay_address import BadRelayAddress

log = logging.getLogger(__name__)

AGAIN_S: Final = 60.0
"""After a relay could not be told that a link has ended; twice as long each time."""
AGAIN_MAX_S: Final = 900.0


class ToldLink(NamedTuple):
    """A link of another device of the user."""

    record: AnyRecord
    device: str
    """What that device is called."""
    is_wished: bool
    """Somebody wishes here that it be ended, and that device has not said yet that it is."""
    is_ended: bool
    """So that device says, or its relay did when it was shown the end key."""
    end_key: bytes | None
    """By which this device may end it."""

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
        kinds: Sequence[OwnLinks],
        uploads: Callable[[], Awaitable[UploadLinksKnown]],
        end_keys: Callable[[], Awaitable[EndKeysKnown]],
        tell: Callable[[OwnKnown], None],
    ) -> None:
        """`known_store` gives the list of links if there is one, and `store` makes it; `kinds` have
        the links of this device, `uploads` gives what the others are told of upload links, and
        `end_keys` by what they may end all; `tell` tells the user's devices that are there.
        """
        self._store, self._known_store = store, known_store
        self._kinds, self._uploads, self._end_keys, self._tell = kinds, uploads, end_keys, tell
        self._due: set[bytes] = set()
        """Links of this device that others wish to be ended."""
        self._refused: set[tuple[bytes, bytes]] = set()
        """Links of others, and end keys that their relays do not know any more."""
        self._is_left = False
        """A relay could not be asked to end something."""
        self._wake = asyncio.Event()
        self._wake.set()

    async def run(self) -> None:
        """Ends what is wished to be ended, here and by others, until cancelled; what cannot be told
        to its relay is tried again.
        """
        pause_s = AGAIN_S
        while True:
            try:
                async with asyncio.timeout(pause_s if self._due or self._is_left else None):
                    await self._wake.wait()
                pause_s = AGAIN_S
            except TimeoutError:
                pause_s = min(2 * pause_s, AGAIN_MAX_S)
            self._wake.clear()
            for fulfil in (self._fulfil, self._fulfil_here):
                try:
                    await fulfil()
                except TROUBLE as error:
                    log.warning("a share link that is wished to be ended stays: %s", error)

    async def known(self) -> LinksKnown:
        """What the user's other devices are told."""
        store = await self._known_store()
        if store is None:
            return LinksKnown((), ())
        now_s = int(time.time())
        living = [link.told for link in await store.links() if not 0 < link.expires_s <= now_s]
        wishes = await store.wishes()
        return LinksKnown(tuple(living[:TOLD_MAX]), tuple(wishes[:WISHES_MAX]))

    async def changed(self) -> None:
        """A link was made, or has ended: tells all who are there."""
        try:
            for message in (await self.known(), await self._uploads(), await self._end_keys()):
                self._tell(message)
        except TROUBLE as error:
            log.warning("other devices are not told of share links: %s", error)

    async def greet(self, connection: Connection) -> None:
        """Tells a device of the user that has just come. A list that cannot be read is not told as
        an empty one.
        """
        try:
            for message in (await self.known(), await self._uploads(), await self._end_keys()):
                connection.session.send(message)
        except TROUBLE as error:
            log.warning("%s is not told of share links: %s", connection.name, error)

    async def others(self) -> list[ToldLink]:
        """The links of the user's other devices, as far as they have told."""
        store = await self._known_store()
        if store is None:
            return []
        wishes, ended, now_s = set(await store.wishes()), await store.all_ended_there(), time.time()
        return [
            ToldLink(
                record, told.device, record.link_id in wishes and not record.revoked_s,
                bool(record.revoked_s) or record.link_id in ended,
                told.end_keys.get(record.link_id),
            )
            for told in await store.told()
            for record in told.records
            if not 0 < record.expires_s <= now_s
        ]  # fmt: skip

    async def end(self, link_id: bytes) -> bool:
        """A person wishes a link of another device to be ended: True if it is, False if that is
        left to that device, or to when the link's relay can be asked.
        """
        living = [each for each in await self._living() if each.link_id == link_id]
        if not living:
            return True
        await (await self._store()).wish(link_id)
        is_ended = await self._end_there(living)
        await self.changed()
        self._wake.set()
        return is_ended

    async def received(self, event: LinksReceived, connection: Connection) -> None:
        """Another device of the user has told."""
        try:
            await self._keep(connection.device_id, connection.name, event)
            self._due |= set(event.wishes)
            self._wake.set()
            await self._wish_too(event.wishes)
        except TROUBLE as error:
            log.warning("what %s tells of share links is not kept: %s", connection.name, error)

    async def received_uploads(self, event: UploadLinksReceived, connection: Connection) -> None:
        """Another device of the user has told of its upload links."""
        try:
            store = await self._known_store() if not event.records else await self._store()
            if store is not None:
                await store.tell_uploads(connection.device_id, connection.name, event.records)
                await self._forget_wishes(store)
                self._wake.set()
        except TROUBLE as error:
            log.warning("what %s tells of upload links is not kept: %s", connection.name, error)

    async def received_keys(self, event: EndKeysReceived, connection: Connection) -> None:
        """Another device of the user has told how its links can be ended."""
        try:
            store = await self._known_store() if not event.keys else await self._store()
            if store is not None:
                await store.tell_keys(connection.device_id, event.keys)
                self._wake.set()
        except TROUBLE as error:
            log.warning("how to end links of %s is not kept: %s", connection.name, error)

    async def _keep(self, device_id: DeviceId, name: str, event: LinksReceived) -> None:
        store = await self._known_store() if not event.records else await self._store()
        if store is None:
            return
        await store.tell(device_id, name, event.records)
        await self._forget_wishes(store)

    async def _forget_wishes(self, store: LinkStore) -> None:
        # What is told as ended, or by nobody any more, is wished for no longer.
        living = {each.link_id for each in await self.others() if not each.record.revoked_s}
        pending = {*await store.wishes(), *await store.all_ended_there()}
        await store.unwish(pending - living)

    async def _wish_too(self, wishes: Iterable[bytes]) -> None:
        """What one device wishes of another's links all wish: they carry it to the one that made
        them, and show it.
        """
        wanted = {each.link_id for each in await self._living()} & set(wishes)
        if not wanted:
            return
        store = await self._store()
        new = wanted - set(await store.wishes())
        for link_id in new:
            await store.wish(link_id)
        if new:
            await self.changed()

    async def _fulfil(self) -> None:
        """Ends links of this device that others wish to be ended."""
        if not self._due:
            return
        own = {link.link_id: (kind, link) for kind in self._kinds for link in await kind.every()}
        self._due &= set(own)
        problem: PeerError | None = None
        for link_id in list(self._due):
            try:
                kind, link = own[link_id]
                if not link.revoked_s:  # else it was not heard
                    await kind.end(link_id)
                await self.changed()
            except RelayUnreachable as error:  # another link's may answer
                problem = error
                continue
            self._due.discard(link_id)
        if problem is not None:
            raise problem

    async def _fulfil_here(self) -> None:
        """Ends links of others by their end keys, whose relays could not be asked before."""
        self._is_left = False
        wished = defaultdict[bytes, list[ToldLink]](list)
        for told in await self._living():
            if told.is_wished:
                wished[told.link_id].append(told)
        for each in wished.values():
            await self._end_there(each)

    async def _living(self) -> list[ToldLink]:
        return [each for each in await self.others() if not each.is_ended]

    async def _end_there(self, told: Sequence[ToldLink]) -> bool:
        """True if the relay of a link has ended it. Who lies tells another device's link, with a
        relay that says so of everything: then both relays have to.
        """
        if not all([await self._is_ended_by(each) for each in told]):
            return False
        await (await self._store()).ended_there(told[0].link_id, int(time.time()))
        return True

    async def _is_ended_by(self, told: ToldLink) -> bool:
        key, relay = told.end_key, told.record.relay
        if key is None or (told.link_id, key) in self._refused:
            return False
        try:
            if await end_by_key(relay, told.link_id, key):
                return True
        except BadRelayAddress as error:
            log.warning("a share link is told wrongly by %s: %s", told.device, error)
        except (LinkError, StorageRefused) as error:
            log.info("a relay is asked again to end a share link: %s", error)
            self._is_left = True
            return False
        self._refused.add((told.link_id, key))
        return False
