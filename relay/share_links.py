"""Share links at their relay: who may have what, how often and how long (SPEC 17).

The relay can open none of it. It checks tokens against a hash, counts downloads, and ends a link
for good: then the sealed manifest, in which alone the keys of the chunks lie, is removed from the
disk. A download is claimed before it is served and counted once some of it was, so that neither a
crash nor a visitor who goes away takes one that was not had.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from crypto.errors import CryptoError
from crypto.primitives import is_equal
from crypto.share_links import (
    LINK_ID_SIZE,
    PASSWORD_SALT_SIZE,
    LinkFlags,
    LinkHeader,
    check_link,
    check_revocation,
    end_key_hash,
    token_hash,
)
from relay import link_rows as rows
from relay.allowance import Allowance
from relay.link_rows import Ended, LinkRow, TicketRow
from relay.origins import origin_of
from relay.store import RelayStore

log = logging.getLogger(__name__)

TICKET_SIZE: Final = 16
COUNTED_BYTES: Final = 1 << 20
COUNTED_SHARE: Final = 100
"""A download counts when a hundredth of the packs was served, or a mebibyte, whichever is less."""
LISTED_TIMES: Final = 2
"""So often a link's list can be read for nothing: once more than it takes, for answers break off.
Beyond that it is read for a download like all else."""
RESERVED_S: Final = 600
"""So long without a request, and a download that does not count yet is given back."""
GOES_ON_S: Final = 86_400
"""So long after its last request a download that counts can be gone on with."""
REMEMBERED_S: Final = 400 * 86_400
"""How long a relay can say of a link how it ended."""
LEASED_S: Final = 7 * 86_400
"""How far ahead the packs of a live link are leased, whoever else leases them or not."""
SAVED_EVERY_S: Final = 60
"""How stale the time of a ticket's last request may be on disk."""
WRONG_TOKENS_PER_MINUTE: Final = 10
"""From one address."""
WRONG_TOKENS_PER_LINK: Final = 60
"""Within a minute, from all addresses: a password of six random letters holds ten years."""
CLAIMS_PER_MINUTE: Final = 120
"""From one address: each writes to the disk."""
TICKETS_PER_LINK: Final = 10_000


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """How much a relay keeps of share links."""

    links: int = 65_536
    """That are live; each takes 1 KiB of memory."""
    links_per_owner: int = 1_000
    total_bytes: int = 2 << 30
    """Sealed manifests in all."""
    owner_bytes: int = 256 << 20
    lifetime_max_s: int = 0
    """0: a link may be for ever."""


@dataclass(frozen=True, slots=True)
class NewLink:
    """What a maker asks of a relay, beside the blob itself."""

    owner: bytes
    """The namespace whose link it is."""
    password_salt: bytes
    token_hash: bytes
    lifetime_s: int
    """From now, by the relay's clock: the maker's may be off. 0: for ever."""
    downloads_max: int
    packs: tuple[bytes, ...]
    packs_size: int
    """Of those that are counted."""
    pages: frozenset[bytes] = frozenset()
    """Of the packs, those that hold nothing but the link's list."""
    pages_size: int = 0


class PacksGone(Exception):
    """A pack that a new link names is not here any more, or is in the trash."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no such link, or the token or ticket is not its."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The link has ended, which is told to who had its secret."""

    how: Ended


@dataclass(frozen=True, slots=True)
class Later:
    """Not now: too many attempts, or, with `is_taken`, every download is taken by somebody."""

    seconds: int
    is_taken: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """A download, and where the blob is."""

    ticket: bytes
    blob: Path


@dataclass(slots=True)
class Download:
    """A claimed download at work."""

    link: LinkRow
    row: TicketRow
    served: int = 0
    saved_s: int = 0
    listed: int = 0
    """Bytes of the link's list that were served for nothing."""
    is_given_back: bool = False

    @property
    def is_live(self) -> bool:
        """Whether there still is something to be served."""
        return self.link.ended == Ended.LIVE and not self.is_given_back


@dataclass(frozen=True, slots=True)
class Reading:
    """A download that reads a pack of its link."""

    download: Download
    is_list: bool
    """Whether there is nothing in the pack but the link's list."""


@dataclass(slots=True)
class _Link:
    row: LinkRow
    downloads: dict[bytes, Download] = field(default_factory=dict)
    """By the hash of the ticket."""

    @property
    def reserved(self) -> int:
        return sum(1 for download in self.downloads.values() if not download.row.is_counted)


class ShareLinks:
    """All links of one relay."""

    def __init__(
        self,
        store: RelayStore,
        directory: Path,
        secret: bytes,
        limits: LinkLimits,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`secret` makes the heads of links that there are not; it has to stay the same."""
        self._store, self._directory, self._secret = store, directory, secret
        self._limits = limits
        self._clock, self._wall_clock, self._random = clock, wall_clock, random
        self._links: dict[bytes, _Link] = {}
        self._tickets: dict[bytes, Download] = {}
        self._wrong = Allowance(WRONG_TOKENS_PER_MINUTE)
        self._wrong_of_link = Allowance(WRONG_TOKENS_PER_LINK)
        self._claims = Allowance(CLAIMS_PER_MINUTE)

    async def start(self) -> None:
        """Reads what an earlier run left, and ends what ended meanwhile."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        links, tickets = await rows.load(self._store)
        self._links = {row.link_id: _Link(row) for row in links}
        for ticket in tickets:
            link = self._links[ticket.link_id]
            self._enter(link, Download(link.row, ticket, saved_s=ticket.used_s))
        await self.sweep()
        known = {self._path(row.link_id).name for row in links if self._has_blob(row)}
        for path in self._directory.iterdir():
            if path.name not in known:
                path.unlink()  # of a put that did not end, or of a link whose end did not

    # ------------------------------------------------------------ makers

    async def put(
        self, new: NewLink, blob: Path, link_id: bytes, *, rests_here: bool = False
    ) -> Ended | None:
        """Takes a blob, which is moved; LIVE when it is durable, another word if the link has
        ended, None if there is no room for it. `rests_here`: its packs have to be here.

        Raises CryptoError for a blob that is not this link's, or is not newer, and PacksGone.
        """
        header, size = _checked(link_id, blob)
        async with self._store.transaction() as db:
            # Looked at in here: before, others may be put, and this one may end, while it waits.
            old = self._links.get(link_id)
            if old is not None:
                if old.row.ended != Ended.LIVE:
                    return Ended(old.row.ended)
                if old.row.owner != new.owner or old.row.version >= header.version:
                    raise CryptoError("a link that is put again has a higher version")
            if not self.has_room(new.owner, size, link_id):
                return None
            row = self._new_row(new, header, size, link_id, old)
            # In one with what keeps them here: since the maker began, their leases may have ended.
            if rests_here and not await rows.are_here(db, new.packs):
                raise PacksGone
            _move(blob, self._path(link_id))
            await rows.write_link(db, row)
            await rows.write_packs(db, link_id, new.packs, new.pages)
        if old is None:
            self._links[link_id] = _Link(row)
            return Ended.LIVE
        if old.row.ended != Ended.LIVE:  # while it was written; that is written after it
            self._path(link_id).unlink(missing_ok=True)
            return Ended(old.row.ended)
        old.row = row
        for download in old.downloads.values():
            download.link = row
        return Ended.LIVE

    def _new_row(
        self, new: NewLink, header: LinkHeader, size: int, link_id: bytes, old: _Link | None
    ) -> LinkRow:
        now_s = int(self._wall_clock())
        lifetime_s = new.lifetime_s
        if self._limits.lifetime_max_s:
            lifetime_s = min(lifetime_s or self._limits.lifetime_max_s, self._limits.lifetime_max_s)
        return LinkRow(
            link_id, new.owner, header.flags, header.version, new.password_salt, new.token_hash,
            header.public, now_s, now_s + lifetime_s if lifetime_s else 0, new.downloads_max,
            old.row.downloads if old else 0, size, new.packs_size, pages_size=new.pages_size,
            end_key_hash=old.row.end_key_hash if old else None,
        )  # fmt: skip

    def look_at(self, link_id: bytes) -> bool:
        """Reads the blob of a live link again, and says whether it still is what its maker signed.
        Blocking.
        """
        try:
            check_link(link_id, self._path(link_id).read_bytes())
        except (CryptoError, OSError) as error:
            values = {"link": link_id.hex(), "why": repr(error)}
            log.error("a share link on this disk is damaged", extra={"values": values})
            return False
        return True

    def with_blobs(self) -> list[bytes]:
        """The links of which the blob has to be here."""
        return [id_ for id_, link in self._links.items() if self._has_blob(link.row)]

    def incoming_path(self) -> Path:
        """A new name for a blob that comes in; `put` takes the file from there."""
        return self._directory / f"incoming-{self._random(8).hex()}"

    def now_s(self) -> int:
        """The relay's time, by which links expire."""
        return int(self._wall_clock())

    def expires_s(self, link_id: bytes) -> int:
        """When a link that is there expires; 0: never."""
        return self._links[link_id].row.expires_s

    def row_of(self, link_id: bytes) -> LinkRow | None:
        """A link that the relay remembers."""
        link = self._links.get(link_id)
        return None if link is None else link.row

    def listed(self, owner: bytes) -> list[LinkRow]:
        """All that one owner has put and the relay remembers, the newest first."""
        found = [link.row for link in self._links.values() if link.row.owner == owner]
        return sorted(found, key=lambda row: row.put_s, reverse=True)

    async def revoke(self, link_id: bytes, signature: bytes, time_s: int) -> bool:
        """Ends a link for who has its key; False if there is none, or it is another's key."""
        link = self._links.get(link_id)
        if link is None:
            return False
        try:
            check_revocation(link.row.public, signature, link_id, time_s)
        except CryptoError:
            return False
        await self._end(link, Ended.REVOKED)
        return True

    async def set_end_key(self, link_id: bytes, key_hash: bytes) -> bool:
        """From now on others than its maker end a link by the key of this hash, and by no other;
        False if it has ended. Durable when it returns. Who asks was found to be the maker.
        """
        row = self._links[link_id].row
        if row.ended != Ended.LIVE:
            return False
        row.end_key_hash = key_hash
        async with self._store.transaction() as db:
            await rows.write_link(db, row)
        return True

    async def end_by(self, link_id: bytes, key: bytes) -> bool:
        """Ends a link for who shows its end key; False if there is none, or it is another key."""
        link = self._links.get(link_id)
        expected = link.row.end_key_hash if link is not None else None
        # Where there is no key something is compared too: no answer tells which links there are.
        if not is_equal(end_key_hash(link_id, key), expected or bytes(32)):
            return False
        assert link is not None, "nothing has a hash of zeros"
        await self._end(link, Ended.REVOKED)
        return True

    # ------------------------------------------------------------ visitors

    def head(self, link_id: bytes) -> tuple[int, bytes]:
        """Flags and password salt, of any id: that there is no link is not to be seen here."""
        link = self._links.get(link_id)
        if link is None:
            salt = hmac.digest(self._secret, link_id, sha256)[:PASSWORD_SALT_SIZE]
            return 0, salt
        # Whether it gives or takes is in the blob, for who has the secret.
        return link.row.flags & LinkFlags.PASSWORD, link.row.password_salt

    async def claim(
        self, link_id: bytes, token: bytes, host: str
    ) -> Claimed | Unknown | Gone | Later:
        """Takes one download for who shows the token."""
        now, origin = self._clock(), origin_of(host)
        if not self._claims.take(origin, now) or not self._wrong.has(origin, now):
            return Later(self._wrong.seconds_left(now))
        if not self._wrong_of_link.has(link_id, now):
            return Later(self._wrong_of_link.seconds_left(now))
        link = self._links.get(link_id)
        # An unknown id is compared with something too, so that the answer takes as long.
        expected = link.row.token_hash if link is not None else bytes(32)
        if not is_equal(token_hash(token), expected) or link is None:
            # Also of an id that there is not: what is refused must not tell which there are.
            self._wrong.take(origin, now)
            self._wrong_of_link.take(link_id, now)
            return Unknown()
        await self._check_end(link)
        row = link.row
        if row.ended != Ended.LIVE:
            return Gone(Ended(row.ended))
        if row.downloads_max and row.downloads >= row.downloads_max:
            return Gone(Ended.USED_UP)
        await self._give_back([link])
        if row.downloads_max and row.downloads + link.reserved >= row.downloads_max:
            return Later(RESERVED_S, is_taken=True)
        if len(link.downloads) >= TICKETS_PER_LINK:
            return Later(RESERVED_S)
        ticket = self._random(TICKET_SIZE)
        now_s = int(self._wall_clock())
        download = Download(row, TicketRow(sha256(ticket).digest(), link_id, now_s), 0, now_s)
        # Entered before it is written: who claims meanwhile finds it taken.
        self._enter(link, download)
        async with self._store.transaction() as db:
            await rows.write_tickets(db, [download.row])
        return Claimed(ticket, self._path(link_id))

    async def admit(
        self, link_id: bytes, pack_id: bytes, ticket: bytes
    ) -> Reading | Unknown | Gone:
        """The download that a ticket stands for, if this pack is part of it."""
        download = await self.admit_sender(link_id, ticket)
        if not isinstance(download, Download):
            return download
        is_list = await rows.holds_pages(self._store, link_id, pack_id)
        return Unknown() if is_list is None else Reading(download, is_list)

    async def admit_sender(self, link_id: bytes, ticket: bytes) -> Download | Unknown | Gone:
        """What a ticket of this link stands for, whatever is asked by it."""
        download = self._tickets.get(sha256(ticket).digest())
        link = self._links.get(link_id)
        if download is None or link is None or download.row.link_id != link_id:
            return Unknown()
        await self._check_end(link)
        if link.row.ended != Ended.LIVE:
            return Gone(Ended(link.row.ended))
        if self._is_over(download, self._wall_clock()):
            return Unknown()
        await self._touch(download)
        return download

    async def give_back(self, link_id: bytes, ticket: bytes) -> bool | Unknown | Gone:
        """A download that is not wanted after all is there for others at once; False if something
        of it was served: else all of a link could be had in pieces that do not count.
        """
        download = await self.admit_sender(link_id, ticket)
        if not isinstance(download, Download):
            return download
        if download.row.is_counted or download.served:
            return False
        download.is_given_back = True  # what it is reading just now is not served any more
        await self._forget([download])
        return True

    async def count(self, reading: Reading, size: int) -> bool:
        """So many bytes are about to be served; one that counts from now on is on disk first.
        False if they may not be: the link has ended, or the download was given back.
        """
        download = reading.download
        row, link = download.row, download.link
        if not download.is_live:
            return False
        if reading.is_list and download.listed + size <= LISTED_TIMES * link.pages_size:
            download.listed += size
            return True
        download.served += size
        is_enough = min(COUNTED_BYTES, link.packs_size / COUNTED_SHARE)
        if row.is_counted or download.served < is_enough:
            return True
        row.is_counted = 1
        link.downloads += 1
        async with self._store.transaction() as db:
            await rows.write_tickets(db, [row])
            await rows.write_link(db, link)
        if link.downloads_max and link.downloads >= link.downloads_max:
            # Whoever claimed has it; nobody else can.
            self._path(link.link_id).unlink(missing_ok=True)
        return True

    # ------------------------------------------------------------ ends

    async def sweep(self) -> None:
        """Ends what is over, gives back what was not used, and forgets what is long past."""
        links = list(self._links.values())
        for link in links:
            await self._check_end(link)
        await self._give_back(links)
        now = self._wall_clock()
        async with self._store.transaction() as db:
            await rows.lease_packs(db, int(now), int(now) + LEASED_S)
        for link in links:
            row = link.row
            if row.ended == Ended.LIVE:
                is_used_up = row.downloads_max and row.downloads >= row.downloads_max
                if is_used_up and not link.downloads:
                    await self._end(link, Ended.USED_UP)
            elif now >= row.ended_s + REMEMBERED_S:
                async with self._store.transaction() as db:
                    await rows.delete_link(db, row.link_id)
                del self._links[row.link_id]

    async def _check_end(self, link: _Link) -> None:
        row = link.row
        if row.ended == Ended.LIVE and row.expires_s and self._wall_clock() >= row.expires_s:
            await self._end(link, Ended.EXPIRED)

    async def _end(self, link: _Link, how: Ended) -> None:
        row = link.row
        if row.ended != Ended.LIVE:
            return
        # What is being served stops at its next piece, before anything is awaited.
        row.ended, row.ended_s = how, int(self._wall_clock())
        self._path(row.link_id).unlink(missing_ok=True)
        _sync(self._directory)
        async with self._store.transaction() as db:
            await rows.write_link(db, row)
            await rows.write_packs(db, row.link_id, ())
        log.info("a share link has ended", extra={"values": {"how": how.word}})

    async def _give_back(self, links: Sequence[_Link]) -> None:
        now = self._wall_clock()
        over = [d for link in links for d in link.downloads.values() if self._is_over(d, now)]
        if over:
            await self._forget(over)

    async def _forget(self, downloads: Sequence[Download]) -> None:
        for download in downloads:
            self._tickets.pop(download.row.ticket_hash, None)
            self._links[download.row.link_id].downloads.pop(download.row.ticket_hash, None)
        async with self._store.transaction() as db:
            await rows.delete_tickets(db, [download.row.ticket_hash for download in downloads])

    def _is_over(self, download: Download, now: float) -> bool:
        # A ticket of a link that ended is known for a day, to say so to who has it.
        stays = download.row.is_counted or not download.is_live
        return now >= download.row.used_s + (GOES_ON_S if stays else RESERVED_S)

    async def _touch(self, download: Download) -> None:
        now_s = int(self._wall_clock())
        download.row.used_s = now_s
        if now_s - download.saved_s >= SAVED_EVERY_S:
            download.saved_s = now_s
            async with self._store.transaction() as db:
                await rows.write_tickets(db, [download.row])

    def _enter(self, link: _Link, download: Download) -> None:
        link.downloads[download.row.ticket_hash] = download
        self._tickets[download.row.ticket_hash] = download

    def has_room(self, owner: bytes, size: int, link_id: bytes) -> bool:
        """Whether a blob of this size may come, in place of the link's own if there is one."""
        old = self._links.get(link_id)
        live = [
            link.row
            for link in self._links.values()
            if link.row.ended == Ended.LIVE and link is not old
        ]
        own = [row for row in live if row.owner == owner]
        limits = self._limits
        return (
            len(live) < limits.links
            and len(own) < limits.links_per_owner
            and sum(row.blob_size for row in live) + size <= limits.total_bytes
            and sum(row.blob_size for row in own) + size <= limits.owner_bytes
        )

    @staticmethod
    def _has_blob(row: LinkRow) -> bool:
        is_used_up = row.downloads_max and row.downloads >= row.downloads_max
        return row.ended == Ended.LIVE and not is_used_up

    def _path(self, link_id: bytes) -> Path:
        assert len(link_id) == LINK_ID_SIZE
        return self._directory / f"{link_id.hex()}.link"


def _checked(link_id: bytes, blob: Path) -> tuple[LinkHeader, int]:
    data = blob.read_bytes()
    return check_link(link_id, data), len(data)


def _move(blob: Path, path: Path) -> None:
    blob.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
