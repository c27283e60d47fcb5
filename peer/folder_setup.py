"""Opens a folder: its index, its keys, its logs, and if it is attached, its disk and watcher."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from crypto.chunks import ChunkHasher
from crypto.ids import FolderId
from peer.chunker import Chunker
from peer.config import Config
from peer.disk import PosixDisk
from peer.disk_types import DiskError
from peer.engine import Engine
from peer.folder import Folder, Neighbours
from peer.home import Home
from peer.home_store import Folder as StoredFolder
from peer.index_store import IndexDamaged, IndexStore
from peer.ledgers import FolderMembership
from peer.watcher import open_watcher
from protocol.changesets import INCARNATION_SIZE
from protocol.log_positions import LogRow
from protocol.logs import LogBook

log = logging.getLogger("peer.folder_setup")

FIRST_HOLD = 10
"""Below this many deletions nobody is asked, however small the folder is."""


async def open_folder(
    home: Home,
    membership: FolderMembership,
    stored: StoredFolder,
    label: str,
    config: Config,
    neighbours: Neighbours,
    on_incarnation: Callable[[FolderId, bytes], Awaitable[None]],
) -> Folder:
    """The folder, ready to run."""
    folder_id = membership.folder_id
    keys = membership.chain.folder_keys()
    assert keys is not None
    store, was_damaged = await _open_index(home.folders_path / f"{folder_id.hex()}.db")
    incarnation = stored.incarnation
    if was_damaged:  # what the lost index said may be known to others: never say it again
        incarnation = os.urandom(INCARNATION_SIZE)
        await on_incarnation(folder_id, incarnation)
    book = LogBook(membership.ledger, membership.chain)
    values = await store.values()
    rows = [LogRow.decode(v) for name, v in values.items() if name.startswith("log:")]
    book.restore(rows, await store.positions())
    hasher = ChunkHasher(keys.chunk_id_key)
    disk = serving = watcher = None
    folds = False
    if stored.path is not None:
        root = str(stored.path)
        disk = PosixDisk(root, hasher, Chunker(keys.cdc_seed))
        serving = PosixDisk(root, hasher, Chunker(keys.cdc_seed))
        if stored.path.is_dir():
            folds = await asyncio.to_thread(folds_case, stored.path)
            watcher = open_watcher(root)
    else:  # removed here, perhaps in a run that ended before it was done
        await store.forget_disk()
    directories = await store.load_directories(folds)
    engine = Engine(directories, book, home.keys, incarnation, label, os.urandom)
    folder = Folder(
        folder_id, engine, store, disk, serving, watcher, neighbours,
        config.rescan_interval_s or float("inf"), hasher, on_incarnation,
    )  # fmt: skip
    await folder.drive(engine.load_name())

    def deletions_max() -> int:
        files = folder.progress.summary.files
        share = max(FIRST_HOLD, files * config.hold_percent // 100)
        return min(config.hold_files, share)

    folder.deletions_max = deletions_max
    return folder


async def _open_index(path: Path) -> tuple[IndexStore, bool]:
    """Opens an index; a damaged one is moved aside, and an empty one takes its place."""
    try:
        return await IndexStore.open(path), False
    except IndexDamaged as error:
        aside = path.with_suffix(f".damaged-{int(time.time())}")
        log.warning("%s; it is now %s", error, aside.name)
        for suffix in ("", "-wal", "-shm"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        return await IndexStore.open(path), True


def folds_case(path: Path) -> bool:
    """Whether names that differ in case only are one name on this disk."""
    internal = path / ".holdfast"
    return internal.exists() and (path / ".HOLDFAST").exists()


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
