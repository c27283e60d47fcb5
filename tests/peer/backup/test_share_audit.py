"""A node that lost or damaged what it holds is found out, and not counted on any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb, sqrt
from pathlib import Path
from random import Random

import pytest

from crypto.ids import RelayId
from crypto.packs import LEAF_SIZE, PackIndex, PackKind
from crypto.shares import Descriptor, leaf_hashes
from peer.backup.pack_samples import AGES_S
from peer.backup.pack_store import Holding, KnownPack, PackStore
from peer.backup.share_audit import CHALLENGES, SAMPLE_SHARE, ShareAudit, drawn
from protocol.storage_messages import ShareState
from tests.peer.backup_stage import keep, nodes
from tests.peer.device_stage import devices, folder_of
from tests.peer.fake_nodes import FakeNode, opened, spread


@pytest.mark.row("A41", "F25")
async def test_shares_that_are_gone_or_changed_are_found_and_stored_anew(tmp_path: Path) -> None:
    async with nodes(tmp_path, 3) as some, devices(tmp_path) as stage:
        one = await stage.found("one")
        (stage.root("one") / "a").write_bytes(b"hello" * 100_000)
        await one.add_folder(stage.root("one"), "f")
        await keep(stage, one, some, 2)
        folder_id = folder_of(one).folder_id
        backup = one.backups._backups[folder_id]
        one.backups._work[folder_id].cancel()  # or it would store anew what is found to be lost
        store = await PackStore.open(one.home.folders_path / f"{folder_id.hex()}.packs")
        backup.store = backup.audit._store = store
        whole = sorted(h[:3] for h in await backup.store.holdings())
        # A node changes what it holds, and another one has nothing any more.
        for path in some.files(0):
            path.write_bytes(b"\1" * path.stat().st_size)
        for path in some.files(1):
            path.unlink()
        for _ in range(2):  # the first time it may only be said that the disk fails
            backup.audit._verified_at = float("-inf")
            await backup.audit.verify(backup.present())
        held = {h.node for h in await backup.store.holdings()}
        assert held == {some.addresses[2].relay_id}
        assert len(await backup.store.holdings()) < len(whole)
        # Both had signed for it: that is remembered, and said of them.
        packs = len(await store.packs())
        broken = await store.notes.broken_by_node()
        assert broken == {address.relay_id: packs for address in some.addresses[:2]}
        # A challenge for what is gone has the node itself notice.
        desk = some.stages[1].relay.desk.storage
        assert desk is not None
        assert desk.shares.namespaces.totals()[1][ShareState.DAMAGED] >= packs
        await store.close()


AUDITS = 44
NODES_ASKED = 3_000


@pytest.mark.row("A41")
@pytest.mark.parametrize("loss", ["shares", "leaves"])
def test_44_audits_find_a_node_that_lost_a_tenth_with_99_percent(loss: str) -> None:
    """One that lost a tenth of its shares whole, and one that lost a tenth of each one's leaves."""
    random = Random(44)
    descriptor = Descriptor(b"p" * 32, 4 * 32 * LEAF_SIZE, 4, (b"r" * 32,) * 7)
    pack = KnownPack(1, b"d" * 32, descriptor, PackKind.CHUNKS, 0, 0)
    held = [(pack, Holding(number, 0, RelayId(b"n" * 32), 0, 0)) for number in range(400)]

    def is_shown(holding: Holding, leaves: list[int]) -> bool:
        if loss == "shares":
            return holding.pack % 10 != 3
        return not any(leaf % 10 == 3 for leaf in leaves)

    found = 0
    for _ in range(NODES_ASKED):
        rounds = (drawn(held, random) for _ in range(AUDITS // CHALLENGES))
        found += any(not is_shown(h, leaves) for each in rounds for _, h, leaves in each)
    # What draws without favour come to, and how far so many nodes may be from it by chance.
    unseen = comb(360, CHALLENGES) / comb(400, CHALLENGES)
    expected = 1 - unseen ** (AUDITS // CHALLENGES)
    assert expected >= 0.99
    spread = sqrt(NODES_ASKED * expected * (1 - expected))
    assert found >= NODES_ASKED * expected - 4 * spread


class SlyNode(FakeNode):
    """It keeps what it was given until a time, and shows whatever it has then; it counts leaves."""

    rots_s = 1 << 60
    now_s = 0
    shown = 0

    async def challenge(
        self, namespace: bytes, descriptor: Descriptor, share: int, leaves: Sequence[int]
    ) -> bool:
        self.shown += len(leaves)
        data = self.shares[descriptor.id(), share]
        return descriptor.is_share(share, leaf_hashes(data)) and self.now_s < self.rots_s


@pytest.mark.row("F38")
@pytest.mark.parametrize("rots_after_s", [0, 100, 5_000, 90_000, 8 * 86_400])
async def test_what_is_new_is_fetched_back_after_a_minute_an_hour_a_day_a_week_a_month(
    tmp_path: Path, rots_after_s: int, record_property: Callable[[str, object], None]
) -> None:
    """A node goes bad without a word at some time: the first sample after that finds it."""
    store = await PackStore.open(tmp_path / "packs.db")
    audit = ShareAudit(store)
    _, descriptor, fakes = spread(260, 2, 3)
    made = [SlyNode(fake.shares) for fake in fakes]
    ids = [RelayId(bytes([n]) * 32) for n in range(3)]
    number = await store.add(descriptor, PackIndex(PackKind.CHUNKS, ()), 0)
    await store.hold(Holding(number, n, id_, 0, 0) for n, id_ in enumerate(ids))
    stored_s = 1_800_000_000
    await store.stored(number, stored_s)
    present = {id_: opened(node) for id_, node in zip(ids, made, strict=True)}
    made[1].rots_s = stored_s + rots_after_s
    taken, found_s = [], None
    for now_s in range(stored_s, stored_s + 31 * 86_400, 30):
        if now_s - stored_s > AGES_S[1] and now_s % 1800:
            continue  # a clock that is quick where nothing happens
        before = made[0].shown
        for node in made:
            node.now_s = now_s
        await audit.sample(present, now_s)
        if made[0].shown > before:
            taken.append(now_s - stored_s)
            assert made[0].shown - before >= descriptor.leaves / SAMPLE_SHARE
        if found_s is None and len(await store.holdings()) < 3:
            found_s = now_s
            assert {h.node for h in await store.holdings()} == {ids[0], ids[2]}
    assert [late - age < 1800 for late, age in zip(taken, AGES_S, strict=True)] == [True] * 5
    assert found_s is not None
    after = next(age for age in AGES_S if age >= rots_after_s)
    assert found_s - stored_s - after < 1800
    record_property("figure", f"{rots_after_s} s: {found_s - stored_s - rots_after_s} s later")
    sampled = await store.samples.totals()
    assert sampled.wrong == 2
    assert sampled.fetched == made[0].shown * 2 + made[1].shown
    await store.close()
