"""Everything is read within fourteen days, evenly, and what rots is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.packs import LEAF_SIZE
from protocol.storage_messages import ShareState
from relay.scrub import HURRY_BYTES_PER_S, PAUSE_MAX_S, PROMISE_S, ROUND_S, Scrub, pause_s
from relay.shares import DAY_S, TRASH_S
from tests.relay.storage_stage import Packed, files_of
from tests.relay.test_shares import Clock, running

sizes = st.integers(1, 288).map(lambda leaves: leaves * LEAF_SIZE)


@given(st.lists(sizes, min_size=1, max_size=60))
def test_a_round_over_all_takes_no_longer_than_it_may(all_sizes: list[int]) -> None:
    total = sum(all_sizes)
    assert sum(pause_s(size, total, 0) for size in all_sizes) <= ROUND_S + 1
    assert all(0 < pause_s(size, total, ROUND_S) <= size / HURRY_BYTES_PER_S for size in all_sizes)


def test_the_pace_is_even() -> None:
    total = 1 << 40
    size = 2 << 20
    assert pause_s(size, total, 0) == pytest.approx(ROUND_S * size / total)
    assert pause_s(2 * size, total, 0) == pytest.approx(2 * pause_s(size, total, 0))
    assert pause_s(size, size, 0) == PAUSE_MAX_S
    assert pause_s(size, 0, 0) == PAUSE_MAX_S


@pytest.mark.row("F08", "F38")
async def test_no_byte_goes_unread_for_fourteen_days_and_rot_is_found(tmp_path: Path) -> None:
    clock = Clock()
    packs = [Packed.of(leaves, 1, 1, leaves) for leaves in (1, 2, 3, 5)]
    async with running(tmp_path, clock=clock) as node:
        for packed in packs:
            await node.put(packed)
            clock.now_s += DAY_S
        scrub, rotten, found_after_s = Scrub(node.shares), packs[3], None
        oldest = []
        began_s = clock.now_s
        rotted_s = began_s + 20 * DAY_S
        while clock.now_s < began_s + 60 * DAY_S:
            pause = await scrub.step()
            assert 0 < pause <= PAUSE_MAX_S
            # The clock is quicker than the pauses, so that a test is no month: a day is a step.
            clock.now_s += DAY_S
            oldest.append(scrub.unread_for_s)
            if clock.now_s == rotted_s:
                path = max(files_of(tmp_path), key=lambda each: each.stat().st_size)
                data = bytearray(path.read_bytes())
                data[-1] ^= 1
                path.write_bytes(data)
            if found_after_s is None and await node.state(rotten) is ShareState.DAMAGED:
                found_after_s = clock.now_s - rotted_s
                break
        assert max(oldest) <= PROMISE_S
        assert found_after_s is not None
        assert found_after_s <= PROMISE_S
        assert scrub.damaged_leaves == 1
        assert scrub.read_bytes > 4 * sum(packed.descriptor.share_size for packed in packs)


async def test_the_least_recently_read_is_next(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path, clock=clock) as node:
        scrub = Scrub(node.shares)
        assert await scrub.step() == PAUSE_MAX_S, "nothing is here"
        assert scrub.unread_for_s == 0
        packs = [Packed.of(1, 1, 1, number) for number in range(3)]
        for packed in packs:
            clock.now_s += 10
            await node.put(packed)
        ages = []
        for _ in range(6):
            clock.now_s += 100
            ages.append(scrub.unread_for_s)
            await scrub.step()
        assert ages == [0, 220, 310, 400, 400, 400], "as of the step before"
        await node.shares.trash(node.namespace, [packs[0].descriptor.id()], is_back=False)
        clock.now_s += TRASH_S + 1
        await node.shares.sweep()
        await scrub.step()
        assert scrub.unread_for_s > TRASH_S
