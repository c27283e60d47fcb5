"""Nodes that sign for what they drop, say that they have it, or keep what should have gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from crypto.packs import PackKind
from protocol.storage_client import Answer, Request, StorageClient
from protocol.storage_messages import ShareState, Stat, StoreStat, StoreStats
from relay.shares import DAY_S, Shares
from tests.peer.backup.test_collected import forgotten
from tests.peer.backup.test_lost_midway import Place, kept, opened
from tests.relay.test_shares import Clock

A = TypeVar("A", bound=Answer)


def shares_of(place: Place, number: int) -> Shares:
    desk = place.some.stages[number].relay.desk.storage
    assert desk is not None
    return desk.shares


class Boaster:
    """The link to a node that says it has all that it ever signed for."""

    def __init__(self, client: StorageClient, held: dict[bytes, int]) -> None:
        self._client, self._held = client, held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def ask(self, request: Request, kind: type[A]) -> A:
        if isinstance(request, StoreStat):
            stats = [
                Stat(id_, self._held[id_], ShareState.WHOLE, 0, 1 << 40, 1 << 40)
                for id_ in request.descriptor_ids
                if id_ in self._held
            ]
            return cast(A, StoreStats(request.number, 0, tuple(stats)))
        return await self._client.ask(request, kind)


@pytest.mark.row("A41", "F25")
@pytest.mark.parametrize("boasts", [False, True])
async def test_a_node_that_signs_for_what_it_drops_is_found_out_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boasts: bool
) -> None:
    async with kept(tmp_path, monkeypatch, 4, 2, 3) as place:
        backup, (sealing, _) = place.backup, place.backup.sealing_secret()
        await backup.store.forget([known.number for known in await backup.store.packs()])
        pack = place.new_pack()
        await backup.store_pack(pack, place.record, sealing)
        known = await place.pack(pack.pack_id)
        assert known is not None
        assert known.stored_s is not None, "three nodes signed that they have it"
        held = {h.node: h.share for h in await backup.store.holdings(known.number)}
        liar = next(iter(held))
        number = place.ids.index(liar)
        async with shares_of(place, number).store.transaction() as db:
            await db.execute_fetchall("DELETE FROM packs WHERE descriptor_id = ?", (known.id,))
        if boasts:
            boaster = Boaster(place._opened[liar].client, {known.id: held[liar]})
            lying = place._opened[liar]._replace(client=cast(StorageClient, boaster))
            backup.nodes_are({**place._opened, liar: lying}, backup.addresses)
        backup.audit.hasten()
        await backup.audit.verify(backup.present())
        after = {h.node for h in await backup.store.holdings(known.number)}
        assert after == held.keys() - {liar}
        assert await backup.store.notes.broken_by_node() == {liar: 1}, "it had signed for it"
        assert await place.read(known) == pack.data
        place.losing(0, (), away=[liar])
        assert (await backup.healing.complete(place.record, counts_away=False)).rebuilt == 1
        assert await place.is_whole(known)


@pytest.mark.row("A41", "F29")
async def test_a_node_that_lets_go_of_nothing_brings_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was deleted, and the packs that it lay in, stay gone for a device that reads anew."""
    async with kept(tmp_path, monkeypatch, 3, 2, 3) as place:
        backup, wanted = place.backup, await opened(place)
        old = await backup.store.packs()
        slots = await backup.wanted_slots()
        for kind in PackKind:
            some = [pack for pack in old if pack.kind is kind]
            await backup.repacking._rewrite(kind, some, slots, place.record)
        new = {pack.id for pack in await backup.store.packs()}
        assert not new & {pack.id for pack in old}
        clock = Clock()
        for number in (1, 2):
            shares = shares_of(place, number)
            held = {pack.id for pack in old}
            await shares.trash(place._opened[place.ids[number]].namespace, held, is_back=False)  # type: ignore[arg-type]
            clock.now_s = shares.now_s() + 8 * DAY_S
            shares._wall_clock = clock
            while await shares.sweep():
                pass
        # The first one has them all still, and says so.
        assert len(place.some.files(0)) > max(len(place.some.files(n)) for n in (1, 2))
        await forgotten(backup)
        backup._packs.clear()
        await backup.look()
        assert {pack.id for pack in await backup.store.packs()} == new
        assert await opened(place) == wanted
        assert await backup.healing.complete(place.record) == (0, 0, 0), "healthy, and no more"
