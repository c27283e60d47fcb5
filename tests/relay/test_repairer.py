"""Nodes that meet, find out who has lost what, and rebuild it; with a clock of their own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from crypto.ids import RelayId
from crypto.keys import DeviceKeys
from crypto.packs import LEAF_SIZE
from crypto.shares import Descriptor
from protocol import erasure
from protocol.errors import LinkError
from protocol.relay_address import RelayAddress
from protocol.storage_client import Answer, Request, StorageClient, storing
from protocol.storage_messages import (
    PIECE_LEAVES_MAX,
    STANDBY,
    Holder,
    ShareState,
    StoreStat,
    StoreStats,
)
from relay import node_rows, share_rows
from relay.repair import RepairPolicy
from relay.repairer import Repairer, _share_of
from tests.crypto.seeded import Seeded
from tests.relay.relay_stage import RelayStage, new_keys, relaying
from tests.relay.storage_stage import FAR_S, ROOMY, Owner, Packed, files_of
from tests.relay.test_shares import Clock, running

POLICY = RepairPolicy()
HOUR_S = 3600


class Node:
    """A node that can be switched off and on."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self.home, self.clock = home, clock
        self.keys: DeviceKeys = new_keys()
        self.port = 0
        self._stack: AsyncExitStack | None = None
        self._stage: RelayStage | None = None
        self.address = ""

    async def switch_on(self) -> None:
        self._stack = AsyncExitStack()
        self._stage = await self._stack.enter_async_context(
            relaying(
                home=self.home, storage=ROOMY, keys=self.keys, policy=POLICY,
                wall_clock=self.clock, port=self.port,
            )
        )  # fmt: skip
        self.port = self._stage.relay.port
        self.address = str(self._stage.address)

    async def switch_off(self) -> None:
        stack, self._stack, self._stage = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    @property
    def stage(self) -> RelayStage:
        assert self._stage is not None
        return self._stage

    @property
    def is_on(self) -> bool:
        return self._stage is not None

    @property
    def repairer(self) -> Repairer:
        assert self.stage.relay.repairer is not None
        return self.stage.relay.repairer


class Town:
    """Nodes, and an owner who puts packs there and looks how they are."""

    def __init__(self, nodes: Sequence[Node], clock: Clock) -> None:
        self.nodes, self.clock = nodes, clock
        self.owner, self.device = Owner(), new_keys()

    async def put(self, packed: Packed, spares: int = 1) -> None:
        """A share to each node but the last ones, which stand by."""
        count = len(self.nodes) - spares
        numbers = [*range(count), *[STANDBY] * spares]
        holders = [Holder(n, each.address) for n, each in zip(numbers, self.nodes, strict=True)]
        for number, each in zip(numbers, self.nodes, strict=True):
            async with storing(each.stage.address, self.device) as client:
                namespace = await self.owner.found_and_open(client)
                if number != STANDBY:
                    share = packed.shares[number]
                    await client.put(namespace, packed.descriptor, number, share, FAR_S, holders)
                    continue
                await client.stand_by(namespace, packed.descriptor, FAR_S, holders)

    async def held(self, packed: Packed) -> list[list[int]]:
        """The whole shares of each node that is on."""
        found: list[list[int]] = []
        for each in self.nodes:
            if not each.is_on:
                found.append([])
                continue
            async with storing(each.stage.address, self.device) as client:
                namespace = await self.owner.open(client)
                stat = StoreStat(client.number(), namespace, (packed.descriptor.id(),))
                stats = (await client.ask(stat, StoreStats)).stats
                found.append([s.number for s in stats if s.state == ShareState.WHOLE])
        return found

    async def rounds(self, hours: int, every: int = 2) -> None:
        """So many hours pass, in which all that are on have a round now and then."""
        for _ in range(hours // every):
            self.clock.now_s += every * HOUR_S
            for each in self.nodes:
                if each.is_on:
                    await each.repairer.round()


@asynccontextmanager
async def town(tmp_path: Path, size: int) -> AsyncIterator[Town]:
    clock = Clock()
    nodes = [Node(tmp_path / str(number), clock) for number in range(size)]
    for each in nodes:
        each.home.mkdir()
        await each.switch_on()
    try:
        yield Town(nodes, clock)
    finally:
        for each in nodes:
            await each.switch_off()


PACKED = Packed.of(5, 2, 4, "of a town")


@pytest.mark.row("F24", "F29")
async def test_a_lost_node_s_shares_are_rebuilt_within_two_days_and_once(tmp_path: Path) -> None:
    other = Packed.of(9, 2, 4, "another")
    async with town(tmp_path, 6) as place:
        await place.put(PACKED, spares=2)
        await place.put(other, spares=2)
        await place.rounds(4, every=4)
        await place.nodes[1].switch_off()
        lost_at_s = place.clock.now_s
        await place.rounds(20, every=10)
        assert await place.held(PACKED) == [[0], [], [2], [3], [], []], "it may come back yet"
        await place.rounds(21, every=7)
        assert place.clock.now_s - lost_at_s <= 48 * HOUR_S
        for packed in (PACKED, other):
            held = await place.held(packed)
            assert held[:4] == [[0], [], [2], [3]]
            assert sorted(held[4:]) == [[], [1]], "one of the two that stood by"
        await place.rounds(12, every=12)
        for packed in (PACKED, other):
            assert sorted((await place.held(packed))[4:]) == [[], [1]], "and no more than once"
            at = (await place.held(packed)).index([1])
            async with storing(place.nodes[at].stage.address, place.device) as client:
                namespace = await place.owner.open(client)
                assert await client.fetch(namespace, packed.descriptor, 1) == packed.shares[1]
        await place.nodes[1].switch_on()
        assert (await place.held(PACKED))[1] == [1], "who comes back has two of them about"


@pytest.mark.row("F24")
async def test_a_node_that_comes_and_goes_has_nobody_rebuild(tmp_path: Path) -> None:
    async with town(tmp_path, 5) as place:
        await place.put(PACKED)
        for _ in range(3):
            await place.nodes[0].switch_off()
            await place.rounds(20, every=10)
            await place.nodes[0].switch_on()
            await place.rounds(2)
        assert await place.held(PACKED) == [[0], [1], [2], [3], []]
        assert place.nodes[4].repairer.late == place.nodes[4].repairer.lost == 0


@pytest.mark.row("F08", "F24")
async def test_a_damaged_share_is_healed_where_it_lies(tmp_path: Path) -> None:
    async with town(tmp_path, 5) as place:
        await place.put(PACKED)
        (path,) = files_of(place.nodes[2].home)
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
        scrub = place.nodes[2].stage.relay.scrub
        assert scrub is not None
        await scrub.step()
        assert (await place.held(PACKED))[2] == []
        await place.nodes[2].repairer.round()
        assert await place.held(PACKED) == [[0], [1], [2], [3], []]
        assert path.read_bytes() == PACKED.shares[2]
        desk = place.nodes[2].stage.relay.desk.storage
        assert desk is not None
        assert desk.shares.namespaces.totals()[2] == 1, "a heal is counted"


@pytest.mark.row("A41", "F25")
async def test_a_node_that_lies_about_a_share_is_asked_found_out_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it has all, and has nothing: the challenge is for the leaf itself."""
    async with town(tmp_path, 5) as place:
        await place.put(PACKED)
        (path,) = files_of(place.nodes[0].home)
        path.write_bytes(bytes(path.stat().st_size))
        heal = Repairer._heal_own

        async def lazy(self: Repairer) -> None:
            if self is not place.nodes[0].repairer:
                await heal(self)

        monkeypatch.setattr(Repairer, "_heal_own", lazy)
        await place.rounds(2)
        assert place.nodes[1].repairer.failed_challenges > 0
        assert (await place.held(PACKED))[4] == []
        await place.rounds(6)
        assert (await place.held(PACKED))[4] == [0]
        assert await place.held(PACKED) == [[], [1], [2], [3], [0]]


@pytest.mark.row("F23", "F25")
async def test_wrong_shares_count_as_lost_and_too_few_make_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path, 5) as place:
        await place.put(PACKED)
        reader = type(place.nodes[0].stage.relay.desk.storage.shares)  # type: ignore[union-attr]
        read = reader.read
        liars = {id(place.nodes[n].stage.relay.desk.storage.shares) for n in (0, 1)}  # type: ignore[union-attr]

        async def lying(self: object, row: object, first: int, count: int) -> bytes:
            data = await read(self, row, first, count)  # type: ignore[arg-type]
            return bytes(len(data)) if id(self) in liars else data

        monkeypatch.setattr(reader, "read", lying)
        (path,) = files_of(place.nodes[3].home)
        path.unlink()
        scrub = place.nodes[3].stage.relay.scrub
        assert scrub is not None
        await scrub.step()
        await place.nodes[3].repairer.round()
        assert (await place.held(PACKED))[3] == [], "one right share of two that are needed"
        liars.pop()
        await place.nodes[3].repairer.round()
        assert (await place.held(PACKED))[3] == [3]
        assert path.read_bytes() == PACKED.shares[3]


@pytest.mark.row("F24", "F25")
async def test_a_node_that_is_lost_while_another_reads_from_it_leaves_no_wrong_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each request in turn: what is rebuilt is right, if not now, then when it is back."""
    send, left = StorageClient.send, 0
    async with town(tmp_path, 5) as place:
        packed = Packed.of(2 * (PIECE_LEAVES_MAX + 1), 2, 4, "in two pieces")
        await place.put(packed)
        (path,) = files_of(place.nodes[3].home)
        mortal = {place.nodes[n].stage.address.relay_id for n in (0, 1)}

        async def dying(client: StorageClient, request: Request) -> asyncio.Future[Answer]:
            nonlocal left
            if client.address.relay_id in mortal and (left := left - 1) < 0:
                client._link.abort()
                raise LinkError("The node is gone.")
            return await send(client, request)

        monkeypatch.setattr(StorageClient, "send", dying)
        scrub = place.nodes[3].stage.relay.scrub
        assert scrub is not None
        failed = 0
        for count in range(40):
            path.unlink()
            left = FAR_S
            await scrub.step()
            left = count
            await place.nodes[3].repairer.round()
            is_lost, left = left < 0, FAR_S
            if not path.exists():
                failed += 1
                place.clock.now_s += HOUR_S
                await place.nodes[3].repairer.round()
            assert path.read_bytes() == packed.shares[3]
            if not is_lost:
                break
        assert failed > 0, "two of three others are gone, and two are needed"
        assert not is_lost
        assert (await place.held(packed))[3] == [3]


@pytest.mark.row("F24")
async def test_who_meets_few_takes_itself_for_the_lost_one(tmp_path: Path) -> None:
    """Though it could rebuild what the others held: one share is enough for this pack."""
    packed = Packed.of(2, 1, 4, "one is enough")
    async with town(tmp_path, 5) as place:
        await place.put(packed)
        for number in (0, 1, 2):
            await place.nodes[number].switch_off()
        await place.rounds(40, every=10)
        assert (await place.held(packed))[3:] == [[3], []]
        assert place.nodes[4].repairer.met == 1
        assert place.nodes[4].repairer.lost == 3
        await place.nodes[2].switch_on()
        await place.nodes[4].repairer.round()
        assert (await place.held(packed))[4] == [0]


async def test_who_was_off_misses_others_from_now_on(tmp_path: Path) -> None:
    async with town(tmp_path, 5) as place:
        await place.put(PACKED)
        await place.nodes[0].switch_off()
        await place.rounds(20, every=4)
        await place.nodes[4].switch_off()
        place.clock.now_s += 100 * HOUR_S
        await place.nodes[4].switch_on()
        await place.nodes[4].repairer.round()
        assert (await place.held(PACKED))[4] == []
        assert place.nodes[4].repairer.late == 0


async def shares_read(directory: Path) -> float:
    """How many shares of a pack, of which two are needed, a node reads to make a lost one's."""
    async with town(directory, 5) as place:
        await place.put(PACKED)
        await place.nodes[0].switch_off()
        await place.rounds(22, every=11)
        before = _given(place)
        await place.rounds(13, every=13)
        assert (await place.held(PACKED))[4] == [0]
        return (_given(place) - before) / PACKED.descriptor.share_size


@pytest.mark.row("F24")
async def test_repair_reads_as_many_shares_as_are_needed_and_no_more(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    read = await shares_read(tmp_path)
    record_property("figure", f"{read:g} shares read where 2 are needed")
    assert read == PACKED.descriptor.needed


def _given(place: Town) -> int:
    desks = [node.stage.relay.desk.storage for node in place.nodes if node.is_on]
    return sum(desk.get_bytes for desk in desks if desk is not None)


@pytest.mark.row("F25")
def test_shares_that_are_not_of_one_pack_make_none() -> None:
    """A writer may describe what there is not: each share has its root, and the pack another id."""
    found = {0: PACKED.shares[0], 3: PACKED.shares[3]}
    assert _share_of(PACKED.descriptor, found, 1) == PACKED.shares[1]
    assert _share_of(replace(PACKED.descriptor, pack_id=b"p" * 32), found, 1) is None
    swapped = {0: PACKED.shares[1], 3: PACKED.shares[3]}
    assert _share_of(PACKED.descriptor, swapped, 1) is None


class Forgetful:
    """A node that has lost some packs, and shows any leaf of the others."""

    def __init__(self, lost: set[bytes]) -> None:
        self.lost, self.asked = lost, 0

    async def challenge(
        self, namespace: bytes, descriptor: Descriptor, share: int, leaves: Sequence[int]
    ) -> bool:
        assert namespace == b""
        self.asked += len(leaves)
        return descriptor.pack_id not in self.lost


async def audits_found(directory: Path, trials: int) -> int:
    """How many times 44 challenges find a node that has lost a tenth of 100 packs."""
    packs, found = 100, 0
    pack_ids = [bytes([number]) * 32 for number in range(packs)]
    holder = Holder(0, str(RelayAddress("a.example", 443, RelayId(b"o" * 32))))
    async with running(directory) as node:
        async with node.store.transaction() as db:
            for pack_id in pack_ids:
                descriptor = Descriptor(pack_id, LEAF_SIZE, 1, (bytes(32),))
                pack = await share_rows.put_pack(
                    db, node.namespace, descriptor.id(), pack_id, descriptor.encode(), 1,
                    stands_by=True,
                )  # fmt: skip
                await node_rows.set_holders(db, pack, [holder], 1)
        (other,) = await node_rows.nodes(node.store)
        for trial in range(trials):
            random = Seeded(f"challenges {trial}")
            repairer = Repairer(node.shares, new_keys(), POLICY, random)
            lost = set(pack_ids[trial % 10 :: 10])
            client = Forgetful(lost)
            while client.asked < 44 and not repairer.failed_challenges:
                await repairer._challenge(client, other)  # type: ignore[arg-type]
            found += repairer.failed_challenges > 0
            async with node.store.transaction() as db:
                await db.execute_fetchall("UPDATE holders SET failing_since_s = NULL")
    return found


@pytest.mark.row("A41")
async def test_44_challenges_find_a_node_that_lost_a_tenth(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """1 - 0.9^44 is 99 %: leaves are asked for anywhere, and each as likely as another."""
    trials = 30
    found = await audits_found(tmp_path, trials)
    record_property("figure", f"found {found} of {trials} times")
    assert found >= trials - 1


async def test_rounds_go_on_by_themselves(tmp_path: Path) -> None:
    quick = RepairPolicy(lost_s=6, meet_s=0)
    async with town(tmp_path, 5) as place:
        await place.put(PACKED)
        (path,) = files_of(place.nodes[2].home)
        path.unlink()
        relay = place.nodes[2].stage.relay
        assert relay.scrub is not None
        await relay.scrub.step()
        desk = relay.desk.storage
        assert desk is not None
        repairer = Repairer(desk.shares, place.nodes[2].keys, quick, os.urandom)
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(repairer.run())
            while not path.exists():
                await asyncio.sleep(0.01)
            running.cancel()
        assert erasure.decode(
            {2: path.read_bytes(), 3: PACKED.shares[3]}, 2, 4, len(PACKED.pack)
        ) == PACKED.pack  # fmt: skip
