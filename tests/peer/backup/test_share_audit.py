"""A node that lost or damaged what it holds is found out, and not counted on any more."""

from __future__ import annotations

from math import comb, sqrt
from pathlib import Path
from random import Random

import pytest

from crypto.ids import RelayId
from crypto.packs import LEAF_SIZE, PackKind
from crypto.shares import Descriptor
from peer.backup.pack_store import Holding, KnownPack, PackStore
from peer.backup.share_audit import CHALLENGES, drawn
from protocol.storage_messages import ShareState
from tests.peer.backup_stage import keep, nodes
from tests.peer.device_stage import devices, folder_of


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
