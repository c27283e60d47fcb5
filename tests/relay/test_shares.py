"""The shares of a node: what counts and when, what a crash leaves, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.epochs import Tier
from crypto.ids import RelayId
from crypto.namespaces import Signer, sign_delegation
from crypto.packs import LEAF_SIZE
from crypto.shares import leaf_hashes
from protocol.relay_address import RelayAddress
from protocol.storage_messages import (
    STANDBY,
    Holder,
    ShareState,
    StoreDelegate,
    StoreOutcome,
)
from relay import node_rows
from relay import share_rows as rows
from relay.share_files import ShareFiles, ShareName
from relay.share_rows import NamespaceRow
from relay.shares import (
    DAY_S,
    LEASE_MAX_S,
    TRASH_S,
    UNFINISHED_S,
    Incoming,
    ShareFault,
    Shares,
    StorageLimits,
)
from relay.store import RelayStore
from tests.relay.storage_stage import FAR_S, MIB, ROOMY, Owner, Packed, files_of

NODE = RelayId(b"1" * 32)
START_S = 1_800_000_000
PACKED = Packed.of(5, 2, 3)
"""Three leaves a share."""


class Died(BaseException):
    """The process is gone at this step."""


class MortalFiles(ShareFiles):
    """Dies at one of the steps, before or after it is done."""

    dies_at = ""
    is_done_then = False

    def _step(self, name: str) -> None:
        if self.dies_at == name:
            raise Died(name)

    def write(self, descriptor: int, first: int, data: bytes | memoryview) -> None:
        if self.dies_at == "write":
            super().write(descriptor, first, data[: len(data) // 2])
        self._step("write")
        super().write(descriptor, first, data)

    def sync(self, descriptor: int) -> None:
        self._step("sync")
        super().sync(descriptor)
        self._step("after sync")

    def rename(self, name: ShareName, folder: int) -> None:
        self._step("rename")
        super().rename(name, folder)

    def sync_directory(self, descriptor: int) -> None:
        self._step("sync directory")
        super().sync_directory(descriptor)
        self._step("after sync directory")


class Node:
    """Shares with a clock of their own."""

    def __init__(self, home: Path, shares: Shares, files: MortalFiles, store: RelayStore) -> None:
        self.home, self.shares, self.files, self.store = home, shares, files, store
        self.owner = Owner()
        self.namespace = self.owner.namespace(NODE)

    async def found(self) -> None:
        delegation = self.owner.delegation(NODE)
        signature = sign_delegation(self.owner.seed(NODE, Tier.OWNER), NODE, delegation)
        request = StoreDelegate(
            1, delegation.encode(), signature, Signer.OWNER, self.owner.emergency, b""
        )
        row = self.shares.namespaces.judge(request, b"f" * 32, START_S, may_found=True)
        assert isinstance(row, NamespaceRow)
        await self.shares.commits.do(lambda db: rows.put_namespace(db, row))
        self.shares.namespaces.take_up(row)

    async def begin(
        self, packed: Packed = PACKED, number: int = 0, lease_s: int = FAR_S
    ) -> Incoming | None:
        hashes = leaf_hashes(packed.shares[number]) if number != STANDBY else []
        return await self.shares.begin(
            self.namespace, packed.descriptor, number, hashes, lease_s, []
        )

    async def put(self, packed: Packed = PACKED, number: int = 0, lease_s: int = FAR_S) -> None:
        incoming = await self.begin(packed, number, lease_s)
        if incoming is None:
            return
        if not incoming.is_complete:
            rest = packed.shares[number][incoming.next_leaf * LEAF_SIZE :]
            await self.shares.take(incoming, incoming.next_leaf, rest)
        await self.shares.keep(incoming)

    async def state(self, packed: Packed = PACKED, number: int = 0) -> ShareState:
        row = await rows.share(self.store, self.namespace, packed.descriptor.id(), number)
        return ShareState.UNKNOWN if row is None else row.shown_state

    async def read(self, packed: Packed = PACKED, number: int = 0) -> bytes:
        row = await rows.share(self.store, self.namespace, packed.descriptor.id(), number)
        assert row is not None
        return await self.shares.read(row, 0, packed.descriptor.leaves)


class Clock:
    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return float(self.now_s)


@asynccontextmanager
async def running(
    home: Path, limits: StorageLimits = ROOMY, clock: Clock | None = None
) -> AsyncIterator[Node]:
    store = await RelayStore.open(home)
    opened = MortalFiles.open(home / "shares", NODE, is_new=True)
    assert isinstance(opened, MortalFiles)
    shares = Shares(store, opened, NODE, limits, clock or Clock())
    await shares.start()
    node = Node(home, shares, opened, store)
    try:
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(shares.run())
            if not len(shares.namespaces):
                await node.found()
            try:
                yield node
            finally:
                writing.cancel()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        opened.close()
        await store.close()


async def test_a_share_that_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        assert await node.state() is ShareState.UNKNOWN
        await node.put()
        assert await node.state() is ShareState.WHOLE
    async with running(tmp_path) as node:
        assert await node.read() == PACKED.shares[0]
        assert await node.begin() is None, "nothing of it is to be sent again"
        space = node.shares.namespaces.get(node.namespace)
        assert space is not None
        assert space.used_bytes == PACKED.descriptor.share_size


async def test_what_was_cut_off_goes_on_at_the_first_leaf_that_is_not_right(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as node:
        incoming = await node.begin()
        assert incoming is not None
        await node.shares.take(incoming, 0, PACKED.shares[0][: 2 * LEAF_SIZE])
        node.shares.leave(incoming)
    async with running(tmp_path) as node:
        incoming = await node.begin()
        assert incoming is not None
        assert incoming.next_leaf == 2
        node.shares.leave(incoming)
    (path,) = files_of(tmp_path)
    data = bytearray(path.read_bytes())
    data[LEAF_SIZE + 5] ^= 1
    path.write_bytes(data)
    async with running(tmp_path) as node:
        incoming = await node.begin()
        assert incoming is not None
        assert incoming.next_leaf == 1
        node.shares.leave(incoming)
        await node.put()
        assert await node.read() == PACKED.shares[0]


STEPS = ["write", "sync", "after sync", "rename", "sync directory", "after sync directory", "row"]


@pytest.mark.row("F03", "F29")
@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_leaves_a_whole_share_or_one_to_go_on_with(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Packed.of(4, 2, 3, "kept before")
    with suppress(Died):
        async with running(tmp_path) as node:
            await node.put(other)
            node.files.dies_at = step
            if step == "row":
                monkeypatch.setattr(rows, "set_whole", _die)
            await node.put()
            raise AssertionError("it was kept")
    monkeypatch.undo()
    async with running(tmp_path) as node:
        assert await node.read(other) == other.shares[0]
        assert await node.state() in (ShareState.INCOMING, ShareState.WHOLE)
        assert (await node.state() is ShareState.WHOLE) == (
            step in ("sync directory", "after sync directory", "row")
        ), "a file that has its name and is right counts at the next start"
        await node.put()
        assert await node.read() == PACKED.shares[0]
        space = node.shares.namespaces.get(node.namespace)
        assert space is not None
        assert space.used_bytes == other.descriptor.share_size + PACKED.descriptor.share_size
    assert len(files_of(tmp_path)) == 2, "nothing else is left over"


async def _die(*_: object) -> bool:
    raise Died


@pytest.mark.row("F29")
async def test_a_database_of_yesterday_has_no_share_of_today_deleted(tmp_path: Path) -> None:
    """Who puts `relay.db` back from a copy has files of which it knows nothing: they wait, and are
    taken up where they are put again, without a leaf on the way.
    """
    other, clock = Packed.of(4, 2, 3, "of today too"), Clock()
    async with running(tmp_path, clock=clock) as node:
        await node.put(number=1)
    copy = (tmp_path / "relay.db").read_bytes()
    async with running(tmp_path, clock=clock) as node:
        await node.put()
        await node.put(other)
    _put_back(tmp_path, copy)
    async with running(tmp_path, clock=clock) as node:
        assert await node.state() is ShareState.UNKNOWN
        assert await node.read(number=1) == PACKED.shares[1]
        assert len(files_of(tmp_path)) == 3
        incoming = await node.begin()
        assert incoming is not None
        assert incoming.is_complete
        await node.shares.keep(incoming)
        assert await node.read() == PACKED.shares[0]
        clock.now_s += TRASH_S
        await node.shares.sweep()
        assert len(files_of(tmp_path)) == 3
        clock.now_s += 1
        await node.shares.sweep()
        assert len(files_of(tmp_path)) == 2


def _put_back(home: Path, copy: bytes) -> None:
    for path in home.glob("relay.db*"):
        path.unlink()
    (home / "relay.db").write_bytes(copy)


async def test_what_came_in_and_has_no_row_is_collected(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.put()
        name = ShareName(node.namespace, b"x" * 32, 0)
        node.files.close_file(node.files.begin(name))
    assert len(files_of(tmp_path)) == 2
    async with running(tmp_path) as node:
        assert await node.read() == PACKED.shares[0]
    assert len(files_of(tmp_path)) == 1


@pytest.mark.row("F08")
async def test_a_file_that_is_gone_is_a_damaged_share_and_is_put_again(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.put()
    files_of(tmp_path)[0].unlink()
    async with running(tmp_path) as node:
        assert await node.state() is ShareState.DAMAGED
        with pytest.raises(ShareFault, match="DAMAGED"):
            await node.read()
        await node.put()
        assert await node.state() is ShareState.WHOLE
        assert await node.read() == PACKED.shares[0]


@pytest.mark.row("F08", "F25")
@pytest.mark.parametrize("harm", ["flip", "short", "gone"])
async def test_a_damaged_leaf_is_given_to_nobody_and_the_others_are(
    tmp_path: Path, harm: str
) -> None:
    async with running(tmp_path) as node:
        await node.put()
        (path,) = files_of(tmp_path)
        data = bytearray(path.read_bytes())
        if harm == "flip":
            data[LEAF_SIZE + 7] ^= 1
            path.write_bytes(data)
        elif harm == "short":
            path.write_bytes(data[: LEAF_SIZE + 7])
        else:
            path.unlink()
        row = await rows.share(node.store, node.namespace, PACKED.descriptor.id(), 0)
        assert row is not None
        with pytest.raises(ShareFault, match="DAMAGED"):
            await node.shares.read(row, 0, 2)
        assert await node.state() is ShareState.DAMAGED
        row = await rows.share(node.store, node.namespace, PACKED.descriptor.id(), 0)
        assert row is not None
        assert row.damaged == {"flip": 1, "short": 2, "gone": 3}[harm]
        if harm != "gone":
            assert await node.shares.read(row, 0, 1) == PACKED.shares[0][:LEAF_SIZE]
        space = node.shares.namespaces.get(node.namespace)
        assert space is not None
        assert space.shares[ShareState.DAMAGED] == 1
        assert space.shares[ShareState.WHOLE] == 0


@pytest.mark.row("F04", "F06")
async def test_a_disk_that_fails_keeps_nothing_and_the_next_try_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object, __: object) -> None:
        raise OSError(errno.EIO, "failed")

    async with running(tmp_path) as node:
        for step in ("sync", "sync_directory"):
            with monkeypatch.context() as patch:
                patch.setattr(MortalFiles, step, fail)
                with pytest.raises(OSError, match="failed"):
                    await node.put()
            assert await node.state() is ShareState.INCOMING
            incoming = await node.begin()
            assert incoming is not None
            assert incoming.next_leaf == 0, "what the disk may not have is written again"
            node.shares.leave(incoming)
        await node.put()
        assert await node.read() == PACKED.shares[0]


@pytest.mark.row("A41")
async def test_wrong_leaves_and_wrong_hashes_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        wrong = leaf_hashes(PACKED.shares[1])
        with pytest.raises(ShareFault, match="DAMAGED"):
            await node.shares.begin(node.namespace, PACKED.descriptor, 0, wrong, FAR_S, [])
        assert await node.state() is ShareState.UNKNOWN
        incoming = await node.begin()
        assert incoming is not None
        share = PACKED.shares[0]
        for first, data, outcome in [
            (0, PACKED.shares[1][:LEAF_SIZE], "DAMAGED"),
            (0, share[LEAF_SIZE : 2 * LEAF_SIZE], "DAMAGED"),
            (1, share[LEAF_SIZE : 2 * LEAF_SIZE], "REFUSED"),
            (0, b"", "REFUSED"),
            (0, share + share[:LEAF_SIZE], "REFUSED"),
        ]:
            with pytest.raises(ShareFault, match=outcome):
                await node.shares.take(incoming, first, data)
        await node.shares.take(incoming, 0, share)
        with pytest.raises(ShareFault, match="REFUSED"):
            await node.shares.take(incoming, 0, share)
        await node.shares.keep(incoming)
        assert await node.read() == share


async def test_one_link_writes_a_share_at_a_time(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        incoming = await node.begin()
        assert incoming is not None
        with pytest.raises(ShareFault, match="BUSY"):
            await node.begin()
        node.shares.leave(incoming)
        await node.put()


async def test_quotas_count_what_is_still_to_come(tmp_path: Path) -> None:
    size = PACKED.descriptor.share_size
    for limits in (StorageLimits(2 * size, 1 << 30), StorageLimits(1 << 30, 2 * size)):
        home = tmp_path / str(limits.total_bytes)
        home.mkdir()
        async with running(home, limits) as node:
            await node.put(number=0)
            coming = await node.begin(number=1)
            assert coming is not None
            with pytest.raises(ShareFault, match="FULL"):
                await node.begin(number=2)
            node.shares.leave(coming)
            with pytest.raises(ShareFault, match="FULL"):
                await node.begin(number=2)
            await node.put(number=1)
            assert await node.begin(number=0) is None, "what is here takes no more room"
        async with running(home, limits) as node:
            with pytest.raises(ShareFault, match="FULL"):
                await node.begin(number=2)
            await node.shares.trash(node.namespace, [PACKED.descriptor.id()], is_back=False)
            with pytest.raises(ShareFault, match="FULL"):
                await node.begin(Packed.of(5, 2, 3, "more"))


@pytest.mark.row("F29")
async def test_leases_end_in_the_trash_and_the_trash_ends_after_days(tmp_path: Path) -> None:
    clock = Clock()
    lasting = Packed.of(4, 2, 3, "lasting")
    async with running(tmp_path, clock=clock) as node:
        await node.put(lease_s=START_S + DAY_S)
        await node.put(lasting)
        row = await rows.share(node.store, node.namespace, lasting.descriptor.id(), 0)
        assert row is not None
        assert row.lease_until_s == START_S + LEASE_MAX_S, "no lease is for ever"
        assert await node.shares.sweep() == 0
        clock.now_s += DAY_S + 1
        assert await node.shares.sweep() == 1
        assert await node.state() is ShareState.TRASHED
        assert await node.read() == PACKED.shares[0], "it is still there"
        missing = await node.shares.renew(
            node.namespace, [PACKED.descriptor.id(), lasting.descriptor.id()], FAR_S
        )
        assert missing == [0], "what is in the trash is put again, or taken back by the owner"
        clock.now_s += TRASH_S
        assert await node.shares.sweep() == 0
        clock.now_s += 1
        assert await node.shares.sweep() == 1
        assert await node.state() is ShareState.UNKNOWN
        assert await node.read(lasting) == lasting.shares[0]
        space = node.shares.namespaces.get(node.namespace)
        assert space is not None
        assert space.used_bytes == lasting.descriptor.share_size
    assert len(files_of(tmp_path)) == 1


@pytest.mark.row("F29")
async def test_what_is_put_again_comes_out_of_the_trash(tmp_path: Path) -> None:
    clock = Clock()
    ids = [PACKED.descriptor.id(), b"u" * 32]
    async with running(tmp_path, clock=clock) as node:
        await node.put()
        assert await node.shares.trash(node.namespace, ids, is_back=False) == [1]
        assert await node.state() is ShareState.TRASHED
        clock.now_s += TRASH_S
        await node.put()
        assert await node.state() is ShareState.WHOLE
        clock.now_s += 10
        assert await node.shares.sweep() == 0
        await node.shares.trash(node.namespace, ids, is_back=False)
        clock.now_s += TRASH_S
        await node.shares.trash(node.namespace, ids, is_back=False)
        clock.now_s += 1
        assert await node.shares.sweep() == 1, "said twice is not later"


async def test_taken_out_of_the_trash_it_is_as_it_was(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.put()
        ids = [PACKED.descriptor.id()]
        await node.shares.trash(node.namespace, ids, is_back=False)
        assert await node.shares.trash(node.namespace, ids, is_back=True) == []
        assert await node.state() is ShareState.WHOLE
        space = node.shares.namespaces.get(node.namespace)
        assert space is not None
        assert space.bytes == {ShareState.WHOLE: PACKED.descriptor.share_size}


async def test_what_never_became_whole_goes_after_a_day(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock) as node:
        incoming = await node.begin()
        assert incoming is not None
        await node.shares.take(incoming, 0, PACKED.shares[0][:LEAF_SIZE])
        node.shares.leave(incoming)
        clock.now_s += UNFINISHED_S
        assert await node.shares.sweep() == 0
        clock.now_s += 1
        assert await node.shares.sweep() == 1
        assert node.shares.free_bytes() == min(
            ROOMY.total_bytes, node.files.free_bytes() - 64 * MIB
        )
    assert files_of(tmp_path) == []


@pytest.mark.row("F29")
async def test_a_share_of_which_leaves_still_come_after_a_day_is_not_taken_away(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock) as node:
        incoming = await node.begin()
        assert incoming is not None
        clock.now_s += UNFINISHED_S + 1
        assert await node.shares.sweep() == 0
        await node.shares.take(incoming, 0, PACKED.shares[0])
        await node.shares.keep(incoming)
        assert await node.read() == PACKED.shares[0]


async def test_a_share_that_goes_while_its_last_leaf_comes_is_not_said_to_be_kept(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as node:
        incoming = await node.begin()
        assert incoming is not None
        await node.shares.take(incoming, 0, PACKED.shares[0])
        async with node.store.transaction() as db:
            await db.execute_fetchall("DELETE FROM packs")
        with pytest.raises(ShareFault, match="UNKNOWN"):
            await node.shares.keep(incoming)
        await node.put()
        assert await node.read() == PACKED.shares[0]


async def test_holders_are_those_that_were_named_last(tmp_path: Path) -> None:
    pack = None

    def holder(number: int, fill: int, host: str = "a.example") -> Holder:
        return Holder(number, str(RelayAddress(host, 443, RelayId(bytes([fill]) * 32))))

    async with running(tmp_path) as node:
        await node.put()
        for holders in ([holder(0, 1), holder(1, 2)], [holder(0, 1), holder(STANDBY, 3)]):
            kept = await node.shares.begin(
                node.namespace, PACKED.descriptor, STANDBY, [], FAR_S, holders
            )
            assert kept is None
            pack = await rows.pack(node.store, node.namespace, PACKED.descriptor.id())
            assert pack is not None
            assert pack.stands_by
            assert await node_rows.holders(node.store, pack.pack) == holders
        assert pack is not None
        assert await node_rows.held_numbers(node.store, pack.pack, bytes([2]) * 32) == []
        liar = [holder(0, 1, "b.example")]
        other = Packed.of(4, 2, 3, "of somebody else")
        await node.shares.begin(node.namespace, other.descriptor, STANDBY, [], FAR_S, liar)
        assert (await node_rows.holders(node.store, pack.pack))[0] == holder(0, 1), (
            "not another's word"
        )


@pytest.mark.parametrize("step", ["begin", "write", "sync"])
async def test_who_is_cancelled_closes_no_file_under_a_thread_that_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Its number could be another share's by then, and the bytes would go there."""
    entered, goes_on, closed_early = threading.Event(), threading.Event(), []
    real = getattr(MortalFiles, step)
    closed: list[int] = []

    def slow(files: MortalFiles, *arguments: object) -> object:
        entered.set()
        goes_on.wait(60)
        closed_early.extend(closed)
        return real(files, *arguments)

    def close_file(files: MortalFiles, descriptor: int) -> None:
        closed.append(descriptor)
        os.close(descriptor)

    monkeypatch.setattr(MortalFiles, step, slow)
    monkeypatch.setattr(MortalFiles, "close_file", close_file)
    async with running(tmp_path) as node:
        async with asyncio.TaskGroup() as tasks:

            async def put() -> None:
                incoming = await node.begin()
                assert incoming is not None
                try:
                    await node.shares.take(incoming, 0, PACKED.shares[0])
                    await node.shares.keep(incoming)
                finally:
                    node.shares.leave(incoming)

            putting = tasks.create_task(put())
            await asyncio.to_thread(entered.wait, 60)
            putting.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not putting.done()
            goes_on.set()
        assert closed_early == []
        assert len(closed) == 1
        assert not node.shares._coming


async def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        incoming = await node.begin()
        assert incoming is not None
        node.shares.leave(incoming)
        node.shares.leave(incoming)
        assert incoming.descriptor == -1
        assert replace(incoming).descriptor == -1
        assert await node.begin(number=STANDBY) is None
        assert await node.begin(number=1) is not None


def test_the_outcomes_of_faults_are_those_of_answers() -> None:
    assert ShareFault(StoreOutcome.FULL).outcome is StoreOutcome.FULL


async def test_room_that_was_taken_counts_while_all_is_counted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is not written yet; without it a node would take more than it has room for."""
    async with running(tmp_path) as node:
        shares, size = node.shares, PACKED.descriptor.share_size
        do, is_asked, goes_on = shares.commits.do, asyncio.Event(), asyncio.Event()

        async def late(work: Any, place: ShareName | None = None) -> Any:
            is_asked.set()
            await goes_on.wait()
            return await do(work, place)

        monkeypatch.setattr(shares.commits, "do", late)
        beginning = asyncio.ensure_future(node.begin())
        await is_asked.wait()
        space = shares.namespaces.get(node.namespace)
        assert space is not None
        for _ in range(2):
            await shares._recount()
            assert (space.used_bytes, space.shares[ShareState.INCOMING]) == (size, 1)
        goes_on.set()
        incoming = await beginning
        assert incoming is not None
        await shares._recount()
        assert (space.used_bytes, space.shares[ShareState.INCOMING]) == (size, 1)
        await shares.take(incoming, 0, PACKED.shares[0])
        await shares.keep(incoming)
        assert (space.used_bytes, space.shares[ShareState.INCOMING]) == (size, 0)
