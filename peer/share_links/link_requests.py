"""What a person asks of share links: make one, list them, end one. For the control API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from crypto.ids import FolderId
from crypto.keys import DeviceKeys
from peer.backup.backups import Backups
from peer.connectivity.relays import Relays
from peer.control.under_way import UnderWay
from peer.device.home import LINKS_NAME, Home
from peer.device.ledgers import Ledgers
from peer.device.opened import Opened
from peer.errors import LinkNotMade, RelayUnreachable, UnknownLink
from peer.folders.folder import Folder
from peer.history.history_requests import HistoryRequests
from peer.share_links.link_ahead import LEASE_S as AHEAD_LEASE_S
from peer.share_links.link_ahead import LinksAhead, Prepared
from peer.share_links.link_content import Given, given_at
from peer.share_links.link_end_keys import LinkEndKeys
from peer.share_links.link_ending import REVOKED, OwnLinks, end_at_relay, meant
from peer.share_links.link_entries import (
    LinkListing,
    NewLinkEntry,
    UploadLinkEntry,
    made_entry,
    told_entries,
)
from peer.share_links.link_leases import LinkLeases
from peer.share_links.link_maker import LinkMaker, Made, Wish
from peer.share_links.link_packing import LinkPacking, Making
from peer.share_links.link_relay import OlderRelay, link_relay, serving_relay
from peer.share_links.link_sharing import LinkSharing
from peer.share_links.link_store import LinkStore, MadeLink
from peer.share_links.upload_links import UploadLinks, UploadWish
from peer.share_links.upload_store import UploadLink
from protocol.errors import BadName, LinkError, StorageRefused
from protocol.link_messages import LinkUse
from protocol.link_records import AnyRecord
from protocol.messages import OwnKnown
from protocol.names import check_name
from protocol.relay_address import RelayAddress


class ShareLinkRequests:
    """One daemon's."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        history: HistoryRequests,
        relays: Relays,
        backups: Backups,
        uploads: UploadLinks,
        under_way: UnderWay,
        tell: Callable[[OwnKnown], None],
    ) -> None:
        """`tell` tells the user's other devices that are there."""
        self._home, self._ledgers = home, ledgers
        self._history, self._relays = history, relays
        self._backups, self._uploads = backups, uploads
        self._under_way = under_way
        backups.on_stored = LinksAhead(self.prepare).stored
        self._store = Opened(lambda: LinkStore.open(home.path / LINKS_NAME, home.keys.database_key))
        self._own = MadeLinks(self._known_store, home.keys)
        kinds = (self._own, uploads)
        self.end_keys = LinkEndKeys(
            self._store.get, home.keys, ledgers, kinds, lambda: self.sharing.changed()
        )
        self.sharing = LinkSharing(
            self._store.get, self._known_store, kinds, uploads.known, self.end_keys.known, tell
        )
        uploads.on_ended = self.sharing.changed

    async def close(self) -> None:
        """Closes the list of links."""
        await self._store.close()

    async def run(self) -> None:
        """Has kept at super-nodes what links name, and ends those that other devices of the user
        wish to be ended, until cancelled.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.leases().run())
            tasks.create_task(self.sharing.run())
            tasks.create_task(self.end_keys.run())

    def leases(self) -> LinkLeases:
        """What has super-nodes keep the packs that living links name."""
        return LinkLeases(self._known_store, self._backups.leases_of, self._ended)

    async def create(self, path: Path, name: str, relay: str | None, wish: Wish) -> NewLinkEntry:
        """Makes a link of a file or a directory; raises PeerError."""
        folder, history, names = self._history.locate(path)
        root = Path(self._history.root(folder))
        try:
            if name:
                check_name(name)
        except BadName as error:
            raise LinkNotMade(f"No link was made: {error}.") from error
        files = await given_at(folder, history, root, names, name)
        try:
            try:
                made = await self._make(folder, path, files, relay, wish)
            except OlderRelay:
                made = await self._make(folder, path, files, relay, wish, is_older=True)
        except StorageRefused as refusal:
            raise LinkNotMade(f"{refusal} No link was made.") from refusal
        except LinkError as error:
            raise RelayUnreachable(f"{error} No link was made.") from error
        await self.sharing.changed()
        entry = made_entry(made.link, {})
        return {
            **entry,
            "downloads": 0,
            "state": "live",
            "uploaded_bytes": made.uploaded_bytes,
            "manifest_bytes": made.blob_bytes,
        }

    async def prepare(self, folder_id: FolderId) -> Prepared:
        """Puts the pages of links to this folder at the relay at which they would be made, if that
        holds a part of it. Raises PeerError, LinkError or StorageRefused.
        """
        root = self._history.writable_root(folder_id)
        membership = self._ledgers.folders.get(folder_id)
        if root is None or membership is None:
            return Prepared()
        async with AsyncExitStack() as stack:
            place = await serving_relay(stack, self._places(folder_id), self._home.keys, None)
            sealed = await self._backups.sealed_at(folder_id, place.client)
            if sealed is None:
                return Prepared()
            folder, history, _ = self._history.locate(root)
            files = await given_at(folder, history, root, (), "", only_known=True)
            store, making = await self._store.get(), Making(folder, membership.chain)
            await store.forget_expired(place.time_s)
            packing = LinkPacking(store, place, making, lease_s=AHEAD_LEASE_S)
            put_bytes = await LinkMaker(packing, sealed).prepare(files)
            return Prepared(put_bytes, sum(file.size for file in files))

    async def listed(self) -> LinkListing:
        """All links of this device, and how it stands with them as far as relays can be asked; and
        what the user's other devices have told of theirs.
        """
        links = await (await self._store.get()).links()
        uses = await self._uses({link.relay for link in links})
        await self._note_ends(links, uses)
        told_links, told_uploads = told_entries(await self.sharing.others())
        return {
            "links": [*(made_entry(link, uses[link.relay]) for link in links), *told_links],
            "requests": [*await self._uploads.listed(), *told_uploads],
        }

    async def request(
        self, path: Path, name: str, relay: str | None, wish: UploadWish
    ) -> UploadLinkEntry:
        """Makes a link by which files come into a directory; raises PeerError."""
        made = await self._uploads.create(path, name, relay, wish)
        await self.sharing.changed()
        self.end_keys.wake()
        return made

    async def revoke(self, url_or_id: str) -> bool:
        """Ends the one link that this means; False if another device made it, and it ends when that
        one or its relay hears of it. Raises UnknownLink, or RelayUnreachable while the relay of one
        of this device's cannot be told.
        """
        requests = await self._uploads.unrevoked()
        own = await (await self._store.get()).links()
        known = {link.link_id for link in own} | {link.link_id for link in requests}
        told = {each.link_id: each.record for each in await self.sharing.others()}
        others = [record for link_id, record in told.items() if link_id not in known]
        every: list[UploadLink | MadeLink | AnyRecord] = [*requests, *own, *others]
        found = meant(every, url_or_id)
        if len(found) > 1:
            found = [link for link in found if not link.revoked_s] or found
        if len(found) > 1:
            raise UnknownLink(
                f"{len(found)} links are meant by {url_or_id!r}. Give more of the id;"
                " `holdfast link list` shows it."
            )
        if not found:
            raise UnknownLink
        (link,) = found
        if not isinstance(link, UploadLink | MadeLink):
            return await self.sharing.end(link.link_id)
        kind: OwnLinks = self._own if isinstance(link, MadeLink) else self._uploads
        await kind.end(link.link_id)
        await self.sharing.changed()
        return True

    # Private

    async def _make(
        self,
        folder: Folder,
        path: Path,
        files: Sequence[Given],
        relay: str | None,
        wish: Wish,
        *,
        is_older: bool = False,
    ) -> Made:
        making = Making(folder, self._ledgers.folders[folder.folder_id].chain)
        async with AsyncExitStack() as stack:
            addresses = self._places(folder.folder_id)
            place = await serving_relay(stack, addresses, self._home.keys, relay)
            sealed = await self._backups.sealed_at(folder.folder_id, place.client)
            maker = LinkMaker(LinkPacking(await self._store.get(), place, making), sealed)
            with self._under_way.doing("link", str(path), "bytes", maker.count):
                made = await maker.make(files, wish, is_older=is_older)
            if not await self.end_keys.give(place, made.link.link_id):
                self.end_keys.wake()
            return made

    async def _uses(self, addresses: Collection[str]) -> dict[str, dict[bytes, LinkUse] | None]:
        """What relays say of this device's links; None for one that cannot be asked."""
        uses: dict[str, dict[bytes, LinkUse] | None] = {}
        for address in addresses:
            try:
                async with link_relay(RelayAddress.parse(address), self._home.keys) as relay:
                    await relay.open()
                    uses[address] = await relay.uses()
            except (LinkError, StorageRefused):
                uses[address] = None
        return uses

    async def _note_ends(
        self, links: Iterable[MadeLink], uses: Mapping[str, Mapping[bytes, LinkUse] | None]
    ) -> None:
        """Writes down what other devices have ended by their end keys."""
        is_any = False
        for link in links:
            use = (uses[link.relay] or {}).get(link.link_id)
            if use is not None and use.ended == REVOKED and not link.revoked_s:
                await self._own.revoked(link.link_id, use.ended_s)
                is_any = True
        if is_any:
            await self.sharing.changed()

    async def _ended(self, addresses: Collection[str]) -> set[bytes]:
        found = await self._uses(addresses)
        return {id_ for each in found.values() if each for id_, use in each.items() if use.ended}

    async def _known_store(self) -> LinkStore | None:
        path = self._home.path / LINKS_NAME
        return await self._store.get() if await asyncio.to_thread(path.exists) else None

    def _places(self, folder_id: FolderId) -> list[RelayAddress]:
        """Where a link can be; those first that hold a part of the folder, for nothing has to be
        put there.
        """
        used = [record.place for record in self._relays.records if record.is_used]
        nodes = {address.relay_id: address for address in self._backups.places(folder_id)}
        known = {address.relay_id for address in used}
        first = [address for address in used if address.relay_id in nodes]
        others = [a for a in used if a.relay_id not in nodes]
        more = [address for relay_id, address in nodes.items() if relay_id not in known]
        return [*first, *others, *more]


class MadeLinks:
    """The share links of this device, for who gives them end keys and ends them."""

    def __init__(
        self, known_store: Callable[[], Awaitable[LinkStore | None]], keys: DeviceKeys
    ) -> None:
        self._known_store, self._keys = known_store, keys

    async def every(self) -> list[MadeLink]:
        """All of them, the newest first."""
        store = await self._known_store()
        return [] if store is None else await store.links()

    async def living(self) -> list[MadeLink]:
        """Those that have not ended, for all that is known here."""
        now_s = time.time()
        every = await self.every()
        return [link for link in every if not link.revoked_s and not 0 < link.expires_s <= now_s]

    async def end(self, link_id: bytes) -> None:
        """Ends one. Raises RelayUnreachable while its relay cannot be told."""
        (link,) = [each for each in await self.every() if each.link_id == link_id]
        await self.revoked(link_id, await end_at_relay(link.relay, self._keys, link_id, link.key))

    async def revoked(self, link_id: bytes, at_s: int) -> None:
        """One was ended, by whichever device."""
        store = await self._known_store()
        assert store is not None, "the link came from there"
        await store.revoked(link_id, at_s)
