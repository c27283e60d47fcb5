"""Keeps the search index up: hears of every node that a folder's index stores, and once at the
opening of a folder compares the two; never walks a disk.

What it does waits until the folder has settled, so that a first sync has the machine for itself.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from crypto.ids import FolderId, NodeId
from peer.core import commands as c
from peer.core.rows import Row, content_of
from peer.errors import IndexDamaged
from peer.folders.folder import Folder
from peer.search.search_index import Document, SearchIndex, Unread, connect, remove
from peer.search.search_lookup import SearchLookup
from peer.search.text_reader import ReadText, TextReader, TextUnreadable
from peer.status import FolderState

NODES_AT_ONCE: Final = 200
"""Rows decoded between two turns of the event loop, some 5 ms."""
FILES_AT_ONCE: Final = 64
BYTES_AT_ONCE: Final = 16 << 20
"""What is read from the disk before it is passed on; one file may be as large."""
NOTED_MAX: Final = 20_000
"""Nodes that are remembered by their ids; if it is more, the indexes are compared again."""
BUSY_S_MAX: Final = 30.0
"""A folder that never settles is looked after nevertheless."""
LOOK_S: Final = 0.25
"""How soon after a change; a scan's commits come in bursts."""
READER_IDLE_S: Final = 30.0
"""Then the process that reads texts ends, and with it what it holds of memory."""
BUSY: Final = frozenset((FolderState.SCANNING, FolderState.SYNCING))
NOT_READABLE: Final = frozenset((FolderState.NO_DISK, FolderState.OFFERED))
LAST_ID: Final = 1 << 62
TOLD_EVERY_S: Final = 2.0
"""While much is being taken in; soon enough for who waits for something to be found."""
T = TypeVar("T")
log = logging.getLogger(__name__)


class _Notes:
    """What is to be done for one folder."""

    def __init__(self) -> None:
        self.nodes: dict[NodeId, None] = {}
        self.compares = True
        self.is_comparing = self.is_taking = False
        self.texts_below = LAST_ID
        """The newest file whose text may have to be read has a smaller id; 0 if there is none."""
        self.since = asyncio.get_running_loop().time()

    @property
    def is_behind(self) -> bool:
        """Whether something is shown that may not be found."""
        return self.compares or self.is_comparing or self.is_taking or bool(self.nodes)


class SearchUpkeep:
    """One daemon's search index."""

    def __init__(
        self,
        path: Path,
        index_path: Callable[[FolderId], Path],
        folders: Mapping[FolderId, Folder],
        *,
        has_texts: bool = True,
        on_changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_changed` hears that other things may be found now."""
        self._path, self._index_path, self._folders = path, index_path, folders
        self._has_texts = has_texts
        self._notes: dict[FolderId, _Notes] = {}
        self._wake = asyncio.Event()
        self._writing = ThreadPoolExecutor(1, "search-write")
        self._asking = ThreadPoolExecutor(1, "search")
        self._index: SearchIndex | None = None
        self._lookup: SearchLookup | None = None
        self._reading_db: sqlite3.Connection | None = None
        self._reader = TextReader()
        self._is_closed = False
        self._on_changed = on_changed
        self._told_at = float("-inf")

    # ------------------------------------------------------------ notes

    def attend(self, folder: Folder) -> None:
        """A folder was opened: what it shows is found from now on."""
        folder.store.on_rows = partial(self.note, folder.folder_id)
        folder.progress.on_state = self._wake.set
        self._notes[folder.folder_id] = _Notes()
        self._wake.set()

    def note(self, folder_id: FolderId, nodes: Sequence[NodeId]) -> None:
        """These nodes' rows were stored, or deleted."""
        notes = self._notes.setdefault(folder_id, _Notes())
        if not notes.nodes:
            notes.since = asyncio.get_running_loop().time()
        if len(notes.nodes) + len(nodes) > NOTED_MAX:
            notes.nodes.clear()
            notes.compares = True
        elif not notes.compares:
            notes.nodes.update(dict.fromkeys(nodes))
        self._wake.set()

    def is_behind(self, folder_id: FolderId) -> bool:
        """Whether something that a folder shows may not be found here by its name."""
        notes = self._notes.get(folder_id)
        return notes is None or notes.is_behind

    @property
    def is_idle(self) -> bool:
        """Whether all that is known has been looked after."""
        return not any(notes.is_behind or notes.texts_below for notes in self._notes.values())

    # ------------------------------------------------------------ asking

    async def ask(self, question: Callable[[SearchLookup], T], otherwise: T) -> T:
        """Asks the index, if there is one; `otherwise` if it does not answer."""
        lookup = self._lookup
        if lookup is None or self._is_closed:
            return otherwise
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._asking, question, lookup)
        except sqlite3.Error as error:
            log.warning("the search index does not answer: %s", error)
            return otherwise

    # ------------------------------------------------------------ keeping up

    async def run(self) -> None:
        """Works until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()  # what is noted from here on is looked after, or looked at again
            try:
                if self._lookup is None:
                    await self._open()
                has_worked = False
                while await self._step(loop.time()):
                    has_worked = True
                    if loop.time() >= self._told_at + TOLD_EVERY_S:
                        self._tell(loop.time())
                if has_worked:
                    self._tell(loop.time())
            except sqlite3.OperationalError as error:
                log.warning("the search index cannot be kept up: %s", error)
                await asyncio.sleep(BUSY_S_MAX)
                continue  # whether or not there is something new to be noted
            except sqlite3.DatabaseError as error:
                log.warning("the search index is damaged: %s", error)
                await self._begin_anew()
            await self._rest()

    def _tell(self, now: float) -> None:
        self._told_at = now
        self._on_changed()

    async def _rest(self) -> None:
        """Until there is a note, or a folder's state is another one; or has not been for long."""
        due = self._due()
        timeout = READER_IDLE_S if self._reader.pid else None
        if due is not None:
            timeout = max(LOOK_S, due - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            if due is None:
                await self._write(self._reader.close)
            return
        await asyncio.sleep(LOOK_S)

    def _due(self) -> float | None:
        """When a folder that does not settle is looked after nevertheless; None if all are at rest,
        or cannot be read: those say when it is over.
        """
        waiting = [
            notes.since + BUSY_S_MAX
            for folder_id, notes in self._notes.items()
            if notes.compares or notes.nodes or notes.texts_below
            if (folder := self._folders.get(folder_id)) is not None and not folder.is_closed
            if folder.progress.state in BUSY
        ]
        return min(waiting, default=None)

    async def _open(self) -> None:
        """What is open already stays so when the rest is tried again."""
        if self._index is None:
            self._index = await self._write(
                lambda: SearchIndex.open(self._path, has_texts=self._has_texts)
            )
        known = await self._write(self._index.folders)
        for folder_id in known - set(self._folders):
            await self._write(partial(self._index.forget_folder, folder_id))
        self._reading_db = await asyncio.to_thread(connect, self._path, is_reader=True)
        self._lookup = SearchLookup(self._reading_db)

    async def _begin_anew(self) -> None:
        index, self._index, self._lookup = self._index, None, None
        if index is not None:
            await self._write(index.close)
        if self._reading_db is not None:
            await asyncio.get_running_loop().run_in_executor(self._asking, self._reading_db.close)
        await self._write(partial(remove, self._path))
        for notes in self._notes.values():
            notes.compares, notes.texts_below = True, LAST_ID

    async def _write(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, work)

    async def _step(self, now: float) -> bool:
        """One piece of work; False when there is none."""
        assert self._index is not None
        for folder_id, notes in list(self._notes.items()):
            folder = self._folders.get(folder_id)
            if folder is None or folder.is_closed:
                continue
            if folder.progress.state in BUSY and now < notes.since + BUSY_S_MAX:
                continue
            try:
                if notes.compares:
                    await self._compare(self._index, folder, notes)
                elif notes.nodes:
                    await self._take_nodes(self._index, folder, notes)
                elif notes.texts_below and folder.progress.state not in NOT_READABLE:
                    await self._take_texts(self._index, folder, notes)
                else:
                    continue
            except (IndexDamaged, ValueError):
                # Its folder sees to it, and is opened anew; or has been closed meanwhile.
                continue
            return True
        return False

    async def _compare(self, index: SearchIndex, folder: Folder, notes: _Notes) -> None:
        path = self._index_path(folder.folder_id)
        # From here on what is noted is noted by its id.
        notes.compares, notes.is_comparing = False, True
        try:
            await self._take_difference(index, folder, path)
        except BaseException:
            notes.compares = True  # it is still unknown what is missing
            raise
        finally:
            notes.is_comparing = False
        notes.texts_below = LAST_ID

    async def _take_difference(self, index: SearchIndex, folder: Folder, path: Path) -> None:
        found = await self._write(partial(index.differences, folder.folder_id, path))
        for start in range(0, len(found.gone), NODES_AT_ONCE):
            gone = found.gone[start : start + NODES_AT_ONCE]
            await self._write(partial(index.note, folder.folder_id, (), gone))
        for start in range(0, len(found.changed), NODES_AT_ONCE):
            if folder.is_closed:
                return
            await self._note(index, folder, found.changed[start : start + NODES_AT_ONCE])

    async def _take_nodes(self, index: SearchIndex, folder: Folder, notes: _Notes) -> None:
        nodes = list(notes.nodes)[:NODES_AT_ONCE]
        # Before it is read: what is noted again meanwhile has changed once more.
        for node in nodes:
            del notes.nodes[node]
        notes.is_taking = True
        try:
            await self._note(index, folder, nodes)
        except BaseException:
            notes.nodes = dict.fromkeys([*nodes, *notes.nodes])
            raise
        finally:
            notes.is_taking = False
        notes.texts_below = LAST_ID

    async def _note(self, index: SearchIndex, folder: Folder, nodes: Sequence[NodeId]) -> None:
        rows: dict[NodeId, Row] = await folder.store.perform(c.LoadRows(nodes))
        documents = [
            document
            for node in nodes
            if (row := rows.get(node)) is not None and (document := _document(folder, row))
        ]
        shown = {document.node for document in documents}
        gone = [node for node in nodes if node not in shown]
        await self._write(partial(index.note, folder.folder_id, documents, gone))

    async def _take_texts(self, index: SearchIndex, folder: Folder, notes: _Notes) -> None:
        below = notes.texts_below
        unread: list[Unread] = await self._write(
            partial(index.unread, folder.folder_id, below, FILES_AT_ONCE)
        )
        taken: list[Unread] = []
        size = 0
        for one in unread:
            size += one.length
            if taken and size > BYTES_AT_ONCE:
                break
            taken.append(one)
        directories = folder.engine.directories
        placed = [
            (one, path)
            for one in taken
            if (path := directories.child_path(one.parent, one.name)) is not None
        ]
        data = await folder.read_starts([(path, one.length) for one, path in placed])
        given = [
            (one, content)
            for (one, _), content in zip(placed, data, strict=True)
            if content is not None
        ]
        if given:
            await self._write(partial(self._read, index, folder.folder_id, given))
        # What could not be read is tried again when its folder has changed, or at the next start.
        if notes.texts_below == below:
            notes.texts_below = taken[-1].id if taken else 0

    def _read(
        self, index: SearchIndex, folder_id: FolderId, given: Sequence[tuple[Unread, bytes]]
    ) -> None:
        texts: list[tuple[int, ReadText | None]] = []
        for one, data in given:
            if self._is_closed:
                return
            try:
                texts.append((one.id, self._reader.read(one.name, data)))
            except TextUnreadable as error:
                if self._is_closed:
                    return
                log.info("a file's text cannot be read: %s", error)
                texts.append((one.id, None))
        index.put_texts(folder_id, texts)

    async def close(self) -> None:
        """Ends what runs; the task has ended by then."""
        self._is_closed = True
        self._reader.kill()  # or a file that takes long would be waited for
        await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self._writing.shutdown(wait=True)
        self._asking.shutdown(wait=True)
        self._reader.close()
        databases: list[Any] = [self._index, self._reading_db]
        for one in databases:
            if one is not None:
                one.close()


def _document(folder: Folder, row: Row) -> Document | None:
    """What is found of a row; None if it is not shown."""
    shown = row.shown
    if not shown.parent or shown.item != row.id:
        return None
    path = folder.engine.directories.child_path(shown.parent, shown.name)
    if path is None:
        return None
    content = content_of(row.base, shown.hash)
    return Document(
        row.id, shown.parent, shown.name, "/".join(path[:-1]),
        "" if content is None else content.label, row.id[15] & 3, row.disk.size,
        row.disk.mtime_ns, shown.hash,
    )  # fmt: skip
