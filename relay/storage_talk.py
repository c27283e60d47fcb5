"""One storage link: what a device or another node may ask of the shares here, and its answers.

Requests are carried out one after the other, but for STORE_KEEP, which waits for the disk while
more comes in. Every answer to a request that is refused is of the kind that was asked for, with an
outcome and nothing else.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final

from crypto.epochs import Tier
from crypto.errors import FormError, SignatureError
from crypto.ids import RelayId
from crypto.keys import device_id_of
from crypto.namespaces import check_node, check_pseudonym, sign_receipt
from crypto.primitives import HASH_SIZE, KEY_SIZE
from crypto.relay_ids import relay_id_of
from crypto.shares import decode_descriptor
from protocol.errors import ErrorCode, TimedOut, Unexpected
from protocol.link import Link
from protocol.link_messages import LinkRequest
from protocol.relay_address import BadRelayAddress, RelayAddress
from protocol.relay_messages import RelayMessage, RelayPing, RelayPong, decode, encode_parts
from protocol.storage_messages import (
    DESCRIBED_MAX,
    LISTED_MAX,
    PIECE_LEAVES_MAX,
    STANDBY,
    STATS_MAX,
    STORAGE_FRAME_LENGTH_MAX,
    Described,
    Listed,
    ShareState,
    Stat,
    StorageAnswer,
    StorageRequest,
    StoreBegan,
    StoreBegin,
    StoreChallenge,
    StoreChanged,
    StoreDelegate,
    StoreDelete,
    StoreDescribe,
    StoreDescribed,
    StoreDone,
    StoreGet,
    StoreKeep,
    StoreKept,
    StoreLeaves,
    StoreList,
    StoreListed,
    StoreMoved,
    StoreOpen,
    StoreOpened,
    StoreOutcome,
    StorePeer,
    StorePiece,
    StoreProof,
    StorePut,
    StoreRenew,
    StoreStarted,
    StoreStat,
    StoreStats,
    StoreUsage,
    StoreUsed,
)
from protocol.upload_messages import UploadRequest
from relay import node_rows
from relay import share_rows as rows
from relay.link_desk import LinkTalk
from relay.namespaces import Opened
from relay.registry import Client
from relay.share_files import ShareName
from relay.share_rows import PackRow, ShareRow
from relay.shares import Incoming, ShareFault
from relay.storage_desk import StorageDesk
from relay.upload_desk import UploadTalk

log = logging.getLogger(__name__)

SILENCE_MAX_S: Final = 90.0
"""A device pings every 25 s."""
INCOMING_PER_LINK_MAX: Final = 32
"""Shares under way at once, each with a file open."""
KEEPING_MAX: Final = 32
"""Shares of one link that wait for the disk; the next request is read when one is done."""


async def converse(
    desk: StorageDesk, client: Client, link: Link, begin: StoreBegin, clock: Callable[[], float]
) -> None:
    """Answers until the link ends; raises ProtocolError for an offence."""
    desk.enter(link, client)
    talk = StorageTalk(desk, client.pseudonym, link)
    try:
        async with asyncio.TaskGroup() as tasks:
            await talk.begin(begin)
            while True:
                frame = await _next(link)
                if frame is None:
                    break
                message = decode(*frame)
                if isinstance(message, RelayPing):
                    talk.say(RelayPong(message.value))
                elif not isinstance(message, StorageRequest | LinkRequest | UploadRequest):
                    raise Unexpected("a message that is none of a storage link's")
                elif isinstance(message, LinkRequest):
                    is_left = desk.requests.take(client.pseudonym, clock())
                    talk.say(await talk.share_links.answer(message, is_busy=not is_left))
                elif isinstance(message, UploadRequest):
                    is_left = desk.requests.take(client.pseudonym, clock())
                    talk.say(await talk.uploads.answer(message, is_busy=not is_left))
                elif not desk.requests.take(client.pseudonym, clock()):
                    talk.say(_refusal(message, StoreOutcome.BUSY))
                else:
                    await talk.answer(message, tasks)
                await link.drain()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        desk.links.pop(link, None)
        talk.leave()


async def _next(link: Link) -> tuple[int, bytes] | None:
    try:
        async with asyncio.timeout(SILENCE_MAX_S):
            return await link.receive()
    except TimeoutError:
        link.abort(ErrorCode.TIMEOUT)
        raise TimedOut("a device was silent for too long") from None


class StorageTalk:
    """What one link has opened and has under way."""

    def __init__(self, desk: StorageDesk, pseudonym: bytes, link: Link) -> None:
        self._desk, self._shares, self._link = desk, desk.shares, link
        self._founder, self._may_found = pseudonym, False
        self._opened = Opened()
        self._node: RelayId | None = None
        """Which node calls, if it has shown that it is one."""
        self._incoming: dict[ShareName, Incoming] = {}
        self._keeping = asyncio.Semaphore(KEEPING_MAX)
        self.share_links = LinkTalk(desk.share_links, self._allows)
        self.uploads = UploadTalk(desk.share_links, self._allows)

    def _allows(self, namespace: bytes, tier: Tier) -> StoreOutcome:
        return self._shares.namespaces.allows(self._opened, namespace, tier)

    def say(self, message: RelayMessage) -> None:
        """Queues one message."""
        self._link.send(*encode_parts(message))

    def leave(self) -> None:
        """Closes what was under way: it can be gone on with over another link."""
        for incoming in self._incoming.values():
            self._shares.leave(incoming)
        self._incoming.clear()
        self.share_links.leave()

    async def begin(self, begin: StoreBegin) -> None:
        """Says what this node is, and learns whose the link is."""
        self._link.set_frame_limit(STORAGE_FRAME_LENGTH_MAX)
        if begin.voucher:
            sign_pk, dh_pk = begin.voucher[:KEY_SIZE], begin.voucher[KEY_SIZE : 2 * KEY_SIZE]
            proof = begin.voucher[2 * KEY_SIZE :]
            try:
                check_pseudonym(sign_pk, proof, self._desk.node_id, self._link.link_id)
            except SignatureError:
                self.say(StoreBegan(StoreOutcome.REFUSED, "", "", 0, 0))
                return
            self._founder = device_id_of(sign_pk, dh_pk)
        self._may_found = await self._desk.is_admitted(self._founder)
        words, shares = self._desk.words, self._shares
        self.say(
            StoreBegan(
                StoreOutcome.DONE, words.owner, words.region, shares.free_bytes(),
                shares.limits.namespace_bytes,
            )
        )  # fmt: skip

    async def answer(self, request: StorageRequest, tasks: asyncio.TaskGroup) -> None:
        """Does what is asked, as far as it may be done, and says what came of it."""
        if isinstance(request, StoreKeep):
            await self._keeping.acquire()
            tasks.create_task(self._keep(request))
            return
        self.say(await self._outcome(request, self._act(request)))

    async def _outcome(
        self, request: StorageRequest, act: Awaitable[StorageAnswer]
    ) -> StorageAnswer:
        try:
            return await act
        except ShareFault as fault:
            return _refusal(request, fault.outcome)
        except OSError as error:
            log.error("shares cannot be read or written: %s", error)
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return _refusal(request, StoreOutcome.FULL if is_full else StoreOutcome.UNABLE)
        except sqlite3.Error as error:
            log.error("shares cannot be counted: %s", error)
            return _refusal(request, StoreOutcome.UNABLE)

    async def _act(self, request: StorageRequest) -> StorageAnswer:
        match request:
            case StoreDelegate():
                return await self._delegate(request)
            case StoreOpen():
                return self._open(request)
            case StorePeer():
                return self._show_node(request)
            case StorePut():
                return await self._put(request)
            case StorePiece():
                return await self._take(request)
            case StoreGet():
                return await self._get(request)
            case StoreChallenge():
                return await self._prove(request)
            case StoreStat():
                return await self._stat(request)
            case StoreList():
                return await self._list(request)
            case StoreDescribe():
                return await self._describe(request)
            case StoreRenew():
                self._demand(request.namespace, Tier.WRITE)
                missing = await self._shares.renew(
                    request.namespace, request.descriptor_ids, request.lease_until_s
                )
                return StoreChanged(request.number, StoreOutcome.DONE, tuple(missing))
            case StoreDelete():
                self._demand(request.namespace, Tier.OWNER)
                missing = await self._shares.trash(
                    request.namespace, request.descriptor_ids, is_back=request.is_back
                )
                return StoreChanged(request.number, StoreOutcome.DONE, tuple(missing))
            case StoreUsage():
                return await self._usage(request)
            case StoreMoved():
                return await self._moved(request)
            case StoreKeep():
                raise AssertionError("it is carried out by `_keep`")

    # ------------------------------------------------------------ rights

    def _open(self, request: StoreOpen) -> StoreOpened:
        spaces = self._shares.namespaces
        outcome = spaces.open(self._opened, request, self._link.link_id)
        space = spaces.get(request.namespace)
        # To a former member a delegation says that there is a newer one, and nothing else.
        shows = space is not None and outcome in (StoreOutcome.DONE, StoreOutcome.OLDER)
        return StoreOpened(
            request.number, outcome, space.row.delegation if space is not None and shows else b""
        )

    async def _delegate(self, request: StoreDelegate) -> StoreOpened:
        spaces, now_s = self._shares.namespaces, self._shares.now_s()
        row = spaces.judge(request, self._founder, now_s, may_found=self._may_found)
        if isinstance(row, StoreOutcome):
            raise ShareFault(row)
        await self._shares.commits.do(lambda db: rows.put_namespace(db, row))
        spaces.take_up(row)
        return StoreOpened(request.number, StoreOutcome.DONE, row.delegation)

    def _show_node(self, request: StorePeer) -> StoreDone:
        desk = self._desk
        try:
            check_node(request.sign_pk, request.proof, desk.node_id, self._link.link_id)
        except SignatureError:
            raise ShareFault(StoreOutcome.REFUSED) from None
        self._node = relay_id_of(request.sign_pk, request.dh_pk)
        return StoreDone(request.number, StoreOutcome.DONE)

    def _demand(self, namespace: bytes, tier: Tier) -> None:
        outcome = self._shares.namespaces.allows(self._opened, namespace, tier)
        if outcome is not StoreOutcome.DONE:
            raise ShareFault(outcome)

    async def _pack(self, namespace: bytes, descriptor_id: bytes) -> PackRow | None:
        """The pack that the link may read; for a node, one that it holds a share of."""
        store = self._shares.store
        if namespace:
            return await rows.pack(store, namespace, descriptor_id)
        assert self._node is not None
        for pack in await rows.packs_of_descriptor(store, descriptor_id):
            if await node_rows.held_numbers(store, pack.pack, self._node):
                return pack
        return None

    def _demand_reading(self, namespace: bytes) -> None:
        if namespace:
            self._demand(namespace, Tier.READ)
        elif self._node is None:
            raise ShareFault(StoreOutcome.REFUSED)

    async def _share(self, namespace: bytes, descriptor_id: bytes, number: int) -> ShareRow:
        self._demand_reading(namespace)
        if not namespace:
            pack = await self._pack(namespace, descriptor_id)
            if pack is None:
                raise ShareFault(StoreOutcome.UNKNOWN)
            namespace = pack.namespace
        row = await rows.share(self._shares.store, namespace, descriptor_id, number)
        if row is None:
            raise ShareFault(StoreOutcome.UNKNOWN)
        return row

    # ------------------------------------------------------------ putting

    async def _put(self, request: StorePut) -> StoreStarted:
        self._demand(request.namespace, Tier.WRITE)
        try:
            descriptor = decode_descriptor(request.descriptor)
            for holder in request.holders:
                RelayAddress.parse(holder.address)
        except (FormError, BadRelayAddress):
            raise ShareFault(StoreOutcome.DAMAGED) from None
        numbers = {request.share, *(holder.number for holder in request.holders)}
        if any(number >= descriptor.count for number in numbers - {STANDBY}):
            raise ShareFault(StoreOutcome.DAMAGED)
        name = ShareName(request.namespace, descriptor.id(), request.share)
        if (begun := self._incoming.get(name)) is not None:
            return StoreStarted(request.number, StoreOutcome.DONE, begun.next_leaf)
        if len(self._incoming) >= INCOMING_PER_LINK_MAX:
            raise ShareFault(StoreOutcome.BUSY)
        incoming = await self._shares.begin(
            request.namespace, descriptor, request.share, request.hashes, request.lease_until_s,
            request.holders,
        )  # fmt: skip
        if incoming is None:
            return StoreStarted(request.number, StoreOutcome.DONE, descriptor.leaves)
        self._incoming[name] = incoming
        return StoreStarted(request.number, StoreOutcome.DONE, incoming.next_leaf)

    async def _take(self, request: StorePiece) -> StoreDone:
        self._demand(request.namespace, Tier.WRITE)
        name = ShareName(request.namespace, request.descriptor_id, request.share)
        incoming = self._incoming.get(name)
        if incoming is None:
            raise ShareFault(StoreOutcome.UNKNOWN)
        await self._shares.take(incoming, request.first, request.data)
        self._desk.put_bytes += len(request.data)
        return StoreDone(request.number, StoreOutcome.DONE)

    async def _keep(self, request: StoreKeep) -> None:
        try:
            self.say(await self._outcome(request, self._kept(request)))
        finally:
            self._keeping.release()

    async def _kept(self, request: StoreKeep) -> StoreKept:
        self._demand(request.namespace, Tier.WRITE)
        name = ShareName(request.namespace, request.descriptor_id, request.share)
        incoming = self._incoming.get(name)
        if incoming is not None:
            if not incoming.is_complete:
                raise ShareFault(StoreOutcome.REFUSED)
            del self._incoming[name]
            await self._shares.keep(incoming)
        row = await rows.share(self._shares.store, *name)
        if row is None or row.state != ShareState.WHOLE:
            raise ShareFault(StoreOutcome.UNKNOWN)
        now_s = self._shares.now_s()
        receipt = sign_receipt(
            self._desk.keys.sign_seed, name.descriptor_id, name.number, row.lease_until_s, now_s
        )
        return StoreKept(request.number, StoreOutcome.DONE, row.lease_until_s, now_s, receipt)

    # ------------------------------------------------------------ reading

    async def _get(self, request: StoreGet) -> StoreLeaves:
        if request.count > PIECE_LEAVES_MAX:
            raise ShareFault(StoreOutcome.REFUSED)
        row = await self._share(request.namespace, request.descriptor_id, request.share)
        data = await self._shares.read(row, request.first, request.count)
        self._desk.get_bytes += len(data)
        return StoreLeaves(request.number, StoreOutcome.DONE, data)

    async def _prove(self, request: StoreChallenge) -> StoreProof:
        row = await self._share(request.namespace, request.descriptor_id, request.share)
        proved = await self._shares.prove(row, request.leaves)
        leaves, paths = tuple(leaf for leaf, _ in proved), tuple(path for _, path in proved)
        return StoreProof(request.number, StoreOutcome.DONE, leaves, paths)

    async def _stat(self, request: StoreStat) -> StoreStats:
        self._demand_reading(request.namespace)
        stats: list[Stat] = []
        for descriptor_id in request.descriptor_ids:
            pack = await self._pack(request.namespace, descriptor_id)
            stats += await self._stats_of(descriptor_id, pack)
        return StoreStats(request.number, StoreOutcome.DONE, tuple(stats[: 2 * STATS_MAX]))

    async def _stats_of(self, descriptor_id: bytes, pack: PackRow | None) -> list[Stat]:
        if pack is None:
            return [Stat(descriptor_id, STANDBY, ShareState.UNKNOWN, 0, 0, 0)]
        found = [
            Stat(
                descriptor_id, row.number, row.shown_state, _leaves_here(row), row.checked_s,
                row.lease_until_s,
            )
            for row in await rows.shares_of(self._shares.store, pack.pack)
        ]  # fmt: skip
        if not found:
            state = ShareState.STANDBY if pack.stands_by else ShareState.UNKNOWN
            found = [Stat(descriptor_id, STANDBY, state, 0, 0, pack.lease_until_s)]
        return found

    async def _list(self, request: StoreList) -> StoreListed:
        self._demand(request.namespace, Tier.READ)
        found = await rows.listed(
            self._shares.store, request.namespace, request.after, LISTED_MAX + 1
        )
        listed = tuple(
            Listed(
                row.position, row.descriptor_id, row.number, row.shown_state, row.size,
                row.lease_until_s,
            )
            for row in found[:LISTED_MAX]
        )  # fmt: skip
        is_more = len(found) > LISTED_MAX
        return StoreListed(request.number, StoreOutcome.DONE, listed, is_more)

    async def _describe(self, request: StoreDescribe) -> StoreDescribed:
        self._demand_reading(request.namespace)
        packs = []
        for descriptor_id in request.descriptor_ids[:DESCRIBED_MAX]:
            pack = await self._pack(request.namespace, descriptor_id)
            if pack is not None:
                holders = await node_rows.holders(self._shares.store, pack.pack)
                packs.append(Described(pack.descriptor, tuple(holders)))
        return StoreDescribed(request.number, StoreOutcome.DONE, tuple(packs))

    async def _usage(self, request: StoreUsage) -> StoreUsed:
        self._demand(request.namespace, Tier.READ)
        shares, space = self._shares, self._shares.namespaces.get(request.namespace)
        assert space is not None, "it is open"
        unchecked_s = await rows.unchecked_s(shares.store, request.namespace)
        return StoreUsed(
            request.number, StoreOutcome.DONE, space.used_bytes, shares.limits.namespace_bytes,
            space.bytes[ShareState.TRASHED], space.shares.total(),
            space.shares[ShareState.DAMAGED], space.healed, unchecked_s or shares.now_s(),
        )  # fmt: skip

    async def _moved(self, request: StoreMoved) -> StoreDone:
        """A node that stands by says that it holds a share; from now on it is asked for it."""
        if self._node is None:
            raise ShareFault(StoreOutcome.REFUSED)
        store = self._shares.store
        for pack in await rows.packs_of_descriptor(store, request.descriptor_id):
            held = await node_rows.held_numbers(store, pack.pack, self._node)
            standing_by = [node for node, number in held if number == STANDBY]
            descriptor = rows.descriptor_of(pack)
            if standing_by and descriptor is not None and request.share < descriptor.count:
                await self._shares.commits.do(
                    lambda db, pack=pack, node=standing_by[0]: node_rows.add_holder(  # type: ignore[misc]
                        db, pack.pack, node, request.share
                    )
                )
                return StoreDone(request.number, StoreOutcome.DONE)
        raise ShareFault(StoreOutcome.UNKNOWN)


def _leaves_here(row: ShareRow) -> int:
    leaves = len(row.hashes) // HASH_SIZE
    return 0 if row.state == ShareState.INCOMING else leaves - row.damaged


def _refusal(request: StorageRequest, outcome: StoreOutcome) -> StorageAnswer:
    number = request.number
    match request:
        case StoreDelegate() | StoreOpen():
            return StoreOpened(number, outcome, b"")
        case StorePut():
            return StoreStarted(number, outcome, 0)
        case StoreKeep():
            return StoreKept(number, outcome, 0, 0, b"")
        case StoreGet():
            return StoreLeaves(number, outcome, b"")
        case StoreChallenge():
            return StoreProof(number, outcome, (), ())
        case StoreStat():
            return StoreStats(number, outcome, ())
        case StoreList():
            return StoreListed(number, outcome, (), False)
        case StoreDescribe():
            return StoreDescribed(number, outcome, ())
        case StoreRenew() | StoreDelete():
            return StoreChanged(number, outcome, ())
        case StoreUsage():
            return StoreUsed(number, outcome, 0, 0, 0, 0, 0, 0, 0)
        case _:
            return StoreDone(number, outcome)
