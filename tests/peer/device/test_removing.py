"""A laptop is lost: one of the other devices puts it out, and all of them end with the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from crypto.ids import DeviceId
from peer.connectivity.connection import Connection
from peer.daemon import Daemon
from peer.device import removing
from peer.errors import AmbiguousDevice, UnknownDevice, WrongDevice
from peer.status import DeviceEntry, FolderState
from protocol.folder_ledger import FolderLedger
from tests.peer.device_stage import (
    LOOPBACK,
    Stage,
    are_linked,
    device_id,
    devices,
    folder_of,
    port_of,
    shows,
    until,
    until_state,
)


class Trio:
    """Two devices that stay, and one that will be lost, with one folder."""

    def __init__(self, stage: Stage, one: Daemon, two: Daemon, lost: Daemon) -> None:
        self.stage, self.one, self.two, self.lost = stage, one, two, lost

    def write(self, daemon: Daemon, name: str, data: bytes) -> None:
        (self.stage.root(daemon.name) / name).write_bytes(data)

    async def everywhere(self, name: str, data: bytes, *where: Daemon) -> None:
        for daemon in where:
            await until(partial(shows, self.stage.root(daemon.name), name, data))


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[Trio]:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two, lost = await stage.join(one, "two"), await stage.join(one, "lost")
        await stage.share(one, two)
        await until(lambda: any(lost._name_of(s) == "f" for s in lost.stored.values()))
        await lost.attach_folder("f", stage.root("lost"))
        await stage.meet(two, lost)
        trio = Trio(stage, one, two, lost)
        trio.write(lost, "a", b"of the lost one")
        await trio.everywhere("a", b"of the lost one", one, two)
        yield trio


@pytest.mark.row("A18", "A25")
async def test_a_lost_device_is_out_and_the_others_go_on(trio: Trio) -> None:
    one, two, lost = trio.one, trio.two, trio.lost
    lost_id = device_id(lost)
    await one.remove_device("lost")
    for daemon in (one, two):
        await until(partial(is_not_linked, daemon, lost_id))
        names = [d["name"] for d in (await daemon.devices())["devices"]]
        assert sorted(names) == ["one", "two"]
        ledger = next(iter(daemon.ledgers.folders.values())).ledger
        await until(partial(is_out, ledger, lost_id))
    lost.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
    trio.write(lost, "late", b"not believed")
    trio.write(one, "b", b"not told")
    trio.write(two, "c", b"of two")
    await trio.everywhere("b", b"not told", one, two)
    await trio.everywhere("c", b"of two", one, two)
    for daemon in (one, two):
        await until_state(daemon, FolderState.IN_SYNC)
        assert not (trio.stage.root(daemon.name) / "late").exists()
        assert shows(trio.stage.root(daemon.name), "a", b"of the lost one")
        assert are_linked(one, two)
    assert not (trio.stage.root("lost") / "b").exists()
    assert not lost.network.connections


async def test_what_one_device_had_of_it_all_have(trio: Trio) -> None:
    """The other one was away while the lost device wrote last."""
    one, two, lost = trio.one, trio.two, trio.lost
    folder_of(two).pause(True)
    lost.network.connections[device_id(two)].close()
    admit = two.network._admit
    two.network._admit = admits_nobody  # type: ignore[method-assign]
    two.network.close_all()
    await until(lambda: not two.network.connections)
    trio.write(lost, "last", b"what it said last")
    await trio.everywhere("last", b"what it said last", one)
    await one.remove_device("lost")
    two.network._admit = admit  # type: ignore[method-assign]
    folder_of(two).pause(False)
    two.dialling.heard_of(device_id(one), LOOPBACK, port_of(one))
    two.dialling.network_changed()
    await trio.everywhere("last", b"what it said last", two)
    trio.write(two, "after", b"goes on")
    await trio.everywhere("after", b"goes on", one)


def is_not_linked(daemon: Daemon, device: DeviceId) -> bool:
    return device not in daemon.network.connections


def is_out(ledger: FolderLedger, device: DeviceId) -> bool:
    return device not in ledger.devices()


def admits_nobody(new: Connection) -> bool:
    return False


@pytest.mark.row("F30")
async def test_a_removal_that_was_cut_short_is_finished_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        lost = await stage.join(one, "lost")
        await stage.share(one, lost)
        lost_id = device_id(lost)
        await removing.revoke(one.ledgers, lost_id)
    async with devices(tmp_path) as stage:
        one = await stage.start("one")
        (membership,) = one.ledgers.folders.values()
        assert membership.ledger.expels_owed(device_id(one)) == []
        assert lost_id not in membership.ledger.devices()


def entry(name: str, number: int, *, is_this: bool = False) -> DeviceEntry:
    id_ = bytes([number]).hex() * 32
    return {"id": id_, "name": name, "this": is_this, "connected": False, "last_seen_s": None}


def test_a_device_is_named_so_that_there_is_no_doubt() -> None:
    entries = [entry("desk", 1, is_this=True), entry("phone", 2), entry("phone", 3)]
    with pytest.raises(UnknownDevice):
        removing.find_device(entries, "laptop")
    with pytest.raises(AmbiguousDevice):
        removing.find_device(entries, "phone")
    with pytest.raises(WrongDevice):
        removing.find_device(entries, "desk")
    assert removing.find_device(entries, "03" * 32) == b"\3" * 32
    assert removing.find_device(entries, "03" * 4) == b"\3" * 32, "as lists show it"
    with pytest.raises(UnknownDevice):
        removing.find_device(entries, "03" * 3)
