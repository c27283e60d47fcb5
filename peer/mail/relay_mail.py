"""The mailboxes of this device's folders at one relay, as long as there is a link to it.

A visit lists what is new in a folder's mailboxes, takes what is not known here, puts what devices
that are away lack, and takes away what everybody has. It works from lists and not from memory, so
a relay that lost something is given it again, and a visit that broke off is simply made once more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final

from crypto.epochs import Tier
from crypto.ids import ChunkId, DeviceId, EntryId, FolderId, LogId, RelayId
from crypto.mailbox import Area, MailboxKeys
from crypto.primitives import digest
from peer.connectivity.network import Network
from peer.connectivity.relay_session import RelaySession
from peer.device.ledgers import FolderMembership, Ledgers
from peer.folders.folder import Folder
from peer.folders.neighbours import Parcel
from peer.mail.folder_mail import FolderMail, contents_of
from peer.mail.mailbox import Mailbox, MailboxFull
from protocol.changesets import FrontierEntry, decode_changeset
from protocol.chunk_frames import CODEC_RAW
from protocol.errors import LinkError, ProtocolError
from protocol.events import ReceivedChunk
from protocol.held_changesets import Position
from protocol.ledger import LedgerKind
from protocol.mailbox_control import control_of, epochs_with_mailboxes
from protocol.mailbox_items import (
    CONTROL_LENGTH_MAX,
    ControlEntry,
    ControlFolder,
    ControlWrap,
    Heartbeat,
    decode_control,
    decode_heartbeat,
    positions,
)

log = logging.getLogger(__name__)

TAKE_BYTES: Final = 1 << 20
"""Changesets taken in together, and waited for, so that a large mailbox needs little memory."""
PUT_BYTES: Final = 1 << 20
ROUNDS_MAX: Final = 32
"""Epochs that lead to each other within one visit, and news that come meanwhile."""
TAKEN_TIMEOUT_S: Final = 60.0
"""A folder that is longer busy than this is given more all the same."""
HEARTBEAT_INTERVAL_S: Final = 6 * 3600
"""Said again though nothing has changed: who hears nothing of anybody for a day may be stale."""
RIDING_BYTES: Final = 12 << 20
"""Contents of a folder that ride along; below what a relay keeps, so that none pushes out others.
"""


class RelayMail:
    """All folders' mailboxes on one link."""

    def __init__(
        self,
        relay_id: RelayId,
        host: str,
        session: RelaySession,
        network: Network,
        ledgers: Ledgers,
        mail_of: Callable[[FolderId], FolderMail],
        on_membership: Callable[[], Coroutine[Any, Any, None]],
        random: Callable[[int], bytes],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.source_id = DeviceId(relay_id)
        self.full: set[FolderId] = set()
        """Folders for which the relay has no more room."""
        self._relay_id, self._host, self._session = relay_id, host, session
        self._network, self._ledgers, self._mail_of = network, ledgers, mail_of
        self._on_membership, self._random = on_membership, random
        self._boxes: dict[FolderId, dict[EntryId, Mailbox]] = {}
        self._by_tag: dict[bytes, Mailbox] = {}
        self._turn = asyncio.Lock()
        self._tasks = tasks

    def news(self, tag: bytes) -> None:
        """Somebody has put something there."""
        if tag in self._by_tag:
            self._by_tag[tag].has_news = True

    def close(self) -> None:
        """The link has ended."""
        self._network.sources.remove(self.source_id)

    async def visit(self, folder: Folder, away: Collection[DeviceId]) -> None:
        """Takes and puts what there is to take and put; raises LinkError.

        `away`: who cannot be told directly.
        """
        async with self._turn:
            boxes = await self._take(folder)
            if not boxes:
                return
            if away:
                await self._put(folder, boxes, away)
            await self._drop(folder, boxes)

    async def _take(self, folder: Folder) -> list[Mailbox]:
        """Takes what is new until nothing is; gives the folder's mailboxes."""
        for _ in range(ROUNDS_MAX):
            boxes = await self._open(folder.folder_id)
            fresh = [box for box in boxes if box.has_news]
            if not fresh:
                break
            for box in fresh:
                await box.look()
                if await self._take_control(folder.folder_id, box):
                    await self._on_membership()  # there may be another mailbox now
            for box in fresh:
                await self._read_heartbeats(folder, box)
                await self._take_changesets(folder, box)
            if folder.lacks_bytes:
                folder.ask_again()
        return boxes

    # ------------------------------------------------------------ opening

    async def _open(self, folder_id: FolderId) -> list[Mailbox]:
        """The folder's mailboxes, the newest epoch's last; those of new epochs are opened."""
        membership = self._ledgers.folders.get(folder_id)
        if membership is None or folder_id not in self._network.folders:
            return []
        known = self._boxes.setdefault(folder_id, {})
        is_first = not known
        for epoch_id in epochs_with_mailboxes(membership.ledger, membership.chain):
            if epoch_id in known:
                continue
            box = Mailbox(self._session, self._keys(membership, epoch_id), epoch_id, self._random)
            if await box.open():
                known[epoch_id] = self._by_tag[box.keys.tag] = box
        if known and is_first:
            self._network.sources.add(self.source_id, folder_id, self)
        return list(known.values())

    def _keys(self, membership: FolderMembership, epoch_id: EntryId) -> MailboxKeys:
        chain = membership.chain
        read, write = chain.read_secret(epoch_id), chain.tier_secret(epoch_id, Tier.WRITE)
        assert read is not None
        assert write is not None
        return MailboxKeys.from_secrets(read, write, self._relay_id)

    # ------------------------------------------------------------ taking

    async def _take_control(self, folder_id: FolderId, box: Mailbox) -> bool:
        """Takes up ledger entries and wraps; True if any was new. What is wrong is left out."""
        read = self._mail_of(folder_id).read_control.setdefault(box.keys.tag, set())
        groups = [group for group in box.groups(Area.CONTROL) if group not in read]
        found = await box.take(Area.CONTROL, groups)
        has_grown = False
        for group in groups:
            if group not in found:
                continue
            read.add(group)
            try:
                has_grown |= await self._take_up(folder_id, decode_control(found[group]))
            except ProtocolError as error:
                self._refused(error)
        return has_grown

    async def _take_up(
        self, folder_id: FolderId, control: ControlEntry | ControlWrap | ControlFolder
    ) -> bool:
        if isinstance(control, ControlFolder):
            return await self._take_folder(control)
        if isinstance(control, ControlWrap):
            wrap = (control.recipient_id, control.wrapped)
            return await self._ledgers.receive_wraps(folder_id, control.epoch_id, [wrap])
        own = {LedgerKind.USER: self._ledgers.user_id, LedgerKind.FOLDER: folder_id}
        if control.ledger_id not in own.values():
            return False  # a mailbox speaks of its own folder and user
        return await self._ledgers.receive(control.kind, control.ledger_id, [control.wire])

    async def _take_folder(self, offered: ControlFolder) -> bool:
        """Another folder, which this device has to be in."""
        has_grown = await self._ledgers.receive(
            LedgerKind.FOLDER, offered.folder_id, offered.entries
        )
        for wrap in offered.wraps:
            pair = (wrap.recipient_id, wrap.wrapped)
            has_grown |= await self._ledgers.receive_wraps(offered.folder_id, wrap.epoch_id, [pair])
        return has_grown

    async def _read_heartbeats(self, folder: Folder, box: Mailbox) -> None:
        mail, folder_id = self._mail_of(folder.folder_id), folder.folder_id
        seen = mail.read_heartbeats.setdefault(box.keys.tag, {})
        there = box.groups(Area.HEARTBEATS)
        new = [group for group, position in there.items() if seen.get(group) != position]
        found = await box.take(Area.HEARTBEATS, new)
        for group, data in found.items():
            seen[group] = there[group]
            try:
                signed = decode_heartbeat(data)
                device_id = signed.heartbeat.device_id
                peer = self._ledgers.peer_keys(device_id)
                is_of_here = signed.heartbeat.folder_id == folder_id
                if (
                    peer is None
                    or not is_of_here
                    or not self._ledgers.is_member(device_id, folder_id)
                ):
                    continue
                mail.read(signed.check(peer.sign_pk), int(time.time()))
                folder.note_frontier(signed.heartbeat.held)
            except ProtocolError as error:
                self._refused(error)

    async def _take_changesets(self, folder: Folder, box: Mailbox) -> None:
        """Gives the folder what it does not hold, in the order in which it was put there."""
        mail = self._mail_of(folder.folder_id)
        places = mail.places(box.keys, folder.engine.book, box.groups(Area.CHANGESETS))
        unknown = [group for group in box.groups(Area.CHANGESETS) if group not in places]
        for some in _runs(unknown, box.group_sizes(Area.CHANGESETS)):
            found = await box.take(Area.CHANGESETS, some)
            wires = []
            for group in some:
                data = found.get(group)
                if data is None:
                    continue
                try:
                    changeset = decode_changeset(data)
                except ProtocolError as error:
                    self._refused(error)
                    continue
                places[group] = Position(changeset.log_id, changeset.slot.seq)
                wires.append(data)
            if wires:
                await self._hand_over(folder, tuple(wires))

    async def _hand_over(self, folder: Folder, wires: tuple[bytes, ...]) -> None:
        parcel = Parcel(f"the mailbox at {self._host}")
        folder.changesets_received(wires, parcel, 0)
        try:
            async with asyncio.timeout(TAKEN_TIMEOUT_S):
                await parcel.taken.wait()
        except TimeoutError:
            log.info("a folder is still busy with what came from %s", parcel.name)

    def _refused(self, error: ProtocolError) -> None:
        name = type(error).__name__
        self._network.counts[name] = self._network.counts.get(name, 0) + 1
        log.warning("refused something from the mailbox at %s: %s: %s", self._host, name, error)

    # ------------------------------------------------------------ putting

    async def _put(
        self, folder: Folder, boxes: Sequence[Mailbox], away: Collection[DeviceId]
    ) -> None:
        folder_id = folder.folder_id
        membership = self._ledgers.folders[folder_id]
        sealing = membership.chain.sealing_epoch()
        target = self._boxes[folder_id].get(sealing) if sealing is not None else None
        if target is None:
            return  # the keys are to be renewed first
        held = tuple(folder.engine.frontier)
        ours, mail = positions(held), self._mail_of(folder_id)
        lacking = mail.holdings.lacking(away, ours)
        try:
            for box in boxes:
                await self._put_control(membership, box)
            await self._put_folders(folder_id, target, away)
            for log_id, after in lacking.items():
                await self._put_changesets(folder, boxes, target, log_id, after, ours[log_id])
            # After them: whoever visits in between, and lacks nothing that it has heard of, takes
            # contents away that are there.
            await self._put_contents(folder, target, mail.holdings.unapplied(away, ours), ours)
            is_full = False
        except MailboxFull:
            is_full = True
        try:
            # Of what was written meanwhile it says nothing: that is not there yet.
            await self._put_heartbeat(folder, target, held)
        except MailboxFull:
            is_full = True
        if is_full:
            self.full.add(folder_id)
            log.warning("the mailbox at %s is full: the rest waits for the devices", self._host)
        else:
            self.full.discard(folder_id)

    async def _put_control(self, membership: FolderMembership, box: Mailbox) -> None:
        due = control_of(box.epoch_id, membership.ledger, self._ledgers.user, membership.chain)
        things = [(what, c.encode()) for what, c in due if not box.has(Area.CONTROL, what)]
        if things:
            await box.put(Area.CONTROL, things)

    async def _put_folders(
        self, folder_id: FolderId, target: Mailbox, away: Collection[DeviceId]
    ) -> None:
        """Tells devices that are away of other folders that they are in and may not have heard of.
        Only where none but the user's own devices read it.
        """
        ledgers = self._ledgers
        readers = ledgers.folders[folder_id].ledger
        if not all(ledgers.is_own(d) for d in readers.devices() if readers.is_live(d)):
            return
        for other_id, other in list(ledgers.folders.items()):
            holdings = self._mail_of(other_id).holdings
            if other_id == folder_id or not any(
                other.ledger.is_live(d) and not holdings.is_known(d) for d in away
            ):
                continue
            wraps = tuple(ControlWrap(*wrap) for wrap in other.chain.wraps())
            offered = ControlFolder(other_id, tuple(e.wire for e in other.ledger), wraps).encode()
            what = digest("control", offered)
            if len(offered) <= CONTROL_LENGTH_MAX and not target.has(Area.CONTROL, what):
                await target.put(Area.CONTROL, [(what, offered)])

    async def _put_changesets(
        self,
        folder: Folder,
        boxes: Sequence[Mailbox],
        target: Mailbox,
        log_id: LogId,
        after: int,
        head: int,
    ) -> None:
        book = folder.engine.book

        def is_there(seq: int) -> bool:
            hash_ = book.hash_at(log_id, seq)
            return hash_ is not None and any(box.has(Area.CHANGESETS, hash_) for box in boxes)

        seq = after + 1
        while seq <= head:
            if is_there(seq):
                seq += 1
                continue
            offer = await folder.changesets(log_id, seq - 1, PUT_BYTES)
            if offer is None:  # the folder is being opened anew
                return
            told = list(enumerate(offer.wires, offer.first_seq))
            told += enumerate(offer.declaration, offer.declared_at)
            things = []
            for at, wire in told:
                hash_ = book.hash_at(log_id, at)
                if hash_ is not None and not is_there(at):
                    things.append((hash_, wire))
            await target.put(Area.CHANGESETS, things)
            if not offer.wires:
                return
            seq = offer.first_seq + len(offer.wires)

    async def _put_contents(
        self,
        folder: Folder,
        target: Mailbox,
        unapplied: Mapping[LogId, int],
        ours: Mapping[LogId, int],
    ) -> None:
        """Small files' bytes ride along, the newest first as far as there is room."""
        rode = target.rode
        for log_id, after in unapplied.items():
            # More may be written while this goes on: that rides the next time.
            first, head = max(after, rode.get(log_id, 0)), ours[log_id]
            if first >= head:
                continue
            room = RIDING_BYTES - target.size(Area.CONTENTS)
            async for chunk_id, data in contents_of(folder, log_id, first, head):
                if target.has(Area.CONTENTS, chunk_id):
                    continue
                room -= len(data)
                if room < 0:
                    break
                await target.put(Area.CONTENTS, [(chunk_id, data)])
            rode[log_id] = head

    async def _put_heartbeat(
        self, folder: Folder, target: Mailbox, held: tuple[FrontierEntry, ...]
    ) -> None:
        """Says how far this device is, after all that it says it holds was put."""
        mail, keys = self._mail_of(folder.folder_id), self._ledgers.keys
        applied = tuple(self._network.applied_frontiers.get(folder.folder_id, ()))
        said, tag, now_s = (held, applied), target.keys.tag, int(time.time())
        is_there = target.has(Area.HEARTBEATS, keys.device_id)
        is_fresh = 0 <= now_s - mail.beaten_s.get(tag, 0) < HEARTBEAT_INTERVAL_S
        if mail.beaten.get(tag) == said and is_there and is_fresh:
            return
        beat = Heartbeat(folder.folder_id, keys.device_id, now_s, held, applied)
        await target.put(Area.HEARTBEATS, [(keys.device_id, beat.encode(keys))])
        mail.beaten[tag], mail.beaten_s[tag] = said, now_s

    # ------------------------------------------------------------ taking away

    async def _drop(self, folder: Folder, boxes: Sequence[Mailbox]) -> None:
        """Takes away what every device of the folder holds that was there within a month."""
        mail = self._mail_of(folder.folder_id)
        others = mail.others()
        ours = positions(folder.engine.frontier)
        lacking = mail.holdings.lacking(others, ours)
        shown = positions(self._network.applied_frontiers.get(folder.folder_id, ()))
        is_all_applied = bool(ours) and shown == ours and not mail.holdings.unapplied(others, ours)
        for box in boxes:
            there = box.groups(Area.CHANGESETS)
            places = mail.places(box.keys, folder.engine.book, there)
            known = [(group, places[group]) for group in there if group in places]
            groups = [
                group
                for group, place in known
                if place.seq <= lacking.get(place.log_id, ours.get(place.log_id, 0))
            ]
            # Of changes that the folder has not taken in nobody can say which contents are theirs.
            is_all_held = len(known) == len(there) and all(
                place.seq <= ours.get(place.log_id, 0) for _, place in known
            )
            if is_all_applied and is_all_held:
                groups += box.groups(Area.CONTENTS)
            if groups:
                await box.drop(groups)

    # ------------------------------------------------------------ chunks (chunk_sources)

    def ask(self, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> None:
        """Looks for chunks among the contents that ride along."""
        self._tasks.create_task(self._give(folder_id, chunk_ids))

    async def _give(self, folder_id: FolderId, chunk_ids: Sequence[ChunkId]) -> None:
        chunks: list[ReceivedChunk] = []
        lacking = dict.fromkeys(chunk_ids)
        try:
            for box in list(self._boxes.get(folder_id, {}).values()):
                groups = {
                    box.keys.group(Area.CONTENTS, chunk_id): chunk_id
                    for chunk_id in lacking
                    if box.has(Area.CONTENTS, chunk_id)
                }
                for group, data in (await box.take(Area.CONTENTS, groups)).items():
                    chunk_id = groups[group]
                    chunks.append(ReceivedChunk(chunk_id, CODEC_RAW, len(data), data))
                    del lacking[chunk_id]
        except LinkError as error:
            log.info("no contents from the mailbox at %s: %s", self._host, error)
        await self._network.sources.answered(self.source_id, folder_id, chunk_ids, chunks)


def _runs(groups: Sequence[bytes], sizes: Mapping[bytes, int]) -> Iterator[list[bytes]]:
    run: list[bytes] = []
    size = 0
    for group in groups:
        if run and size + sizes[group] > TAKE_BYTES:
            yield run
            run, size = [], 0
        run.append(group)
        size += sizes[group]
    if run:
        yield run
