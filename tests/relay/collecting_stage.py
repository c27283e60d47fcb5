"""Who collects at one node and who needs what it keeps, as actors of `tests.interleaving`: each
read of rows, each commit and each act on files is a step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from crypto.epochs import Tier
from crypto.ids import RelayId
from crypto.namespaces import Signer, sign_delegation
from crypto.packs import LEAF_SIZE
from crypto.share_links import LinkFlags, LinkKey, LinkSecrets, seal_link, token_hash
from crypto.shares import leaf_hashes
from protocol.link_messages import LinkKeep, LinkPack, LinkPiece, LinkPut
from protocol.storage_messages import ShareState, StoreDelegate, StoreOutcome
from relay import share_rows as rows
from relay.link_desk import LinkDesk, LinkTalk
from relay.namespaces import Namespaces
from relay.share_files import ShareName
from relay.share_links import LinkLimits, NewLink, ShareLinks
from relay.share_rows import LINKS_WAIT_S, NamespaceRow
from relay.shares import DAY_S, TRASH_S, UNFINISHED_S, ShareFault
from relay.uploads import UploadLimits, Uploads
from tests.interleaving import Choosing, played, step, together
from tests.relay.stepped_node import START_S, Clock, Kept, SteppedNode, empty_database
from tests.relay.storage_stage import Owner, Packed
from tests.relay.web_stage import Made

NODE = RelayId(b"1" * 32)
OWNER = Owner()
PACKED = Packed.of(4, 2, 3)
"""Two leaves a share."""
WEEK_S = 7 * DAY_S
Act = Coroutine[Any, Any, None]


@cache
def founded() -> NamespaceRow:
    delegation = OWNER.delegation(NODE)
    signature = sign_delegation(OWNER.seed(NODE, Tier.OWNER), NODE, delegation)
    request = StoreDelegate(1, delegation.encode(), signature, Signer.OWNER, OWNER.emergency, b"")
    row = Namespaces(NODE).judge(request, b"f" * 32, START_S, may_found=True)
    assert isinstance(row, NamespaceRow)
    return row


EMPTY = empty_database()


@cache
def link_to_pack() -> Made:
    key = LinkKey.from_seed(b"l" * 40)
    secrets = LinkSecrets(b"s" * 32, b"p" * 16, b"")
    new = NewLink(
        founded().namespace, secrets.password_salt, token_hash(secrets.token(key.link_id)), 0, 0,
        (PACKED.descriptor.pack_id,), PACKED.descriptor.pack_size,
    )  # fmt: skip
    blob = seal_link(key, secrets, b"a manifest", flags=LinkFlags.NONE, version=1, salt=b"s" * 32)
    return Made(key, secrets, new, blob, new.packs)


class World:
    """One node, and who asks it for something."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.node = SteppedNode(path, NODE, self.clock, EMPTY, is_fine=True)
        self.shares = self.node.shares
        self.name = ShareName(founded().namespace, PACKED.descriptor.id(), 0)
        self.answers: list[str] = []
        self.an_end = asyncio.Event()
        """One of the actors has ended."""
        self.links = ShareLinks(
            self.node.store, path / "links", b"s" * 32, LinkLimits(), self.clock, self.clock
        )
        uploads = Uploads(
            self.node.store, path / "uploads", self.links, UploadLimits(), self.clock, self.clock
        )
        self.talk = LinkTalk(
            LinkDesk(self.links, self.node.store, "https://a", uploads),
            lambda namespace, tier: StoreOutcome.DONE,
        )

    async def start(self) -> None:
        await self.node.start()
        async with self.node.store.transaction() as db:
            await rows.put_namespace(db, founded())
        await self.shares.namespaces.load(self.node.store)
        await self.links.start()

    # ------------------------------------------------------------ actors

    async def put(self, lease_s: int = WEEK_S, *, leaves: int = 2) -> None:
        """A device that has one share to store, or the first of its leaves."""
        until_s, data = self.clock.now_s + lease_s, PACKED.shares[0]
        incoming = await self.shares.begin(
            self.name.namespace, PACKED.descriptor, 0, leaf_hashes(data), until_s, []
        )
        if incoming is not None:
            try:
                if leaves > incoming.next_leaf:
                    first = incoming.next_leaf
                    some = data[first * LEAF_SIZE : leaves * LEAF_SIZE]
                    await self.shares.take(incoming, first, some)
                if incoming.is_complete:
                    await self.shares.keep(incoming)
            finally:
                self.shares.leave(incoming)
        row = await rows.share(self.node.store, *self.name)
        if leaves == 2:
            # As a STORE_KEEP is answered: this is what a receipt says.
            if row is None or row.state != ShareState.WHOLE:
                raise ShareFault(StoreOutcome.UNKNOWN)
            self._promised(until_s)

    async def put_again(self) -> None:
        """One that is refused tries it again at its next pass, when others have ended."""
        for _ in range(8):
            self.an_end.clear()
            with suppress(ShareFault):
                return await self.put()
            self.answers.append("refused")
            await self.an_end.wait()
        raise AssertionError("a share is refused again and again")

    async def renew(self, lease_s: int = WEEK_S) -> None:
        """A device that wants the pack still."""
        until_s = self.clock.now_s + lease_s
        missing = await self.shares.renew(self.name.namespace, [self.name.descriptor_id], until_s)
        if not missing:
            self._promised(until_s)
        self.answers.append("missing" if missing else "renewed")

    async def link(self) -> None:
        """A device that makes a share link to the pack; one that is not whole it would not name."""
        made, namespace = link_to_pack(), self.name.namespace
        put = LinkPut(
            1, namespace, made.link_id, made.new.password_salt, made.new.token_hash, 0, 0,
            len(made.blob), (LinkPack(namespace, self.name.descriptor_id),),
        )  # fmt: skip
        outcome = StoreOutcome.DONE
        for request in (put, LinkPiece(2, made.link_id, 0, made.blob), LinkKeep(3, made.link_id)):
            await step()
            if outcome == StoreOutcome.DONE:
                outcome = StoreOutcome((await self.talk.answer(request)).outcome)
        if outcome == StoreOutcome.DONE:
            self._promised(self.clock.now_s + LINKS_WAIT_S)
        self.answers.append("linked" if outcome == StoreOutcome.DONE else outcome.name)

    async def sweep(self, times: int = 1) -> None:
        for _ in range(times):
            await self.shares.sweep()

    async def passing(self, *seconds: int) -> None:
        """Time goes on."""
        for each in seconds:
            self.clock.now_s += each
            await step()

    async def delete(self) -> None:
        """The owner throws it away, and thinks better of it."""
        namespace, ids = self.name.namespace, [self.name.descriptor_id]
        await self.shares.trash(namespace, ids, is_back=False)
        await self.shares.trash(namespace, ids, is_back=True)

    async def read(self) -> None:
        """A device that restores what it knows of; a share in the trash can be read."""
        row = await rows.share(self.node.store, *self.name)
        if row is not None and row.state == ShareState.WHOLE:
            with suppress(ShareFault):
                assert await self.shares.read(row, 0, 2) == PACKED.shares[0]

    def _promised(self, until_s: int) -> None:
        if not self.node.has_whole(self.name):
            return  # it is a promise about what is coming in
        before = self.node.kept.get(self.name)
        until_s = max(until_s, before.until_s if before else 0)
        self.node.kept[self.name] = Kept(PACKED.shares[0], until_s)


async def ended(world: World, work: Act) -> None:
    """An actor from its first step on."""
    await step()
    await work
    world.an_end.set()


Setting = Callable[[World], Act]
Actors = Callable[[World], Mapping[str, Act]]


class Histories:
    """All histories of these actors, each from the same beginning."""

    def __init__(self, path: Path, setting: Setting, actors: Actors) -> None:
        self._path, self._setting, self._actors = path, setting, actors
        self.answers: set[tuple[str, ...]] = set()

    def play(self, choosing: Choosing) -> None:
        world = World(self._path)

        async def history() -> None:
            await world.start()
            await self._setting(world)
            actors = self._actors(world)
            await together({name: ended(world, work) for name, work in actors.items()})
            world.node.look()
            self.answers.add(tuple(world.answers))

            def passing(seconds: int) -> None:
                world.clock.now_s += seconds

            assert await world.node.is_emptied(passing), "something is left for ever"

        try:
            played(history, choosing, world.node.look)
        finally:
            world.node.close()


async def in_trash(world: World) -> None:
    """A pack that is to be taken away at the next sweep."""
    await world.put(DAY_S)
    world.clock.now_s += 2 * DAY_S
    await world.sweep()
    world.clock.now_s += TRASH_S + 1


async def begun(world: World) -> None:
    """A share whose second leaf did not come for a day."""
    await world.put(leaves=1)
    world.clock.now_s += UNFINISHED_S + 1


async def leased(world: World) -> None:
    """A pack whose lease ends within the hour."""
    await world.put(3000)


async def expiring(world: World) -> None:
    """One whose lease has ended, before anybody has noticed."""
    await leased(world)
    world.clock.now_s += 3001


async def unleased(world: World) -> None:
    """One that an owner is about to throw away: nobody is promised anything."""
    await leased(world)
    world.node.kept.clear()


def put_while_swept(world: World) -> Mapping[str, Act]:
    return {"device": world.put_again(), "sweep": world.sweep()}


def link_while_swept(world: World) -> Mapping[str, Act]:
    return {"link": world.link(), "sweep": world.sweep()}


def renew_while_swept(world: World) -> Mapping[str, Act]:
    return {"renew": world.renew(), "sweep": world.sweep(2)}


def sweep_in_time(world: World) -> Mapping[str, Act]:
    return {"sweep": world.sweep(3), "clock": world.passing(20 * 3600, TRASH_S)}


def two_devices(world: World) -> Mapping[str, Act]:
    return {"device": world.put_again(), "sweep": world.sweep(), "other": world.put_again()}


def owner_in_time(world: World) -> Mapping[str, Act]:
    clock = world.passing(20 * 3600, TRASH_S)
    return {"owner": world.delete(), "sweep": world.sweep(2), "clock": clock}


def time_beside_a_link(world: World) -> Mapping[str, Act]:
    clock = world.passing(3001, 20 * 3600, TRASH_S)
    return {"link": world.link(), "sweep": world.sweep(3), "clock": clock}


def time_beside_a_lease(world: World) -> Mapping[str, Act]:
    clock = world.passing(3001, 20 * 3600, TRASH_S)
    return {
        "renew": world.renew(), "sweep": world.sweep(3), "clock": clock,
        "device": world.put_again(),
    }  # fmt: skip


def everybody(world: World) -> Mapping[str, Act]:
    clock = world.passing(3001, 20 * 3600, TRASH_S, 3600, TRASH_S)
    return {
        "reader": world.read(), "sweep": world.sweep(4), "device": world.put_again(),
        "clock": clock, "renew": world.renew(), "other": world.put_again(), "link": world.link(),
    }  # fmt: skip
