"""The ledgers of a device: what is kept, what is done of itself, and what is not believed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from crypto.ids import DeviceId, EntryId, FolderId
from crypto.keys import DeviceKeys, KitKeys
from peer.device.home_store import HomeStore, HomeTransaction
from peer.device.ledgers import Ledgers
from peer.device.removing import revoke
from protocol.errors import BadLedger, ProtocolError
from protocol.folder_actions import Expel
from protocol.ledger import LedgerKind
from protocol.messages import LedgerHeads
from protocol.user_ledger import UserLedger, make_certificate
from tests.protocol.people import Person, Place

STRANGER = DeviceId(b"s" * 32)


class Desk:
    """One device's ledgers and their store."""

    def __init__(self, path: Path, keys: DeviceKeys) -> None:
        self.path, self.keys = path, keys
        self.store: HomeStore
        self.ledgers: Ledgers

    async def open(self, is_new: bool = False) -> None:
        self.store = await HomeStore.open(self.path, is_new=is_new)
        self.ledgers = Ledgers(self.store, self.keys)

    async def begin(self, user: UserLedger) -> None:
        """A new device of this user that knows all of the user's ledger."""
        await self.open(is_new=True)
        async with self.store.transaction() as write:
            await write.put_user(user.user_id, "desk")
            await write.add_ledger_entries(
                LedgerKind.USER, user.user_id, [(e.id, e.wire) for e in user]
            )
        await self.ledgers.load(user.user_id)

    async def reopen(self) -> Ledgers:
        """What a restart finds."""
        user_id = self.ledgers.user_id
        await self.store.close()
        await self.open()
        await self.ledgers.load(user_id)
        return self.ledgers

    @property
    def id(self) -> DeviceId:
        return self.keys.device_id


class House:
    """A user with two devices, each with ledgers of its own."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.kit = KitKeys.from_secret(os.urandom(32))
        self.desks: list[Desk] = []

    async def found(self) -> Desk:
        keys = DeviceKeys.generate(os.urandom)
        user = UserLedger.create(self.kit, keys, 0, os.urandom)
        return await self.desk(keys, user)

    async def desk(self, keys: DeviceKeys, user: UserLedger) -> Desk:
        desk = Desk(self.base / f"{len(self.desks)}.db", keys)
        self.desks.append(desk)
        await desk.begin(UserLedger.restore(user.export()))
        return desk

    async def another(self, first: Desk) -> Desk:
        """One more device, which the first one added."""
        keys = DeviceKeys.generate(os.urandom)
        await first.ledgers.add_device(*make_certificate(keys, first.ledgers.user_id))
        return await self.desk(keys, first.ledgers.user)


async def tell(one: Desk, two: Desk) -> bool:
    """Everything that the first knows, told to the second as the network does it."""
    ledgers, grew = one.ledgers, False
    user = ledgers.user.export(two.ledgers.user.heads())
    grew |= await two.ledgers.receive(LedgerKind.USER, ledgers.user_id, user)
    for folder_id, membership in ledgers.folders.items():
        known = two.ledgers.folders.get(folder_id)
        entries = membership.ledger.export(known.ledger.heads() if known else ())
        grew |= await two.ledgers.receive(LedgerKind.FOLDER, folder_id, entries)
        for epoch_id in membership.ledger.epoch_ids():
            wraps = [(w.recipient_id, w.wrapped) for w in membership.chain.wraps([epoch_id])]
            grew |= await two.ledgers.receive_wraps(folder_id, epoch_id, wraps)
    return grew


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    for desk in house.desks:
        await desk.store.close()


@pytest.fixture
async def one(house: House) -> Desk:
    return await house.found()


@pytest.fixture
async def two(house: House, one: Desk) -> Desk:
    return await house.another(one)


def chunk_key(desk: Desk, folder_id: FolderId) -> bytes:
    keys = desk.ledgers.folders[folder_id].chain.folder_keys()
    assert keys is not None
    return keys.chunk_id_key


# ---------------------------------------------------------------- what is kept


async def test_a_restart_finds_everything(one: Desk, two: Desk) -> None:
    folder_id = (await one.ledgers.create_folder()).folder_id
    await one.ledgers.settle()
    before = chunk_key(one, folder_id), one.ledgers.heads_for(two.id)
    ledgers = await one.reopen()
    assert (chunk_key(one, folder_id), ledgers.heads_for(two.id)) == before
    assert set(ledgers.user.live_devices()) == {one.id, two.id}
    assert await ledgers.settle() == []


@contextlib.contextmanager
def full_home(desk: Desk) -> Iterator[None]:
    """The disk of a device's home takes nothing."""

    @contextlib.asynccontextmanager
    async def transaction() -> AsyncIterator[HomeTransaction]:
        raise sqlite3.OperationalError("database or disk is full")
        yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk.store, "transaction", transaction)
        yield


async def test_what_is_told_while_the_home_is_full_counts_and_is_stored_later(
    one: Desk, two: Desk
) -> None:
    folder_id = (await one.ledgers.create_folder()).folder_id
    await one.ledgers.settle()
    with full_home(two):
        assert await tell(one, two)
        assert chunk_key(two, folder_id) == chunk_key(one, folder_id)
        with pytest.raises(sqlite3.OperationalError):
            await two.ledgers.keep_owed()
    assert await two.ledgers.keep_owed()
    assert not await two.ledgers.keep_owed()
    await two.reopen()
    assert chunk_key(two, folder_id) == chunk_key(one, folder_id)


async def test_what_is_owed_is_stored_before_what_rests_on_it(
    house: House, one: Desk, two: Desk
) -> None:
    with full_home(one), pytest.raises(sqlite3.OperationalError):
        await house.another(one)
    await one.ledgers.create_folder()
    await one.ledgers.settle()
    folders, devices = set(one.ledgers.folders), set(one.ledgers.user.live_devices())
    ledgers = await one.reopen()
    assert (set(ledgers.folders), set(ledgers.user.live_devices())) == (folders, devices)
    assert len(devices) == 3


async def test_a_folder_that_cannot_be_stored_is_none(one: Desk) -> None:
    with full_home(one), pytest.raises(sqlite3.OperationalError):
        await one.ledgers.create_folder()
    assert not one.ledgers.folders
    assert not await one.ledgers.keep_owed()


async def test_a_folder_goes_over_to_the_other_device(one: Desk, two: Desk) -> None:
    folder_id = (await one.ledgers.create_folder()).folder_id
    assert await one.ledgers.settle() == [folder_id]
    assert await tell(one, two)
    assert chunk_key(two, folder_id) == chunk_key(one, folder_id)
    assert not await tell(one, two)
    await two.reopen()
    assert chunk_key(two, folder_id) == chunk_key(one, folder_id)


async def test_what_stood_before_a_wrong_entry_is_kept(house: House, one: Desk, two: Desk) -> None:
    """It is in the ledger, and so nobody would send it again."""
    three = await house.another(one)
    entries = one.ledgers.user.export(two.ledgers.user.heads())
    with pytest.raises(ProtocolError):
        await two.ledgers.receive(LedgerKind.USER, one.ledgers.user_id, [*entries, b"\x80"])
    assert (await two.reopen()).is_own(three.id)


async def test_an_empty_message_writes_nothing(one: Desk, two: Desk) -> None:
    folder_id = (await one.ledgers.create_folder()).folder_id
    await one.ledgers.settle()
    await tell(one, two)
    assert not await two.ledgers.receive(LedgerKind.FOLDER, folder_id, [])
    assert not await two.ledgers.receive(LedgerKind.USER, one.ledgers.user_id, [])


# ---------------------------------------------------------------- introductions


async def test_who_introduces_itself_is_known_now_and_after_a_restart(
    house: House, one: Desk, two: Desk
) -> None:
    three = await house.another(one)
    entries = three.ledgers.user.export()[-8:]
    assert two.ledgers.lookup(three.id, []) is None
    found = two.ledgers.lookup(three.id, entries)
    assert found is not None
    assert (found.device_id, found.sign_pk) == (three.id, three.keys.sign_public)
    assert await two.ledgers.keep_introduced()
    assert not await two.ledgers.keep_introduced()
    assert (await two.reopen()).is_own(three.id)


async def test_an_introduction_is_kept_before_what_rests_on_it(
    house: House, one: Desk, two: Desk
) -> None:
    three = await house.another(one)
    assert two.ledgers.lookup(three.id, three.ledgers.user.export()[-8:]) is not None
    four = DeviceKeys.generate(os.urandom)
    await two.ledgers.add_device(*make_certificate(four, two.ledgers.user_id))
    ledgers = await two.reopen()
    assert ledgers.is_own(three.id)
    assert ledgers.is_own(four.device_id)


async def test_nobody_is_let_in_by_an_introduction_that_proves_nothing(
    house: House, one: Desk, two: Desk, tmp_path: Path
) -> None:
    other = House(tmp_path / "other")
    other.base.mkdir()
    try:
        burglar = await other.found()
        entries = burglar.ledgers.user.export()
        for introduction in (entries, [b""], [b"\xff" * 100], [one.ledgers.user.export()[-1]]):
            assert two.ledgers.lookup(burglar.id, introduction) is None
        assert not await two.ledgers.keep_introduced()
    finally:
        await burglar.store.close()


async def test_the_own_device_is_nobody_to_talk_to(one: Desk, two: Desk) -> None:
    assert one.ledgers.peer_keys(one.id) is None
    found = one.ledgers.peer_keys(two.id)
    assert found is not None
    assert found.dh_pk == two.keys.dh_public


# ---------------------------------------------------------------- who may see what


async def test_strangers_hear_of_nothing(one: Desk, two: Desk) -> None:
    folder_id = (await one.ledgers.create_folder()).folder_id
    await one.ledgers.settle()
    assert one.ledgers.heads_for(STRANGER) == ()
    assert not one.ledgers.is_member(STRANGER, folder_id)
    assert not one.ledgers.is_member(two.id, FolderId(b"f" * 32))
    heads = one.ledgers.heads_for(two.id)
    assert {(h.kind, h.ledger_id) for h in heads} == {
        (LedgerKind.USER, one.ledgers.user_id), (LedgerKind.FOLDER, folder_id)
    }  # fmt: skip


async def test_what_is_not_known_is_seen_by_its_heads(one: Desk, two: Desk) -> None:
    folder_id = (await one.ledgers.create_folder()).folder_id
    await one.ledgers.settle()
    assert [two.ledgers.knows(heads) for heads in one.ledgers.heads_for(two.id)] == [True, False]
    await tell(one, two)
    assert all(two.ledgers.knows(heads) for heads in one.ledgers.heads_for(two.id))
    unknown = LedgerHeads(LedgerKind.FOLDER, folder_id, (EntryId(b"e" * 32),))
    assert not one.ledgers.knows(unknown)


# ---------------------------------------------------------------- what is owed


async def test_a_new_device_is_admitted_to_all_folders(house: House, one: Desk) -> None:
    ids = [(await one.ledgers.create_folder()).folder_id for _ in range(3)]
    two = await house.another(one)
    assert all(one.ledgers.is_member(two.id, folder_id) for folder_id in ids)
    await tell(one, two)
    for folder_id in ids:
        assert chunk_key(two, folder_id) == chunk_key(one, folder_id)


async def test_a_revoked_device_is_out_of_everything_and_the_keys_change(
    one: Desk, two: Desk
) -> None:
    """A14."""
    membership = await one.ledgers.create_folder()
    await one.ledgers.settle()
    before = membership.ledger.epoch_ids()
    entry = one.ledgers.user.revoke(one.keys, two.id, 0)
    await one.ledgers.store_entries(LedgerKind.USER, one.ledgers.user_id, [entry])
    assert await one.ledgers.settle() == [membership.folder_id]
    assert one.ledgers.peer_keys(two.id) is None
    assert not one.ledgers.is_own(two.id)
    assert not one.ledgers.is_member(two.id, membership.folder_id)
    (new,) = set(membership.ledger.epoch_ids()) - set(before)
    assert two.id not in {w.recipient_id for w in membership.chain.wraps([new])}
    ledgers = await one.reopen()
    assert await ledgers.settle() == []
    assert not ledgers.is_member(two.id, membership.folder_id)


async def test_a_folder_that_comes_meanwhile_disturbs_nothing(
    house: House, one: Desk, two: Desk
) -> None:
    """What is owed is written for one folder after the other, and links go on."""
    for _ in range(3):
        await one.ledgers.create_folder()
        await two.ledgers.create_folder()
    await two.ledgers.settle()
    await asyncio.gather(one.ledgers.settle(), tell(two, one), one.ledgers.settle())
    assert len(one.ledgers.folders) == 6
    await one.ledgers.settle()
    await tell(one, two)
    for folder_id in one.ledgers.folders:
        assert chunk_key(two, folder_id) == chunk_key(one, folder_id)


# ---------------------------------------------------------------- what is not believed


async def test_ledgers_of_others_are_refused(one: Desk) -> None:
    """A01, A02: a peer is no source of keys."""
    stranger = Person(3)
    place = Place.found(stranger)
    for kind, ledger_id, entries in (
        (LedgerKind.USER, stranger.id, stranger.ledger.export()),
        (LedgerKind.FOLDER, place.ledger.folder_id, place.ledger.export()),
        (LedgerKind.FOLDER, b"f" * 32, place.ledger.export()),
        (7, b"f" * 32, []),
    ):
        with pytest.raises(BadLedger):
            await one.ledgers.receive(kind, ledger_id, entries)
    for entries in ([], [b""], [b"\x80"]):
        with pytest.raises(ProtocolError):
            await one.ledgers.receive(LedgerKind.FOLDER, b"f" * 32, entries)
    assert set(one.ledgers.users) == {one.ledgers.user_id}
    assert not one.ledgers.folders


async def test_a_folder_that_this_device_is_not_in_is_refused(one: Desk, two: Desk) -> None:
    membership = await one.ledgers.create_folder()  # nobody else was admitted yet
    with pytest.raises(BadLedger):
        await two.ledgers.receive(
            LedgerKind.FOLDER, membership.folder_id, membership.ledger.export()
        )
    await one.ledgers.settle()
    with pytest.raises(BadLedger):  # under another name
        await two.ledgers.receive(LedgerKind.FOLDER, b"f" * 32, membership.ledger.export())
    assert not two.ledgers.folders
    assert not (await two.reopen()).folders


async def test_wraps_that_open_nothing_are_not_kept(one: Desk, two: Desk) -> None:
    membership = await one.ledgers.create_folder()
    folder_id = membership.folder_id
    await one.ledgers.settle()
    await two.ledgers.receive(LedgerKind.FOLDER, folder_id, membership.ledger.export())
    (epoch_id,) = membership.ledger.epoch_ids()
    for wraps in ([(two.id, b"garbage")], [(STRANGER, b"")], []):
        assert not await two.ledgers.receive_wraps(folder_id, epoch_id, wraps)
    assert not await two.ledgers.receive_wraps(FolderId(b"f" * 32), epoch_id, [(two.id, b"x")])
    assert two.ledgers.folders[folder_id].chain.folder_keys() is None
    assert await two.store.wraps(folder_id) == []
    assert await tell(one, two)
    assert chunk_key(two, folder_id) == chunk_key(one, folder_id)


# ---------------------------------------------------------------- a rotation that is cut short


async def copy_at_each_commit(desk: Desk, copies: list[Path]) -> None:
    """From now on, a copy of the home as a power cut would leave it, before each commit and after
    the last one.
    """

    def copy(statement: str) -> None:
        if statement.startswith("COMMIT"):
            copies.append(copy_home(desk, len(copies)))

    await desk.store._connection.set_trace_callback(copy)


def copy_home(desk: Desk, number: int) -> Path:
    to = desk.path.with_name(f"{desk.path.stem}-copy-{number}.db")
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{desk.path}{suffix}", f"{to}{suffix}")
    return to


@pytest.mark.row("F30")
async def test_a_rotation_that_is_cut_short_leaves_the_old_epoch_or_the_new_one(
    house: House, one: Desk, two: Desk
) -> None:
    """Wherever the power fails: what was sealed opens, whoever was put out does not open what
    follows, and the others do.
    """
    lost = await house.another(one)
    folder_id = (await one.ledgers.create_folder()).folder_id
    await one.ledgers.settle()
    for desk in (two, lost):
        await tell(one, desk)
    copies: list[Path] = []
    await copy_at_each_commit(one, copies)
    await revoke(one.ledgers, lost.id)
    owed = one.ledgers.folders[folder_id].ledger.expels_owed(one.id)
    await one.ledgers.expel(folder_id, [Expel(*each) for each in owed])
    copies.append(copy_home(one, len(copies)))
    found = []
    for path in copies:
        again = await restored(house, path, one)
        ledger = again.ledgers.folders[folder_id].ledger
        found.append((lost.id in again.ledgers.user.live_devices(), len(ledger.epoch_ids())))
        assert opens_all(again, again, folder_id)
        if lost.id in again.ledgers.user.live_devices():
            await revoke(again.ledgers, lost.id)
        if owed := ledger.expels_owed(one.id):  # as a start does
            await again.ledgers.expel(folder_id, [Expel(*each) for each in owed])
        assert await again.ledgers.settle() == []
        for desk in (two, lost):  # as they were before
            other = await restored(house, copy_home(desk, len(house.desks)), desk)
            await tell(again, other)
            assert opens_all(again, other, folder_id) == (desk is two)
    old = len(copies) - 2
    assert found == [(True, old), (False, old), (False, old + 1)]


async def restored(house: House, path: Path, desk: Desk) -> Desk:
    """The device, with the home that was copied to this path."""
    again = Desk(path, desk.keys)
    house.desks.append(again)
    await again.open()
    await again.ledgers.load(desk.ledgers.user_id)
    return again


def opens_all(one: Desk, two: Desk, folder_id: FolderId) -> bool:
    """Whether what is sealed by the first one is opened by the second."""
    chain = two.ledgers.folders[folder_id].chain
    epochs = one.ledgers.folders[folder_id].ledger.epoch_ids()
    return all(chain.read_secret(epoch) is not None for epoch in epochs)
