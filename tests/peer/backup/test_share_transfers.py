"""A pack comes out of any k right shares, whatever the nodes that hold the others say."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from crypto.packs import LEAF_SIZE
from peer.backup.share_transfers import PackLost, cut_pack, read_pack, read_range
from tests.peer.fake_nodes import FakeNode, opened, spread

FLIPPED = {"flipped": lambda d: bytes([d[0] ^ 1]) + d[1:], "short": lambda d: d[:-1]}


def holders(nodes: list[FakeNode], numbers: range | tuple[int, ...] = range(7)) -> dict:  # type: ignore[type-arg]
    return {number: [opened(nodes[number])] for number in numbers}


@pytest.mark.row("F23")
async def test_any_4_of_7_nodes_give_the_pack_and_3_give_a_clear_error() -> None:
    pack, descriptor, nodes = spread(9, 4, 7)
    for some in combinations(range(7), 4):
        assert await read_pack(holders(nodes, some), descriptor) == (pack, set())
    for few in list(combinations(range(7), 3))[::7]:
        with pytest.raises(PackLost, match="3 shares can be had and 4 are needed"):
            await read_pack(holders(nodes, few), descriptor)


def lying(honest: list[FakeNode], liars: tuple[int, ...], lie: str) -> list[FakeNode]:
    """The nodes, of which some do not give what they should."""
    _, older, old_nodes = spread(4, 4, 7, seed="older")
    nodes = [FakeNode(dict(node.shares)) for node in honest]
    for number in liars:
        node, ((id_, _),) = nodes[number], honest[number].shares
        match lie:
            case "old":
                node.shares[id_, number] = old_nodes[number].shares[older.id(), number]
            case "swapped":
                other = (number + 1) % 7
                node.shares[id_, number] = honest[other].shares[id_, other]
            case "refused":
                node.refuses = True
            case "dropped":
                node.shares.clear()
            case "gone":
                node.is_gone = True
            case _:
                node.lie = FLIPPED[lie]
    return nodes


@pytest.mark.row("F23", "F25", "A41")
@pytest.mark.parametrize(
    "lie", ["flipped", "short", "old", "swapped", "refused", "dropped", "gone"]
)
async def test_any_three_of_seven_that_lie_are_found_and_done_without(lie: str) -> None:
    pack, descriptor, honest = spread(4, 4, 7)
    for right in combinations(range(7), 4):
        liars = tuple(n for n in range(7) if n not in right)
        data, wrong = await read_pack(holders(lying(honest, liars, lie)), descriptor)
        assert data == pack
        assert wrong == {n for n in liars if n < right[-1]}, "those that were asked"
    for liars in list(combinations(range(7), 4))[::7]:
        with pytest.raises(PackLost, match="3 shares can be had and 4 are needed"):
            await read_pack(holders(lying(honest, liars, lie)), descriptor)


@pytest.mark.row("A07")
async def test_a_flipped_bit_anywhere_in_a_share_is_found_and_the_pack_comes_from_others() -> None:
    pack, descriptor, nodes = spread(8, 4, 7)
    flips = Random(7)
    for number in range(6):
        share = nodes[number].shares[descriptor.id(), number]
        five = holders(nodes, (number, *[n for n in range(7) if n != number][-4:]))
        for leaf in range(descriptor.leaves):
            changed, at = bytearray(share), leaf * LEAF_SIZE + flips.randrange(LEAF_SIZE)
            changed[at] ^= 1 << flips.randrange(8)
            nodes[number].shares[descriptor.id(), number] = bytes(changed)
            assert await read_pack(five, descriptor) == (pack, {number})
        nodes[number].shares[descriptor.id(), number] = share


async def test_no_more_shares_are_read_than_are_needed() -> None:
    _, descriptor, nodes = spread(9, 4, 7)
    await read_pack(holders(nodes), descriptor)
    assert [node.read_leaves for node in nodes] == [descriptor.leaves] * 4 + [0] * 3


async def test_of_two_holders_of_one_share_the_other_helps() -> None:
    pack, descriptor, nodes = spread(9, 2, 2)
    nodes[0].refuses = True
    second = FakeNode(dict(nodes[0].shares))
    both = {0: [opened(nodes[0]), opened(second)], 1: [opened(nodes[1])]}
    assert await read_pack(both, descriptor) == (pack, set())


async def test_shares_of_no_pack_are_no_pack() -> None:
    _, descriptor, nodes = spread(9, 2, 3)
    _, other, _ = spread(9, 2, 3, seed="other")
    forged = type(descriptor)(other.pack_id, descriptor.pack_size, 2, descriptor.roots)
    moved = {n: FakeNode({(forged.id(), n): s for (_, n), s in nodes[n].shares.items()})
             for n in range(3)}  # fmt: skip
    with pytest.raises(PackLost):
        await read_pack({n: [opened(node)] for n, node in moved.items()}, forged)


@pytest.mark.parametrize(("first", "end"), [(0, 32), (10, 70_000), (3 * LEAF_SIZE - 5, 500_000)])
async def test_a_range_is_read_from_the_shares_that_are_the_pack(first: int, end: int) -> None:
    pack, descriptor, nodes = spread(9, 4, 7)
    begin, data = await read_range(holders(nodes), descriptor, first, end)
    assert begin % LEAF_SIZE == 0
    assert data[first - begin : end - begin] == pack[first:end]
    assert sum(node.read_leaves for node in nodes) == -(-end // LEAF_SIZE) - first // LEAF_SIZE


@pytest.mark.parametrize("trouble", ["is_gone", "refuses", "missing", "short"])
async def test_a_range_of_a_lost_share_is_made_of_the_same_leaves_of_any_others(
    trouble: str,
) -> None:
    pack, descriptor, nodes = spread(9, 4, 7)
    for number in (0, 1, 5):
        if trouble == "missing":
            nodes[number].shares.clear()
        elif trouble == "short":
            nodes[number].lie = FLIPPED["short"]
        else:
            setattr(nodes[number], trouble, True)
    begin, data = await read_range(holders(nodes), descriptor, 70_000, 70_010)
    assert data[70_000 - begin : 70_010 - begin] == pack[70_000:70_010]
    right = [node.read_leaves for number, node in enumerate(nodes) if number not in (0, 1, 5)]
    assert right == [1, 1, 1, 1]


async def test_a_range_of_which_too_few_shares_are_left_is_not_to_be_had() -> None:
    _, descriptor, nodes = spread(9, 4, 7)
    with pytest.raises(PackLost, match="3 shares of a pack can be read and 4 are needed"):
        await read_range(holders(nodes, (1, 2, 3)), descriptor, 0, 10)
    beyond = {**holders(nodes, (1, 2, 3)), 200: [opened(nodes[4])]}
    with pytest.raises(PackLost):  # a node can say that it holds a share that there is not
        await read_range(beyond, descriptor, 0, 10)


def test_a_pack_is_cut_into_what_its_descriptor_says() -> None:
    pack, descriptor, nodes = spread(9, 4, 7)
    cut = cut_pack(descriptor.pack_id, pack, 4, 7)
    assert cut.descriptor == descriptor
    assert [list(node.shares.values()) for node in nodes] == [[share] for share in cut.shares]
    assert all(descriptor.is_share(number, each) for number, each in enumerate(cut.hashes))
