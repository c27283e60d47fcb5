"""One storage link to a node: questions with their answers, many at once (SPEC 18).

Whoever asks may ask again before the answer is there; answers come in any order. `storing` makes a
link and reads it in a task of its own until the block ends. Nothing that a node says of bytes is
believed: what is fetched is checked here against the descriptor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, TypeVar

from crypto.epochs import Tier
from crypto.errors import FormError
from crypto.keys import DeviceKeys
from crypto.namespaces import (
    Delegation,
    Signer,
    decode_delegation,
    prove_capability,
    prove_node,
    prove_pseudonym,
)
from crypto.packs import LEAF_SIZE
from crypto.relay_ids import pseudonym_keys, storage_keys
from crypto.shares import Descriptor, leaf_hashes
from protocol.errors import LinkError, ProtocolError, StorageRefused, WrongChunk
from protocol.link import Link
from protocol.link_messages import LinkAnswer, LinkRequest
from protocol.relay_address import RelayAddress
from protocol.relay_links import dial_as
from protocol.relay_messages import RelayKeys, RelayMessage, RelayPing, decode, encode_parts
from protocol.storage_messages import (
    PIECE_LEAVES_MAX,
    STANDBY,
    STORAGE_FRAME_LENGTH_MAX,
    STORAGE_VERSION,
    Holder,
    StorageAnswer,
    StorageRequest,
    StoreBegan,
    StoreBegin,
    StoreChallenge,
    StoreDelegate,
    StoreDone,
    StoreGet,
    StoreKeep,
    StoreKept,
    StoreLeaves,
    StoreOpen,
    StoreOpened,
    StoreOutcome,
    StorePeer,
    StorePiece,
    StoreProof,
    StorePut,
    StoreStarted,
)
from protocol.upload_messages import UploadAnswer, UploadRequest

ANSWER_TIMEOUT_S: Final = 60.0
"""A busy disk may take long to write what it is told to keep; a link that is dead ends before."""
BEGIN_TIMEOUT_S: Final = 10.0
WINDOW: Final = 4
"""Pieces of one share that are under way at once: 2 MiB, more than a LAN holds."""
PING_INTERVAL_S: Final = 25.0

Request: TypeAlias = StorageRequest | LinkRequest | UploadRequest
Answer: TypeAlias = StorageAnswer | LinkAnswer | UploadAnswer
A = TypeVar("A", bound=Answer)

WORDS: Final = {
    StoreOutcome.REFUSED: "it does not allow that",
    StoreOutcome.FULL: "it has no room for it",
    StoreOutcome.UNKNOWN: "it does not have that",
    StoreOutcome.DAMAGED: "the bytes are not the right ones",
    StoreOutcome.BUSY: "it was asked too much within a minute",
    StoreOutcome.OLDER: "the folder's keys there are newer ones",
    StoreOutcome.NOT_STORING: "it stores nothing",
    StoreOutcome.UNABLE: "its disk failed",
}


class StorageClient:
    """A storage link that has begun; `run` has to run while anything is asked."""

    def __init__(
        self, link: Link, address: RelayAddress, keys: RelayKeys, node: StoreBegan
    ) -> None:
        self.address, self.node = address, node
        self.sign_pk = keys.sign_pk
        """Of the node, for its receipts."""
        self._link = link
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._end: LinkError | None = None

    @classmethod
    async def dial(
        cls, address: RelayAddress, keys: DeviceKeys, *, is_vouched: bool = True
    ) -> StorageClient:
        """A link to that node under the storage pseudonym of these keys; vouched for by the other
        pseudonym, which a closed relay has let in. Raises LinkError or StorageRefused.
        """
        link, relay = await dial_as(address, storage_keys(keys, address.relay_id))
        try:
            link.set_frame_limit(STORAGE_FRAME_LENGTH_MAX)
            voucher = b""
            if is_vouched:
                own = pseudonym_keys(keys, address.relay_id)
                proof = prove_pseudonym(own.sign_seed, address.relay_id, link.link_id)
                voucher = own.sign_public + own.dh_public + proof
            _say(link, StoreBegin(STORAGE_VERSION, voucher))
            async with asyncio.timeout(BEGIN_TIMEOUT_S):
                frame = await link.receive()
            began = decode(*frame) if frame is not None else None
        except (ProtocolError, TimeoutError) as error:
            link.abort()
            raise LinkError(f"{address.host} answers no storage link: {error}.") from error
        except BaseException:
            link.abort()
            raise
        if not isinstance(began, StoreBegan):
            link.abort()
            raise LinkError(
                f"The relay at {address.host} port {address.port} stores nothing: it is older than"
                " that. Update Holdfast there, or choose another."
            )
        if began.outcome != StoreOutcome.DONE:
            link.abort()
            raise _refusal(address, began.outcome)
        return cls(link, address, relay, began)

    async def run(self) -> None:
        """Hands answers to who asked, and pings, until the link ends; never raises for the link."""
        try:
            while True:
                try:
                    async with asyncio.timeout(PING_INTERVAL_S):
                        frame = await self._link.receive()
                except TimeoutError:
                    _say(self._link, RelayPing(0))
                    continue
                if frame is None:
                    break
                answer = decode(*frame)
                waiting = self._waiting.pop(getattr(answer, "number", -1), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)  # type: ignore[arg-type]
        except ProtocolError:
            pass  # for those who wait it is a link that has ended
        finally:
            self._link.abort()
            self._end = LinkError(f"The link to the node at {self.address.host} has ended.")
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(self._end)
                    waiting.exception()  # nobody may be waiting any more
            self._waiting.clear()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._end is not None or self._link.is_closed

    # ------------------------------------------------------------ questions

    def number(self) -> int:
        """A number for the next request."""
        self._number = (self._number + 1) % (1 << 32)
        return self._number

    async def ask(self, request: Request, kind: type[A]) -> A:
        """The answer, of that kind and DONE; raises LinkError or StorageRefused."""
        return await self.answer(await self.send(request), kind)

    async def send(self, request: Request) -> asyncio.Future[Answer]:
        """Sends a request without waiting for more than room to send it in."""
        if self.is_closed:
            raise self._end or LinkError(f"The link to the node at {self.address.host} has ended.")
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[request.number] = waiting
        _say(self._link, request)
        await self._link.drain()
        return waiting

    async def answer(self, waiting: asyncio.Future[Answer], kind: type[A]) -> A:
        """What was answered to what `send` sent."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await waiting
        except TimeoutError as error:
            self._link.abort()
            raise LinkError(f"The node at {self.address.host} does not answer.") from error
        if answer.outcome != StoreOutcome.DONE:
            raise _refusal(self.address, answer.outcome)
        if not isinstance(answer, kind):
            raise LinkError(f"The node at {self.address.host} answers something else.")
        return answer

    async def open(
        self, namespace: bytes, generation: int, tier: Tier, seed: bytes
    ) -> Delegation | None:
        """Opens a namespace by the seed of a tier's capability, and gives its delegation.

        StorageRefused with OLDER says that there are newer keys: `delegation` asks for them.
        """
        node_id, link_id = self.address.relay_id, self._link.link_id
        proof = prove_capability(seed, node_id, namespace, generation, tier, link_id)
        opened = await self.ask(
            StoreOpen(self.number(), namespace, generation, tier, proof), StoreOpened
        )
        return _delegation(opened)

    async def delegate(
        self,
        delegation: Delegation,
        signature: bytes,
        signer: Signer,
        emergency: bytes = b"",
        salt: bytes = b"",
    ) -> None:
        """Founds a namespace, where `emergency` is the hash of that key, or names newer keys."""
        request = StoreDelegate(
            self.number(), delegation.encode(), signature, signer, emergency, salt
        )
        await self.ask(request, StoreOpened)

    async def show_node(self, keys: DeviceKeys) -> None:
        """Shows that this is a node itself, with these keys."""
        proof = prove_node(keys.sign_seed, self.address.relay_id, self._link.link_id)
        request = StorePeer(self.number(), keys.sign_public, keys.dh_public, proof)
        await self.ask(request, StoreDone)

    # ------------------------------------------------------------ shares

    async def put(
        self,
        namespace: bytes,
        descriptor: Descriptor,
        share: int,
        data: bytes | memoryview,
        lease_until_s: int,
        holders: Sequence[Holder],
        hashes: Sequence[bytes] | None = None,
    ) -> StoreKept:
        """Stores a share, from where an earlier try came to; gives the node's receipt. `hashes`
        are those of its leaves, where they are known.
        """
        hashes = tuple(hashes if hashes is not None else leaf_hashes(data))
        started = await self.ask(
            StorePut(
                self.number(), namespace, descriptor.encode(), share, hashes, lease_until_s,
                tuple(holders),
            ),
            StoreStarted,
        )  # fmt: skip
        descriptor_id, view = descriptor.id(), memoryview(data)
        under_way: list[asyncio.Future[Answer]] = []
        for first in range(started.leaves, len(hashes), PIECE_LEAVES_MAX):
            while len(under_way) >= WINDOW:
                await self.answer(under_way.pop(0), StoreDone)
            piece = view[first * LEAF_SIZE : (first + PIECE_LEAVES_MAX) * LEAF_SIZE]
            request = StorePiece(self.number(), namespace, descriptor_id, share, first, piece)
            under_way.append(await self.send(request))
        for waiting in under_way:
            await self.answer(waiting, StoreDone)
        return await self.ask(StoreKeep(self.number(), namespace, descriptor_id, share), StoreKept)

    async def stand_by(
        self,
        namespace: bytes,
        descriptor: Descriptor,
        lease_until_s: int,
        holders: Sequence[Holder],
    ) -> None:
        """Has a node stand by for a pack, and says who the holders are, those that stand by too."""
        await self.tell_holders(namespace, descriptor, STANDBY, lease_until_s, holders)

    async def tell_holders(
        self,
        namespace: bytes,
        descriptor: Descriptor,
        share: int,
        lease_until_s: int,
        holders: Sequence[Holder],
    ) -> None:
        """Says who the holders of a pack are to a node that has this share of it, or stands by."""
        request = StorePut(
            self.number(), namespace, descriptor.encode(), share, (), lease_until_s, tuple(holders)
        )
        await self.ask(request, StoreStarted)

    async def read(
        self, namespace: bytes, descriptor_id: bytes, share: int, first: int, count: int
    ) -> bytes:
        """Leaves of a share, unchecked: whoever reads a part knows what has to be in it."""
        sent: list[tuple[int, asyncio.Future[Answer]]] = []
        parts: list[bytes] = []
        end = first + count
        while first < end or sent:
            while first < end and len(sent) < WINDOW:
                size = min(PIECE_LEAVES_MAX, end - first)
                request = StoreGet(self.number(), namespace, descriptor_id, share, first, size)
                sent.append((size, await self.send(request)))
                first += size
            size, waiting = sent.pop(0)
            leaves = await self.answer(waiting, StoreLeaves)
            if len(leaves.data) != size * LEAF_SIZE:
                raise _refusal(self.address, StoreOutcome.DAMAGED)
            parts.append(leaves.data)
        return b"".join(parts)

    async def fetch(self, namespace: bytes, descriptor: Descriptor, share: int) -> bytes:
        """A whole share, checked against its root; raises WrongChunk if the node lies."""
        data = await self.read(namespace, descriptor.id(), share, 0, descriptor.leaves)
        if not descriptor.is_share(share, leaf_hashes(data)):
            raise WrongChunk(f"the node at {self.address.host} gave a wrong share")
        return data

    async def challenge(
        self, namespace: bytes, descriptor: Descriptor, share: int, leaves: Sequence[int]
    ) -> bool:
        """Whether the node shows these leaves of a share as they have to be."""
        try:
            return await self.shown(namespace, descriptor, share, leaves) is not None
        except StorageRefused as refusal:
            if refusal.outcome in (StoreOutcome.UNKNOWN, StoreOutcome.DAMAGED):
                return False
            raise

    async def shown(
        self, namespace: bytes, descriptor: Descriptor, share: int, leaves: Sequence[int]
    ) -> tuple[bytes, ...] | None:
        """These leaves of a share, each checked against its root; None if the node lies."""
        request = StoreChallenge(self.number(), namespace, descriptor.id(), share, tuple(leaves))
        proof = await self.ask(request, StoreProof)
        is_right = len(proof.leaves) == len(proof.paths) == len(leaves) and all(
            descriptor.is_leaf(share, index, leaf, path)
            for index, leaf, path in zip(leaves, proof.leaves, proof.paths, strict=True)
        )
        return tuple(proof.leaves) if is_right else None


def _say(link: Link, message: RelayMessage) -> None:
    link.send(*encode_parts(message))


def _delegation(opened: StoreOpened) -> Delegation | None:
    if not opened.delegation:
        return None
    try:
        return decode_delegation(opened.delegation)
    except FormError:
        raise LinkError("The node gave something else for a delegation.") from None


def _refusal(address: RelayAddress, outcome: int) -> StorageRefused:
    try:
        words = WORDS[StoreOutcome(outcome)]
    except ValueError:
        words = f"for a reason that is not known here ({outcome})"
    return StorageRefused(outcome, f"The node at {address.host} refuses: {words}.")


@asynccontextmanager
async def storing(
    address: RelayAddress, keys: DeviceKeys, *, is_vouched: bool = True
) -> AsyncIterator[StorageClient]:
    """A storage link that ends with the block; what the block raises comes out as it is."""
    client = await StorageClient.dial(address, keys, is_vouched=is_vouched)
    try:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(client.run())
            try:
                yield client
            finally:
                reading.cancel()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
