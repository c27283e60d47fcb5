"""Opens a folder: its index, its keys, its logs, and if it is attached, its disk and watcher."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from crypto.chunks import ChunkHasher
from crypto.ids import FolderId
from peer.core.chunker import Chunker
from peer.core.disk_types import Disk, DiskError
from peer.core.engine import Engine
from peer.device.config import Config
from peer.device.home import Home
from peer.device.home_store import Folder as StoredFolder
from peer.device.home_store import HomeStore
from peer.device.ledgers import FolderMembership
from peer.device.transaction import damage_told
from peer.disk.disk import PosixDisk
from peer.disk.encoded_disk import EncodedDisk, EncodedWatcher, refuses_reserved
from peer.disk.watcher import Watcher, open_watcher
from peer.errors import IndexDamaged, PathUnusable, UsageError
from peer.folders.floor import Floor
from peer.folders.floor_keeping import FloorKeeper
from peer.folders.folder import Folder
from peer.folders.index_store import JOINED, IndexStore, Summary, index_error
from peer.folders.joining import Joining
from peer.folders.limits import Limits
from peer.folders.neighbours import Neighbours
from peer.folders.upkeep import DAY_S, Policy, Upkeep
from peer.history.version_store import VersionPolicy
from protocol.changesets import INCARNATION_SIZE, FrontierEntry
from protocol.errors import ProtocolError
from protocol.logs import LogBook
from protocol.names import exact_key, name_problem

log = logging.getLogger(__name__)

FIRST_HOLD = 10
"""Below this many deletions nobody is asked, however small the folder is."""
FIRST_REWRITES = 50
"""The same of rewrites: a formatter or `sed -i` over a small project is everyday work."""


async def open_folder(
    home: Home,
    membership: FolderMembership,
    stored: StoredFolder,
    label: str,
    config: Config,
    neighbours: Neighbours,
    on_incarnation: Callable[[FolderId, bytes], Awaitable[None]],
) -> Folder:
    """The folder, ready to run; for a damaged index, which is moved aside, with an empty one."""
    path = index_path(home, stored.folder_id)
    is_lost = stored.path is not None and not path.exists()
    while True:
        incarnation = stored.incarnation
        if is_lost:  # what the lost index said may be known to others: never say it again
            incarnation = os.urandom(INCARNATION_SIZE)
            await on_incarnation(stored.folder_id, incarnation)
            floor = await read_floor(home.store, stored.folder_id)
            floor.index_lost()
            await keep_floor(home.store, stored.folder_id, floor)
        try:
            store = await IndexStore.open(path)
            try:
                return await _open(
                    home, membership, stored, label, config, neighbours, on_incarnation, store,
                    incarnation,
                )  # fmt: skip
            except BaseException:
                await store.close()
                raise
        except IndexDamaged as error:
            if is_lost:
                raise
            move_aside(path, error)
            is_lost = True
        except sqlite3.OperationalError as error:
            raise index_error("opened", error) from error


async def _open(
    home: Home,
    membership: FolderMembership,
    stored: StoredFolder,
    label: str,
    config: Config,
    neighbours: Neighbours,
    on_incarnation: Callable[[FolderId, bytes], Awaitable[None]],
    store: IndexStore,
    incarnation: bytes,
) -> Folder:
    folder_id = membership.folder_id
    keys = membership.chain.folder_keys()
    assert keys is not None
    if stored.path is None:  # removed here, perhaps in a run that ended before it was done
        await store.forget_disk()
    folds = stored.path is not None and await asyncio.to_thread(folds_case, stored.path)
    book = LogBook(membership.ledger, membership.chain)
    try:
        with damage_told():
            values = await store.values()
            book.restore(values, await store.positions(), await store.quarantined())
            directories = await store.load_directories(folds)
    except (LookupError, ValueError, AssertionError, ProtocolError) as error:
        raise IndexDamaged(f"The folder's index contradicts itself: {error!r}") from error
    floor = await read_floor(home.store, folder_id)
    if JOINED in values and floor.is_above(book):
        raise IndexDamaged("The folder's index is older than this device was: it was put back.")
    hasher = ChunkHasher(keys.chunk_id_key)
    disk: Disk | None = None
    serving: Disk | None = None
    watcher: Watcher | None = None
    if stored.path is not None:
        opened = await asyncio.to_thread(_open_disk, stored.path, hasher, keys.cdc_seed)
        disk, serving, watcher = opened
    engine = Engine(directories, book, home.keys, incarnation, label, os.urandom)
    limits = _limits(config)
    folder = Folder(
        folder_id, engine, store, disk, serving, watcher, neighbours, limits, hasher,
        on_incarnation,
    )  # fmt: skip
    if folder.delivery is not None:
        folder.delivery.pausing.restore(values)
    folder.upkeep = Upkeep(engine, limits.policy, values)
    if folder.history is not None:
        folder.history.rechecking.load(values)
    folder.floor_keeper = FloorKeeper(floor, lambda: keep_floor(home.store, folder_id, floor))
    folder.progress.summary = await store.summary()
    await folder.drive(engine.load_name())
    if stored.path is not None and JOINED not in values:
        now = asyncio.get_running_loop().time()
        has_others = len(membership.ledger.devices()) > 1
        folder.begin_joining(Joining(now, {}, has_others=has_others))
    return folder


def _open_disk(
    path: Path, hasher: ChunkHasher, cdc_seed: bytes
) -> tuple[Disk, Disk, Watcher | None]:
    """The disk twice, for the engine and for who serves chunks, and what watches it."""
    root = str(path)
    disk = PosixDisk(root, hasher, Chunker(cdc_seed))
    serving = PosixDisk(root, hasher, Chunker(cdc_seed))
    watcher = open_watcher(root) if path.is_dir() else None
    if not refuses_reserved(path):
        return disk, serving, watcher
    watching = EncodedWatcher(watcher) if watcher is not None else None
    return EncodedDisk(disk), EncodedDisk(serving), watching


def _limits(config: Config) -> Limits:
    return Limits(
        config.rescan_interval_s or float("inf"),
        config.free_space_min_bytes,
        lambda summary: _pass_max(summary, config),
        lambda summary: _pass_max(summary, config, FIRST_REWRITES),
        Policy(
            config.compact_changesets_min,
            config.compact_ratio_min,
            keep_s=config.keep_superseded_days * DAY_S,
        ),
        VersionPolicy(config.history_days * DAY_S, config.history_thinned_days * DAY_S),
        config.recheck_days * DAY_S,
    )


def _pass_max(summary: Summary, config: Config, least: int = FIRST_HOLD) -> int:
    """How many deletions, or rewrites, are told without a question."""
    share = summary.files * config.hold_percent // 100
    return min(config.hold_files, max(least, share))


def encode_floor(frontier: Sequence[FrontierEntry]) -> bytes:
    """How far the device that lets a new one in holds a folder's logs, to be kept (ATTACKS A12)."""
    return Floor.told(frontier).encode()


async def read_floor(store: HomeStore, folder_id: FolderId) -> Floor:
    """The same, read back, with what was held here since. Empty for a new folder of this device."""
    return Floor.decode(await store.setting(floor_name(folder_id)) or b"")


async def keep_floor(store: HomeStore, folder_id: FolderId, floor: Floor) -> None:
    """Stores it."""
    async with store.transaction() as write:
        await write.put_setting(floor_name(folder_id), floor.encode())


def floor_name(folder_id: FolderId) -> str:
    """The name of the home's setting that keeps it."""
    return f"floor:{folder_id.hex()}"


def index_path(home: Home, folder_id: FolderId) -> Path:
    """Where a folder's index is."""
    return home.folders_path / f"{folder_id.hex()}.db"


def move_aside(path: Path, why: IndexDamaged) -> None:
    """Keeps a damaged index under another name, as evidence."""
    aside = path.with_suffix(f".damaged-{time.time_ns()}")
    log.warning("%s It is now %s", why, aside.name)
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))


def folds_case(path: Path) -> bool:
    """Whether names that differ in case only are one name on this disk."""
    internal = path / ".holdfast"
    return internal.exists() and (path / ".HOLDFAST").exists()


def checked_name(name: str) -> str:
    """A folder's name as it is written; raises UsageError for one that others would refuse."""
    name = exact_key(name)
    problem = name_problem(name)
    if problem is not None:
        raise UsageError(f"A folder cannot be called {name!r}: {problem}.")
    return name


def do_overlap(one: Path, two: Path) -> bool:
    """Whether one directory is the other or lies in it, by whatever names they are called."""
    one, two = one.resolve(), two.resolve()
    return one == two or one in two.parents or two in one.parents


def check_apart(path: Path, home_path: Path) -> None:
    """Raises PathUnusable where the home would be synced: its keys are for nobody else, and its
    databases change with each thing that is said of them.
    """
    if do_overlap(path, home_path):
        raise PathUnusable(
            f"{path} overlaps with this device's own home, {home_path}, whose keys must stay here."
            " Choose a directory that does not hold it, or another home with `--home DIR`; a folder"
            " that is there already is taken out by `holdfast folder remove`, and its files stay."
        )


def check_markable(path: Path) -> None:
    """Raises DiskError if this directory cannot become a folder: before anything is made of it."""
    folder_id = FolderId(os.urandom(32))
    mark(path, folder_id)
    unmark(path, folder_id)


def mark(path: Path, folder_id: FolderId) -> None:
    """Puts the marker that says which folder this directory is."""
    disk = PosixDisk(str(path), ChunkHasher(bytes(32)), Chunker(bytes(32)))
    try:
        disk.create_marker(folder_id)
    finally:
        disk.close()


def unmark(path: Path, folder_id: FolderId) -> None:
    """Takes the marker away; a disk that is not there keeps it, for nobody can do better."""
    disk = PosixDisk(str(path), ChunkHasher(bytes(32)), Chunker(bytes(32)))
    try:
        disk.remove_marker(folder_id)
    except DiskError as error:
        log.warning("the marker in %s stays: %s", path, error)
    finally:
        disk.close()
