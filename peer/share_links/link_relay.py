"""One relay, as the maker of share links speaks to it: packs into its own namespace, links, and
what was put in by them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

from crypto.epochs import Tier
from crypto.ids import RelayId
from crypto.keys import DeviceKeys
from crypto.link_space import GENERATION, LinkSpace
from crypto.namespaces import Signer
from crypto.packs import Pack
from crypto.share_links import end_key_hash
from crypto.shares import Descriptor, describe
from peer.errors import LinkNotMade, NoLinkRelay, RelayUnreachable
from protocol.errors import LinkError, StorageRefused
from protocol.link_messages import (
    BLOB_PIECE_MAX,
    LinkAsk,
    LinkDone,
    LinkEnd,
    LinkEndKey,
    LinkKeep,
    LinkList,
    LinkListed,
    LinkPack,
    LinkPages,
    LinkPiece,
    LinkPlace,
    LinkPut,
    LinkRevoke,
    LinkUse,
)
from protocol.relay_address import RelayAddress
from protocol.storage_client import StorageClient, storing
from protocol.storage_messages import Holder, StoreChanged, StoreOutcome, StoreRenew
from protocol.upload_messages import (
    UploadAllow,
    UploadBytes,
    UploadDone,
    UploadList,
    UploadListed,
    UploadRead,
    UploadTaken,
    Waiting,
)

RENEWED_AT_ONCE: Final = 200


class NewBlob(NamedTuple):
    """A link as a relay is told of it, beside its blob."""

    link_id: bytes
    password_salt: bytes
    token_hash: bytes
    lifetime_s: int
    downloads_max: int
    packs: tuple[LinkPack, ...]
    """Each in a namespace that is open on this link."""
    pages: frozenset[bytes] = frozenset()
    """Descriptors of those that hold nothing but the link's list, where the relay is to know."""


class OlderRelay(LinkError):
    """The relay does not know which packs of a link may be read for nothing. Update it."""


class LinkRelay:
    """A link of ours to one relay's storage, for share links."""

    def __init__(self, client: StorageClient, space: LinkSpace, place: LinkPlace) -> None:
        self.address = client.address
        self.base, self.time_s = place.base, place.time_s
        """What URLs begin with, and the relay's time."""
        self.client = client
        self._client, self._space = client, space

    @property
    def id(self) -> RelayId:
        """The relay's."""
        return self.address.relay_id

    def own(self, descriptor_id: bytes) -> LinkPack:
        """A pack in this device's own namespace."""
        return LinkPack(self._space.namespace, descriptor_id)

    async def open(self) -> None:
        """Opens the namespace of this device's links, and founds it the first time."""
        client, space = self._client, self._space
        try:
            await client.open(space.namespace, GENERATION, Tier.OWNER, space.seed())
        except StorageRefused as refusal:
            if refusal.outcome != StoreOutcome.UNKNOWN:
                raise
            delegation, signature = space.founding()
            await client.delegate(delegation, signature, Signer.OWNER, space.emergency)
            await client.open(space.namespace, GENERATION, Tier.OWNER, space.seed())

    async def put_pack(self, pack: Pack, lease_until_s: int) -> tuple[Descriptor, int]:
        """Stores a pack whole, and says until when it is leased."""
        descriptor = await asyncio.to_thread(describe, pack.pack_id, len(pack.data), 1, [pack.data])
        holders = [Holder(0, str(self.address))]
        kept = await self._client.put(
            self._space.namespace, descriptor, 0, pack.data, lease_until_s, holders
        )
        return descriptor, kept.lease_until_s

    async def renew(self, descriptor_ids: Sequence[bytes], lease_until_s: int) -> list[bytes]:
        """Prolongs the leases of packs; those that are there no more."""
        missing: list[bytes] = []
        for start in range(0, len(descriptor_ids), RENEWED_AT_ONCE):
            part = tuple(descriptor_ids[start : start + RENEWED_AT_ONCE])
            number = self._client.number()
            request = StoreRenew(number, self._space.namespace, lease_until_s, part)
            changed = await self._client.ask(request, StoreChanged)
            missing += [part[index] for index in changed.missing if index < len(part)]
        return missing

    async def put_link(self, new: NewBlob, blob: bytes) -> int:
        """Makes a link; when it expires by the relay's clock, 0 for never. Raises LinkError or
        StorageRefused; OlderRelay if it cannot be told of pages.
        """
        client, namespace = self._client, self._space.namespace
        begin = LinkPut(
            client.number(), namespace, new.link_id, new.password_salt, new.token_hash,
            new.lifetime_s, new.downloads_max, len(blob), new.packs,
        )  # fmt: skip
        await client.ask(begin, LinkDone)
        if new.pages:
            pages = LinkPages(client.number(), new.link_id, tuple(sorted(new.pages)))
            try:
                await client.ask(pages, LinkDone)
            except LinkError as error:  # an older one closes the link, and has kept nothing
                raise OlderRelay(str(error)) from error
        for at in range(0, len(blob), BLOB_PIECE_MAX):
            piece = blob[at : at + BLOB_PIECE_MAX]
            await client.ask(LinkPiece(client.number(), new.link_id, at, piece), LinkDone)
        kept = await client.ask(LinkKeep(client.number(), new.link_id), LinkDone)
        return kept.expires_s

    async def uses(self) -> dict[bytes, LinkUse]:
        """How it stands with this device's links."""
        request = LinkList(self._client.number(), self._space.namespace)
        listed = await self._client.ask(request, LinkListed)
        return {use.link_id: use for use in listed.links}

    async def revoke(self, link_id: bytes, time_s: int, signature: bytes) -> None:
        """Ends a link for ever; one that the relay does not know has ended."""
        request = LinkRevoke(self._client.number(), link_id, time_s, signature)
        try:
            await self._client.ask(request, LinkDone)
        except StorageRefused as refusal:
            if refusal.outcome != StoreOutcome.UNKNOWN:
                raise

    async def set_end_key(self, link_id: bytes, key: bytes) -> None:
        """From now on this key ends the link, and no other but the link's own."""
        key_hash = end_key_hash(link_id, key)
        await self._client.ask(LinkEndKey(self._client.number(), link_id, key_hash), LinkDone)

    async def end(self, link_id: bytes, key: bytes) -> bool:
        """Ends another device's link by its end key; False if the relay knows no such link, or
        another key.
        """
        try:
            await self._client.ask(LinkEnd(self._client.number(), link_id, key), LinkDone)
        except StorageRefused as refusal:
            if refusal.outcome != StoreOutcome.UNKNOWN:
                raise
            return False
        return True

    # ------------------------------------------------------------ what is put in by links

    async def allow_uploads(
        self, link_id: bytes, files_max: int, file_bytes_max: int, bytes_max: int
    ) -> None:
        """Lets senders put files in by a link that was put."""
        request = UploadAllow(self._client.number(), link_id, files_max, file_bytes_max, bytes_max)
        await self._client.ask(request, UploadDone)

    async def waiting_uploads(self, link_id: bytes) -> tuple[Waiting, ...]:
        """What lies there whole by a link; the oldest of it, if it is much."""
        request = UploadList(self._client.number(), link_id)
        return (await self._client.ask(request, UploadListed)).waiting

    async def read_upload(self, link_id: bytes, upload_id: bytes, at: int, size: int) -> bytes:
        """Some of a file's sealed bytes; nothing behind its end."""
        request = UploadRead(self._client.number(), link_id, upload_id, at, size)
        data = (await self._client.ask(request, UploadBytes)).data
        if len(data) > size:
            raise LinkError("The relay gives more than it was asked for.")
        return data

    async def upload_taken(self, link_id: bytes, upload_id: bytes) -> None:
        """The relay need not keep a file any more."""
        request = UploadTaken(self._client.number(), link_id, upload_id)
        await self._client.ask(request, UploadDone)


@asynccontextmanager
async def link_relay(address: RelayAddress, keys: DeviceKeys) -> AsyncIterator[LinkRelay]:
    """A relay that serves share links; raises LinkError, also if it serves none."""
    async with storing(address, keys) as client:
        place = await client.ask(LinkAsk(client.number()), LinkPlace)
        yield LinkRelay(client, LinkSpace(keys.device_secret, address.relay_id), place)


async def serving_relay(
    stack: AsyncExitStack, addresses: Iterable[RelayAddress], keys: DeviceKeys, wanted: str | None
) -> LinkRelay:
    """The first relay that serves share links, or the one that was named; raises PeerError."""
    known = list(addresses)
    asked = known if wanted is None else [a for a in known if wanted in (str(a), a.host)]
    problem: Exception = NoLinkRelay()
    if wanted is not None and known:
        problem = _named_wrong(wanted, known if not asked else [])
    for address in asked:
        try:
            return await stack.enter_async_context(link_relay(address, keys))
        except StorageRefused as refusal:
            if refusal.outcome != StoreOutcome.NOT_STORING:
                problem = LinkNotMade(f"{refusal} No link was made.")
        except LinkError as error:
            problem = RelayUnreachable(f"{error} No link was made.")
    raise problem


def _named_wrong(wanted: str, others: Sequence[RelayAddress]) -> NoLinkRelay:
    """Why the relay that was named is not the one; `others` if it is not even known."""
    if not others:
        return NoLinkRelay(f"{wanted} serves no share links. Name another relay, or none.")
    hosts = ", ".join(dict.fromkeys(address.host for address in others))
    return NoLinkRelay(
        f"{wanted} is no relay of yours. Name one by its host, as {hosts}, or by its address;"
        " `holdfast relay list` shows them. Without a name one is found that serves share links."
    )
