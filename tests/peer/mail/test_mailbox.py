"""One mailbox on one link: put, listed and taken, also when the relay lies."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from crypto.ids import EntryId, RelayId
from crypto.mailbox import Area, MailboxKeys
from peer.mail import mailbox as module
from peer.mail.mailbox import Mailbox, MailboxFull
from protocol.errors import LinkError
from protocol.mailbox_items import PART_SIZE_MAX
from protocol.mailbox_messages import (
    FRAME_ITEMS_BYTES,
    Item,
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
    MailboxRequest,
    NewItem,
)
from relay.mailboxes import _fitting

KEYS = MailboxKeys.from_secrets(b"r" * 32, b"w" * 32, RelayId(b"1" * 32))
RANDOM = Random(1).randbytes


class Session:
    """A relay's mailbox in memory, and a talk with it (relay_session)."""

    link_id = b"l" * 32

    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, NewItem]] = {}
        self.last = 0
        self.asked: list[MailboxRequest] = []
        self.outcome = MailboxOutcome.DONE
        self.lie: Callable[[MailboxMessage], MailboxMessage] = lambda message: message

    async def ask_mailbox(self, make: Callable[[int], MailboxRequest]) -> MailboxMessage:
        request = make(len(self.asked))
        self.asked.append(request)
        return self.lie(self.answer(request))

    def answer(self, request: MailboxRequest) -> MailboxMessage:
        number = request.number
        match request:
            case MailboxOpen():
                return MailboxOpened(number, self.outcome, self.last)
            case MailboxList(_, _, after):
                listed = [
                    Listed(position, area, item.name, len(item.sealed))
                    for position, (area, item) in sorted(self.rows.items())
                    if position > after
                ]
                return MailboxListed(number, tuple(listed[:3]), len(listed) > 3)
            case MailboxGet(_, _, first, last):
                items = [
                    Item(position, *item)
                    for position, (_, item) in sorted(self.rows.items())
                    if first <= position <= last
                ]
                fitting = _fitting(items)
                return MailboxItems(number, fitting, len(fitting) < len(items))
            case MailboxPut(_, _, area, new):
                if self.outcome == MailboxOutcome.DONE:
                    for item in new:
                        self.last += 1
                        self.rows[self.last] = (area, item)
                return MailboxDone(number, self.outcome)
            case MailboxDrop(_, _, names):
                self.rows = {p: row for p, row in self.rows.items() if row[1].name not in names}
                return MailboxDone(number, MailboxOutcome.DONE)


def mailbox(session: Session) -> Mailbox:
    return Mailbox(session, KEYS, EntryId(b"e" * 32), RANDOM)  # type: ignore[arg-type]


def group(what: bytes, area: Area = Area.CHANGESETS) -> bytes:
    return KEYS.group(area, what)


async def looked(session: Session) -> Mailbox:
    """Another device's view of it."""
    box = mailbox(session)
    await box.look()
    return box


async def test_what_is_put_is_found_in_its_order() -> None:
    session = Session()
    box = mailbox(session)
    assert await box.open()
    long = RANDOM(3 * PART_SIZE_MAX + 5)
    await box.put(Area.CHANGESETS, [(b"a", b"first"), (b"b", long), (b"c", b"")])
    other = await looked(session)
    assert list(other.groups(Area.CHANGESETS)) == [group(b"a"), group(b"b"), group(b"c")]
    assert other.has(Area.CHANGESETS, b"b")
    assert not other.has(Area.CONTENTS, b"b")
    found = await other.take(Area.CHANGESETS, [group(b"a"), group(b"b"), group(b"c")])
    assert list(found.values()) == [b"first", long, b""]
    assert other.size(Area.CHANGESETS) == sum(other.group_sizes(Area.CHANGESETS).values())


async def test_frames_are_filled_and_no_item_is_asked_for_twice() -> None:
    session = Session()
    things = [(bytes([n]), b"x") for n in range(100)]
    await mailbox(session).put(Area.CHANGESETS, things)
    puts = [request for request in session.asked if isinstance(request, MailboxPut)]
    assert len(puts) == -(-100 // (FRAME_ITEMS_BYTES // (552 + 40)))
    other = await looked(session)
    session.asked.clear()
    groups = list(other.groups(Area.CHANGESETS))
    assert len(await other.take(Area.CHANGESETS, groups)) == 100
    assert len(session.asked) == len(puts)
    await other.take(Area.CHANGESETS, groups[10:12])
    assert session.asked[-1] == MailboxGet(len(session.asked) - 1, KEYS.tag, 11, 12)


async def test_a_thing_whose_put_broke_off_is_not_seen() -> None:
    """Its first part is put last."""
    session = Session()
    await mailbox(session).put(Area.CONTENTS, [(b"a", RANDOM(2 * PART_SIZE_MAX))])
    del session.rows[session.last]
    other = await looked(session)
    assert other.groups(Area.CONTENTS) == {}
    assert not other.has(Area.CONTENTS, b"a")
    await other.put(Area.CONTENTS, [(b"a", RANDOM(2 * PART_SIZE_MAX))])
    assert len(session.rows) == 2, "what was there stays"


async def test_what_is_there_is_not_put_again_but_for_heartbeats() -> None:
    session = Session()
    box = mailbox(session)
    await box.put(Area.CHANGESETS, [(b"a", b"1")])
    await box.put(Area.CHANGESETS, [(b"a", b"1")])
    assert session.last == 1
    for beat in (b"1", b"2"):
        await box.put(Area.HEARTBEATS, [(b"a", beat)])
    assert session.last == 3


async def test_what_is_dropped_is_gone() -> None:
    session = Session()
    box = mailbox(session)
    await box.put(Area.CHANGESETS, [(b"a", RANDOM(2 * PART_SIZE_MAX)), (b"b", b"2")])
    await box.drop([group(b"a")])
    assert list((await looked(session)).groups(Area.CHANGESETS)) == [group(b"b")]
    assert not box.has(Area.CHANGESETS, b"a")


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (MailboxOutcome.FULL, MailboxFull),
        (MailboxOutcome.BUSY, LinkError),
        (MailboxOutcome.REFUSED, LinkError),
    ],
)
async def test_what_is_not_taken_is_said(outcome: MailboxOutcome, error: type[Exception]) -> None:
    session = Session()
    session.outcome = outcome
    box = mailbox(session)
    assert not await box.open()
    with pytest.raises(error):
        await box.put(Area.CHANGESETS, [(b"a", b"1")])
    assert not box.has(Area.CHANGESETS, b"a")
    session.lie = lambda message: MailboxDone(message.number, outcome)  # type: ignore[union-attr]
    box.items[b"x" * 16] = Listed(1, 1, b"x" * 16, 1)
    for refused in (box.look(), box.drop([b"x" * 14]), box.take(Area.CHANGESETS, [b"x" * 14])):
        with pytest.raises(LinkError):
            await refused


# ---------------------------------------------------------------- lies


@pytest.mark.row("A12")
async def test_bytes_that_are_not_what_was_put_there_are_left_out() -> None:
    session = Session()
    await mailbox(session).put(Area.CHANGESETS, [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
    (_, one), (_, two) = session.rows[1], session.rows[2]
    session.rows[1] = (1, NewItem(one.name, two.sealed))  # another item under its name
    session.rows[2] = (1, NewItem(two.name, two.sealed[:-1] + b"\0"))
    other = await looked(session)
    found = await other.take(Area.CHANGESETS, list(other.groups(Area.CHANGESETS)))
    assert found == {group(b"c"): b"3"}
    assert list(other.groups(Area.CHANGESETS)) == [group(b"c")], "nobody asks for them again"


@pytest.mark.row("A13")
async def test_what_had_rotted_is_taken_once_it_was_put_again() -> None:
    session = Session()
    await mailbox(session).put(Area.CHANGESETS, [(b"a", b"first")])
    area, right = session.rows[1]
    session.rows[1] = area, NewItem(right.name, bytes(len(right.sealed)))
    box = await looked(session)
    assert await box.take(Area.CHANGESETS, [group(b"a")]) == {}
    assert box.groups(Area.CHANGESETS) == {}
    del session.rows[1]  # the relay drops it, and who put it does so once more
    await mailbox(session).put(Area.CHANGESETS, [(b"a", b"first")])
    await box.look()
    assert await box.take(Area.CHANGESETS, box.groups(Area.CHANGESETS)) == {group(b"a"): b"first"}


async def test_what_is_listed_and_not_given_is_left_out() -> None:
    session = Session()
    await mailbox(session).put(Area.CHANGESETS, [(b"a", b"1"), (b"b", RANDOM(PART_SIZE_MAX + 1))])
    other = await looked(session)
    del session.rows[2]
    found = await other.take(Area.CHANGESETS, list(other.groups(Area.CHANGESETS)))
    assert found == {group(b"a"): b"1"}


@pytest.mark.row("A33")
async def test_a_list_that_cannot_be_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session()
    await mailbox(session).put(Area.CHANGESETS, [(bytes([n]), b"1") for n in range(9)])

    def again(message: MailboxMessage) -> MailboxMessage:
        assert isinstance(message, MailboxListed)
        return MailboxListed(message.number, message.items[:1] * 2, True)

    session.lie = again
    with pytest.raises(LinkError, match="cannot be"):
        await mailbox(session).look()
    session.lie = lambda message: message
    monkeypatch.setattr(module, "LISTED_IN_ALL_MAX", 5)
    with pytest.raises(LinkError, match="cannot be"):
        await mailbox(session).look()


@pytest.mark.row("A33")
async def test_items_that_nobody_asked_for_end_it() -> None:
    session = Session()
    await mailbox(session).put(Area.CHANGESETS, [(b"a", b"1"), (b"b", b"2")])
    other = await looked(session)

    def moved(message: MailboxMessage) -> MailboxMessage:
        assert isinstance(message, MailboxItems)
        items = tuple(item._replace(position=item.position + 7) for item in message.items)
        return MailboxItems(message.number, items, message.is_more)

    session.lie = moved
    with pytest.raises(LinkError, match="not asked for"):
        await other.take(Area.CHANGESETS, [group(b"a")])
