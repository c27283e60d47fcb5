"""One folder's mailbox of one epoch at one relay, on one link: what is in it, in and out.

The relay is believed in nothing: what does not open is left where it is, what is taken goes through
the checks of any other changeset, and a list that is too short only makes us put things again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar

from crypto.errors import OpenError
from crypto.ids import EntryId, LogId
from crypto.mailbox import GROUP_SIZE, Area, Capability, MailboxKeys
from peer.connectivity.relay_session import RelaySession
from protocol.errors import LinkError
from protocol.mailbox_items import Part, joined, part_name, split
from protocol.mailbox_messages import (
    DROPPED_MAX,
    FRAME_ITEMS_BYTES,
    ITEM_OVERHEAD_BYTES,
    ITEMS_MAX,
    Listed,
    MailboxDone,
    MailboxDrop,
    MailboxGet,
    MailboxItems,
    MailboxList,
    MailboxListed,
    MailboxMessage,
    MailboxOpen,
    MailboxOpened,
    MailboxOutcome,
    MailboxPut,
    NewItem,
)

AT_ONCE: Final = 8
"""Requests on their way: 120 KiB, so that a distant relay is not waited for after each."""
LISTED_IN_ALL_MAX: Final = 100_000
"""A relay that lists more is not believed to have them; 10 MB of memory."""

A = TypeVar("A")


class MailboxFull(Exception):
    """The relay has no room for what is to be put."""


class Mailbox:
    """What is known of it on this link; one task at a time uses it."""

    def __init__(
        self,
        session: RelaySession,
        keys: MailboxKeys,
        epoch_id: EntryId,
        random: Callable[[int], bytes],
    ) -> None:
        self.keys, self.epoch_id = keys, epoch_id
        self.items: dict[bytes, Listed] = {}
        """What is there, by name."""
        self.rode: dict[LogId, int] = {}
        """Up to where each log's contents were looked at on this link, for riding along."""
        self.has_news = True
        self.is_open = False
        self._session, self._random = session, random
        self._listed_to = 0
        self._bad: set[bytes] = set()
        """Names of items that do not open: somebody put rubbish there."""

    async def open(self) -> bool:
        """Shows the relay both capabilities; False if it does not let us in."""
        keys, link_id = self.keys, self._session.link_id
        proofs = [keys.prove(capability, link_id) for capability in Capability]
        answer = await self._session.ask_mailbox(
            lambda number: MailboxOpen(
                number, keys.tag, keys.read_public, keys.write_public, proofs[0], proofs[1]
            )
        )
        self.is_open = isinstance(answer, MailboxOpened) and answer.outcome == MailboxOutcome.DONE
        return self.is_open

    async def look(self) -> None:
        """Lists what has come since the last look."""
        self.has_news = False
        while True:
            answer = await self._session.ask_mailbox(
                lambda number: MailboxList(number, self.keys.tag, self._listed_to)
            )
            if not isinstance(answer, MailboxListed):
                raise LinkError(_why(answer))
            for item in answer.items:
                if item.position <= self._listed_to or len(self.items) >= LISTED_IN_ALL_MAX:
                    raise LinkError("The relay lists what cannot be.")
                self._listed_to = item.position
                self.items[item.name] = item
                self._bad.discard(item.name)  # what was rubbish has been put again
            if not answer.is_more or not answer.items:
                return

    # ------------------------------------------------------------ looking

    def has(self, area: Area, what: bytes) -> bool:
        """Whether this thing is there: its first part, which was put last."""
        return part_name(self.keys.group(area, what), 0) in self.items

    def groups(self, area: Area) -> dict[bytes, int]:
        """The things of one area by their groups, with the position of the first part: in the order
        in which they were put.
        """
        found = [
            (item.position, name[:GROUP_SIZE])
            for name, item in self.items.items()
            if item.area == area and name[GROUP_SIZE:] == b"\0\0" and name not in self._bad
        ]
        return {group: position for position, group in sorted(found)}

    def group_sizes(self, area: Area) -> Counter[bytes]:
        """How many bytes each thing of an area takes up."""
        sizes: Counter[bytes] = Counter()
        for name, item in self.items.items():
            if item.area == area:
                sizes[name[:GROUP_SIZE]] += item.size
        return sizes

    def size(self, area: Area) -> int:
        """How many bytes of an area are there."""
        return sum(item.size for item in self.items.values() if item.area == area)

    # ------------------------------------------------------------ taking

    async def take(self, area: Area, groups: Collection[bytes]) -> dict[bytes, bytes]:
        """The things of these groups that are there and whole and open."""
        wanted = set(groups)
        items = [item for name, item in self.items.items() if name[:GROUP_SIZE] in wanted]
        plains: dict[bytes, bytes] = {}
        ranges = _ranges(items)
        for at in range(0, len(ranges), AT_ONCE):
            await _together(
                self._get(area, first, last, plains) for first, last in ranges[at : at + AT_ONCE]
            )
        found = {}
        for group in groups:
            thing = joined(group, plains)
            if thing is not None:
                found[group] = thing
            else:
                self._bad.add(part_name(group, 0))
        return found

    async def _get(self, area: Area, first: int, last: int, plains: dict[bytes, bytes]) -> None:
        while first <= last:
            answer = await self._session.ask_mailbox(
                lambda number, first=first: MailboxGet(number, self.keys.tag, first, last)  # type: ignore[misc]
            )
            if not isinstance(answer, MailboxItems):
                raise LinkError(_why(answer))
            for item in answer.items:
                if not first <= item.position <= last:
                    raise LinkError("The relay gives what was not asked for.")
                first = item.position + 1
                try:
                    plains[item.name] = self.keys.open(area, item.name, item.sealed)
                except OpenError:
                    self._bad.add(item.name)
            if not answer.is_more or not answer.items:
                return

    # ------------------------------------------------------------ putting

    async def put(self, area: Area, things: Iterable[tuple[bytes, bytes]]) -> None:
        """Puts things (id, bytes), each part after those that it stands for; raises MailboxFull."""
        parts: list[Part] = []
        for what, thing in things:
            parts += split(self.keys.group(area, what), thing)
        frames = _frames(
            [
                NewItem(name, self.keys.seal(area, name, plain, self._random(32)))
                for name, plain in parts
                if name not in self.items or area is Area.HEARTBEATS
            ]
        )
        # In order, or a first part might be there without the others.
        for at in range(0, len(frames), AT_ONCE):
            some = frames[at : at + AT_ONCE]
            outcomes = await _together(self._put(area, frame) for frame in some)
            for frame, outcome in zip(some, outcomes, strict=True):
                if outcome == MailboxOutcome.FULL:
                    raise MailboxFull
                if outcome != MailboxOutcome.DONE:
                    raise LinkError("The relay takes no more for its mailboxes just now.")
                for item in frame:
                    # It gets its position when it is listed.
                    self.items.setdefault(item.name, Listed(0, area, item.name, len(item.sealed)))

    async def _put(self, area: Area, frame: Sequence[NewItem]) -> int:
        answer = await self._session.ask_mailbox(
            lambda number: MailboxPut(number, self.keys.tag, area, tuple(frame))
        )
        if not isinstance(answer, MailboxDone):
            raise LinkError(_why(answer))
        return answer.outcome

    async def drop(self, groups: Collection[bytes]) -> None:
        """Takes away what nobody needs any more."""
        wanted = set(groups)
        names = [name for name in self.items if name[:GROUP_SIZE] in wanted]
        for at in range(0, len(names), DROPPED_MAX):
            some = tuple(names[at : at + DROPPED_MAX])
            answer = await self._session.ask_mailbox(
                lambda number, some=some: MailboxDrop(number, self.keys.tag, some)  # type: ignore[misc]
            )
            if not isinstance(answer, MailboxDone) or answer.outcome != MailboxOutcome.DONE:
                raise LinkError(_why(answer))
            for name in some:
                del self.items[name]


async def _together(requests: Iterable[Coroutine[Any, Any, A]]) -> list[A]:
    """Their answers, sent in order and waited for together; raises LinkError."""
    answers = await asyncio.gather(*requests, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers  # type: ignore[return-value]


def _why(answer: MailboxMessage) -> str:
    busy = isinstance(answer, MailboxDone) and answer.outcome == MailboxOutcome.BUSY
    return "The relay is asked too often." if busy else "The relay does not open the mailbox."


def _ranges(items: Iterable[Listed]) -> list[tuple[int, int]]:
    """Runs of positions, of which each fits into a frame."""
    ranges: list[tuple[int, int]] = []
    size = count = 0
    for item in sorted(item for item in items if item.position):
        size += item.size + ITEM_OVERHEAD_BYTES
        count += 1
        is_next = bool(ranges) and item.position == ranges[-1][1] + 1
        if not is_next or size > FRAME_ITEMS_BYTES or count > ITEMS_MAX:
            ranges.append((item.position, item.position))
            size, count = item.size + ITEM_OVERHEAD_BYTES, 1
        else:
            ranges[-1] = (ranges[-1][0], item.position)
    assert all(one[1] < other[0] for one, other in pairwise(ranges))
    return ranges


def _frames(items: Iterable[NewItem]) -> list[list[NewItem]]:
    frames: list[list[NewItem]] = []
    size = 0
    for item in items:
        size += len(item.sealed) + ITEM_OVERHEAD_BYTES
        if not frames or size > FRAME_ITEMS_BYTES or len(frames[-1]) == ITEMS_MAX:
            frames.append([])
            size = len(item.sealed) + ITEM_OVERHEAD_BYTES
        frames[-1].append(item)
    return frames
