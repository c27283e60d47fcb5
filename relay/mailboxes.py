"""Mailboxes: sealed items for devices that are away. Who may do what, how much, and how long.

The relay checks two signatures under keys that the tag is a hash of, and learns nothing else: not
who the members are, how many, nor what an item is but its area. What is put is on disk before it is
answered; the puts of all devices share their commits.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import aiosqlite

from crypto.errors import SignatureError
from crypto.ids import RelayId
from crypto.mailbox import Area, Capability, check_proof, tag_of
from protocol.mailbox_messages import (
    FRAME_ITEMS_BYTES,
    ITEM_OVERHEAD_BYTES,
    ITEMS_MAX,
    LISTED_MAX,
    Item,
    MailboxDone,
    MailboxDrop,
    MailboxGet,
    MailboxItems,
    MailboxList,
    MailboxListed,
    MailboxMessage,
    MailboxNews,
    MailboxOpen,
    MailboxOpened,
    MailboxOutcome,
    MailboxPut,
    MailboxRequest,
)
from relay import mailbox_rows as rows
from relay.allowance import Allowance
from relay.limits import MIB, Limits
from relay.mailbox_rows import Removed, Use, Uses, groups_of
from relay.registry import Client
from relay.store import RelayStore

log = logging.getLogger(__name__)

MAILBOXES_PER_CLIENT_MAX: Final = 512
"""Open on one link: 64 folders of eight epochs."""
PENDING_MAX: Final = 16
"""Puts of one device that wait for their commit; the next is read when one is done."""
SWEEP_AT_ONCE: Final = 1_000
"""Old items deleted in one transaction, so that nobody waits long for it."""
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class MailboxLimits:
    """How much a relay keeps, in bytes of sealed items, and for how long."""

    area_bytes: dict[int, int] = field(
        default_factory=lambda: {
            Area.CONTROL: 1 << 20,
            Area.CHANGESETS: 32 << 20,
            Area.CONTENTS: 16 << 20,
            Area.HEARTBEATS: 512 << 10,
        }
    )
    """Of one mailbox: 30,000 small changesets, 1,000 entries of ledgers, 500 devices."""
    items_per_mailbox: int = 65_536
    device_bytes: int = 128 << 20
    """Put by one device, in all mailboxes together."""
    host_bytes_per_minute: int = 512 << 20
    """Put from one address within a minute: an office behind one is as quick as it likes."""
    total_bytes: int = 4 << 30
    mailboxes: int = 65_536
    requests_per_minute: int = 20_000
    """Of one device: 15 KiB each, 5 MB/s."""
    age_s: dict[int, int] = field(
        default_factory=lambda: {
            Area.CONTROL: 400 * DAY_S,
            Area.CHANGESETS: 30 * DAY_S,
            Area.CONTENTS: 30 * DAY_S,
            Area.HEARTBEATS: 30 * DAY_S,
        }
    )


def limits_of(limits: Limits) -> MailboxLimits:
    """What a relay's settings say of mailboxes."""
    return MailboxLimits(
        device_bytes=limits.mailboxes_mib_per_device * MIB, total_bytes=limits.mailboxes_mib * MIB
    )


class Talk(Protocol):
    """A link to a device, as far as mailboxes use it."""

    link_id: bytes

    def say(self, message: MailboxMessage) -> None:
        """Queues one message; nothing if the device does not read."""


@dataclass(slots=True)
class _Guest:
    talk: Talk
    opened: dict[bytes, set[Capability]] = field(default_factory=dict)
    pending: int = 0
    has_room: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Pending:
    client: Client
    guest: _Guest
    message: MailboxPut | MailboxDrop


class Mailboxes:
    """All mailboxes of one relay; `run` has to run meanwhile."""

    def __init__(
        self,
        store: RelayStore,
        relay_id: RelayId,
        limits: MailboxLimits,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self.uses = Uses()
        self.outcomes: Counter[str] = Counter()
        self.damaged = 0
        """Items that the disk had changed, and that were dropped."""
        """What came of the requests since the start; for who watches."""
        self._store, self._relay_id, self._limits = store, relay_id, limits
        self._clock, self._wall_clock = clock, wall_clock
        self._guests: dict[Client, _Guest] = {}
        self._watchers: dict[bytes, set[Client]] = {}
        self._pending: list[_Pending] = []
        self._has_pending = asyncio.Event()
        self._requests = Allowance(limits.requests_per_minute)
        self._host_bytes = Allowance(limits.host_bytes_per_minute)

    async def run(self) -> None:
        """Writes what is put, in commits that all who wait share."""
        while True:
            await self._has_pending.wait()
            self._has_pending.clear()
            pending, self._pending = self._pending, []
            await self._write(pending)

    async def start(self) -> None:
        """Counts what an earlier run left."""
        self.uses = await rows.load(self._store)

    # ------------------------------------------------------------ clients

    def leave(self, client: Client) -> None:
        """The device's link has ended, and with it what it opened."""
        guest = self._guests.pop(client, None)
        if guest is None:
            return
        for tag in guest.opened:
            watchers = self._watchers.get(tag, set())
            watchers.discard(client)
            if not watchers:
                self._watchers.pop(tag, None)

    async def answer(self, client: Client, talk: Talk, request: MailboxRequest) -> None:
        """Does what a device asks, as far as it may; puts are answered when they are durable."""
        guest = self._guests.get(client)
        if guest is None:
            guest = self._guests[client] = _Guest(talk)
        if not self._requests.take(client.pseudonym, self._clock()):
            self._say(talk, _refusal(request, MailboxOutcome.BUSY))
            return
        match request:
            case MailboxOpen():
                self._say(talk, self._open(client, guest, request))
            case MailboxList(number, tag, after):
                if not self._may(guest, tag, Capability.READ):
                    self._say(talk, _refusal(request, MailboxOutcome.REFUSED))
                    return
                found = await rows.listed(self._store, tag, after, LISTED_MAX + 1)
                is_more = len(found) > LISTED_MAX
                self._say(talk, MailboxListed(number, tuple(found[:LISTED_MAX]), is_more))
            case MailboxGet(number, tag, first, last):
                if not self._may(guest, tag, Capability.READ):
                    self._say(talk, _refusal(request, MailboxOutcome.REFUSED))
                    return
                items, damaged = await rows.items(self._store, tag, first, last, ITEMS_MAX + 1)
                if damaged:
                    await self._drop_damaged(tag, damaged)
                fitting = _fitting(items)
                is_more = len(fitting) < len(items) or bool(damaged)
                self._say(talk, MailboxItems(number, fitting, is_more))
            case MailboxPut() | MailboxDrop():
                await self._take(client, guest, request)

    def _open(self, client: Client, guest: _Guest, request: MailboxOpen) -> MailboxOpened:
        proved = self._proved(request, guest.talk.link_id)
        if not proved:
            return MailboxOpened(request.number, MailboxOutcome.REFUSED, 0)
        if request.tag not in guest.opened and len(guest.opened) >= MAILBOXES_PER_CLIENT_MAX:
            return MailboxOpened(request.number, MailboxOutcome.FULL, 0)
        guest.opened.setdefault(request.tag, set()).update(proved)
        if Capability.READ in proved:
            self._watchers.setdefault(request.tag, set()).add(client)
        use = self.uses.tags.get(request.tag)
        return MailboxOpened(request.number, MailboxOutcome.DONE, use.last_position if use else 0)

    def _proved(self, request: MailboxOpen, link_id: bytes) -> set[Capability]:
        """The capabilities that are proved; none if the tag is not that of the keys, or a proof is
        false.
        """
        if tag_of(self._relay_id, request.read_pk, request.write_pk) != request.tag:
            return set()
        proved = set()
        for capability, public, proof in (
            (Capability.READ, request.read_pk, request.read_proof),
            (Capability.WRITE, request.write_pk, request.write_proof),
        ):
            if not proof:
                continue
            try:
                check_proof(public, proof, capability, self._relay_id, request.tag, link_id)
            except SignatureError:
                return set()
            proved.add(capability)
        return proved

    def _say(self, talk: Talk, answer: MailboxMessage) -> None:
        outcome = MailboxOutcome.DONE
        if isinstance(answer, MailboxDone | MailboxOpened):
            outcome = MailboxOutcome(answer.outcome)
        self.outcomes[outcome.name.lower()] += 1
        talk.say(answer)

    @staticmethod
    def _may(guest: _Guest, tag: bytes, capability: Capability) -> bool:
        return capability in guest.opened.get(tag, ())

    # ------------------------------------------------------------ writing

    async def _take(self, client: Client, guest: _Guest, request: MailboxPut | MailboxDrop) -> None:
        if not self._may(guest, request.tag, Capability.WRITE):
            self._say(guest.talk, MailboxDone(request.number, MailboxOutcome.REFUSED))
            return
        size = sum(len(i.sealed) for i in request.items) if isinstance(request, MailboxPut) else 0
        if size and not self._host_bytes.take(client.host, self._clock(), size):
            self._say(guest.talk, MailboxDone(request.number, MailboxOutcome.BUSY))
            return
        while guest.pending >= PENDING_MAX:
            guest.has_room.clear()
            await guest.has_room.wait()
        guest.pending += 1
        self._pending.append(_Pending(client, guest, request))
        self._has_pending.set()

    async def _write(self, pending: list[_Pending]) -> None:
        outcomes: list[MailboxOutcome] = []
        news: dict[bytes, set[Client]] = {}
        try:
            async with self._store.transaction() as db:
                for one in pending:
                    outcomes.append(await self._carry_out(db, one, news))
        except (sqlite3.Error, OSError) as error:
            log.error("mailboxes cannot be written: %s", error)
            # What was counted was taken back with the transaction.
            self.uses = await rows.load(self._store)
            outcomes, news = [MailboxOutcome.FULL] * len(pending), {}
        for one, outcome in zip(pending, outcomes, strict=True):
            self._say(one.guest.talk, MailboxDone(one.message.number, outcome))
            one.guest.pending -= 1
            one.guest.has_room.set()
        for tag, authors in news.items():
            position = self.uses.tags[tag].last_position
            for client in self._watchers.get(tag, set()):
                if authors != {client}:
                    self._guests[client].talk.say(MailboxNews(tag, position))

    async def _carry_out(
        self, db: aiosqlite.Connection, one: _Pending, news: dict[bytes, set[Client]]
    ) -> MailboxOutcome:
        message = one.message
        if isinstance(message, MailboxDrop):
            self.uses.remove(await rows.delete(db, message.tag, message.names))
            return MailboxOutcome.DONE
        outcome, count = await self._put(db, one.client, message)
        if count:
            news.setdefault(message.tag, set()).add(one.client)
        return outcome

    async def _put(
        self, db: aiosqlite.Connection, client: Client, message: MailboxPut
    ) -> tuple[MailboxOutcome, int]:
        """Puts all of it or nothing: what is not put takes nothing away. The second value is how
        many items are new.
        """
        await db.execute("SAVEPOINT mailbox_put")
        count, removed = await self._replaced(db, client, message)
        if count is None:
            await db.execute("ROLLBACK TO mailbox_put")
            self.uses.put_back(removed)
        await db.execute("RELEASE mailbox_put")
        return (MailboxOutcome.FULL, 0) if count is None else (MailboxOutcome.DONE, count)

    async def _replaced(
        self, db: aiosqlite.Connection, client: Client, message: MailboxPut
    ) -> tuple[int | None, list[Removed]]:
        """How many items are new, None if there is no room for them, and what has made room."""
        tag, area = message.tag, message.area
        by_name = {item.name: item for item in message.items}
        removed: list[Removed] = []
        if area == Area.HEARTBEATS:
            removed = await rows.delete(db, tag, list(by_name))
            self.uses.remove(removed)
        else:
            for name in await rows.known(db, tag, list(by_name)):
                del by_name[name]
        new = list(by_name.values())
        if not new:
            return 0, removed
        use = self.uses.tags.get(tag) or Use()
        size = sum(len(item.sealed) for item in new)
        over = use.bytes[area] + size - self._limits.area_bytes[area]
        if over > 0 and area == Area.CONTENTS:
            removed = await rows.delete_oldest(db, tag, area, over, groups_of(by_name))
            self.uses.remove(removed)
        if not self._has_room(client, tag, use, area, size, len(new)):
            return None, removed
        self.uses.tags[tag] = use
        now_s = int(self._wall_clock())
        await rows.insert(db, tag, area, client.pseudonym, use, new, now_s)
        self.uses.add(tag, client.pseudonym, area, size, len(new))
        return len(new), removed

    def _has_room(
        self, client: Client, tag: bytes, use: Use, area: int, size: int, count: int
    ) -> bool:
        limits, uses = self._limits, self.uses
        return (
            use.bytes[area] + size <= limits.area_bytes[area]
            and use.items + count <= limits.items_per_mailbox
            and uses.devices[client.pseudonym] + size <= limits.device_bytes
            and uses.total_bytes + size <= limits.total_bytes
            and (tag in uses.tags or len(uses.tags) < limits.mailboxes)
        )

    async def _drop_damaged(self, tag: bytes, positions: list[int]) -> None:
        """What the disk has changed is listed no more, and who has the thing puts it again."""
        try:
            async with self._store.transaction() as db:
                removed = await rows.delete_damaged(db, tag, positions)
        except (sqlite3.Error, OSError) as error:
            log.error("a damaged item of a mailbox cannot be dropped: %s", error)
            return
        self.uses.remove(removed)
        self.damaged += len(positions)
        values = {"items": len(positions)}
        log.error("items of a mailbox were damaged on this disk", extra={"values": values})

    # ------------------------------------------------------------ age

    async def sweep(self) -> int:
        """Takes away some of what is too old; says how many items that were."""
        now_s, count = int(self._wall_clock()), 0
        for area, age_s in list(self._limits.age_s.items()):
            async with self._store.transaction() as db:
                removed = await rows.delete_old(db, area, now_s - age_s, SWEEP_AT_ONCE)
            self.uses.remove(removed)
            count += len(removed)
        return count

    def counts(self) -> Counter[str]:
        """For the log: how much there is, and of nobody in particular."""
        items = sum(use.items for use in self.uses.tags.values())
        tags = sum(1 for use in self.uses.tags.values() if use.items)
        return Counter(mailboxes=tags, items=items, bytes=self.uses.total_bytes)


def _refusal(request: MailboxRequest, outcome: MailboxOutcome) -> MailboxMessage:
    match request:
        case MailboxOpen(number):
            return MailboxOpened(number, outcome, 0)
        case _:
            return MailboxDone(request.number, outcome)


def _fitting(items: list[Item]) -> tuple[Item, ...]:
    """As many as fit into a frame; one always does."""
    size = 0
    fitting: list[Item] = []
    for item in items[:ITEMS_MAX]:
        size += len(item.sealed) + ITEM_OVERHEAD_BYTES
        if fitting and size > FRAME_ITEMS_BYTES:
            break
        fitting.append(item)
    return tuple(fitting)
