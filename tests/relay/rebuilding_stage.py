"""Nodes that rebuild among themselves what a lost one held, beside everybody who has a say in it:
actors of `tests.interleaving`. Those that stand by take single reads and commits for steps, the
others whole requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from crypto.epochs import Tier
from crypto.ids import RelayId
from crypto.keys import DeviceKeys
from crypto.namespaces import Signer, sign_delegation
from crypto.relay_ids import relay_id_of
from crypto.shares import leaf_hashes
from protocol.errors import LinkError, StorageRefused
from protocol.relay_address import RelayAddress
from protocol.storage_client import Answer, Request, StorageClient
from protocol.storage_messages import (
    STANDBY,
    Holder,
    ShareState,
    StoreDelegate,
    StoreKeep,
    StoreOutcome,
    StoreRenew,
)
from relay import node_rows
from relay import share_rows as rows
from relay.namespaces import Namespaces
from relay.repair import RepairPolicy
from relay.repairer import Repairer
from relay.share_files import ShareName
from relay.share_rows import NamespaceRow
from relay.shares import DAY_S, TRASH_S
from relay.storage_desk import NodeWords, StorageDesk
from relay.storage_talk import StorageTalk
from tests.crypto.seeded import Seeded
from tests.interleaving import Choosing, played, step, together
from tests.relay.stepped_node import START_S, Clock, Kept, SteppedNode, empty_database
from tests.relay.storage_stage import Owner, Packed

POLICY: Final = RepairPolicy(challenges=1)
OWNER, EMPTY = Owner(), empty_database()
PACKED = Packed.of(2, 2, 3, "rebuilt")
"""A leaf a share."""
HOLDERS: Final = 3
"""The first three nodes hold a share each, the last of them is lost; the others stand by."""
ROUNDS: Final = 4
"""At most so many until all is as it has to be: a share is not shown, counts as lost, is made, and
the others are told.
"""
LEASE_S: Final = 30 * DAY_S
Act = Coroutine[Any, Any, None]


@cache
def keys_of(number: int) -> DeviceKeys:
    return DeviceKeys.generate(Seeded(f"node {number}"))


@cache
def address_of(number: int) -> str:
    keys = keys_of(number)
    id_ = relay_id_of(keys.sign_public, keys.dh_public)
    return str(RelayAddress(f"n{number}.example", 443, id_))


@cache
def founded(id_: RelayId) -> NamespaceRow:
    delegation = OWNER.delegation(id_)
    signature = sign_delegation(OWNER.seed(id_, Tier.OWNER), id_, delegation)
    request = StoreDelegate(1, delegation.encode(), signature, Signer.OWNER, OWNER.emergency, b"")
    row = Namespaces(id_).judge(request, b"f" * 32, START_S, may_found=True)
    assert isinstance(row, NamespaceRow)
    return row


class Near(StorageClient):
    """A link to a node of this town; each request is a step, and takes effect before its answer."""

    def __init__(self, world: World, number: int, caller: RelayId | None) -> None:
        self.address = RelayAddress.parse(address_of(number))
        self._world, self._to, self._count = world, number, 0
        self._talk = world.nodes[number].talk(caller)

    @property
    def is_closed(self) -> bool:
        return self._to in self._world.away

    def number(self) -> int:
        self._count += 1
        return self._count

    async def send(self, request: Request) -> asyncio.Future[Answer]:
        await step()
        if self.is_closed:
            raise LinkError("The node is gone.")
        act = self._talk._kept if isinstance(request, StoreKeep) else self._talk._act
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        answer.set_result(await self._talk._outcome(request, act(request)))  # type: ignore[arg-type]
        return answer


class NearRepairer(Repairer):
    """Reaches the others without a network."""

    world: World

    async def _client(self, address: str) -> StorageClient | None:
        number = self.world.number_at(address)
        if number in self.world.away or self.world.number_of(self._own_id) in self.world.away:
            return None
        return Near(self.world, number, RelayId(self._own_id))


class Node(SteppedNode):
    """One of them."""

    def __init__(self, world: World, path: Path, number: int) -> None:
        keys = keys_of(number)
        self.number = number
        id_ = relay_id_of(keys.sign_public, keys.dh_public)
        super().__init__(path / str(number), id_, world.clock, EMPTY, is_fine=number >= HOLDERS)
        self.repairer = NearRepairer(self.shares, keys, POLICY, Seeded(f"leaves {number}"))
        self.repairer.world = world
        self._desk = StorageDesk(self.shares, keys, NodeWords(), _admitted)
        self.is_given_up = False
        """Its owner has thrown the pack away here, and nobody has put it since."""
        self.putting = self.puts = self.ends = 0
        """How many are having it kept just now, and how often that was begun; how often it was
        thrown away.
        """
        self.told: set[Holder] = set()
        """Who a device has said the holders are, the last time."""

    @property
    def namespace(self) -> bytes:
        return founded(self.id).namespace

    def name(self, number: int) -> ShareName:
        return ShareName(self.namespace, PACKED.descriptor.id(), number)

    def talk(self, caller: RelayId | None) -> StorageTalk:
        talk = StorageTalk(self._desk, b"d" * 32, None)  # type: ignore[arg-type]
        talk._node = caller
        if caller is None:
            talk._demand = lambda namespace, tier: None  # type: ignore[method-assign]
        return talk

    def whole(self) -> list[int]:
        """Which shares count here."""
        return [n for n in range(HOLDERS) if self.has_whole(self.name(n))]

    def look(self) -> None:
        super().look()
        found = list(self._db.execute("SELECT pack, trashed_s FROM packs"))
        if self.is_given_up:
            assert all(trashed_s for _, trashed_s in found), "what was given up is out of the trash"
        rows = self._db.execute("SELECT number, address FROM holders JOIN nodes USING (node)")
        assert not found or {*self.told} <= {Holder(*row) for row in rows}, "who holds is forgotten"


async def _admitted(_pseudonym: bytes) -> bool:
    return True


class World:
    """A town of nodes, one of them lost since a day, and a device."""

    def __init__(self, path: Path, standing_by: int) -> None:
        self.clock = Clock()
        self.away: set[int] = set()
        self.answers: list[str] = []
        self.an_end = asyncio.Event()
        self.nodes = [Node(self, path, number) for number in range(HOLDERS + standing_by)]
        self.lost = HOLDERS - 1
        self._mortal: asyncio.Task[Any] | None = None

    def number_at(self, address: str) -> int:
        return next(n for n in range(len(self.nodes)) if address_of(n) == address)

    def number_of(self, id_: bytes) -> int:
        return [node.id for node in self.nodes].index(RelayId(id_))

    async def start(self) -> None:
        for node in self.nodes:
            await node.start()
            async with node.store.transaction() as db:
                await rows.put_namespace(db, founded(node.id))
            await node.shares.namespaces.load(node.store)
        for number in range(len(self.nodes)):
            await self.put(number, number if number < HOLDERS else STANDBY)
        self.away.add(self.lost)
        for node in self.nodes:
            if node.number not in self.away:
                await node.repairer.round()
        self.clock.now_s += POLICY.lost_s + 1

    def holders(self, moved: Mapping[int, int] = {}) -> tuple[Holder, ...]:
        numbers = [n if n < HOLDERS else STANDBY for n in range(len(self.nodes))]
        for node, share in moved.items():
            numbers[node] = share
        return tuple(Holder(n, address_of(at)) for at, n in enumerate(numbers))

    async def put(
        self, at: int, share: int, holders: Sequence[Holder] = (), lease_s: int = LEASE_S
    ) -> bool:
        """A device has a node keep a share, or stand by; False if it is busy with that."""
        node, holders = self.nodes[at], tuple(holders or self.holders())
        until_s, client = self.clock.now_s + lease_s, Near(self, at, None)
        before, node.is_given_up, node.told = node.is_given_up, False, set()
        node.putting += 1
        node.puts += 1
        ends, number, is_alone = node.ends, node.puts, node.putting == 1
        try:
            if share == STANDBY:
                await client.stand_by(node.namespace, PACKED.descriptor, until_s, holders)
            else:
                data = PACKED.shares[share]
                hashes = leaf_hashes(data)
                await client.put(
                    node.namespace, PACKED.descriptor, share, data, until_s, holders, hashes
                )
                if node.ends == ends:
                    node.kept[node.name(share)] = Kept(data, until_s)
        except StorageRefused as refusal:
            if refusal.outcome not in (StoreOutcome.BUSY, StoreOutcome.UNKNOWN):
                raise
            if node.puts == number and is_alone:  # nobody else has put it meanwhile
                node.is_given_up |= before
            return False
        except LinkError:
            return False
        finally:
            node.putting -= 1
        if node.ends == ends and node.puts == number and is_alone:
            node.told = set(holders)
        return True

    # ------------------------------------------------------------ actors

    async def rebuild(self, at: int) -> None:
        """A node does what its turn is."""
        await self.nodes[at].repairer._stand_in()

    async def mortal_rebuild(self, at: int) -> None:
        """The same, until `kill` comes."""
        self._mortal = asyncio.current_task()
        with suppress(asyncio.CancelledError):
            await self.rebuild(at)
        self._mortal = None

    async def kill(self, at: int) -> None:
        """The node ends in the middle of it, and is started again."""
        if self._mortal is not None:
            self._mortal.cancel()
            self.answers.append("killed")
            await step()
        await self.nodes[at].shares.start()

    async def rounds(self, at: int, count: int = 1) -> None:
        for _ in range(count):
            await self.nodes[at].repairer.round()

    async def give_up(self, *at: int) -> None:
        """The owner throws the pack away."""
        for number in at:
            node = self.nodes[number]
            puts, is_alone = node.puts, not node.putting
            await node.shares.trash(node.namespace, [PACKED.descriptor.id()], is_back=False)
            # Of who puts it at the same moment nobody knows whether that was before or after.
            node.is_given_up = is_alone and node.puts == puts
            node.ends += 1
            node.kept.clear()
            self.answers.append("given up")

    async def heal(self, at: int) -> None:
        """A device makes the lost share again, or finds that a node has done it; all are told."""
        moved = {at: self.lost, self.lost: STANDBY}
        for _ in range(8):
            self.an_end.clear()
            if await self.put(at, self.lost, self.holders(moved)):
                break
            self.answers.append("refused")
            await self.an_end.wait()
        for number in range(len(self.nodes)):
            if number != at and number not in self.away:
                own = number if number < HOLDERS else STANDBY
                await self.put(number, own, self.holders(moved))

    async def tell(self, at: int) -> None:
        """A device says once more who holds what, as it knows it."""
        if await self.put(at, at if at < HOLDERS else STANDBY):
            self.answers.append("told")

    async def renew(self, at: int) -> None:
        node, client = self.nodes[at], Near(self, at, None)
        until_s = self.clock.now_s + LEASE_S
        request = StoreRenew(1, node.namespace, until_s, (PACKED.descriptor.id(),))
        answer: Any = await (await client.send(request))
        self.answers.append("missing" if answer.missing else "renewed")
        for number in node.whole() if not answer.missing else ():
            node.kept[node.name(number)] = Kept(PACKED.shares[number], until_s)

    async def sweep(self, at: int, times: int = 1) -> None:
        for _ in range(times):
            await self.nodes[at].shares.sweep()

    async def passing(self, *seconds: int) -> None:
        for each in seconds:
            self.clock.now_s += each
            await step()

    async def come_back(self, *, and_go: bool = False) -> None:
        """The lost node is there again."""
        self.away.discard(self.lost)
        await step()
        if and_go:
            self.away.add(self.lost)
            await step()

    async def scrub(self, at: int) -> None:
        for row in await rows.shares_of(self.nodes[at].store, 1):
            if row.state == ShareState.WHOLE:
                await self.nodes[at].shares.look_at(row)

    # ------------------------------------------------------------ what has to be true

    def look(self) -> None:
        for node in self.nodes[HOLDERS:]:
            node.look()

    async def is_leased(self, node: Node) -> bool:
        """Whether this node is to keep the pack for longer than the end takes."""
        row = await rows.pack(node.store, node.namespace, PACKED.descriptor.id())
        then_s = self.clock.now_s + ROUNDS * POLICY.lost_s
        return row is not None and row.trashed_s is None and row.lease_until_s > then_s

    async def in_the_end(self) -> None:
        """Given time, nodes have made each share that can be made, the others know of it, and each
        has what it holds from those who made it.
        """
        there = [node for node in self.nodes if node.number not in self.away]
        is_kept = all([await self.is_leased(node) for node in there])
        for _ in range(ROUNDS):
            self.clock.now_s += POLICY.late_s + 1
            for node in there:
                await node.repairer.round()
        for node in self.nodes:
            node.look()
        if is_kept:
            made = {n for node in there for n in node.whole()}
            assert made == {*range(HOLDERS)}, f"only {made} are there in the end"
            for node in there:
                row = await rows.pack(node.store, node.namespace, PACKED.descriptor.id())
                assert row is not None
                assert row.trashed_s is None
                known = await node_rows.holders(node.store, row.pack)
                for other in there:
                    for number in other.whole():
                        assert Holder(number, address_of(other.number)) in known, "nobody is told"
        for node in there:
            for number in node.whole():
                row_ = await rows.share(node.store, *node.name(number))
                assert row_ is not None
                assert await node.shares.read(row_, 0, 1) == PACKED.shares[number]


Setting = Callable[[World], Act]
Actors = Callable[[World], Mapping[str, Act]]


class Histories:
    """All histories of these actors, each from the same beginning."""

    def __init__(self, path: Path, actors: Actors, standing_by: int = 1) -> None:
        self._path, self._actors, self._standing_by = path, actors, standing_by
        self.answers: set[tuple[str, ...]] = set()

    def play(self, choosing: Choosing) -> None:
        world = World(self._path, self._standing_by)

        async def history() -> None:
            await world.start()
            actors = self._actors(world)
            await together({name: _ended(world, work) for name, work in actors.items()})
            world.look()
            self.answers.add(tuple(world.answers))
            await world.in_the_end()

            def passing(seconds: int) -> None:
                world.clock.now_s += seconds

            for node in world.nodes[HOLDERS:]:
                assert await node.is_emptied(passing), "something is left for ever"

        try:
            played(history, choosing, world.look)
        finally:
            for node in world.nodes:
                node.close()


async def _ended(world: World, work: Act) -> None:
    await step()
    await work
    world.an_end.set()


def given_up(world: World) -> Mapping[str, Act]:
    return {"rebuild": world.rebuild(3), "owner": world.give_up(3)}


def told_again(world: World) -> Mapping[str, Act]:
    return {"rebuild": world.rebuild(3), "device": world.tell(3)}


def healed_by_a_device(world: World) -> Mapping[str, Act]:
    return {"rebuild": world.rebuild(3), "device": world.heal(3)}


def killed(world: World) -> Mapping[str, Act]:
    return {"rebuild": world.mortal_rebuild(3), "power": world.kill(3)}


def swept(world: World) -> Mapping[str, Act]:
    clock = world.passing(LEASE_S, TRASH_S + 1)
    return {"rebuild": world.rebuild(3), "sweep": world.sweep(3, 2), "clock": clock}


def renewed(world: World) -> Mapping[str, Act]:
    clock = world.passing(LEASE_S)
    return {
        "rebuild": world.rebuild(3), "sweep": world.sweep(3), "clock": clock,
        "device": world.renew(3),
    }  # fmt: skip


def flapping(world: World) -> Mapping[str, Act]:
    return {"rebuild": world.rounds(3), "lost": world.come_back(and_go=True)}


def two_nodes(world: World) -> Mapping[str, Act]:
    return {"rebuild": world.rebuild(3), "other": world.rebuild(4), "lost": world.come_back()}


def everybody(world: World) -> Mapping[str, Act]:
    clock = world.passing(20 * 3600, LEASE_S, TRASH_S)
    return {
        "rebuild": world.rounds(3, 2), "other": world.rounds(4, 2), "sweep": world.sweep(3, 3),
        "lost": world.come_back(and_go=True), "device": world.heal(3), "teller": world.tell(4),
        "renew": world.renew(4), "owner": world.give_up(3, 4), "audit": world.scrub(3),
        "clock": clock,
    }  # fmt: skip


def nobody_gives_up(world: World) -> Mapping[str, Act]:
    some = {**everybody(world)}
    for name in ("owner", "clock", "sweep"):
        some.pop(name).close()
    return some
