"""What is remembered of a folder's mailboxes, and what of its files rides along."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.ids import DeviceId, LogId, RelayId
from crypto.mailbox import Area, MailboxKeys
from peer.daemon import Daemon
from peer.mail.folder_mail import LONG_AWAY_S, RIDE_SIZE_MAX, FolderMail, contents_of
from protocol.changesets import FrontierEntry
from protocol.held_changesets import Position
from protocol.holdings import Holdings
from protocol.mailbox_items import Heartbeat
from tests.peer.device_stage import Stage, devices, folder_of, until
from tests.peer.folder_stage import two_places

KEYS = MailboxKeys.from_secrets(b"r" * 32, b"w" * 32, RelayId(b"1" * 32))
ONE, TWO = DeviceId(b"1" * 32), DeviceId(b"2" * 32)


def test_who_is_away_for_a_month_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    mail = FolderMail(Holdings(), lambda: [ONE, TWO])
    assert mail.others() == [ONE, TWO], "nobody is given up before a month is over"
    now += LONG_AWAY_S - 10
    mail.holdings.told(ONE, {}, int(now))
    now += 20
    assert mail.others() == [ONE]
    mail.holdings.told(TWO, {}, int(now))
    assert mail.others() == [ONE, TWO]


def test_the_newest_heartbeat_is_remembered() -> None:
    mail = FolderMail(Holdings(), lambda: [ONE])
    _, place = two_places()
    entry = FrontierEntry(LogId(b"l" * 16), 4, b"h" * 32)
    newer = Heartbeat(place.ledger.folder_id, ONE, 20, (entry,), ())
    older = Heartbeat(place.ledger.folder_id, ONE, 10, (), ())
    mail.read(newer, 100)
    mail.read(older, 100)
    assert mail.newest == {ONE: newer}
    assert mail.holdings.lacking([ONE], {entry.log_id: 5}) == {entry.log_id: 4}


def test_what_is_held_is_known_by_its_name() -> None:
    place, _ = two_places()
    written = [place.write() for _ in range(3)]
    groups = [KEYS.group(Area.CHANGESETS, accepted.changeset.hash) for accepted in written]
    mail = FolderMail(Holdings(), list)
    log_id = written[0].changeset.log_id
    strange = KEYS.group(Area.CHANGESETS, b"another")
    places = mail.places(KEYS, place.book, [*groups, strange])
    assert [places[group] for group in groups] == [Position(log_id, seq) for seq in (1, 2, 3)]
    assert strange not in places
    places[strange] = Position(log_id, 9)
    assert mail.places(KEYS, place.book, [strange])[strange] == Position(log_id, 9)


def test_what_a_lost_index_had_taken_is_not_known_any_more() -> None:
    """It is read again, and not only after a restart."""
    place, _ = two_places()
    accepted = place.write()
    group = KEYS.group(Area.CHANGESETS, accepted.changeset.hash)
    mail = FolderMail(Holdings(), list)
    assert group in mail.places(KEYS, place.book, [group])
    other, _ = two_places()
    assert group not in mail.places(KEYS, other.book, [group])


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with devices(tmp_path) as stage:
        yield stage


async def riding(daemon: Daemon, after: int = 0) -> list[bytes]:
    folder = folder_of(daemon)
    (entry,) = folder.engine.frontier
    return [data async for _, data in contents_of(folder, entry.log_id, after, entry.seq)]


async def test_small_contents_ride_the_newest_first_and_no_old_version(stage: Stage) -> None:
    one = await stage.found("one")
    root = stage.root("one")
    await one.add_folder(root, "f")
    folder = folder_of(one)

    async def write(name: str, data: bytes) -> int:
        before = folder.engine.frontier
        (root / name).write_bytes(data)
        await until(lambda: folder.engine.frontier != before)
        return folder.engine.frontier[0].seq

    await write("a", b"first")
    after = await write("b", b"second")
    await write("a", b"third")
    await write("large", b"x" * (RIDE_SIZE_MAX + 1))
    largest = bytes(range(256)) * (RIDE_SIZE_MAX // 256)
    await write("largest", largest)
    await write("empty", b"")
    found = await riding(one)
    assert b"".join(found[:-2]) == largest
    assert found[-2:] == [b"third", b"second"]
    assert await riding(one, after) == found[:-1]
