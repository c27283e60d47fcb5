"""The shares that this node keeps: what is put, kept, read and thrown away. No rights are here.

A share's row comes first, and its file under a name that does not count. When all leaves are there
and were right, the file is flushed, renamed, its directory flushed, and then the row says that it
is whole. What a crash leaves between two of these steps is gone on with, or collected at the start.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiosqlite

from crypto.ids import RelayId
from crypto.packs import LEAF_SIZE
from crypto.primitives import HASH_SIZE
from crypto.shares import Descriptor, leaf_hashes, merkle_path
from protocol.storage_messages import STANDBY, Holder, ShareState, StoreOutcome
from relay import node_rows
from relay import share_rows as rows
from relay.namespaces import Namespace, Namespaces
from relay.share_commits import ShareCommits
from relay.share_files import ShareFiles, ShareName
from relay.share_rows import PackRow, ShareRow
from relay.store import RelayStore

log = logging.getLogger(__name__)

T = TypeVar("T")

DAY_S: Final = 86_400
LEASE_MAX_S: Final = 90 * DAY_S
TRASH_S: Final = 7 * DAY_S
UNFINISHED_S: Final = DAY_S
"""How long a share waits for the rest of its leaves."""
INCOMING_MAX: Final = 256
"""Shares that come in at once, over all links: each has a file open."""
SWEEP_AT_ONCE: Final = 200
DISK_SPARE_BYTES: Final = 64 << 20
"""Left free on the disk, for the database and its log."""


@dataclass(frozen=True, slots=True)
class StorageLimits:
    """How much a node takes."""

    total_bytes: int
    namespace_bytes: int


@dataclass(slots=True)
class Incoming:
    """A share whose leaves are coming in over one link."""

    name: ShareName
    pack: int
    descriptor: int
    """Of its file."""
    hashes: list[bytes]
    next_leaf: int
    size: int
    has_room: bool = False
    """Room was taken for it, which no row says before its pack is known."""

    @property
    def is_complete(self) -> bool:
        """Whether all leaves are here."""
        return self.next_leaf == len(self.hashes)


class ShareFault(Exception):
    """A request that cannot be carried out, and why."""

    def __init__(self, outcome: StoreOutcome) -> None:
        super().__init__(outcome.name)
        self.outcome = outcome


class Shares:
    """All shares of one node; `run` has to run meanwhile."""

    def __init__(
        self,
        store: RelayStore,
        files: ShareFiles,
        node_id: RelayId,
        limits: StorageLimits,
        wall_clock: Callable[[], float],
    ) -> None:
        self.namespaces = Namespaces(node_id)
        self._node_id = node_id
        self.commits = ShareCommits(store, files)
        self.limits = limits
        self.store, self.files = store, files
        self._wall_clock = wall_clock
        self._coming: dict[ShareName, Incoming] = {}
        self._leaving: set[ShareName] = set()
        """Shares that have no row any more, and whose files are just being taken away."""
        self.run = self.commits.run

    def now_s(self) -> int:
        """Seconds since 1970."""
        return int(self._wall_clock())

    async def start(self) -> None:
        """Counts what an earlier run left, and settles what it left half."""
        await self._settle()
        await self.namespaces.load(self.store)

    def free_bytes(self) -> int:
        """What this node would still take."""
        left = self.limits.total_bytes - self.namespaces.used_bytes()
        return max(0, min(left, self.files.free_bytes() - DISK_SPARE_BYTES))

    # ------------------------------------------------------------ putting

    async def begin(
        self,
        namespace: bytes,
        descriptor: Descriptor,
        number: int,
        hashes: Sequence[bytes],
        lease_until_s: int,
        holders: Sequence[Holder],
    ) -> Incoming | None:
        """A share that is to come, as far as it is here; None if all of it is, or for a standby.

        Raises ShareFault, OSError or sqlite3.Error.
        """
        name, now_s = ShareName(namespace, descriptor.id(), number), self.now_s()
        lease_s = min(lease_until_s, now_s + LEASE_MAX_S)

        async def put_pack(db: aiosqlite.Connection) -> int:
            pack = await rows.put_pack(
                db, namespace, name.descriptor_id, descriptor.pack_id, descriptor.encode(), lease_s,
                stands_by=number == STANDBY,
            )  # fmt: skip
            await node_rows.set_holders(db, pack, holders, now_s)
            # Who says so may not have heard yet of what was rebuilt here, nor the others.
            await node_rows.add_own(db, pack, self._node_id)
            return pack

        return await self._coming_in(name, descriptor, hashes, put_pack)

    async def begin_rebuilt(
        self, pack: PackRow, descriptor: Descriptor, number: int, hashes: Sequence[bytes]
    ) -> Incoming | None:
        """The same of a share that this node makes itself. Nobody has asked for its pack just now:
        the lease stays as it is, who holds what too, and a pack that was thrown away, or whose
        lease has ended, since somebody looked takes nothing in (ShareFault).
        """
        name = ShareName(pack.namespace, pack.descriptor_id, number)
        return await self._coming_in(
            name, descriptor, hashes, lambda db: rows.kept_pack(db, pack.pack)
        )

    async def _coming_in(
        self,
        name: ShareName,
        descriptor: Descriptor,
        hashes: Sequence[bytes],
        put_pack: Callable[[aiosqlite.Connection], Awaitable[int | None]],
    ) -> Incoming | None:
        if name in self._coming or len(self._coming) >= INCOMING_MAX:
            raise ShareFault(StoreOutcome.BUSY)  # one link writes one share
        if name in self._leaving:
            raise ShareFault(StoreOutcome.BUSY)  # what comes now would be taken away with it
        incoming = Incoming(name, -1, -1, list(hashes), 0, descriptor.share_size)
        self._coming[name] = incoming
        try:
            is_here = await self._begin(incoming, descriptor, put_pack)
            if not is_here:
                incoming.next_leaf = await _whole(self._open, incoming)
                return incoming
        except BaseException:
            self.leave(incoming)
            raise
        self.leave(incoming)
        return None

    async def _begin(
        self,
        incoming: Incoming,
        descriptor: Descriptor,
        put_pack: Callable[[aiosqlite.Connection], Awaitable[int | None]],
    ) -> bool:
        """Writes the rows; whether there is no more to come."""
        name, is_standby = incoming.name, incoming.name.number == STANDBY
        row = None if is_standby else await rows.share(self.store, *name)
        if row is not None and not incoming.hashes:
            incoming.hashes = split_hashes(row.hashes)
        if not is_standby and not descriptor.is_share(name.number, incoming.hashes):
            raise ShareFault(StoreOutcome.DAMAGED)
        is_new, space = not is_standby and row is None, self._space(name.namespace)
        if is_new:
            self._take_room(space, descriptor.share_size)
            incoming.has_room = True
        pack: int | None = None
        try:
            pack = await self.commits.do(lambda db: self._put_rows(db, incoming, put_pack, is_new))
        finally:
            if is_new and pack is None:
                incoming.has_room = False
                space.add(ShareState.INCOMING, -descriptor.share_size, -1)
        if pack is None:
            raise ShareFault(StoreOutcome.UNKNOWN)
        incoming.pack = pack
        if row is not None and row.trashed_s is not None:
            await self._recount()  # it was in the trash, with all that is of its pack
        return is_standby or (row is not None and row.state == ShareState.WHOLE)

    async def _put_rows(
        self,
        db: aiosqlite.Connection,
        incoming: Incoming,
        put_pack: Callable[[aiosqlite.Connection], Awaitable[int | None]],
        is_new: bool,
    ) -> int | None:
        name, hashes = incoming.name, rows.joined(incoming.hashes)
        pack = await put_pack(db)
        if pack is None:
            return None
        if is_new:
            position = await rows.next_position(db, name.namespace)
            await rows.put_share(
                db, pack, name.number, position, incoming.size, hashes, self.now_s()
            )
        elif name.number != STANDBY:
            # They were compared with the root: what the row has may have rotted.
            await rows.set_hashes(db, pack, name.number, hashes)
        return pack

    def _open(self, incoming: Incoming) -> int:
        """Opens its file; how many leaves of an earlier try are right."""
        incoming.descriptor = self.files.begin(incoming.name)
        for index, expected in enumerate(incoming.hashes):
            leaf = self.files.read_incoming(incoming.descriptor, index, 1)
            if len(leaf) != LEAF_SIZE or leaf_hashes(leaf, index) != [expected]:
                return index
        return len(incoming.hashes)

    async def take(self, incoming: Incoming, first: int, data: bytes | memoryview) -> None:
        """Leaves that come next; raises ShareFault or OSError."""
        count = len(data) // LEAF_SIZE
        expected = incoming.hashes[first : first + count]
        if first != incoming.next_leaf or not count or len(expected) != count:
            raise ShareFault(StoreOutcome.REFUSED)
        if leaf_hashes(data, first) != expected:
            raise ShareFault(StoreOutcome.DAMAGED)
        await _whole(self.files.write, incoming.descriptor, first, data)
        incoming.next_leaf = first + count

    async def keep(self, incoming: Incoming, *, is_healed: bool = False) -> None:
        """Makes a complete share count; raises OSError or sqlite3.Error, and then it may be begun
        again; ShareFault if nobody wants it any more.
        """
        assert incoming.is_complete
        name, now_s = incoming.name, self.now_s()

        async def work(db: aiosqlite.Connection) -> bool:
            is_there = await rows.set_whole(db, incoming.pack, name.number, now_s)
            if is_there and is_healed:
                await rows.count_healed(db, name.namespace)
                # Not before: who is killed in between, or whose disk fails, begins again.
                await node_rows.add_own(db, incoming.pack, self._node_id)
            return is_there

        try:
            before = await rows.share(self.store, *name)
            await _whole(self.files.sync, incoming.descriptor)
            is_there = await self.commits.do(work, name)
        except OSError:
            # What a failed flush leaves in the cache would pass for what is on the disk.
            await asyncio.to_thread(self.files.discard, name)
            raise
        finally:
            self.leave(incoming)
        if not is_there:
            raise ShareFault(StoreOutcome.UNKNOWN)  # it was thrown away meanwhile
        space = self.namespaces.get(name.namespace)
        if space is not None and before is not None:
            space.add(before.shown_state, -incoming.size, -1)
            space.add(ShareState.WHOLE, incoming.size)
            space.healed += is_healed

    def leave(self, incoming: Incoming) -> None:
        """Closes what was coming in; what is there can be gone on with."""
        if self._coming.get(incoming.name) is incoming:
            del self._coming[incoming.name]
        descriptor, incoming.descriptor = incoming.descriptor, -1
        if descriptor >= 0:
            self.files.close_file(descriptor)

    def _space(self, namespace: bytes) -> Namespace:
        space = self.namespaces.get(namespace)
        if space is None:
            raise ShareFault(StoreOutcome.UNKNOWN)
        return space

    def _take_room(self, space: Namespace, size: int) -> None:
        is_full = space.used_bytes + size > self.limits.namespace_bytes
        if is_full or size > self.free_bytes():
            raise ShareFault(StoreOutcome.FULL)
        space.add(ShareState.INCOMING, size)

    # ------------------------------------------------------------ reading

    async def read(self, row: ShareRow, first: int, count: int) -> bytes:
        """Leaves of a share that is here, as they have to be; raises ShareFault."""
        expected = split_hashes(row.hashes)[first : first + count]
        if len(expected) != count or row.state == ShareState.INCOMING:
            raise ShareFault(StoreOutcome.UNKNOWN)
        try:
            data = await asyncio.to_thread(self.files.read, row.name, first, count)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise ShareFault(StoreOutcome.UNABLE) from error
            log.error("a share cannot be read: %s", error)
            data = b""
        if len(data) != count * LEAF_SIZE or leaf_hashes(data, first) != expected:
            if row.state == ShareState.WHOLE:
                await self.look_at(row)
            raise ShareFault(StoreOutcome.DAMAGED)
        return data

    async def prove(
        self, row: ShareRow, leaves: Sequence[int]
    ) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """These leaves with their paths to the root; raises ShareFault."""
        hashes = split_hashes(row.hashes)
        return [
            (await self.read(row, index, 1), tuple(merkle_path(hashes, index))) for index in leaves
        ]

    async def look_at(self, row: ShareRow) -> int:
        """Reads all of a share, and says in its row how it is; how many leaves are damaged.

        What the row says of the leaves may have rotted itself, which their root shows: where the
        file still is the share, the row is made anew from it.
        """
        damaged, hashes = await asyncio.to_thread(self._compared, row)
        values = {"share": row.name.file, "leaves": damaged}
        if damaged:
            log.error("a share on this disk is damaged", extra={"values": values})
        elif hashes is not None:
            log.error(
                "the hashes of a share were damaged, and were made again", extra={"values": values}
            )
        now_s, state = self.now_s(), ShareState.DAMAGED if damaged else ShareState.WHOLE

        async def work(db: aiosqlite.Connection) -> None:
            if damaged:
                await rows.set_damaged(db, row.pack, row.number, damaged)
                return
            if hashes is not None:
                await rows.set_hashes(db, row.pack, row.number, rows.joined(hashes))
            await rows.set_whole(db, row.pack, row.number, now_s)

        await self.commits.do(work)
        space = self.namespaces.get(row.namespace)
        if space is not None and row.trashed_s is None and state != row.state:
            space.add(ShareState(row.state), -row.size, -1)
            space.add(state, row.size)
        return damaged

    def _compared(self, row: ShareRow) -> tuple[int, list[bytes] | None]:
        """How many leaves of a file are not as they have to be, and the right hashes where those of
        the row are not right and the file is.
        """
        descriptor, hashes = rows.descriptor_of(row), split_hashes(row.hashes)
        if descriptor is None:
            return max(1, len(hashes)), None  # nobody here knows what it has to be
        found: list[bytes] = []
        for first in range(0, descriptor.leaves, 8):
            try:
                data = self.files.read(row.name, first, min(8, descriptor.leaves - first))
            except OSError:
                break
            found += leaf_hashes(data[: len(data) // LEAF_SIZE * LEAF_SIZE], first)
            if len(found) != min(first + 8, descriptor.leaves):
                break
        if descriptor.is_share(row.number, hashes):
            return len(hashes) - sum(a == b for a, b in zip(found, hashes, strict=False)), None
        return (0, found) if descriptor.is_share(row.number, found) else (descriptor.leaves, None)

    # ------------------------------------------------------------ ends

    async def trash(
        self, namespace: bytes, descriptor_ids: Sequence[bytes], *, is_back: bool
    ) -> list[int]:
        """Into the trash, or out of it; which of them are not here, by index."""
        trashed_s = None if is_back else self.now_s()

        async def work(db: aiosqlite.Connection) -> list[bool]:
            return [await rows.trash(db, namespace, each, trashed_s) for each in descriptor_ids]

        there = await self.commits.do(work)
        await self._recount()
        return [index for index, is_there in enumerate(there) if not is_there]

    async def renew(
        self, namespace: bytes, descriptor_ids: Sequence[bytes], lease_until_s: int
    ) -> list[int]:
        """Prolongs leases; which of the packs are not here, by index."""
        lease = min(lease_until_s, self.now_s() + LEASE_MAX_S)

        async def work(db: aiosqlite.Connection) -> list[bool]:
            return [await rows.renew(db, namespace, each, lease) for each in descriptor_ids]

        there = await self.commits.do(work)
        return [index for index, is_there in enumerate(there) if not is_there]

    async def sweep(self) -> int:
        """Takes away some of what is over: leases, trash, what never became whole."""
        now_s = self.now_s()

        async def work(db: aiosqlite.Connection) -> int:
            # What comes in stays, and from here on what leaves does not come in: who was told that
            # a share is kept must not lose its file to a thread that is late.
            coming = self._coming.keys()
            expired = await rows.expire(db, now_s, SWEEP_AT_ONCE)
            removed = await rows.remove_trashed(db, now_s - TRASH_S, SWEEP_AT_ONCE, coming)
            stale = await rows.remove_stale(db, now_s - UNFINISHED_S, SWEEP_AT_ONCE, coming)
            self._leaving.update(removed, stale)
            return expired

        try:
            expired, gone = await self.commits.do(work), len(self._leaving)
            # The rows are gone first: a file without one is collected, a row without one is a loss.
            if gone:
                await asyncio.to_thread(self.files.remove, list(self._leaving))
        finally:
            self._leaving.clear()
        await asyncio.to_thread(self.files.remove_aside, now_s - TRASH_S)
        if expired or gone:
            await self._recount()
        return expired + gone

    async def _recount(self) -> None:
        """After a change of whole packs: what each namespace holds is counted anew."""
        await self.namespaces.recount(self.store)
        for incoming in self._coming.values():
            space = self.namespaces.get(incoming.name.namespace)
            if incoming.has_room and incoming.pack < 0 and space is not None:
                space.add(ShareState.INCOMING, incoming.size)

    async def _settle(self) -> None:
        """What a crash left half: files without rows are set aside for as long as the trash lasts,
        and each row is made to say what its file is.
        """
        known = await rows.all_names(self.store)
        whole, incoming = await asyncio.to_thread(self.files.found)
        await asyncio.to_thread(self.files.remove, incoming - known.keys() - whole)
        unknown = whole - known.keys()
        if unknown:
            # A database that was put back from an older copy knows nothing of what came since.
            log.warning("shares without a row are set aside", extra={"values": {"n": len(unknown)}})
            await asyncio.to_thread(self.files.set_aside, unknown, self.now_s())
        for name, state in known.items():
            is_between = state == ShareState.INCOMING and name in whole
            is_lost = state == ShareState.WHOLE and name not in whole
            if not (is_between or is_lost):
                continue
            row = await rows.share(self.store, *name)
            if row is None:
                continue
            damaged, _ = await asyncio.to_thread(self._compared, row)
            if is_between and damaged:
                continue  # it is put again, from its incoming file or anew
            async with self.store.transaction() as db:
                if damaged:
                    log.error("a share is lost", extra={"values": {"share": name.file}})
                    await rows.set_damaged(db, row.pack, row.number, damaged)
                else:
                    await rows.set_whole(db, row.pack, row.number, self.now_s())


async def _whole(work: Callable[..., T], *arguments: Any) -> T:
    """Does this in a thread, and whoever is cancelled waits for its end: a descriptor that is
    closed under it could be another share's by then.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def split_hashes(hashes: bytes) -> list[bytes]:
    """The hashes of a row."""
    return [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
