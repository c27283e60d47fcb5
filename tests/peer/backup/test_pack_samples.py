"""Which packs are due to be fetched back in samples."""

from __future__ import annotations

from pathlib import Path

from crypto.packs import PackIndex, PackKind
from peer.backup.pack_samples import AGES_S, Sampled
from peer.backup.pack_store import PackStore
from tests.peer.fake_nodes import spread


async def test_each_age_has_its_turn_and_what_was_missed_is_over(tmp_path: Path) -> None:
    store = await PackStore.open(tmp_path / "packs.db")
    samples = store.samples
    numbers = []
    for seed in ("one", "two"):
        _, descriptor, _ = spread(4, 2, 3, seed)
        numbers.append(await store.add(descriptor, PackIndex(PackKind.CHUNKS, ()), 0))
    one, two = numbers
    assert await samples.due(10**9, 9) == [], "nothing is stored yet"
    await store.stored(one, 1000)
    await store.stored(two, 1030)
    assert await samples.totals() == Sampled(0, 0, None)
    assert await samples.due(1000 + AGES_S[0] - 1, 9) == []
    assert await samples.due(1030 + AGES_S[0], 9) == [one, two]
    assert await samples.due(1030 + AGES_S[0], 1) == [one]
    await samples.taken(one, AGES_S[0], 3, 0, 1060)
    assert await samples.due(1030 + AGES_S[0], 9) == [two]
    # A device that was off for a week takes one sample, not three.
    await samples.taken(two, AGES_S[3], 3, 1, 1030 + AGES_S[3])
    assert await samples.due(1030 + AGES_S[4] - 1, 9) == [one]
    assert await samples.due(1030 + AGES_S[4], 9) == [one, two]
    assert await samples.totals() == Sampled(6, 1, 1030 + AGES_S[3])
    await samples.taken(two, AGES_S[4], 3, 0, 1030 + AGES_S[4])
    assert await samples.due(10**9, 9) == [one], "after a month the nodes' own scrub goes on"
    await store.forget([one])
    assert await samples.due(10**9, 9) == []
    await store.close()
