"""Two honest devices that share a folder, and a third of the user that does what it likes."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crypto.chunks import ChunkHasher
from crypto.ids import FolderId, NodeId
from peer.daemon import Daemon
from peer.device.home import Home
from peer.folders.folder import Folder
from protocol import messages as m
from protocol.changesets import Changeset, author_changeset
from protocol.events import ChangesetsNeeded
from protocol.ledger import LedgerKind
from protocol.nodes import Kind
from protocol.session import Session
from tests.peer.device_stage import Stage, copy_homes, devices, folder_of, until
from tests.peer.evil_peer import EvilPeer
from tests.protocol.people import Place


class EvilStage:
    """The honest `one` and `two`, and the home of `evil`, whose keys are those of a real device."""

    def __init__(self, stage: Stage, one: Daemon, two: Daemon, evil: Home) -> None:
        self.stage, self.one, self.two, self.evil = stage, one, two, evil
        self._serial = 0

    @property
    def folder(self) -> Folder:
        return folder_of(self.one)

    @property
    def folder_id(self) -> FolderId:
        return self.folder.folder_id

    @property
    def counts(self) -> dict[str, int]:
        return self.one.network.counts

    def root(self, daemon: Daemon) -> Path:
        return self.stage.root(daemon.name)

    async def lives_on(self) -> None:
        """What one honest device does the other shows, both ways."""
        for source, target in ((self.one, self.two), (self.two, self.one)):
            self._serial += 1
            name, data = f"alive-{self._serial}", os.urandom(8)
            (self.root(source) / name).write_bytes(data)
            there = self.root(target) / name
            await until(lambda there=there, data=data: is_file(there, data))  # type: ignore[misc]

    def place(self) -> Place:
        """What the evil device has of the folder: its ledger, its keys, a log of its own."""
        (membership,) = self.one.ledgers.folders.values()
        users = {self.one.ledgers.user_id: self.one.ledgers.user}
        return Place(self.evil.keys, membership.ledger, users, membership.chain.wraps())

    def hasher(self) -> ChunkHasher:
        keys = self.one.ledgers.folders[self.folder_id].chain.folder_keys()
        assert keys is not None
        return ChunkHasher(keys.chunk_id_key)

    async def revoke_evil(self) -> None:
        one = self.one
        entry = one.ledgers.user.revoke(one.home.keys, self.evil.keys.device_id, time.time())
        await one.ledgers.store_entries(LedgerKind.USER, one.ledgers.user_id, [entry])
        await one._membership_changed()


@asynccontextmanager
async def evil_stage(
    homes: Path, base: Path, links: tuple[str, ...] = ("tls",)
) -> AsyncIterator[EvilStage]:
    """`homes` are those of one, two and evil, made before."""
    copy_homes(homes, base)
    async with devices(base, links) as stage:
        one, two = await stage.start("one"), await stage.start("two")
        await stage.meet(one, two)
        await stage.share(one, two)
        evil = await Home.open(stage.home("evil"))
        try:
            yield EvilStage(stage, one, two, evil)
        finally:
            await evil.close()


def is_file(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def node_id(number: int, kind: Kind = Kind.FILE) -> NodeId:
    """An id that no honest device will come upon."""
    return NodeId(b"evil" + number.to_bytes(11, "big") + bytes([kind]))


def place_record(node: NodeId, parent: NodeId, name: str) -> list[Any]:
    return [1, node, parent, name, 0, [], [], None, None]


def tell(peer: EvilPeer, folder_id: FolderId, *changesets: Changeset) -> None:
    """Shares the folder, and gives changesets without being asked."""
    peer.claim(folder_id)
    peer.send(m.Changesets(folder_id, tuple(c.wire for c in changesets)))


async def offer(peer: EvilPeer, folder_id: FolderId, changeset: Changeset) -> None:
    """Tells one changeset as an honest device would, which then may be asked for chunks."""
    peer.claim(folder_id, [m.FrontierEntry(changeset.log_id, changeset.slot.seq, changeset.hash)])
    need = await peer.hear(ChangesetsNeeded)
    assert [log.log_id for log in need.logs] == [changeset.log_id]
    seq = changeset.slot.seq
    peer.session.offer_changesets(folder_id, changeset.log_id, seq, [changeset.wire])
    peer.flush()


@contextmanager
def counted_frames(monkeypatch: pytest.MonkeyPatch, device_name: str) -> Iterator[list[int]]:
    """The numbers of all frames that this device's sessions are given from now on."""
    seen: list[int] = []
    begin, receive = Session.__init__, Session.receive
    names: dict[int, str] = {}

    def noting_begin(self: Session, now: float, own_name: str) -> None:
        names[id(self)] = own_name
        begin(self, now, own_name)

    def noting_receive(self: Session, number: int, payload: bytes, now: float) -> None:
        if names.get(id(self)) == device_name:
            seen.append(number)
        receive(self, number, payload, now)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "__init__", noting_begin)
        patch.setattr(Session, "receive", noting_receive)
        yield seen


@contextmanager
def bounded_memory(bytes_max: int) -> Iterator[list[int]]:
    """What is allocated inside at any time stays below the bound; gives the peak afterwards."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert peak[0] < bytes_max, f"{peak[0]:,} bytes"


def sign_anyway(
    author: Place, honest: Place, records: list[Any], incarnation: bytes = b"whatever"
) -> Changeset:
    """A first changeset of a new log, as if its author were allowed what an honest device is."""
    draft = honest.book.draft(honest.keys.device_id, incarnation)
    slot = replace(draft.slot, device_id=author.keys.device_id)
    record_key = honest.epochs.record_key(slot.epoch_id)
    assert record_key is not None
    return author_changeset(author.keys, record_key, slot, draft.frontier, records, honest.random)
