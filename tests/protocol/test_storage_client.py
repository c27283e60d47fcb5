"""The device's side of a storage link, with nodes that lie, stop or are older."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from crypto.packs import LEAF_SIZE, pack_id
from crypto.relay_ids import pseudonym_keys, relay_id_of, storage_keys
from crypto.shares import describe, leaf_hashes, merkle_path
from protocol import erasure, storage_client
from protocol.errors import LinkError, StorageRefused, WrongChunk
from protocol.link import Link
from protocol.relay_address import RelayAddress
from protocol.relay_links import accept_device
from protocol.relay_messages import RelayMessage, RelayPing, decode, encode
from protocol.storage_client import StorageClient, storing
from protocol.storage_messages import (
    STORAGE_FRAME_LENGTH_MAX,
    StoreBegan,
    StoreBegin,
    StoreChallenge,
    StoreDone,
    StoreGet,
    StoreLeaves,
    StoreOutcome,
    StoreProof,
    StoreUsage,
    StoreUsed,
)
from tests.crypto.seeded import Seeded
from tests.protocol.link_stage import LOOPBACK, new_keys, serving

NODE = new_keys()
NODE_ID = relay_id_of(NODE.sign_public, NODE.dh_public)
DEVICE = new_keys()
NS = b"n" * 16
PACK = Seeded("pack of a lying node")(4 * LEAF_SIZE)
SHARES = [bytes(share) for share in erasure.encode(PACK, 2, 3)]
DESCRIPTOR = describe(pack_id(PACK), len(PACK), 2, SHARES)
BEGAN = StoreBegan(StoreOutcome.DONE, "", "", 1, 1)
Answer = Callable[[RelayMessage], RelayMessage | None]


def say(link: Link, message: RelayMessage) -> None:
    number, payload = encode(message)
    link.send(number, [payload])


async def play(link: Link, began: RelayMessage | None, answer: Answer) -> None:
    """A node that answers by hand; it closes the link when it has no answer to the first word."""
    await accept_device(link, NODE)
    link.set_frame_limit(STORAGE_FRAME_LENGTH_MAX)
    frame = await link.receive()
    assert frame is not None
    assert isinstance(decode(*frame), StoreBegin)
    if began is None:
        link.abort()
        return
    say(link, began)
    while (frame := await link.receive()) is not None:
        said = answer(decode(*frame))
        if said is not None:
            say(link, said)


@asynccontextmanager
async def node(answer: Answer, began: RelayMessage | None = BEGAN) -> AsyncIterator[RelayAddress]:
    async with serving(admits=False) as server, asyncio.TaskGroup() as tasks:

        async def serve() -> None:
            await play(await server.links.get(), began, answer)

        playing = tasks.create_task(serve())
        yield RelayAddress(LOOPBACK, server.port, NODE_ID)
        playing.cancel()


def silent(_: RelayMessage) -> None:
    return None


def test_the_two_pseudonyms_of_a_device_have_nothing_in_common() -> None:
    ids = {keys(DEVICE, NODE_ID).device_id for keys in (pseudonym_keys, storage_keys)}
    assert len(ids | {DEVICE.device_id}) == 3


async def test_an_older_relay_is_told_from_one_that_does_not_answer() -> None:
    async with node(silent, began=None) as address:
        with pytest.raises(LinkError, match="stores nothing: it is older"):
            await StorageClient.dial(address, DEVICE)


@pytest.mark.parametrize(
    ("outcome", "words"), [(StoreOutcome.NOT_STORING, "stores nothing"), (99, "not known here")]
)
async def test_a_node_that_refuses_says_why(outcome: int, words: str) -> None:
    async with node(silent, StoreBegan(outcome, "", "", 0, 0)) as address:
        with pytest.raises(StorageRefused, match=words) as caught:
            await StorageClient.dial(address, DEVICE)
        assert caught.value.outcome == outcome


async def test_answers_find_their_questions_in_any_order() -> None:
    held: list[int] = []

    def last_first(message: RelayMessage) -> RelayMessage | None:
        assert isinstance(message, StoreUsage)
        held.append(message.number)
        return None

    async with node(last_first) as address, storing(address, DEVICE) as client:
        waiting = [await client.send(StoreUsage(client.number(), NS)) for _ in range(3)]
        for future in reversed(waiting):
            number = waiting.index(future) + 1
            future.set_result(StoreUsed(number, StoreOutcome.DONE, number, 0, 0, 0, 0, 0, 0))
        for number, future in enumerate(waiting, 1):
            assert (await client.answer(future, StoreUsed)).used_bytes == number


@pytest.mark.row("A41", "F25")
@pytest.mark.parametrize("lie", ["other", "short", "flipped"])
async def test_a_wrong_share_is_known_by_its_root(lie: str) -> None:
    def answer(message: RelayMessage) -> RelayMessage:
        assert isinstance(message, StoreGet)
        data = SHARES[1] if lie == "other" else SHARES[0]
        if lie == "short":
            data = data[:LEAF_SIZE]
        if lie == "flipped":
            data = data[:9] + bytes([data[9] ^ 1]) + data[10:]
        return StoreLeaves(message.number, StoreOutcome.DONE, data)

    async with node(answer) as address, storing(address, DEVICE) as client:
        with pytest.raises((WrongChunk, StorageRefused)):
            await client.fetch(NS, DESCRIPTOR, 0)


@pytest.mark.row("A41")
@pytest.mark.parametrize("lie", ["", "leaf", "path", "fewer", "lost", "damaged"])
async def test_a_challenge_is_met_by_the_leaves_alone(lie: str) -> None:
    hashes = leaf_hashes(SHARES[2])

    def answer(message: RelayMessage) -> RelayMessage:
        assert isinstance(message, StoreChallenge)
        if lie in ("lost", "damaged"):
            outcome = StoreOutcome.UNKNOWN if lie == "lost" else StoreOutcome.DAMAGED
            return StoreProof(message.number, outcome, (), ())
        leaves = [SHARES[2][at * LEAF_SIZE : (at + 1) * LEAF_SIZE] for at in message.leaves]
        paths = [tuple(merkle_path(hashes, at)) for at in message.leaves]
        if lie == "leaf":
            leaves[-1] = leaves[0]
        if lie == "path":
            paths[-1] = paths[0]
        if lie == "fewer":
            leaves, paths = leaves[1:], paths[1:]
        return StoreProof(message.number, StoreOutcome.DONE, tuple(leaves), tuple(paths))

    async with node(answer) as address, storing(address, DEVICE) as client:
        assert await client.challenge(NS, DESCRIPTOR, 2, [0, 1]) == (lie == "")


async def test_another_kind_of_answer_is_none() -> None:
    def answer(message: RelayMessage) -> RelayMessage:
        assert isinstance(message, StoreUsage)
        return StoreDone(message.number, StoreOutcome.DONE)

    async with node(answer) as address, storing(address, DEVICE) as client:
        with pytest.raises(LinkError, match="something else"):
            await client.ask(StoreUsage(1, NS), StoreUsed)


async def test_who_waits_hears_that_the_link_has_ended() -> None:
    async with node(silent) as address, storing(address, DEVICE) as client:
        waiting = await client.send(StoreUsage(1, NS))
        client._link.abort()
        with pytest.raises(LinkError, match="has ended"):
            await client.answer(waiting, StoreUsed)
        with pytest.raises(LinkError, match="has ended"):
            await client.send(StoreUsage(2, NS))


async def test_a_node_that_says_rubbish_has_no_link_any_more() -> None:
    def answer(message: RelayMessage) -> RelayMessage:
        return StoreBegin(1, b"")

    def rubbish(message: RelayMessage) -> RelayMessage:
        return RelayPing(1)

    for each in (answer, rubbish):
        async with node(each) as address, storing(address, DEVICE) as client:
            waiting = await client.send(StoreUsage(1, NS))
            await client.send(StoreUsage(2, NS))
            assert not waiting.done(), "what is no answer is none"


async def test_a_silent_node_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_client, "ANSWER_TIMEOUT_S", 0.05)
    async with node(silent) as address, storing(address, DEVICE) as client:
        with pytest.raises(LinkError, match="does not answer"):
            await client.ask(StoreUsage(1, NS), StoreUsed)
        assert client.is_closed


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    async with node(silent) as address:
        with pytest.raises(KeyError):
            async with storing(address, DEVICE):
                raise KeyError
