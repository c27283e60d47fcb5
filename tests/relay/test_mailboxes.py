"""A relay's mailboxes: who may do what, how much, how long, and what survives."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crypto.ids import RelayId
from crypto.mailbox import Area, Capability, MailboxKeys
from protocol.mailbox_messages import (
    FORMS,
    ITEMS_MAX,
    LISTED_MAX,
    Item,
    Listed,
    MailboxDone,
    MailboxDrop,
    MailboxGet,
    MailboxItems,
    MailboxList,
    MailboxListed,
    MailboxNews,
    MailboxNumber,
    MailboxOpen,
    MailboxOpened,
    MailboxOutcome,
    MailboxPut,
    NewItem,
)
from protocol.relay_messages import Admission, AdmissionOutcome, Admit, encode
from protocol.relay_token import parse_token
from relay import mailbox_rows as rows
from relay import mailboxes as module
from relay.admissions import Admissions, invite
from relay.limits import Limits
from relay.mailbox_rows import Use
from relay.mailboxes import Mailboxes, MailboxLimits, limits_of
from relay.store import RelayStore
from relay.watch import Watch
from tests.relay.relay_stage import Caller, RelayStage, new_keys, relaying, until

DONE, REFUSED, FULL, BUSY = MailboxOutcome
SIZE = 552
"""Of the smallest item that members make."""


def item(number: int, size: int = SIZE) -> NewItem:
    return NewItem(number.to_bytes(16, "big"), bytes([number & 255]) * size)


class Member:
    """A device that knows a mailbox's keys, speaking by hand."""

    def __init__(self, caller: Caller, keys: MailboxKeys) -> None:
        self.caller, self.keys = caller, keys

    @classmethod
    async def at(cls, stage: RelayStage, secret: bytes = b"r" * 32) -> Member:
        caller = await stage.caller()
        relay_id = stage.relay.relay_id
        return cls(caller, MailboxKeys.from_secrets(secret, b"w" * 32, relay_id))

    @classmethod
    async def inside(cls, stage: RelayStage, secret: bytes = b"r" * 32) -> Member:
        member = await cls.at(stage, secret)
        assert (await member.open()).outcome == DONE
        return member

    async def open(
        self, *capabilities: Capability, tag: bytes | None = None, link_id: bytes | None = None
    ) -> MailboxOpened:
        keys = self.keys
        wanted = capabilities or tuple(Capability)
        link = self.caller.link.link_id if link_id is None else link_id
        proofs = [keys.prove(c, link) if c in wanted else b"" for c in Capability]
        answer = await self.ask(
            MailboxOpen(1, tag or keys.tag, keys.read_public, keys.write_public, *proofs)
        )
        assert isinstance(answer, MailboxOpened | MailboxDone)
        return answer if isinstance(answer, MailboxOpened) else MailboxOpened(1, answer.outcome, 0)

    async def ask(self, message: object) -> object:
        self.caller.say(message)  # type: ignore[arg-type]
        return await self.caller.hear()

    async def put(self, *items: NewItem, area: Area = Area.CHANGESETS) -> int:
        answer = await self.ask(MailboxPut(2, self.keys.tag, area, items))
        assert isinstance(answer, MailboxDone)
        return answer.outcome

    async def listed(self, after: int = 0) -> tuple[Listed, ...]:
        answer = await self.ask(MailboxList(3, self.keys.tag, after))
        assert isinstance(answer, MailboxListed)
        return answer.items

    async def got(self, first: int, last: int) -> tuple[tuple[Item, ...], bool]:
        answer = await self.ask(MailboxGet(4, self.keys.tag, first, last))
        assert isinstance(answer, MailboxItems)
        return answer.items, answer.is_more

    async def drop(self, *names: bytes) -> int:
        answer = await self.ask(MailboxDrop(5, self.keys.tag, names))
        assert isinstance(answer, MailboxDone)
        return answer.outcome


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RelayStage]:
    async with relaying(home=tmp_path) as stage:
        yield stage


# ---------------------------------------------------------------- in and out


async def test_what_one_puts_another_lists_and_gets(stage: RelayStage) -> None:
    one, two = await Member.inside(stage), await Member.inside(stage)
    assert await one.put(item(1), item(2)) == DONE
    assert await two.caller.hear() == MailboxNews(two.keys.tag, 2)
    assert await two.listed() == (
        Listed(1, Area.CHANGESETS, item(1).name, SIZE),
        Listed(2, Area.CHANGESETS, item(2).name, SIZE),
    )
    assert await two.listed(1) == (Listed(2, Area.CHANGESETS, item(2).name, SIZE),)
    assert await two.got(2, 9) == ((Item(2, *item(2)),), False)
    assert (await two.open()).position == 2


async def test_a_put_that_is_repeated_changes_nothing(stage: RelayStage) -> None:
    one, two = await Member.inside(stage), await Member.inside(stage)
    other = NewItem(item(1).name, b"other bytes")
    assert [await one.put(item(1)), await one.put(item(1), item(2)), await one.put(other)] == [
        0
    ] * 3
    assert [i.position for i in await one.listed()] == [1, 2]
    assert (await one.got(1, 1))[0] == (Item(1, *item(1)),)
    news = [await two.caller.hear(), await two.caller.hear()]
    assert news == [MailboxNews(one.keys.tag, 1), MailboxNews(one.keys.tag, 2)], "and no third"


async def test_a_heartbeat_takes_the_place_of_the_one_before(stage: RelayStage) -> None:
    one = await Member.inside(stage)
    await one.put(item(1), area=Area.HEARTBEATS)
    await one.put(NewItem(item(1).name, b"newer"), area=Area.HEARTBEATS)
    assert await one.listed() == (Listed(2, Area.HEARTBEATS, item(1).name, 5),)


async def test_frames_hold_what_fits_and_say_that_there_is_more(stage: RelayStage) -> None:
    one = await Member.inside(stage)
    for first in range(0, LISTED_MAX + 10, 20):
        await one.put(*[item(n) for n in range(first + 1, first + 21)])
    answer = await one.ask(MailboxList(1, one.keys.tag, 0))
    assert isinstance(answer, MailboxListed)
    assert (len(answer.items), answer.is_more) == (LISTED_MAX, True)
    items, is_more = await one.got(1, 999)
    assert (len(items), is_more) == (25, True)
    await one.put(*[item(1000 + n, 20) for n in range(ITEMS_MAX)])
    first = (await one.listed(LISTED_MAX))[-1].position - ITEMS_MAX + 1
    items, is_more = await one.got(first, first + ITEMS_MAX)
    assert (len(items), is_more) == (ITEMS_MAX, False)
    assert (await one.got(50, 49))[0] == ()


async def test_it_is_all_there_after_a_restart(tmp_path: Path) -> None:
    keys = new_keys()
    async with relaying(home=tmp_path, keys=keys) as stage:
        await (await Member.inside(stage)).put(item(1))
    async with relaying(home=tmp_path, keys=keys) as stage:
        one = await Member.inside(stage)
        assert (await one.got(1, 1))[0] == (Item(1, *item(1)),)
        await one.put(item(2))
        assert [i.position for i in await one.listed()] == [1, 2]


async def test_many_puts_at_once_are_all_answered(
    stage: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PENDING_MAX", 4)
    one = await Member.inside(stage)
    for number in range(50):
        one.caller.say(MailboxPut(number, one.keys.tag, 1, (item(number),)))
    answers = [await one.caller.hear() for _ in range(50)]
    assert {a.number for a in answers} == set(range(50))  # type: ignore[union-attr]
    assert len(await one.listed()) == 50


# ---------------------------------------------------------------- who may


@pytest.mark.row("A18")
async def test_without_a_proof_nothing_is_told_or_taken(stage: RelayStage) -> None:
    inside, outside = await Member.inside(stage), await Member.at(stage)
    await inside.put(item(1))
    tag = inside.keys.tag
    for message in (
        MailboxList(1, tag, 0),
        MailboxGet(1, tag, 1, 1),
        MailboxPut(1, tag, 1, (item(2),)),
        MailboxDrop(1, tag, (item(1).name,)),
    ):
        assert await outside.ask(message) == MailboxDone(1, REFUSED)
    assert len(await inside.listed()) == 1


@pytest.mark.row("A18")
async def test_the_tag_of_others_is_not_opened_by_keys_of_one_s_own(stage: RelayStage) -> None:
    """With proofs that are true, but for keys that anybody can make."""
    member = await Member.inside(stage)
    assert await member.put(item(1)) == DONE
    thief = await Member.at(stage, b"t" * 32)
    thief.keys = replace(thief.keys, tag=member.keys.tag)
    assert (await thief.open()).outcome == REFUSED
    assert await thief.put(item(2)) == REFUSED
    assert await thief.ask(MailboxList(3, member.keys.tag, 0)) == MailboxDone(3, REFUSED)


@pytest.mark.row("A18")
async def test_a_false_proof_opens_nothing(stage: RelayStage) -> None:
    one, two = await Member.at(stage), await Member.at(stage)
    stranger = await Member.at(stage, b"s" * 32)
    assert (await one.open(link_id=two.caller.link.link_id)).outcome == REFUSED, "replayed"
    assert (await stranger.open(tag=one.keys.tag)).outcome == REFUSED, "of other keys"
    elsewhere = MailboxKeys.from_secrets(b"r" * 32, b"w" * 32, RelayId(b"x" * 32))
    assert (await Member(one.caller, elsewhere).open()).outcome == REFUSED, "of another relay"
    forged = await one.ask(
        MailboxOpen(
            1, one.keys.tag, one.keys.read_public, one.keys.write_public,
            one.keys.prove(Capability.READ, one.caller.link.link_id), bytes(64),
        )
    )  # fmt: skip
    assert forged == MailboxOpened(1, REFUSED, 0), "one of two is not half a proof"
    assert await one.ask(MailboxList(1, one.keys.tag, 0)) == MailboxDone(1, REFUSED)


@pytest.mark.row("A18")
async def test_who_may_read_may_not_write_and_the_other_way_round(stage: RelayStage) -> None:
    reader, writer = await Member.at(stage), await Member.at(stage)
    assert (await reader.open(Capability.READ)).outcome == DONE
    assert (await writer.open(Capability.WRITE)).outcome == DONE
    assert await writer.put(item(1)) == DONE
    assert isinstance(await reader.caller.hear(), MailboxNews)
    assert await reader.put(item(2)) == REFUSED
    assert await reader.drop(item(1).name) == REFUSED
    assert len(await reader.listed()) == 1
    assert await writer.ask(MailboxGet(1, writer.keys.tag, 1, 1)) == MailboxDone(1, REFUSED)


async def test_two_mailboxes_do_not_meet(stage: RelayStage) -> None:
    one, other = await Member.inside(stage), await Member.inside(stage, b"s" * 32)
    await one.put(item(1))
    await other.put(item(1))
    assert await other.drop(item(1).name) == DONE
    assert [len(await one.listed()), len(await other.listed())] == [1, 0]


async def test_who_has_left_is_told_of_nothing(stage: RelayStage) -> None:
    one, two = await Member.inside(stage), await Member.inside(stage)
    mailboxes = stage.relay.desk.mailboxes
    assert mailboxes is not None
    two.caller.link.abort()
    await until(lambda: len(stage.relay.desk.registry) == 1)
    assert await one.put(item(1)) == DONE
    assert [len(w) for w in mailboxes._watchers.values()] == [1]
    assert len(mailboxes._guests) == 1


def test_a_person_sets_how_much_is_kept() -> None:
    bounds = limits_of(Limits(mailboxes_mib=7, mailboxes_mib_per_device=3))
    assert (bounds.total_bytes, bounds.device_bytes) == (7 << 20, 3 << 20)
    assert limits_of(Limits()) == MailboxLimits()


async def test_a_relay_without_a_home_keeps_nothing() -> None:
    async with relaying() as stage:
        assert (await (await Member.at(stage)).open()).outcome == FULL


# ---------------------------------------------------------------- how much


async def test_a_closed_relay_keeps_nothing_for_who_was_not_let_in(tmp_path: Path) -> None:
    """A guest that proves both capabilities of a folder is refused all the same; with a token the
    same link is served.
    """
    (tmp_path / "closed").mkdir()
    store = await RelayStore.open(tmp_path / "closed")
    text = await invite(store, 1, 1, time.time(), os.urandom)
    assert text is not None
    async with relaying(home=tmp_path, admissions=Admissions(store, False, time.time)) as stage:
        guest = await Member.at(stage)
        assert (await guest.open()).outcome == REFUSED
        assert await guest.put(item(1)) == REFUSED
        assert await guest.drop(item(1).name) == REFUSED
        for message in (MailboxList(3, guest.keys.tag, 0), MailboxGet(4, guest.keys.tag, 1, 9)):
            assert await guest.ask(message) == MailboxDone(message.number, REFUSED)
        boxes = stage.relay.desk.mailboxes
        assert boxes is not None
        assert boxes.counts() == Counter(mailboxes=0, items=0, bytes=0)
        answer = await guest.ask(Admit(parse_token(text)))
        assert answer == Admission(AdmissionOutcome.ADMITTED)
        assert (await guest.open()).outcome == DONE
        assert await guest.put(item(1)) == DONE
    await store.close()


@pytest.mark.row("F08")
async def test_what_the_disk_has_changed_is_dropped_and_can_be_put_again(
    stage: RelayStage, caplog: pytest.LogCaptureFixture
) -> None:
    member = await Member.inside(stage)
    thing = [NewItem(b"thing" * 2 + b"of 4" + bytes([0, n]), b"p" * SIZE) for n in (1, 0)]
    assert await member.put(item(7 << 16), *thing, item(8 << 16)) == DONE
    boxes = stage.relay.desk.mailboxes
    assert boxes is not None
    async with boxes._store.transaction() as db:
        sql = "UPDATE mailbox_items SET sealed = ? WHERE position = 2"
        await db.execute_fetchall(sql, (b"p" * (SIZE - 1) + b"q",))
    items, is_more = await member.got(1, 2)
    assert ([one.position for one in items], is_more) == ([1], True)
    assert [one.position for one in await member.listed()] == [1, 4], "with its first part"
    assert boxes.counts() == Counter(mailboxes=1, items=2, bytes=2 * SIZE)
    assert boxes.damaged == 1
    assert [r.getMessage() for r in caplog.records if "damaged" in r.getMessage()]
    assert await member.put(*thing) == DONE
    items, is_more = await member.got(1, 9)
    assert [one.position for one in items] == [1, 4, 5, 6]
    assert not is_more


async def test_what_is_kept_and_came_of_requests_is_counted_for_who_watches(
    stage: RelayStage,
) -> None:
    async def well() -> str:
        return ""

    stranger, member = await Member.at(stage), await Member.inside(stage)
    assert await stranger.put(item(1)) == REFUSED
    assert await member.put(item(1), item(2)) == DONE
    page = (await Watch(stage.relay, well).page(b"GET /metrics HTTP/1.1")).decode()
    lines = [line for line in page.splitlines() if line.startswith("holdfast_relay_mailbox")]
    assert lines == [
        "holdfast_relay_mailboxes 1.0",
        "holdfast_relay_mailbox_items 2.0",
        f"holdfast_relay_mailbox_bytes {2 * SIZE}.0",
        'holdfast_relay_mailbox_requests_total{outcome="done"} 2.0',
        'holdfast_relay_mailbox_requests_total{outcome="refused"} 1.0',
        "holdfast_relay_mailbox_damaged_items_total 0.0",
    ]
    assert member.keys.tag.hex() not in page


def limits(**values: object) -> MailboxLimits:
    return replace(MailboxLimits(), **values)  # type: ignore[arg-type]


def areas(size: int) -> dict[int, int]:
    return dict.fromkeys(map(int, Area), size)


@pytest.mark.row("A29")
@pytest.mark.parametrize(
    "bounds",
    [
        {"area_bytes": areas(2 * SIZE)},
        {"items_per_mailbox": 2},
        {"device_bytes": 2 * SIZE},
        {"total_bytes": 2 * SIZE},
    ],
    ids=lambda bounds: next(iter(bounds)),
)
async def test_what_is_full_takes_no_more_and_loses_nothing(
    tmp_path: Path, bounds: dict[str, object]
) -> None:
    async with relaying(home=tmp_path, mailbox_limits=limits(**bounds)) as stage:
        one = await Member.inside(stage)
        assert await one.put(item(1), item(2)) == DONE
        assert await one.put(item(2), item(3)) == FULL
        assert [i.position for i in await one.listed()] == [1, 2]
        assert await one.drop(item(1).name) == DONE
        assert await one.put(item(3)) == DONE
        assert [i.position for i in await one.listed()] == [2, 3]


def thing(number: int, parts: int, area: Area = Area.CONTENTS) -> list[NewItem]:
    """In so many parts, the first one last."""
    group = bytes([area, number]) * 7
    return [item(0)._replace(name=group + n.to_bytes(2, "big")) for n in reversed(range(parts))]


async def test_old_contents_make_room_for_new_ones(tmp_path: Path) -> None:
    async with relaying(home=tmp_path, mailbox_limits=limits(area_bytes=areas(3 * SIZE))) as stage:
        one = await Member.inside(stage)
        for number in range(1, 6):
            assert await one.put(*thing(number, 1), area=Area.CONTENTS) == DONE
        assert [i.position for i in await one.listed()] == [3, 4, 5]
        assert await one.put(*thing(9, 4), area=Area.CONTENTS) == FULL, "more than room at all"
        assert [i.position for i in await one.listed()] == [3, 4, 5], "nothing went for it"


@pytest.mark.row("A29")
@pytest.mark.parametrize(
    "bounds",
    [
        {"area_bytes": areas(7 * SIZE)},
        {"items_per_mailbox": 9},
        {"device_bytes": 9 * SIZE},
        {"total_bytes": 10 * SIZE},
    ],
    ids=lambda bounds: next(iter(bounds)),
)
async def test_what_is_put_beyond_a_bound_changes_nothing_and_cuts_nothing(
    tmp_path: Path, bounds: dict[str, object]
) -> None:
    """Whatever two devices put into a mailbox that is nearly full: what is refused changes nothing,
    a heartbeat that is there stays until its successor does, and of each thing all is there or
    less than its first part.
    """
    random = Random(5)
    async with relaying(home=tmp_path, mailbox_limits=limits(**bounds)) as stage:
        members = [await Member.at(stage) for _ in range(2)]
        for member in members:  # who may read would be told of what the other puts
            assert (await member.open(Capability.WRITE)).outcome == DONE
        things: dict[bytes, int] = {}
        refused = 0
        for number in range(120):
            area = random.choice([Area.CONTENTS, Area.CONTENTS, Area.CHANGESETS, Area.HEARTBEATS])
            parts = 1 if area == Area.HEARTBEATS else random.randrange(1, 4)
            size = random.choice([SIZE, 2 * SIZE])
            new = [
                part._replace(sealed=bytes(size))
                for part in thing(number % 5 if area == Area.HEARTBEATS else number, parts, area)
            ]
            things[new[0].name[:14]] = parts
            before = await shown(stage, members[0])
            outcome = await members[number % 2].put(*new, area=area)
            after = await shown(stage, members[0])
            refused += outcome == FULL
            assert outcome == DONE or after == before
            assert outcome == FULL or after.items() >= {p.name: size for p in new}.items()
            kept = Counter(name[:14] for name in after)
            for name in after:
                assert kept[name[:14]] == things[name[:14]], "a thing is there with all its parts"
            if random.random() < 0.1 and after:
                gone = random.choice(list(after))[:14]
                await members[0].drop(*[name for name in after if name[:14] == gone])
        assert 5 < refused < 110


async def shown(stage: RelayStage, member: Member) -> dict[bytes, int]:
    """What is in the mailbox, by the relay's own word; and it has counted that."""
    boxes = stage.relay.desk.mailboxes
    assert boxes is not None
    counted, found = boxes.uses, await rows.load(boxes._store)
    assert counted.total_bytes == found.total_bytes
    assert counted.tags.keys() == found.tags.keys()
    assert +counted.devices == +found.devices
    for tag, use in found.tags.items():
        assert +use.bytes == +counted.tags[tag].bytes
        assert use.items == counted.tags[tag].items
    listed = await rows.listed(boxes._store, member.keys.tag, 0, 1000)
    return {each.name: each.size for each in listed}


@pytest.mark.row("A29")
async def test_mailboxes_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAILBOXES_PER_CLIENT_MAX", 2)
    async with relaying(home=tmp_path, mailbox_limits=limits(mailboxes=1)) as stage:
        first = await Member.inside(stage)
        second = Member(
            first.caller,
            MailboxKeys.from_secrets(b"2" * 32, b"w" * 32, stage.relay.relay_id),
        )
        third = Member(
            first.caller,
            MailboxKeys.from_secrets(b"3" * 32, b"w" * 32, stage.relay.relay_id),
        )
        assert (await second.open()).outcome == DONE
        assert (await third.open()).outcome == FULL
        assert await first.put(item(1)) == DONE
        assert await second.put(item(1)) == FULL


@pytest.mark.row("A29")
async def test_who_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    async with relaying(home=tmp_path, mailbox_limits=limits(requests_per_minute=2)) as stage:
        one = await Member.at(stage)
        answers = [(await one.open()).outcome for _ in range(3)]
        assert answers == [DONE, DONE, BUSY]
        other = await Member.at(stage)
        assert (await other.open()).outcome == DONE


@pytest.mark.row("A29")
async def test_one_address_puts_so_much_a_minute(tmp_path: Path) -> None:
    async with relaying(
        home=tmp_path, mailbox_limits=limits(host_bytes_per_minute=2 * SIZE)
    ) as stage:
        one, two = await Member.inside(stage), await Member.inside(stage)
        assert await one.put(item(1), item(2)) == DONE
        assert isinstance(await two.caller.hear(), MailboxNews)
        assert await two.put(item(3)) == BUSY


# ---------------------------------------------------------------- how long


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_each_area_is_kept_as_long_as_it_is_to_be(tmp_path: Path) -> None:
    store, clock = await RelayStore.open(tmp_path), Clock()
    try:
        days = {Area.CONTROL: 400, Area.CHANGESETS: 30, Area.CONTENTS: 30, Area.HEARTBEATS: 30}
        boxes = Mailboxes(store, RelayId(b"r" * 32), MailboxLimits(), time.monotonic, clock)
        for area in Area:
            async with store.transaction() as db:
                use = boxes.uses.tags.setdefault(b"t" * 16, Use())
                new = [item(int(area))]
                await rows.insert(db, b"t" * 16, area, b"d" * 32, use, new, int(clock()))
            boxes.uses.add(b"t" * 16, b"d" * 32, area, SIZE)
        left = []
        for day in (29, 31, 399, 401):
            clock.now = 1_000_000 + day * 86_400
            await boxes.sweep()
            left.append(boxes.counts()["items"])
        assert left == [4, 1, 1, 0]
        assert min(days.values()) == 30
        assert boxes.uses.total_bytes == 0
    finally:
        await store.close()


# ---------------------------------------------------------------- trouble


async def test_a_disk_that_fails_is_said_and_nothing_is_counted(
    stage: RelayStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await Member.inside(stage)
    await one.put(item(1))
    mailboxes = stage.relay.desk.mailboxes
    assert mailboxes is not None
    insert = rows.insert

    async def fails(*arguments: Any) -> None:
        await insert(*arguments)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(rows, "insert", fails)
    assert await one.put(item(2)) == FULL
    monkeypatch.setattr(rows, "insert", insert)
    assert (mailboxes.uses.total_bytes, mailboxes.uses.tags[one.keys.tag].items) == (SIZE, 1)
    assert await one.put(item(2)) == DONE
    assert [i.position for i in await one.listed()] == [1, 2]


@pytest.mark.row("A17")
async def test_the_database_knows_no_address_and_no_device(
    tmp_path: Path, stage: RelayStage
) -> None:
    one = await Member.inside(stage)
    await one.put(item(1))
    assert stage.relay.desk.mailboxes is not None
    kept = await asyncio.to_thread(
        lambda: b"".join(path.read_bytes() for path in tmp_path.iterdir())
    )
    assert one.keys.tag in kept
    for secret in (b"127.0.0.1", one.keys.read_public, one.keys.write_public, os.urandom(16)):
        assert secret not in kept
    assert set(stage.relay.desk.mailboxes.counts()) == {"mailboxes", "items", "bytes"}


# ---------------------------------------------------------------- what is written of it

SPEC = (Path(__file__).parents[2] / "protocol" / "SPEC.md").read_text()
SPEC = SPEC.partition("\n## 16. ")[2].partition("\n## 17. ")[0]


def rows_of(heading: str) -> list[list[str]]:
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", SPEC, re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]


def test_messages_are_those_of_the_specification() -> None:
    assert rows_of("number") == [
        [str(number.value), number.name, form.type.__name__, f"`[{schema}]`"]
        for number, form in FORMS.items()
        for schema in [", ".join(field.schema for field in form.fields)]
    ]


def test_areas_are_those_of_the_specification() -> None:
    assert [row[0] for row in rows_of("area")] == [f"{a.value} {a.name.lower()}" for a in Area]
    ages = [f"{MailboxLimits().age_s[area] // 86_400} days" for area in Area]
    assert [row[-1].rpartition("; ")[2] for row in rows_of("area")] == ages


LIMITS = (
    "crypto.mailbox.ITEM_SIZE_MAX",
    "protocol.mailbox_items.PART_SIZE_MAX",
    "protocol.mailbox_items.PARTS_MAX",
    "protocol.mailbox_messages.FRAME_ITEMS_BYTES",
    "protocol.mailbox_messages.ITEMS_MAX",
    "protocol.mailbox_messages.LISTED_MAX",
    "protocol.mailbox_messages.DROPPED_MAX",
    "protocol.mailbox_control.EPOCHS_MAX",
    "peer.mail.folder_mail.RIDE_SIZE_MAX",
    "peer.mail.relay_mail.RIDING_BYTES",
    "relay.mailboxes.MAILBOXES_PER_CLIENT_MAX",
    "relay.mailboxes.PENDING_MAX",
)


def limit_rows() -> list[list[str]]:
    rows = []
    for name in LIMITS:
        where, constant = name.rsplit(".", 1)
        value = getattr(importlib.import_module(where), constant)
        unit = " bytes" if "SIZE" in constant or "BYTES" in constant else ""
        rows.append([f"`{name}`", f"{value:,}{unit}"])
    bounds = MailboxLimits()
    for area, size in bounds.area_bytes.items():
        rows.append([f"bytes of {Area(area).name.lower()}, a mailbox", f"{size:,}"])
    for field in ("items_per_mailbox", "device_bytes", "host_bytes_per_minute", "total_bytes"):
        rows.append([field.replace("_", " "), f"{getattr(bounds, field):,}"])
    for field in ("mailboxes", "requests_per_minute"):
        rows.append([field.replace("_", " "), f"{getattr(bounds, field):,}"])
    return rows


def test_limits_are_those_of_the_specification() -> None:
    assert rows_of("limit") == limit_rows()


async def example_exchange(home: Path) -> list[str]:
    """What two devices and a relay say, with bytes shortened."""
    said: list[str] = []
    async with relaying(home=home) as stage:
        here, away = await Member.at(stage), await Member.at(stage)
        names = {
            here.keys.tag: "T…", here.keys.read_public: "R…", here.keys.write_public: "W…",
            item(1).name: "N…", item(1).sealed: "X…", item(2).name: "M…", item(2).sealed: "Y…",
        }  # fmt: skip

        def shown(value: object) -> str:
            if isinstance(value, tuple):
                return f"[{', '.join(map(shown, value))}]"
            if isinstance(value, bytes):
                return names.get(value, "P…")
            return str(int(value)) if isinstance(value, int) else str(value)

        def note(arrow: str, message: Any) -> None:
            values = [getattr(message, field.name) for field in dataclass_fields(message)]
            number, _ = encode(message)
            name = MailboxNumber(number).name
            said.append(f"{arrow}  {name} [{', '.join(map(shown, values))}]")

        async def ask(who: str, member: Member, message: Any) -> None:
            note(f"{who} → relay", message)
            note(f"{who} ← relay", await member.ask(message))

        def opening(member: Member) -> MailboxOpen:
            keys, link_id = member.keys, member.caller.link.link_id
            proofs = [keys.prove(c, link_id) for c in Capability]
            return MailboxOpen(1, keys.tag, keys.read_public, keys.write_public, *proofs)

        tag = here.keys.tag
        await ask("here", here, opening(here))
        await ask("away", away, opening(away))
        await ask("here", here, MailboxPut(2, tag, Area.CHANGESETS, (item(1),)))
        note("away ← relay", await away.caller.hear())
        await ask("away", away, MailboxList(2, tag, 0))
        await ask("away", away, MailboxGet(3, tag, 1, 1))
        await ask("away", away, MailboxPut(4, tag, Area.HEARTBEATS, (item(2),)))
        note("here ← relay", await here.caller.hear())
        await ask("here", here, MailboxList(3, tag, 1))
        await ask("here", here, MailboxGet(4, tag, 2, 2))
        await ask("here", here, MailboxDrop(5, tag, (item(1).name,)))
    return said


async def test_the_example_exchange_is_one(tmp_path: Path) -> None:
    written = [line.strip() for line in SPEC.splitlines() if line.startswith("    ")]
    assert written == await example_exchange(tmp_path)
