"""All connections of this device: who is dialled, what is told to whom, and who is asked for which
chunk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from crypto.ids import ChunkId, DeviceId, FolderId
from peer.connectivity.chunk_sources import ChunkSources
from peer.connectivity.connection import Connection
from peer.core.engine import Ingested
from peer.device.ledgers import Ledgers
from peer.errors import PeerError
from peer.folders.branches import Branches
from peer.folders.folder import Folder
from peer.folders.neighbours import Parcel
from peer.folders.serving import Offer
from protocol import messages
from protocol.changesets import Changeset, FrontierEntry
from protocol.errors import ErrorCode, NewerForm, ProtocolError
from protocol.events import (
    ChangesetsNeeded,
    ChangesetsReceived,
    ChunksMissing,
    ChunksReceived,
    Event,
    FolderShared,
    FolderUnshared,
    FrontierReceived,
    LedgerHeadsReceived,
    LedgerReceived,
    OwnReceived,
    PathsReceived,
    PeerGreeted,
    PeerState,
    ReceivedChunk,
    WrapsReceived,
)
from protocol.handshake import PeerKeys
from protocol.ledger import LedgerKind
from protocol.link import Address, Link, LinkKind
from protocol.transfers import Ask, CancelAsk, FileUnavailable, Transfers

log = logging.getLogger(__name__)

UNREAD_FRAMES: Final = 32
"""Chunk frames waiting for the disk's thread: 8 to 16 MiB; beyond that the link waits."""
FRAMES_AT_ONCE: Final = 16
REQUESTS_MIN: Final = 64
OFFER_AGAIN_S: Final = 5.0
"""When to read again what an index could not give: as long as its folder lets the disk alone."""
DIALLED_AT_ONCE_S: Final = 10.0
"""What two devices that dial each other at the same time may be apart: the five seconds of a dial
and those of a handshake."""


class Network:
    """The connections, and what the folders need of them (folder.Neighbours)."""

    def __init__(
        self,
        ledgers: Ledgers,
        tasks: asyncio.TaskGroup,
        on_greeted: Callable[[Connection], Coroutine[Any, Any, None]],
        on_membership: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.ledgers = ledgers
        self.own_name = ""
        self.folders: dict[FolderId, Folder] = {}
        self.connections: dict[DeviceId, Connection] = {}
        self.counts: dict[str, int] = {}
        """What was refused, by the name of the error: for `status` and the log."""
        self.newer: set[tuple[FolderId | None, DeviceId]] = set()
        """Devices that have told what only a later version of Holdfast can read, and in which
        folder; None if that is not known.
        """
        self.direct_problems: dict[DeviceId, str] = {}
        """Why there is no direct way to a device that a relay leads to: a sentence."""
        self.on_paths: Callable[[Connection, PathsReceived], None] = lambda *told: None
        """Takes part in rounds of probes."""
        self.past_sent_bytes = 0
        self.past_received_bytes = 0
        self._tasks = tasks
        self._on_greeted, self._on_membership = on_greeted, on_membership
        self.on_own: dict[type, Callable[[Any, Connection], Coroutine[Any, Any, None]]] = {}
        """Who takes in what another own device says of relays, copies and trails, by its kind."""
        self._transfers = Transfers()
        self._branches = Branches()
        self._requests: dict[tuple[DeviceId, int], int] = {}
        """(peer, ask number) -> the session's request."""
        self._requests_max = REQUESTS_MIN
        self._chunks: dict[FolderId, asyncio.Queue[tuple[Connection, ChunksReceived]]] = {}
        self.sources = ChunkSources(self._transfers, self.folders, self.counts, self.drive)
        self.applied_frontiers: dict[FolderId, Sequence[FrontierEntry]] = {}
        self.on_told: Callable[..., None] = lambda *told: None
        """(device, folder, entries, is_applied), of what a device says."""
        self.on_grown: Callable[[], None] = lambda: None
        """Called when logs are longer, or more of them is on the disk."""
        self._tick = asyncio.Event()
        self.changed = asyncio.Event()
        """Somebody came or went."""

    # ------------------------------------------------------------ connections

    async def run_connection(self, link: Link, peer: PeerKeys) -> None:
        """Talks over an authenticated link until it ends; of two to one device, one stays."""
        connection = Connection(
            link, peer, self.own_name, self._handle, partial(self._read_chunks, peer.device_id)
        )
        if not self._admit(connection):
            await link.close()
            return
        try:
            if await self.ledgers.keep_introduced():
                await self._on_membership()
            await connection.run()
        except ProtocolError as error:
            connection.close_reason = str(error)
        except Exception as error:
            # The session's door (STYLE 4.4): a defect in handling one peer must not end the others.
            log.exception("the link to %s ended by a defect", peer.device_id.hex()[:8])
            connection.close_reason = str(error)
        finally:
            self.past_sent_bytes += link.sent_bytes
            self.past_received_bytes += link.received_bytes
            if self.connections.get(peer.device_id) is connection:
                del self.connections[peer.device_id]
                self._transfers.peer_left(peer.device_id)
                self._branches.forget(peer.device_id)
                self.drive()
                self.changed.set()
            why = f": {connection.close_reason}" if connection.close_reason else ""
            log.info("%s: link closed%s", connection.name, why)

    def _admit(self, new: Connection) -> bool:
        old = self.connections.get(new.device_id)
        if old is not None:
            is_recent = new.began_at - old.began_at < DIALLED_AT_ONCE_S
            is_alive = not old.link.is_closed and not old.is_doubtful
            if _rank(new.link) < _rank(old.link) and is_alive:
                # Called and dialled at once: the better link stays. Later, who has a link does not
                # call, so the other side has lost it.
                if is_recent:
                    old.doubt()
                    return False
            own, other = self.ledgers.keys.device_id, new.device_id
            is_better = _rank(new.link) > _rank(old.link)
            dialler = own if new.link.is_client else other
            old_dialler = own if old.link.is_client else other
            # Both dialled at once: the link that the smaller id dialled stays (CRYPTO 7).
            is_second = dialler != old_dialler and dialler != min(own, other) and not is_better
            if is_second and is_alive:
                if is_recent:
                    old.doubt()  # or its end was lost with the power
                    return False
                # Who has a link dials none: for the other side the old one is gone.
            old.close()
            old.link.abort()
            self._transfers.peer_left(new.device_id)
            self._branches.forget(new.device_id)
        self.connections[new.device_id] = new
        self.changed.set()
        return True

    def status(self) -> list[Connection]:
        """All connections that have greeted."""
        return [c for c in self.connections.values() if c.name]

    def doubt_all(self) -> None:
        """The network has changed: whoever is not there any more is to be noticed soon."""
        for connection in self.connections.values():
            connection.doubt()

    def addresses_lost(self, lost: Collection[str]) -> None:
        """This machine does not have these addresses any more, or had to take them anew: nothing
        answers to what was sent from there, so those links are not waited for.
        """
        for connection in self.connections.values():
            if connection.own_host in lost:
                connection.link.abort()

    def doubt_relayed(self, place: Address) -> None:
        """A relay is lost: what it carried is to be noticed soon."""
        for connection in self._carried_by(place):
            connection.doubt()

    def is_carried_by(self, place: Address) -> bool:
        """Whether a relay carries any link."""
        return bool(self._carried_by(place))

    def _carried_by(self, place: Address) -> list[Connection]:
        return [
            connection
            for connection in self.connections.values()
            if connection.link.is_relayed and connection.link.peer_address[:2] == place[:2]
        ]

    def close_all(self) -> None:
        """Says goodbye to everybody."""
        for connection in list(self.connections.values()):
            connection.close()

    # ------------------------------------------------------------ folders

    def add_folder(self, folder: Folder) -> None:
        """A folder is at work here: talk of it with everybody who is in it."""
        self.folders[folder.folder_id] = folder
        if folder.folder_id not in self._chunks:
            self._chunks[folder.folder_id] = asyncio.Queue(UNREAD_FRAMES)
            self._tasks.create_task(self._deliver(folder.folder_id))
        for connection in self.connections.values():
            self._share(connection, folder.folder_id)

    def remove_folder(self, folder_id: FolderId) -> None:
        """The folder is at work here no longer."""
        self.folders.pop(folder_id, None)
        for connection in self.connections.values():
            self._unshare(connection, folder_id)

    def _unshare(self, connection: Connection, folder_id: FolderId) -> None:
        connection.session.unshare(folder_id)
        connection.poke()
        self._transfers.peer_left(connection.device_id, folder_id)

    def _share(self, connection: Connection, folder_id: FolderId) -> None:
        folder = self._folder_with(connection, folder_id)
        if folder is not None:
            connection.session.share(folder_id, _entries(folder.engine.frontier))
            connection.poke()
            if folder_id in connection.shared_there:
                self._transfers.peer_joined(connection.device_id, folder_id)
                folder.ask_again()
                self.drive()

    def tell_ledgers(self) -> None:
        """Ledgers have grown here: tell everybody who may see them, and nobody who may no more."""
        for connection in self.connections.values():
            if self.ledgers.peer_keys(connection.device_id) is None:
                connection.close(ErrorCode.NOT_ENTITLED, "the device was removed")
                continue
            for folder_id in self.folders:
                if not self.ledgers.is_member(connection.device_id, folder_id):
                    self._unshare(connection, folder_id)
        for connection in self.status():
            connection.session.send(
                messages.LedgerHeadsKnown(self.ledgers.heads_for(connection.device_id))
            )
            connection.poke()
        for folder_id in self.folders:
            for connection in self.status():
                self._share(connection, folder_id)

    def tell_own(self, message: messages.OwnKnown) -> None:
        """Tells the user's own devices what they all go by."""
        for connection in self.status():
            if self.ledgers.is_own(connection.device_id):
                connection.session.send(message)
                connection.poke()

    def announce(self, folder_id: FolderId, changesets: Sequence[Changeset]) -> None:
        """Tells everybody of changesets of ours."""
        newest = {c.log_id: c for c in changesets}
        entries = [FrontierEntry(c.log_id, c.slot.seq, c.hash) for c in newest.values()]
        self._update(folder_id, entries)
        self.on_grown()

    def acknowledge(
        self, folder_id: FolderId, origin: object, batch: int, entries: Sequence[FrontierEntry]
    ) -> None:
        """Answers a batch of changesets, and tells the others what came."""
        if isinstance(origin, Parcel):
            origin.taken.set()
        if entries:
            self.on_grown()
        for connection in self.connections.values():
            if connection is origin:
                connection.session.update_frontier(folder_id, _entries(entries), batch=batch)
                connection.poke()
            elif entries:
                connection.session.update_frontier(folder_id, _entries(entries))
                connection.poke()
            self._show_branches(connection, folder_id)

    def _show_branches(self, connection: Connection, folder_id: FolderId) -> None:
        """Shows a device what it cannot ask for: of logs that were forked, or are not whole."""
        folder = self._folder_with(connection, folder_id)
        if folder is None or folder_id not in connection.shared_there:
            return
        if self._branches.differ(connection.device_id, folder_id, folder.engine.book):
            self._tasks.create_task(self._show(connection, folder))

    async def _show(self, connection: Connection, folder: Folder) -> None:
        try:
            due = await folder.call(
                lambda: self._branches.due(
                    connection.device_id, folder.folder_id, folder.engine.book, folder.store
                )
            )
        except (PeerError, sqlite3.Error) as error:  # its folder says so too
            log.warning("what is to be shown of logs could not be read: %s", error)
            return
        current = self.connections.get(connection.device_id)
        if current is not connection:  # it was not shown after all
            self._branches.unshow(connection.device_id, folder.folder_id)
            if current is not None:
                self._show_branches(current, folder.folder_id)
            return
        for log_id, first_seq, wires, is_beside in due:
            session = connection.session
            tell = session.show_changesets if is_beside else session.offer_changesets
            tell(folder.folder_id, log_id, first_seq, wires)
        connection.poke()

    def applied(self, folder_id: FolderId, entries: Sequence[FrontierEntry]) -> None:
        """Tells everybody what is on our disk."""
        self.applied_frontiers[folder_id] = tuple(entries)
        self.on_grown()
        for connection in self.connections.values():
            connection.session.update_frontier(folder_id, _entries(entries), applied=True)
            connection.poke()

    def _update(self, folder_id: FolderId, entries: Sequence[FrontierEntry]) -> None:
        for connection in self.connections.values():
            connection.session.update_frontier(folder_id, _entries(entries))
            connection.poke()

    def misbehaved(self, folder_id: FolderId, origin: object, ingested: Ingested) -> None:
        """Counts and logs what was refused; the link goes on unless it was its own doing."""
        for refused in ingested.refused:
            if isinstance(refused.error, NewerForm):
                if refused.changeset is not None:
                    self.newer.add((folder_id, refused.changeset.slot.device_id))
                elif isinstance(origin, Connection):
                    self.newer.add((folder_id, origin.device_id))
            name = type(refused.error).__name__
            self.counts[name] = self.counts.get(name, 0) + 1
            who = origin.name if isinstance(origin, Connection | Parcel) else "?"
            log.warning("refused a changeset from %s: %s: %s", who, name, refused.error)
        for fork in ingested.forks:
            self.counts["Fork"] = self.counts.get("Fork", 0) + 1
            log.warning("a log was forked at %d", fork.position.seq)

    # ------------------------------------------------------------ events of sessions

    async def _handle(self, connection: Connection, event: Event) -> None:
        try:
            await self._dispatch(connection, event)
        except ProtocolError as error:
            name = type(error).__name__
            self.counts[name] = self.counts.get(name, 0) + 1
            log.warning("%s: %s: %s", connection.name, name, error)
            connection.session.close(error.code, str(error))

    async def _dispatch(self, connection: Connection, event: Event) -> None:
        ledgers, session = self.ledgers, connection.session
        match event:
            case PeerGreeted():
                connection.name = event.device_name
                log.info("%s: linked by %s", connection.name, connection.kind_name)
                session.send(messages.LedgerHeadsKnown(ledgers.heads_for(connection.device_id)))
                for folder_id in self.folders:
                    self._share(connection, folder_id)
                connection.measure()
                await self._on_greeted(connection)
                self.changed.set()
            case LedgerHeadsReceived():
                self._send_ledgers(connection, event)
            case LedgerReceived(kind, ledger_id, entries):
                try:
                    if await ledgers.receive(kind, ledger_id, entries):
                        await self._on_membership()
                except NewerForm as error:
                    log.warning("%s: a ledger: %s", connection.name, error)
                    known = FolderId(ledger_id) if ledger_id in ledgers.folders else None
                    self.newer.add((known, connection.device_id))
            case WrapsReceived(folder_id, epoch_id, wraps):
                if await ledgers.receive_wraps(folder_id, epoch_id, wraps):
                    await self._on_membership()
            case FolderShared(folder_id, entries):
                connection.shared_there.add(folder_id)
                self._share(connection, folder_id)
                self._note_frontier(connection, folder_id, entries)
                self.on_told(connection.device_id, folder_id, entries, False)
            case FolderUnshared(folder_id):
                connection.shared_there.discard(folder_id)
                self._transfers.peer_left(connection.device_id, folder_id)
                self.drive()
            case FrontierReceived(folder_id, entries, is_applied):
                self._note_frontier(connection, folder_id, entries)
                self.on_told(connection.device_id, folder_id, entries, is_applied)
                folder = self._folder_with(connection, folder_id)
                if is_applied and folder is not None and folder.lacks_bytes:
                    folder.ask_again()
            case ChangesetsNeeded():
                await self._offer(connection, event)
            case ChangesetsReceived(folder_id, changesets, batch):
                folder = self._folder_with(connection, folder_id)
                if folder is not None:
                    folder.changesets_received(changesets, connection, batch)
            case ChunksReceived():
                await self._chunks[event.folder_id].put((connection, event))
            case ChunksMissing(folder_id, _, ids):
                self._transfers.missing(connection.device_id, folder_id, ids)
                self.drive()
            case OwnReceived():
                # Who is not the user's own does not say where the user's devices meet.
                if ledgers.is_own(connection.device_id) and type(event) in self.on_own:
                    await self.on_own[type(event)](event, connection)
            case PeerState():
                pass
            case PathsReceived():
                self.on_paths(connection, event)

    def _folder_with(self, connection: Connection, folder_id: FolderId) -> Folder | None:
        """The folder, if this device is in it now, and not only when it connected."""
        is_member = self.ledgers.is_member(connection.device_id, folder_id)
        return self.folders.get(folder_id) if is_member else None

    def _note_frontier(
        self,
        connection: Connection,
        folder_id: FolderId,
        entries: Sequence[messages.FrontierEntry],
    ) -> None:
        folder = self._folder_with(connection, folder_id)
        if folder is not None:
            folder.note_frontier(entries)
            self._branches.told(connection.device_id, folder_id, entries)
            self._show_branches(connection, folder_id)

    def _send_ledgers(self, connection: Connection, event: LedgerHeadsReceived) -> None:
        """Sends what the other side lacks of each ledger that it may see."""
        theirs: Mapping[bytes, Any] = {known.ledger_id: known.heads for known in event.ledgers}
        session, ledgers = connection.session, self.ledgers
        if any(not ledgers.knows(known) for known in event.ledgers):
            # They know more: say what we know, and they send the rest.
            session.send(messages.LedgerHeadsKnown(ledgers.heads_for(connection.device_id)))
        if ledgers.is_own(connection.device_id):
            known = theirs.get(ledgers.user_id, ())
            entries = ledgers.user.export(known)
            if entries:
                session.send_ledger(LedgerKind.USER, ledgers.user_id, entries)
        for folder_id, membership in ledgers.folders.items():
            if not ledgers.is_member(connection.device_id, folder_id):
                continue
            entries = membership.ledger.export(theirs.get(folder_id, ()))
            if entries:
                session.send_ledger(LedgerKind.FOLDER, folder_id, entries)
            for epoch_id in membership.ledger.epoch_ids():
                wraps = membership.chain.wraps([epoch_id])
                if wraps:
                    told = tuple(
                        messages.Wrap(w.recipient_id, w.wrapped)  # type: ignore[arg-type]
                        for w in wraps
                    )
                    session.send(messages.Wraps(folder_id, epoch_id, told))
            self._share(connection, folder_id)

    async def _offer(self, connection: Connection, event: ChangesetsNeeded) -> None:
        folder = self._folder_with(connection, event.folder_id)
        budget = event.budget_bytes
        for need in event.logs:
            offer = Offer(need.after_seq + 1, [])
            if folder is not None:
                read = await folder.changesets(need.log_id, need.after_seq, max(budget, 1))
                if read is None:  # its index does not answer; an empty offer would be an answer
                    again = ChangesetsNeeded(event.folder_id, (need,), event.budget_bytes)
                    self._tasks.create_task(self._offer_later(connection, again))
                    continue
                offer = read
            budget -= sum(map(len, offer.wires))
            session, where = connection.session, (event.folder_id, need.log_id)
            session.show_changesets(*where, offer.declared_at, offer.declaration)
            session.offer_changesets(*where, offer.first_seq, offer.wires)

    async def _offer_later(self, connection: Connection, event: ChangesetsNeeded) -> None:
        await asyncio.sleep(OFFER_AGAIN_S)
        if self.connections.get(connection.device_id) is connection:
            await self._offer(connection, event)
            connection.poke()

    # ------------------------------------------------------------ chunks

    async def _read_chunks(
        self, device_id: DeviceId, folder_id: FolderId, ids: list[ChunkId]
    ) -> list[bytes | None]:
        folder = self.folders.get(folder_id)
        if folder is None or folder.is_paused:
            return [None] * len(ids)
        if not self.ledgers.is_member(device_id, folder_id):  # now, and not when it connected
            return [None] * len(ids)
        return await folder.read_chunks(ids)

    def need(
        self, folder_id: FolderId, files: Iterable[tuple[Any, Sequence[tuple[ChunkId, int]]]]
    ) -> None:
        """A folder wants chunks from anybody who has them."""
        self._transfers.need_small_first(folder_id, files)
        self.drive()

    def forget(self, folder_id: FolderId, keys: Iterable[Any]) -> None:
        """A folder wants them no longer."""
        self._transfers.forget(folder_id, keys)

    async def _deliver(self, folder_id: FolderId) -> None:
        """Gives one folder what arrives for it, several frames at a time."""
        queue = self._chunks[folder_id]
        while True:
            got = [await queue.get()]
            while not queue.empty() and len(got) < FRAMES_AT_ONCE:
                got.append(queue.get_nowait())
            folder = self.folders.get(folder_id)
            if folder is None or folder.fetcher is None:
                continue
            # One sender after the other: what one sends wrong is not blamed on another.
            by_sender: dict[Connection, list[ReceivedChunk]] = {}
            for connection, event in got:
                by_sender.setdefault(connection, []).extend(event.chunks)
            for connection, chunks in by_sender.items():
                await self._take(folder, connection, chunks)
            self.drive()
            folder.wake()

    async def _take(
        self, folder: Folder, connection: Connection, chunks: Sequence[ReceivedChunk]
    ) -> None:
        device_id, folder_id = connection.device_id, folder.folder_id
        good, bad = await folder.receive_chunks(chunks)
        self._transfers.received(device_id, folder_id, good, asyncio.get_running_loop().time())
        # What is neither could not be written: it has to be asked for again, in the same order.
        taken = set(good)
        lost = [chunk.chunk_id for chunk in chunks if chunk.chunk_id not in taken]
        self._transfers.missing(device_id, folder_id, lost)
        if bad:
            self.counts["WrongChunk"] = self.counts.get("WrongChunk", 0) + len(bad)
            connection.close(ErrorCode.WRONG_CHUNK, "a chunk with the wrong hash")

    def drive(self) -> None:
        """Carries out what the transfers want now."""
        for command in self._transfers.handle_timer(asyncio.get_running_loop().time()):
            match command:
                case Ask(number, peer, folder_id, ids):
                    connection = self.connections.get(peer)
                    self.sources.ask(peer, folder_id, ids)
                    if connection is not None:
                        request = connection.session.want(folder_id, ids)
                        self._requests[peer, number] = request
                        connection.poke()
                case CancelAsk(number, peer):
                    connection = self.connections.get(peer)
                    request_number = self._requests.pop((peer, number), None)
                    if connection is not None and request_number is not None:
                        connection.session.cancel(request_number)
                        connection.poke()
        self._drop_finished_requests()
        for event in self._transfers.take_events():
            folder = self.folders.get(event.folder_id)
            if folder is None or folder.fetcher is None:
                continue
            if isinstance(event, FileUnavailable):
                folder.fetcher.give_up(event.key)  # type: ignore[arg-type]
                folder.wake()
            else:
                folder.fetcher.recheck(event.key)  # type: ignore[arg-type]
        self._tick.set()

    def _drop_finished_requests(self) -> None:
        """Nobody says when an ask is through, so those that are go when they are many."""
        if len(self._requests) > self._requests_max:
            is_open = self._transfers.is_open
            self._requests = {k: v for k, v in self._requests.items() if is_open(k[1])}
            self._requests_max = 2 * len(self._requests) + REQUESTS_MIN

    async def keep_time(self) -> None:
        """Runs the transfers' clock while anything is on its way."""
        while True:
            deadline = self._transfers.next_deadline()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._tick.wait()
            except TimeoutError:
                self.drive()
            self._tick.clear()


def _rank(link: Link) -> int:
    """The higher the better; what a relay forwards by UDP costs it and both ends less than TCP."""
    if not link.is_relayed:
        return 2
    return 1 if link.kind is LinkKind.QUIC else 0


def _entries(entries: Iterable[FrontierEntry]) -> list[messages.FrontierEntry]:
    return [messages.FrontierEntry(*entry) for entry in entries]
