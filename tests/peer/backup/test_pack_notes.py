"""What nodes signed and did not keep to is remembered, and so is what was made again."""

from __future__ import annotations

from pathlib import Path

from crypto.ids import RelayId
from peer.backup.pack_notes import Heal, Receipt
from peer.backup.pack_store import PackStore

ONE, TWO = RelayId(b"1" * 32), RelayId(b"2" * 32)


async def test_heals_are_told_the_last_one_first(tmp_path: Path) -> None:
    store = await PackStore.open(tmp_path / "packs")
    try:
        heals = [Heal(n, b"d" * 32, n, ONE, bool(n % 2)) for n in range(5)]
        for heal in heals:
            await store.notes.healed(heal)
        assert await store.notes.heals(3) == heals[:1:-1]
        assert await store.notes.count_heals() == 5
    finally:
        await store.close()


async def test_a_promise_is_broken_once_and_only_while_it_lasts(tmp_path: Path) -> None:
    store = await PackStore.open(tmp_path / "packs")
    notes = store.notes
    try:
        await notes.keep_receipt(Receipt(b"d" * 32, 0, ONE, 1000, 10, b"s" * 64))
        await notes.keep_receipt(Receipt(b"d" * 32, 1, TWO, 1000, 10, b"s" * 64))
        assert not await notes.broken(b"e" * 32, 0, ONE, 500), "nothing was signed of that pack"
        assert await notes.broken(b"d" * 32, 0, ONE, 500)
        assert not await notes.broken(b"d" * 32, 0, ONE, 600), "that is known"
        assert not await notes.broken(b"d" * 32, 1, TWO, 1001), "its time was over"
        assert await notes.broken_by_node() == {ONE: 1}
        await notes.keep_receipt(Receipt(b"d" * 32, 0, ONE, 2000, 700, b"s" * 64))
        assert await notes.broken_by_node() == {}, "it has it again, and signed that"
        await notes.forget_receipts(1500)
        assert not await notes.broken(b"d" * 32, 1, TWO, 900)
        assert await notes.broken(b"d" * 32, 0, ONE, 900)
    finally:
        await store.close()
