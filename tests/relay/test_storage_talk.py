"""A storage link, from the device's side: what is allowed, what is refused, and what offends."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from crypto.epochs import Tier, TierSecrets
from crypto.ids import RelayId
from crypto.keys import DeviceKeys
from crypto.namespaces import Signer, check_receipt, prove_capability, sign_delegation
from crypto.packs import LEAF_SIZE
from crypto.relay_ids import relay_id_of
from crypto.shares import leaf_hashes
from protocol.errors import LinkError, StorageRefused
from protocol.relay_address import RelayAddress
from protocol.relay_links import dial_relay
from protocol.relay_messages import Admit, Register, Registered, RelayPing, RelayPong, encode
from protocol.relay_token import parse_token
from protocol.storage_client import StorageClient, storing
from protocol.storage_messages import (
    PIECE_LEAVES_MAX,
    STANDBY,
    Holder,
    ShareState,
    StorageRequest,
    StoreBegan,
    StoreBegin,
    StoreChallenge,
    StoreChanged,
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
from relay import share_rows, storage_talk
from relay.admissions import Admissions, invite
from relay.allowance import Allowance
from relay.storage_desk import NodeWords
from relay.store import RelayStore
from tests.crypto.seeded import Seeded
from tests.relay.relay_stage import Caller, RelayStage, new_keys, relaying, until
from tests.relay.storage_stage import FAR_S, ROOMY, Owner, Packed, files_of

PACKED = Packed.of(5, 2, 3)
ID = PACKED.descriptor.id()


class Stage:
    """A node, and an owner's link to it."""

    def __init__(self, relay: RelayStage, client: StorageClient, home: Path) -> None:
        self.relay, self.client, self.home = relay, client, home
        self.owner = Owner()
        self.namespace = self.owner.namespace(client.address.relay_id)

    def holder(self, number: int, keys: DeviceKeys | None = None) -> Holder:
        node_id = relay_id_of(keys.sign_public, keys.dh_public) if keys else RelayId(b"x" * 32)
        return Holder(number, str(RelayAddress("127.0.0.1", 9, node_id)))

    async def put(self, number: int = 0, packed: Packed = PACKED, *holders: Holder) -> StoreKept:
        return await self.client.put(
            self.namespace, packed.descriptor, number, packed.shares[number], FAR_S, holders
        )


@asynccontextmanager
async def storage(tmp_path: Path, words: NodeWords | None = None) -> AsyncIterator[Stage]:
    async with (
        relaying(home=tmp_path, storage=ROOMY, words=words) as relay,
        storing(relay.address, new_keys()) as client,
    ):
        stage = Stage(relay, client, tmp_path)
        await stage.owner.found_and_open(client)
        yield stage


async def refusal(client: StorageClient, request: StorageRequest) -> StoreOutcome:
    with pytest.raises(StorageRefused) as caught:
        await client.ask(request, StoreDone)
    return StoreOutcome(caught.value.outcome)


async def test_what_is_put_is_there_with_a_receipt(tmp_path: Path) -> None:
    async with storage(tmp_path, NodeWords("Ada", "Oslo")) as stage:
        client, namespace = stage.client, stage.namespace
        assert (client.node.owner, client.node.region) == ("Ada", "Oslo")
        assert client.node.free_bytes <= ROOMY.total_bytes
        assert client.node.namespace_bytes == ROOMY.namespace_bytes
        kept = await stage.put(1)
        check_receipt(client.sign_pk, kept.receipt, ID, 1, kept.lease_until_s, kept.time_s)
        assert await client.fetch(namespace, PACKED.descriptor, 1) == PACKED.shares[1]
        assert await client.challenge(namespace, PACKED.descriptor, 1, [2, 0, 2])
        assert not await client.challenge(namespace, PACKED.descriptor, 0, [0])
        again = await stage.put(1)
        assert again.receipt, "said again, and nothing sent"
        stats = await client.ask(StoreStat(client.number(), namespace, (ID, b"u" * 32)), StoreStats)
        assert [(s.descriptor_id, s.number, s.state, s.leaves) for s in stats.stats] == [
            (ID, 1, ShareState.WHOLE, 3),
            (b"u" * 32, STANDBY, ShareState.UNKNOWN, 0),
        ]
        used = await client.ask(StoreUsage(client.number(), namespace), StoreUsed)
        assert (used.used_bytes, used.shares) == (PACKED.descriptor.share_size, 1)
        assert used.unchecked_s == stats.stats[0].checked_s
        listed = await client.ask(StoreList(client.number(), namespace, 0), StoreListed)
        assert [(s.descriptor_id, s.number) for s in listed.shares] == [(ID, 1)]
        after = StoreList(client.number(), namespace, listed.shares[-1].position)
        assert (await client.ask(after, StoreListed)).shares == ()


async def test_descriptors_and_holders_come_back_as_they_were(tmp_path: Path) -> None:
    async with storage(tmp_path) as stage:
        client = stage.client
        holders = (stage.holder(0), stage.holder(STANDBY, new_keys()))
        await stage.put(0, PACKED, *holders)
        request = StoreDescribe(client.number(), stage.namespace, (b"u" * 32, ID))
        described = await client.ask(request, StoreDescribed)
        assert [(d.descriptor, d.holders) for d in described.packs] == [
            (PACKED.descriptor.encode(), holders)
        ]


async def test_the_owner_s_trash_and_a_writer_s_leases(tmp_path: Path) -> None:
    async with storage(tmp_path) as stage:
        client, namespace = stage.client, stage.namespace
        await stage.put(0)
        renew = StoreRenew(client.number(), namespace, FAR_S, (ID, b"u" * 32))
        assert (await client.ask(renew, StoreChanged)).missing == (1,)
        for is_back in (False, True):
            request = StoreDelete(client.number(), namespace, (b"u" * 32, ID), is_back)
            assert (await client.ask(request, StoreChanged)).missing == (0,)
            stat = StoreStat(client.number(), namespace, (ID,))
            (found,) = (await client.ask(stat, StoreStats)).stats
            assert found.state == (ShareState.WHOLE if is_back else ShareState.TRASHED)


REQUESTS: dict[Tier, list[type[StorageRequest]]] = {
    Tier.READ: [StoreGet, StoreChallenge, StoreStat, StoreList, StoreDescribe, StoreUsage],
    Tier.WRITE: [StorePut, StorePiece, StoreKeep, StoreRenew],
    Tier.OWNER: [StoreDelete],
}


def requests(client: StorageClient, namespace: bytes) -> dict[type[StorageRequest], StorageRequest]:
    share, number = PACKED.shares[0], client.number
    made: list[StorageRequest] = [
        StoreGet(number(), namespace, ID, 0, 0, 1),
        StoreChallenge(number(), namespace, ID, 0, (0,)),
        StoreStat(number(), namespace, (ID,)),
        StoreList(number(), namespace, 0),
        StoreDescribe(number(), namespace, (ID,)),
        StoreUsage(number(), namespace),
        StorePut(
            number(), namespace, PACKED.descriptor.encode(), 0, tuple(leaf_hashes(share)), FAR_S, ()
        ),
        StorePiece(number(), namespace, ID, 0, 0, share[:LEAF_SIZE]),
        StoreKeep(number(), namespace, ID, 0),
        StoreRenew(number(), namespace, FAR_S, (ID,)),
        StoreDelete(number(), namespace, (ID,), False),
    ]
    return {type(request): request for request in made}


@pytest.mark.row("A18", "A20")
@pytest.mark.parametrize("tier", [None, Tier.READ, Tier.WRITE, Tier.ADMIN])
async def test_each_request_takes_its_tier(tmp_path: Path, tier: Tier | None) -> None:
    async with storage(tmp_path) as stage:
        await stage.put(0)
        before = [path.stat().st_size for path in files_of(tmp_path)]
        async with storing(stage.relay.address, new_keys()) as other:
            if tier is not None:
                await stage.owner.open(other, tier)
            for needed, kinds in REQUESTS.items():
                if tier is not None and tier >= needed:
                    continue
                for kind in kinds:
                    request = requests(other, stage.namespace)[kind]
                    assert await refusal(other, request) is StoreOutcome.REFUSED, kind
        assert [path.stat().st_size for path in files_of(tmp_path)] == before
        assert await stage.client.fetch(stage.namespace, PACKED.descriptor, 0) == PACKED.shares[0]


@pytest.mark.row("A20")
async def test_another_s_namespace_shows_nothing(tmp_path: Path) -> None:
    async with storage(tmp_path) as stage:
        await stage.put(0)
        stranger = Owner("stranger")
        async with storing(stage.relay.address, new_keys()) as other:
            own = await stranger.found_and_open(other)
            for request in requests(other, stage.namespace).values():
                assert await refusal(other, request) is StoreOutcome.REFUSED
            get = StoreGet(other.number(), own, ID, 0, 0, 1)
            assert await refusal(other, get) is StoreOutcome.UNKNOWN
            kept = await other.put(own, PACKED.descriptor, 0, PACKED.shares[0], FAR_S, [])
            assert kept.receipt, "of the same bytes each has its own"
            delete = StoreDelete(other.number(), own, (ID,), False)
            await other.ask(delete, StoreChanged)
        assert await stage.client.fetch(stage.namespace, PACKED.descriptor, 0) == PACKED.shares[0]


@pytest.mark.row("A18")
async def test_an_opening_of_another_link_opens_nothing(tmp_path: Path) -> None:
    async with storage(tmp_path) as stage:
        node_id, tier = stage.client.address.relay_id, Tier.OWNER
        async with storing(stage.relay.address, new_keys()) as other:
            proof = prove_capability(
                stage.owner.seed(node_id, tier), node_id, stage.namespace, 0, tier,
                stage.client._link.link_id,
            )  # fmt: skip
            replayed = StoreOpen(other.number(), stage.namespace, 0, tier, proof)
            assert await refusal(other, replayed) is StoreOutcome.REFUSED


@pytest.mark.row("A18")
async def test_an_older_generation_is_shut_out_in_the_middle_of_a_put(tmp_path: Path) -> None:
    async with storage(tmp_path) as stage:
        client, owner, node_id = stage.client, stage.owner, stage.client.address.relay_id
        await stage.put(0)
        async with storing(stage.relay.address, new_keys()) as removed:
            old = Owner()
            await old.open(removed, Tier.WRITE)
            put = requests(removed, stage.namespace)[StorePut]
            hashes = tuple(leaf_hashes(PACKED.shares[1]))
            assert isinstance(put, StorePut)
            await removed.ask(replace(put, share=1, hashes=hashes), StoreStarted)
            seed = owner.seed(node_id, Tier.OWNER)
            owner.secrets, owner.generation = TierSecrets.generate(Seeded("next")), 1
            delegation = owner.delegation(node_id)
            signature = sign_delegation(seed, node_id, delegation)
            await client.delegate(delegation, signature, Signer.OWNER)
            for kind, request in requests(removed, stage.namespace).items():
                assert await refusal(removed, request) is StoreOutcome.OLDER, kind
            proof = prove_capability(
                old.seed(node_id, Tier.WRITE), node_id, stage.namespace, 0, Tier.WRITE,
                removed._link.link_id,
            )  # fmt: skip
            open_ = StoreOpen(removed.number(), stage.namespace, 0, Tier.WRITE, proof)
            opened = await (await removed.send(open_))
            assert opened == StoreOpened(open_.number, StoreOutcome.OLDER, delegation.encode()), (
                "who was away hears which generation there is"
            )
        await owner.open(client)
        assert await client.fetch(stage.namespace, PACKED.descriptor, 0) == PACKED.shares[0]


@pytest.mark.row("A31")
async def test_huge_numbers_and_strange_places_are_refused(tmp_path: Path) -> None:
    async with storage(tmp_path) as stage:
        client, namespace, number = stage.client, stage.namespace, stage.client.number
        await stage.put(0)
        encoded, hashes = PACKED.descriptor.encode(), tuple(leaf_hashes(PACKED.shares[1]))
        put = StorePut(number(), namespace, encoded, 1, hashes, FAR_S, ())
        refused: list[tuple[StorageRequest, StoreOutcome]] = [
            (StoreGet(number(), namespace, ID, 0, 65_535, 8), StoreOutcome.UNKNOWN),
            (StoreGet(number(), namespace, ID, 0, 2, 2), StoreOutcome.UNKNOWN),
            (StoreGet(number(), namespace, ID, 0, 0, 255), StoreOutcome.REFUSED),
            (StoreGet(number(), namespace, ID, 254, 0, 1), StoreOutcome.UNKNOWN),
            (StoreChallenge(number(), namespace, ID, 0, (65_535,)), StoreOutcome.UNKNOWN),
            (replace(put, number=number(), descriptor=b"d"), StoreOutcome.DAMAGED),
            (replace(put, number=number(), share=254), StoreOutcome.DAMAGED),
            (replace(put, number=number(), hashes=hashes[:-1]), StoreOutcome.DAMAGED),
            (replace(put, number=number(), hashes=()), StoreOutcome.DAMAGED),
            (replace(put, number=number(), holders=(Holder(0, "x"),)), StoreOutcome.DAMAGED),
            (replace(put, number=number(), holders=(stage.holder(9),)), StoreOutcome.DAMAGED),
            (StorePiece(number(), namespace, ID, 1, 0, b""), StoreOutcome.UNKNOWN),
            (StoreKeep(number(), namespace, ID, 1), StoreOutcome.UNKNOWN),
            (StoreMoved(number(), ID, 1), StoreOutcome.REFUSED),
            (StoreGet(number(), b"", ID, 0, 0, 1), StoreOutcome.REFUSED),
        ]
        for request, outcome in refused:
            assert await refusal(client, request) is outcome, request
        assert not client.is_closed
        assert len(files_of(tmp_path)) == 1


@pytest.mark.row("A29")
async def test_so_many_shares_are_under_way_on_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_talk, "INCOMING_PER_LINK_MAX", 1)
    async with storage(tmp_path) as stage:
        made = requests(stage.client, stage.namespace)
        put = made[StorePut]
        assert isinstance(put, StorePut)
        await stage.client.ask(put, StoreStarted)
        again = replace(put, number=stage.client.number())
        assert (await stage.client.ask(again, StoreStarted)).leaves == 0
        hashes = tuple(leaf_hashes(PACKED.shares[1]))
        more = replace(put, number=stage.client.number(), share=1, hashes=hashes)
        assert await refusal(stage.client, more) is StoreOutcome.BUSY
        keep = StoreKeep(stage.client.number(), stage.namespace, ID, 0)
        assert await refusal(stage.client, keep) is StoreOutcome.REFUSED, "not all leaves are here"
    assert stage.relay.relay.desk.storage is not None
    assert not stage.relay.relay.desk.storage.shares._coming


async def test_too_many_requests_within_a_minute_are_put_off(tmp_path: Path) -> None:
    async with storage(tmp_path) as stage:
        desk = stage.relay.relay.desk.storage
        assert desk is not None
        desk.requests = Allowance(1)
        usage = StoreUsage(stage.client.number(), stage.namespace)
        await stage.client.ask(usage, StoreUsed)
        assert await refusal(stage.client, replace(usage, number=9)) is StoreOutcome.BUSY


@pytest.mark.row("F04", "F06")
@pytest.mark.parametrize(
    ("error", "outcome"),
    [(errno.ENOSPC, StoreOutcome.FULL), (errno.EIO, StoreOutcome.UNABLE)],
)
async def test_a_disk_that_fails_is_said_and_ends_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, outcome: StoreOutcome
) -> None:
    def fail(*_: object) -> None:
        raise OSError(error, "failed")

    async with storage(tmp_path) as stage:
        for step in ("begin", "write", "sync", "place"):
            with monkeypatch.context() as patch:
                patch.setattr(f"relay.share_files.ShareFiles.{step}", fail)
                with pytest.raises(StorageRefused) as caught:
                    await stage.put(0)
            assert caught.value.outcome == outcome, step
        await stage.put(0)

        async def broken(*_: object) -> None:
            raise sqlite3.OperationalError("failed")

        monkeypatch.setattr(share_rows, "unchecked_s", broken)
        usage = StoreUsage(stage.client.number(), stage.namespace)
        assert await refusal(stage.client, usage) is StoreOutcome.UNABLE


async def test_a_node_reads_what_it_holds_a_share_of_and_nothing_else(tmp_path: Path) -> None:
    node, stranger = new_keys(), new_keys()
    other = Packed.of(4, 2, 3, "of others")
    async with storage(tmp_path) as stage:
        await stage.put(0, PACKED, stage.holder(0), stage.holder(STANDBY, node))
        await stage.put(0, other, stage.holder(0), stage.holder(1))
        address = stage.relay.address
        async with storing(address, node, is_vouched=False) as client:
            await client.show_node(node)
            assert await client.fetch(b"", PACKED.descriptor, 0) == PACKED.shares[0]
            assert await client.challenge(b"", PACKED.descriptor, 0, [1])
            described = await client.ask(StoreDescribe(client.number(), b"", (ID,)), StoreDescribed)
            assert described.packs[0].descriptor == PACKED.descriptor.encode()
            get = StoreGet(client.number(), b"", other.descriptor.id(), 0, 0, 1)
            assert await refusal(client, get) is StoreOutcome.UNKNOWN
            for request in requests(client, stage.namespace).values():
                assert await refusal(client, request) is StoreOutcome.REFUSED
            await client.ask(StoreMoved(client.number(), ID, 2), StoreDone)
            moved = StoreMoved(client.number(), ID, 3)
            assert await refusal(client, moved) is StoreOutcome.UNKNOWN
        async with storing(address, stranger, is_vouched=False) as client:
            await client.show_node(stranger)
            get = StoreGet(client.number(), b"", ID, 0, 0, 1)
            assert await refusal(client, get) is StoreOutcome.UNKNOWN
            assert await refusal(client, StoreMoved(client.number(), ID, 0)) is StoreOutcome.UNKNOWN
        describe = StoreDescribe(stage.client.number(), stage.namespace, (ID,))
        (described_now,) = (await stage.client.ask(describe, StoreDescribed)).packs
        assert described_now.holders == (
            stage.holder(0), stage.holder(2, node), stage.holder(STANDBY, node),
        )  # fmt: skip


@pytest.mark.row("A25")
async def test_a_node_s_proof_of_another_link_is_none(tmp_path: Path) -> None:
    from crypto.namespaces import prove_node
    from protocol.storage_messages import StorePeer

    node = new_keys()
    async with storage(tmp_path) as stage:
        client = stage.client
        proof = prove_node(node.sign_seed, client.address.relay_id, bytes(32))
        peer = StorePeer(client.number(), node.sign_public, node.dh_public, proof)
        assert await refusal(client, peer) is StoreOutcome.REFUSED


async def test_other_messages_end_the_link_and_pings_are_answered(tmp_path: Path) -> None:
    async with storage(tmp_path) as stage:
        link = stage.client._link
        number, payload = encode(Register(1, (), ()))
        link.send(number, [payload])
        with pytest.raises(LinkError):
            await stage.client.ask(StoreUsage(9, stage.namespace), StoreUsed)
        caller = await stage.relay.caller()
        caller.say(StoreBegin(1, b""))
        assert isinstance(await caller.hear(), StoreBegan)
        caller.say(RelayPing(7))
        assert await caller.hear() == RelayPong(7)
        caller.say(StoreBegin(1, b""))
        assert await caller.hear() is None


@pytest.mark.row("A33")
async def test_rubbish_ends_its_own_link_and_no_other(tmp_path: Path) -> None:
    async with storage(tmp_path) as stage:
        await stage.put(0)
        random = Seeded("rubbish")
        for number in (80, 82, 86, 88, 91, 93, 107, 200):
            async with storing(stage.relay.address, new_keys()) as other:
                other._link.send(number, [random(300)])
                with pytest.raises(LinkError):
                    await other.ask(StoreUsage(9, stage.namespace), StoreUsed)
        assert await stage.client.fetch(stage.namespace, PACKED.descriptor, 0) == PACKED.shares[0]


@pytest.mark.row("A29")
async def test_a_silent_link_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_talk, "SILENCE_MAX_S", 0.05)
    async with relaying(home=tmp_path, storage=ROOMY) as relay:
        async with storing(relay.address, new_keys()) as client:
            await until(lambda: client.is_closed)
        await until(lambda: "TimedOut" in relay.relay.desk.counts)


async def test_a_storage_link_takes_no_other_link_s_place(tmp_path: Path) -> None:
    """The same device has a link on which it waits, and keeps it."""
    keys = new_keys()
    async with relaying(home=tmp_path, storage=ROOMY) as relay:
        caller = await relay.caller(keys)
        await caller.register((b"r" * 16,))
        async with storing(relay.address, keys):
            assert len(relay.relay.desk.registry) == 1
            assert await caller.register((b"r" * 16,)) == ()


async def test_a_relay_that_stops_ends_storage_links(tmp_path: Path) -> None:
    async with relaying(home=tmp_path, storage=ROOMY) as stage:
        async with storing(stage.address, new_keys()) as client:
            await stage.relay.stop()
            async with asyncio.timeout(30):
                while not client.is_closed:
                    await asyncio.sleep(0.01)


async def test_a_relay_that_stores_nothing_says_so_and_keeps_the_link(tmp_path: Path) -> None:
    async with relaying(home=tmp_path) as relay:
        with pytest.raises(StorageRefused, match="stores nothing"):
            await StorageClient.dial(relay.address, new_keys())
        caller = await relay.caller()
        caller.say(StoreBegin(1, b""))
        began = await caller.hear()
        assert began == StoreBegan(StoreOutcome.NOT_STORING, "", "", 0, 0)
        caller.say(Register(1, (), ()))
        assert isinstance(await caller.hear(), Registered)


async def test_a_closed_relay_s_namespaces_are_founded_by_those_it_let_in(tmp_path: Path) -> None:
    store = await RelayStore.open(tmp_path)
    admissions = Admissions(store, False, lambda: 1000.0)
    invited, stranger = new_keys(), new_keys()
    token = await invite(store, 1, 1, 1000, os.urandom)
    assert token is not None
    async with relaying(home=tmp_path, storage=ROOMY, admissions=admissions) as relay:
        caller = Caller(await dial_relay(relay.address, invited))
        caller.say(Admit(parse_token(token)))
        await caller.hear()
        owner = Owner()
        async with storing(relay.address, stranger) as client:
            with pytest.raises(StorageRefused, match="not allow"):
                await owner.found(client)
        async with storing(relay.address, invited) as client:
            await owner.found_and_open(client)
        async with storing(relay.address, stranger) as client:
            assert await owner.open(client), "who has a folder's keys may use what was founded"
        caller.link.abort()
    await store.close()


@pytest.mark.row("A25")
async def test_a_voucher_of_another_link_is_none(tmp_path: Path) -> None:
    async with relaying(home=tmp_path, storage=ROOMY) as relay:
        caller = await relay.caller()
        caller.say(StoreBegin(1, b"v" * 128))
        began = await caller.hear()
        assert isinstance(began, StoreBegan)
        assert began.outcome == StoreOutcome.REFUSED


async def test_pieces_and_answers_of_many_shares_cross_each_other(tmp_path: Path) -> None:
    large = Packed.of(4 * PIECE_LEAVES_MAX, 2, 4, "large")
    async with storage(tmp_path) as stage:
        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(stage.put(number, large))
        for number in range(4):
            found = await stage.client.fetch(stage.namespace, large.descriptor, number)
            assert found == large.shares[number]
        proof = StoreChallenge(7, stage.namespace, large.descriptor.id(), 3, tuple(range(16)))
        assert len((await stage.client.ask(proof, StoreProof)).leaves) == 16
        get = StoreGet(8, stage.namespace, large.descriptor.id(), 3, 1, PIECE_LEAVES_MAX)
        assert len((await stage.client.ask(get, StoreLeaves)).data) == PIECE_LEAVES_MAX * LEAF_SIZE
