"""One folder on several devices in one process: real engines, indexes and disks, links by hand."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

from crypto.chunks import ChunkHasher
from peer.core.applying import Applied
from peer.core.chunker import Chunker
from peer.core.disk_types import StageFile
from peer.core.engine import FIRST_PAGE, Engine, Ingested, Need, Scanned
from peer.disk.disk import PosixDisk
from peer.folders.index_store import IndexStore
from peer.folders.performing import Performer
from protocol.changesets import Changeset
from protocol.nodes import ROOT, Kind
from tests.protocol.people import Person, Place

HASHER = ChunkHasher(b"k" * 32)
SEED = b"a seed of 16 byt"


class FolderDevice:
    """A device that has the folder; bytes are taken straight from the others' disks."""

    def __init__(self, root: Path, place: Place, store: IndexStore, engine: Engine) -> None:
        self.root, self.place, self.store, self.engine = root, place, store, engine
        self.disk = PosixDisk(str(root), HASHER, Chunker(SEED))
        self.disk.create_marker(place.ledger.folder_id)
        self.performer = Performer(store, self.disk, None)
        self.authored: list[bytes] = []
        self.staged: dict[tuple[bytes, bytes], str] = {}

    @classmethod
    async def open(cls, base: Path, name: str, place: Place) -> FolderDevice:
        root = base / name
        root.mkdir(exist_ok=True)
        store = await IndexStore.open(base / f"{name}.db")
        directories = await store.load_directories(False)
        random = Random(name).randbytes
        engine = Engine(directories, place.book, place.keys, place.incarnation, name, random)
        return cls(root, place, store, engine)

    async def close(self) -> None:
        self.performer.executor.shutdown(wait=True)
        self.disk.close()
        await self.store.close()

    def note(self, changesets: Iterable[Changeset]) -> None:
        self.authored += [c.wire for c in changesets]

    async def scan(self, deletions_max: int | None = None) -> Scanned:
        """Finds and records all that was done to the disk."""
        limit = (lambda: deletions_max) if deletions_max is not None else None
        scanned = await self.performer.drive(
            # Later than the last tick of the file system's clock: nothing is too new to be sure of.
            self.engine.scan([ROOT], True, lambda p, d: False, time.time_ns() + 10**9, limit)
        )
        self.note(scanned.authored)
        if scanned.to_read:
            read = await self.performer.drive(
                self.engine.read_back(scanned.to_read, time.time_ns() + 10**9)
            )
            self.note(read.authored)
        return scanned

    async def ingest(self, wires: Iterable[bytes]) -> Ingested:
        return await self.performer.drive(self.engine.ingest(wires))

    async def bring(self, *others: FolderDevice) -> list[Applied]:
        """Surveys, stages and applies until nothing is left to be done."""
        done: list[Applied] = []
        for _ in range(20):
            survey = await self.performer.drive(
                self.engine.survey(FIRST_PAGE, 1000, self.staged)  # type: ignore[arg-type]
            )
            for need in survey.needs:
                self.stage(need, others)
            if not survey.ready:
                if not survey.needs:
                    return done
                continue
            directories = {n: s for n, s in survey.ready.items() if n[15] & 3 == Kind.DIRECTORY}
            applied, needs = await self.performer.drive(
                self.engine.apply(directories or survey.ready, self.staged)  # type: ignore[arg-type]
            )
            for need in needs:
                self.stage(need, others)
            for key in [k for k, name in self.staged.items() if name in applied.used]:
                del self.staged[key]
            done.append(applied)
            if applied.refused:
                return done
        raise AssertionError("it does not come to an end")

    def stage(self, need: Need, others: Iterable[FolderDevice]) -> None:
        content = need.content
        name = f"t{len(self.staged)}-{content.hash[:6].hex()}-{need.node.hex()}"
        target = content.manifest.decode() if need.node[15] & 3 == Kind.SYMLINK else None
        data = None if target is not None else find_bytes(content.hash, [self, *others])
        self.disk.stage([StageFile(name, data, target, content.mtime_ns, need.is_executable)])
        self.staged[need.node, content.hash] = name

    def tree(self) -> dict[str, bytes | None]:
        """What the disk shows; None for a directory."""
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else None
            for path in sorted(self.root.rglob("*"))
            if ".holdfast" not in path.parts
        }

    async def sync(self, other: FolderDevice) -> None:
        """All that the other wrote, taken in and brought to the disk."""
        await self.ingest(other.authored)
        await self.bring(other)


def find_bytes(hash_: bytes, devices: Iterable[FolderDevice]) -> bytes:
    directories = [device.root for device in devices]
    while directories:  # however deep they are
        for path in directories.pop(0).iterdir():
            if path.is_dir() and not path.is_symlink():
                directories.append(path)
            elif path.is_file() and HASHER.chunk_id(path.read_bytes()) == hash_:
                return path.read_bytes()
    raise AssertionError("nobody has these bytes")


def two_places() -> tuple[Place, Place]:
    """The folder of one user on two devices."""
    one, two = some_places(2)
    return one, two


def some_places(count: int) -> list[Place]:
    """The folder of one user on so many devices."""
    person = Person(1)
    place = Place.found(person)
    others = [person.another_device() for _ in range(count - 1)]
    place.act(*place.ledger.admits_owed(person.id))
    place.epochs.wraps_owed()
    return [place, *map(place.fork, others)]
