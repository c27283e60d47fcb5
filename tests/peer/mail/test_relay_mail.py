"""Visits to mailboxes at a relay that does what it likes: harmless, or noticed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crypto.mailbox import ITEM_SIZE_MAX, Area
from peer.device.home_store import Device
from peer.device.removing import expel_revoked, revoke
from peer.mail import relay_mail
from peer.mail.mailbox import Mailbox
from protocol.ledger import LedgerKind
from protocol.mailbox_items import ControlEntry, Heartbeat, positions
from protocol.mailbox_messages import MailboxListed, MailboxMessage
from relay.registry import Client
from tests.peer.device_stage import device_id, folder_of, make_homes, until
from tests.peer.mail_stage import Apart, EvilRelay, apart, settle, tree, without


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two"))
    return base


@pytest.fixture(scope="module")
def three_homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("three-homes")
    asyncio.run(make_homes(base, "one", "two", "three"))
    return base


@pytest.fixture
async def town(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Apart]:
    async with apart(homes, tmp_path, monkeypatch, "one", "two") as town:
        yield town


async def change(town: Apart, *statements: str) -> None:
    """What a relay can do to its own database."""
    async with town.boxes._store.transaction() as db:
        for statement in statements:
            await db.execute_fetchall(statement)


async def reverse(town: Apart) -> None:
    await change(
        town,
        "UPDATE mailbox_items SET position = -position",
        "UPDATE mailbox_items SET position = position + 1000",
        "UPDATE mailboxes SET last_position = 1000",
    )


async def drop_some(town: Apart) -> None:
    await change(
        town,
        f"DELETE FROM mailbox_items WHERE area = {int(Area.CHANGESETS)} AND position ="
        f" (SELECT min(position) FROM mailbox_items WHERE area = {int(Area.CHANGESETS)})",
    )


async def drop_all(town: Apart) -> None:
    await change(town, "DELETE FROM mailbox_items")


async def flip(town: Apart) -> None:
    await change(town, "UPDATE mailbox_items SET sealed = zeroblob(size), checksum = NULL")


async def swap(town: Apart) -> None:
    """Each item lies under the name of another one."""
    rows = await town.boxes._store.rows("SELECT position, name FROM mailbox_items ORDER BY name")
    names = [name for _, name in rows]
    async with town.boxes._store.transaction() as db:
        await db.execute_fetchall("UPDATE mailbox_items SET name = randomblob(16), checksum = NULL")
        for (position, _), name in zip(rows, names[1:] + names[:1], strict=True):
            await db.execute_fetchall(
                "UPDATE mailbox_items SET name = ? WHERE position = ?", (name, position)
            )


async def litter(town: Apart) -> None:
    async with town.boxes._store.transaction() as db:
        for position in range(5000, 5050):
            await db.execute_fetchall(
                "INSERT INTO mailbox_items SELECT tag, ?, area, ?, 100, put_s, pseudonym, ?, NULL"
                " FROM mailbox_items LIMIT 1",
                (position, os.urandom(14) + b"\0\0", os.urandom(min(100, ITEM_SIZE_MAX))),
            )


Tamper = Callable[[Apart], Coroutine[Any, Any, None]]


@pytest.mark.row("A12", "A13")
@pytest.mark.parametrize(
    "tamper", [reverse, drop_some, drop_all, flip, swap, litter], ids=lambda f: f.__name__
)
async def test_whatever_a_relay_does_to_what_it_keeps(
    town: Apart, tamper: Tamper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as if it had come late, at worst: nothing false is shown; a link brings the rest."""
    await town.connect(0)
    for name in ("a", "b", "c"):
        await town.write(0, name, name.encode())
    await town.disconnect(0)
    await tamper(town)
    await town.connect(1)
    if tamper in (reverse, litter):
        await town.until_same()
    await settle()
    shown = tree(town.root(1))
    assert shown.items() <= tree(town.root(0)).items()
    assert "first" in shown
    await town.write(1, "d", b"d")
    monkeypatch.undo()
    await town.stage.meet(*town.daemons)
    await town.until_same()
    assert {"a", "b", "c", "d", "first"} == set(tree(town.root(0)))
    assert not folder_of(town.daemons[1]).engine.book.forks()


@pytest.mark.row("A13")
async def test_what_a_relay_lost_is_put_there_again(town: Apart) -> None:
    await town.connect(0)
    await town.write(0, "a", b"a")
    await town.disconnect(0)
    await drop_all(town)
    await town.connect(0)
    await town.connect(1)
    await town.until_shown(1, "a", b"a")


async def test_contents_stay_whoever_visits_while_they_are_put(
    town: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each thing that one device puts, another visits, which has all that it has heard of."""
    await town.connect(1)
    await settle()
    two = town.daemons[1]
    (visitor,) = two.mailboxes._relays.values()
    put, visiting = Mailbox.put, False

    async def put_and_be_visited(box: Mailbox, area: Area, things: Any) -> None:
        nonlocal visiting
        await put(box, area, things)
        if not visiting:
            visiting = True
            await asyncio.sleep(0.05)  # the news of it has come by then, or comes with the next
            await visitor.visit(folder_of(two), [device_id(town.daemons[0])])
            visiting = False

    monkeypatch.setattr(Mailbox, "put", put_and_be_visited)
    await town.connect(0)
    await town.write(0, "a", b"a")
    await town.until_shown(1, "a", b"a")


class TwoFaced(EvilRelay):
    """Hides changesets from one of its clients, and shows it all else."""

    victim: bytes = b""

    def changed(self, client: Client, message: MailboxMessage) -> list[MailboxMessage]:
        if isinstance(message, MailboxListed) and client.pseudonym == self.victim:
            hidden = {item.position for item in message.items if item.area == Area.CHANGESETS}
            return [without(message, hidden)]
        return [message]


@pytest.mark.row("A13")
async def test_what_a_relay_withholds_is_told_by_a_heartbeat(
    town: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay cannot forge the word of a device about how far it is, nor take it back."""
    evil = TwoFaced(town.relay)
    await town.connect(1)
    (evil.victim,) = town.relay.relay.desk.registry._clients
    await town.connect(0)
    await town.write(0, "a", b"a")
    two, folder = town.daemons[1], folder_of(town.daemons[1])
    await until(lambda: two.mailboxes.told_of(folder.folder_id))
    ((who, count, _),) = two.mailboxes.told_of(folder.folder_id)
    assert (who, count) == (device_id(town.daemons[0]), 1)
    (warning,) = (await two.status())["folders"][0]["warnings"]
    assert warning.startswith("one had 1 more changes at ")
    assert "another relay" in warning
    assert not (town.root(1) / "a").exists()
    monkeypatch.undo()
    await town.stage.meet(*town.daemons)
    await town.until_shown(1, "a", b"a")
    await until(lambda: not two.mailboxes.told_of(folder.folder_id))


class Mute(EvilRelay):
    """Shows nobody's heartbeat."""

    def changed(self, client: Client, message: MailboxMessage) -> list[MailboxMessage]:
        if isinstance(message, MailboxListed):
            return [without(message, {i.position for i in message.items if i.area == 3})]
        return [message]


@pytest.mark.row("A13")
@pytest.mark.parametrize("is_mute", [False, True])
async def test_how_fresh_a_device_is_shows_its_heartbeat(town: Apart, is_mute: bool) -> None:
    """Two devices that were not linked for two days: by mail they hear of each other, and who is
    kept from that is told that it may be stale.
    """
    if is_mute:
        Mute(town.relay)
    one, two = town.daemons
    seen = Device(device_id(one), "one", time.time() - 2 * 86_400)
    async with two.home.store.transaction() as write:
        await write.put_device(seen)
    await town.connect(0, 1)
    await town.write(0, "a", b"a")
    await town.until_shown(1, "a", b"a")
    if not is_mute:
        await until(lambda: two.mailboxes.heard_s(seen.device_id) is not None)
    (folder,) = (await two.status())["folders"]
    assert bool(folder.get("possibly_stale_s")) == is_mute
    assert any("may be stale" in said for said in folder.get("warnings", [])) == is_mute


@pytest.mark.row("A13")
async def test_a_heartbeat_is_said_again_though_nothing_has_changed(
    town: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.connect(0, 1)
    await town.write(0, "a", b"a")
    one, two = town.daemons
    await until(lambda: two.mailboxes.heard_s(device_id(one)) is not None)
    later = int(time.time()) + relay_mail.HEARTBEAT_INTERVAL_S + 60
    monkeypatch.setattr(time, "time", lambda: float(later))
    one.mailboxes.wake()
    await until(lambda: (two.mailboxes.heard_s(device_id(one)) or 0) >= later)


@pytest.mark.row("A12")
async def test_an_old_state_of_a_mailbox_takes_nothing_back(town: Apart) -> None:
    await town.connect(0)
    await town.write(0, "a", b"1")
    store = town.boxes._store
    old = await store.rows("SELECT * FROM mailbox_items")
    await town.connect(1)
    await town.until_shown(1, "a", b"1")
    await town.write(1, "a", b"2")
    await town.until_shown(0, "a", b"2")
    mail = town.daemons[0].mailboxes._mail_of(folder_of(town.daemons[0]).folder_id)
    held = mail.holdings.encode()
    for number in (0, 1):
        await town.disconnect(number)
    async with store.transaction() as db:
        await db.execute_fetchall("DELETE FROM mailbox_items")
        for row in old:
            await db.execute_fetchall(
                "INSERT INTO mailbox_items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
    await town.connect(0, 1)
    await settle()
    assert tree(town.root(0)) == tree(town.root(1)) == {"a": b"2", "first": b"all have this"}
    assert len(mail.holdings.encode()) >= len(held)
    await town.write(1, "b", b"3")
    await town.until_shown(0, "b", b"3")


# ---------------------------------------------------------------- members


@pytest.mark.row("A10", "A18")
async def test_a_removed_device_neither_reads_nor_writes(
    three_homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that slept through the removal hears of it from the mailbox of the old keys."""
    async with apart(three_homes, tmp_path, monkeypatch, "one", "two", "three") as town:
        one, two, three = town.daemons
        await town.connect(0)
        await revoke(one.ledgers, device_id(three))
        await expel_revoked(one.ledgers, one.network.folders.values())
        await one._membership_changed()
        await town.write(0, "secret", b"after the removal")
        await town.until_put(0)
        await town.connect(2)
        (town.root(2) / "evil").write_bytes(b"by the removed one")
        await settle()
        await town.disconnect(0)
        await town.connect(1)
        await town.until_shown(1, "secret", b"after the removal")
        await settle()
        assert not (town.root(1) / "evil").exists()
        assert not (town.root(2) / "secret").exists()
        chain = three.ledgers.folders[folder_of(three).folder_id].chain
        new = two.ledgers.folders[folder_of(two).folder_id].chain.sealing_epoch()
        assert new is not None
        assert chain.read_secret(new) is None


async def test_a_new_folder_is_told_of_by_the_mailbox_of_another(town: Apart) -> None:
    """Both were never awake together since it was made."""
    one, two = town.daemons
    root = town.stage.base / "new of one"
    root.mkdir()
    (root / "in it").write_bytes(b"new")
    await one.add_folder(root, "new")
    await town.connect(0)

    def is_told() -> bool:
        return all(mail.beaten for mail in one.mailboxes._mails.values())

    await until(lambda: len(one.mailboxes._mails) == 2 and is_told())
    await town.disconnect(0)
    await town.connect(1)
    await until(lambda: any(two._name_of(stored) == "new" for stored in two.stored.values()))
    there = town.stage.base / "new of two"
    there.mkdir()
    await two.attach_folder("new", there)
    await until(lambda: (there / "in it").is_file())
    assert (there / "in it").read_bytes() == b"new"
    assert not two.network.counts


async def test_contents_stay_until_the_changes_are_taken_in(town: Apart) -> None:
    """Who holds no changes of a folder, or not all that are there, lacks none of their bytes."""
    one, two = town.daemons
    await town.connect(0)
    await town.write(0, "in it", b"small")
    await town.until_put(0)
    (mail,) = one.mailboxes._relays.values()
    folder = folder_of(one)
    (box,) = mail._boxes[folder.folder_id].values()
    assert box.groups(Area.CONTENTS)
    one.mailboxes._mail_of(folder.folder_id).holdings.told(  # it has said so on a link
        device_id(two), positions(folder.engine.frontier), int(time.time()), applied=True
    )
    for head in (None, 1):
        held = [entry._replace(seq=head) for entry in folder.engine.frontier if head]
        one.network.applied_frontiers[folder.folder_id] = held
        at = SimpleNamespace(
            folder_id=folder.folder_id,
            engine=SimpleNamespace(frontier=held, book=folder.engine.book),
        )
        await mail._drop(at, [box])  # type: ignore[arg-type]
        assert box.groups(Area.CONTENTS)
    one.network.applied_frontiers[folder.folder_id] = folder.engine.frontier
    await mail._drop(folder, [box])
    assert not box.groups(Area.CONTENTS)


async def test_ledgers_of_others_and_rubbish_are_left_out(town: Apart) -> None:
    await town.connect(0)
    one, folder_id = town.daemons[0], folder_of(town.daemons[0]).folder_id
    (mail,) = one.mailboxes._relays.values()
    await until(lambda: mail._boxes.get(folder_id))
    strange = ControlEntry(LedgerKind.FOLDER, b"x" * 32, b"anything")
    assert not await mail._take_up(folder_id, strange)
    (box,) = mail._boxes[folder_id].values()
    await box.put(Area.CONTROL, [(b"1", b"rubbish"), (b"2", strange.encode())])
    two = town.daemons[1]
    forged = Heartbeat(folder_id, device_id(one), 1, (), ()).encode(_forger(two, device_id(one)))
    await box.put(Area.HEARTBEATS, [(b"3", forged), (b"4", b"rubbish")])
    await box.put(Area.CHANGESETS, [(b"5", b"rubbish")])
    await town.connect(1)
    counts = two.network.counts
    await until(lambda: counts.get("Malformed", 0) >= 3 and counts.get("BadSignature", 0) == 1)
    await town.write(0, "a", b"a")
    await town.until_shown(1, "a", b"a")


def _forger(daemon: Any, other: Any) -> Any:
    """A device's keys that say they are another's."""

    class Forger:
        device_id = other

        @staticmethod
        def sign(label: str, *parts: bytes) -> bytes:
            signature: bytes = daemon.home.keys.sign(label, *parts)
            return signature

    return Forger()


async def test_a_full_relay_is_said_and_lets_the_rest_wait(
    town: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    object.__setattr__(town.boxes._limits, "total_bytes", 5_000)
    await town.connect(0)
    one = town.daemons[0]
    (mail,) = one.mailboxes._relays.values()
    (town.root(0) / "large").write_bytes(os.urandom(50_000))
    await until(lambda: mail.full)
    await town.connect(1)
    await settle()
    assert not (town.root(1) / "large").exists()
    monkeypatch.undo()
    await town.stage.meet(*town.daemons)
    await town.until_same()


@pytest.mark.row("A29")
async def test_a_relay_without_room_for_a_word_costs_nothing_else(town: Apart) -> None:
    """Not even a heartbeat fits: the link to the relay stays, and what has room later is put."""
    limits = town.boxes._limits
    room = limits.total_bytes
    object.__setattr__(limits, "total_bytes", 10)
    await town.connect(0)
    one = town.daemons[0]
    (mail,) = one.mailboxes._relays.values()
    (town.root(0) / "small").write_bytes(b"to be had by mail")
    await until(lambda: mail.full)
    await settle()
    assert list(one.mailboxes._relays.values()) == [mail], "the same link"
    object.__setattr__(limits, "total_bytes", room)
    one.mailboxes.wake()
    await until(lambda: not mail.full)
    await town.connect(1)
    await town.until_same()
