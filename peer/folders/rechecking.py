"""Reads a folder's files again, slowly, and brings back what the disk has changed by itself.

A file whose times and size are those of the index and whose bytes are not has rotted. No scan looks
at it, so it is not told as an edit, and no wrong byte of it is served, for chunks are hashed when
they are read. Its bytes are fetched from whoever has them. What the disk made of it stays, as a
version. Runs in the folder's one task, while there is nothing else to do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Final

from crypto.chunks import ChunkHasher
from crypto.ids import NodeId
from peer.core import commands as c
from peer.core.disk_types import FileRead, Path, Publish, RangeRequest, ReadRequest, Refusal, Stat
from peer.core.engine import Engine, Need
from peer.core.rechecking import (
    FILE_COST_BYTES,
    FILES_AT_ONCE,
    Damage,
    Part,
    Round,
    is_untouched,
)
from peer.core.rows import Row, content_of
from peer.core.versions import PATH_SEPARATOR, Version, kept_name
from peer.disk.hinting import Hinting
from peer.folders.fetcher import Fetcher, Key
from peer.folders.index_store import IndexStore
from peer.folders.performing import Performer
from peer.folders.restoring import note_restored
from protocol.nodes import Kind, new_node_id
from protocol.records import encode_manifest

log = logging.getLogger(__name__)

ROUND: Final = "recheck"
"""The index's value that keeps how far the round is."""
DAMAGE: Final = "damage"
"""The one that keeps what was found."""
REST_SHARE: Final = 4
"""After a piece it rests for so many times as long as that took: of a disk it has a fifth, even
when it is late.
"""
REST_MIN_S: Final = 0.25
RETRY_S: Final = 600.0
"""What nobody had is asked for again after so long, or when somebody comes."""
WAIT_S: Final = 60.0
"""Bytes of which no more has come for so long are not waited for: a folder that waits for any is
not at rest, and does not look after itself.
"""
MENDED_AT_ONCE: Final = 20


class Rechecking:
    """That of one attached folder."""

    def __init__(
        self,
        engine: Engine,
        store: IndexStore,
        performer: Performer,
        fetcher: Fetcher,
        hinting: Hinting,
        hasher: ChunkHasher,
        interval_s: float,
        wake: Callable[[], None],
    ) -> None:
        """`interval_s`: within which all files are to be read; 0 for never."""
        self._engine, self._store, self._performer = engine, store, performer
        self._fetcher, self._hinting, self._hasher = fetcher, hinting, hasher
        self._interval_s, self._wake = interval_s, wake
        self.round, self.damage = Round(), Damage()
        self._paths: dict[NodeId, Path] = {}
        """Where the damaged files are, as far as it was looked up."""
        self._total = 0
        self._rests_until = self._retry_at = float("-inf")
        self._retries = 0
        self._asked: dict[Key, NodeId] = {}
        self._awaited: dict[Key, tuple[int, float]] = {}
        """How many bytes were missing of it, and since when so many."""
        self._lacking: dict[NodeId, Key] = {}
        """Of these nobody who was connected had the bytes. The fetcher knows it too: so it is said
        when somebody has more than before.
        """

    def load(self, values: Mapping[str, bytes]) -> None:
        """Goes on where an earlier run was; `values`: what the index has kept by name."""
        self.round = Round.decode(values.get(ROUND, b""))
        self.damage = Damage.decode(values.get(DAMAGE, b""))

    def next_due(self) -> float:
        """When there will be something to do, by the loop's clock."""
        now = asyncio.get_running_loop().time()
        due = self._retry_at if self._lacking else float("inf")
        if not self._interval_s:
            return due
        # `look` is told whole seconds: before the next one begins it would find nothing due.
        wait_s = ceil(self.round.due_s(self._interval_s, self._total)) - time.time()
        return min(due, max(now + wait_s, self._rests_until))

    def warnings(self, now_s: float) -> list[str]:
        """What a person has to know of this disk: a sentence each."""
        told = []
        damage = self.damage
        if damage.files:
            path = next((self._paths[node] for node in damage.files if node in self._paths), None)
            some = "a file" if path is None else PATH_SEPARATOR.join(path)
            more = f" and {len(damage.files) - 1} more" if len(damage.files) > 1 else ""
            told.append(
                f"The disk has changed {some}{more} by itself: nobody wrote to it, and its bytes"
                " are others. That is passed on to nobody. It is brought back as soon as a device"
                " or super-nodes that have it can be reached. Look after this disk."
            )
        if damage.count(now_s) > len(damage.files):
            files = "a file" if damage.mended == 1 else f"{damage.mended} files"
            told.append(
                f"The disk had changed {files} by itself; what was lost came from other devices or"
                " super-nodes, and what the disk made of it is kept as a version. Look after this"
                " disk."
            )
        return told

    # ------------------------------------------------------------ looking

    async def look(self, now_s: int, now: float) -> bool:
        """Reads a piece if one is due; False if none is."""
        if not self._interval_s or now < self._rests_until:
            return False
        if not 0 < self.round.began_s <= now_s + self._interval_s:
            self.round.began_s = now_s
            await self._save()
        summary = await self._store.summary()
        self._total = summary.size_bytes + FILE_COST_BYTES * summary.files
        if now_s < self.round.due_s(self._interval_s, self._total):
            return False
        found = await self._performer.perform(c.LoadFilesHere(self.round.number, FILES_AT_ONCE))
        if not found:
            self.round.begin(now_s, self._interval_s)
            await self._save()
            return True
        parts = self.round.parts(found)
        began = time.monotonic()
        rotten = await self._compare(parts)
        took_s = time.monotonic() - began
        for row, path in rotten:
            log.error("the disk has changed a file by itself: %s", PATH_SEPARATOR.join(path))
            self.damage.found(row.id, row.shown.hash, now_s)
            self._paths[row.id] = path
        self.round.advance(parts)
        await self._save()
        self._rests_until = now + max(REST_MIN_S, REST_SHARE * took_s)
        return True

    async def _compare(self, parts: Sequence[Part]) -> list[tuple[Row, Path]]:
        drive, path_of = self._performer.drive, self._engine.path_of
        paths = [await drive(path_of(part.row.id)) if part.chunks else None for part in parts]
        known = [(p, path) for p, path in zip(parts, paths, strict=True) if path is not None]
        return await self._performer.on_disk(lambda: self._read(known))

    def _read(self, parts: Sequence[tuple[Part, Path]]) -> list[tuple[Row, Path]]:
        """Which of them have rotted; what was written to meanwhile is a scan's business."""
        disk = self._performer.disk
        stats = disk.stat([path for _, path in parts])
        still = [
            one for one, stat in zip(parts, stats, strict=True) if is_untouched(one[0].row, stat)
        ]
        for _ in range(2):  # a wrong bit on the way from the disk is no wrong bit on it
            disk.forget_cached([path for _, path in still])
            still = [one for one in still if not self._is_right(*one)]
        stats = disk.stat([path for _, path in still])
        return [
            (part.row, path)
            for (part, path), stat in zip(still, stats, strict=True)
            if is_untouched(part.row, stat)
        ]

    def _is_right(self, part: Part, path: Path) -> bool:
        disk = self._performer.disk
        data = disk.read_ranges([RangeRequest(path, at, length) for _, at, length in part.chunks])
        disk.forget_cached([path])  # it was read for nobody who will want it next
        return all(
            piece is not None and self._hasher.chunk_id(piece) == chunk_id
            for (chunk_id, _, _), piece in zip(part.chunks, data, strict=True)
        )

    async def _save(self) -> None:
        kept = [(ROUND, self.round.encode()), (DAMAGE, self.damage.encode())]
        await self._performer.perform(c.Commit(values=kept))

    # ------------------------------------------------------------ bringing back

    async def step(self, now: float) -> bool:
        """Asks for the bytes of damaged files, or puts back what has come; False while it waits."""
        if not self.damage.files:
            return False
        staged = [key for key in self._asked if key in self._fetcher.staged]
        for key in staged[:MENDED_AT_ONCE]:
            self._awaited.pop(key, None)
            await self._put_back(self._asked.pop(key), self._fetcher.staged.pop(key), now)
        if staged:
            return True
        gone = [key for key in self._asked if self._waits_in_vain(key, now)]
        for key in gone:
            self._awaited.pop(key, None)
            self._give_up(self._asked.pop(key), key, now)
        if now >= self._retry_at or self._retries != self._fetcher.retries:
            for node in list(self._lacking):
                self._forget_lack(node)
            self._retries, self._retry_at = self._fetcher.retries, float("inf")
        waiting = {*self._asked.values(), *self._lacking}
        wanted = [node for node in self.damage.files if node not in waiting]
        if wanted:
            await self._ask(wanted[:MENDED_AT_ONCE])
        return bool(gone or wanted)

    def _give_up(self, node: NodeId, key: Key, now: float) -> None:
        self._lacking[node], self._retry_at = key, now + RETRY_S
        self._fetcher.unavailable.add(key)
        self._fetcher.owners[key] = node

    def _forget_lack(self, node: NodeId) -> None:
        key = self._lacking.pop(node, None)
        if key is not None:
            self._fetcher.unavailable.discard(key)
            self._fetcher.problems.pop(key, None)
            self._fetcher.owners.pop(key, None)

    def _waits_in_vain(self, key: Key, now: float) -> bool:
        job = self._fetcher.jobs.get(key)
        if job is None:
            return True
        missing, since = self._awaited.get(key, (-1, now))
        if missing != job.lacking_bytes:
            self._awaited[key] = job.lacking_bytes, now
            asyncio.get_running_loop().call_later(WAIT_S, self._wake)
        elif now >= since + WAIT_S:
            self._fetcher.drop([key])
            return True
        return False

    async def _ask(self, nodes: Sequence[NodeId]) -> None:
        needs: list[Need] = []
        for node in nodes:
            found = await self._still_damaged(node)
            if found is None:
                continue
            row, _, _ = found
            content = content_of(row.base, row.shown.hash)
            assert content is not None
            # An id of its own: the node is shown with these very bytes.
            own = new_node_id(Kind.FILE, self._engine.random)
            self._asked[own, content.hash] = node
            content = content._replace(mtime_ns=row.shown.mtime_ns)
            needs.append(Need(own, content, node, row.shown.is_executable))
        await self._fetcher.need(needs)

    async def _still_damaged(self, node: NodeId) -> tuple[Row, Path, Stat] | None:
        """A damaged file as it stands there; None, and it is no more than any other file, if it was
        written to or removed since.
        """
        row = (await self._performer.perform(c.LoadRows([node]))).get(node)
        path = await self._performer.drive(self._engine.path_of(node))
        if row is not None and path is not None and row.shown.hash == self.damage.files[node]:
            (stat,) = await self._performer.perform(c.StatPaths([path]))
            if is_untouched(row, stat) and content_of(row.base, row.shown.hash) is not None:
                self._paths[node] = path
                return row, path, stat
        await self._settle(node)
        return None

    async def _settle(self, node: NodeId) -> None:
        self.damage.files.pop(node, None)
        self._paths.pop(node, None)
        self._forget_lack(node)
        await self._save()

    async def _put_back(self, node: NodeId, temp: str, now: float) -> None:
        performer = self._performer
        found = await self._still_damaged(node)
        if found is None:
            await performer.on_disk(lambda: performer.disk.discard_staged([temp]))
            return
        row, path, stat = found
        (read,) = await performer.perform(c.ReadFiles([ReadRequest(path, stat)]))
        if isinstance(read, FileRead) and read.file_hash == row.shown.hash:
            await performer.on_disk(lambda: performer.disk.discard_staged([temp]))
            await self._settle(node)
            return
        wrong = self._as_version(row, path, read if isinstance(read, FileRead) else None)
        await performer.perform(c.SyncStaged())
        (result,) = await performer.perform(c.Apply([Publish(temp, path, stat, keep=wrong.kept)]))
        if isinstance(result, Refusal):
            log.warning("%s cannot be put back: %s", wrong.path, result.reason)
            await performer.on_disk(lambda: performer.disk.discard_staged([temp]))
            self._give_up(node, (new_node_id(Kind.FILE, self._engine.random), row.shown.hash), now)
            return
        # A crash from here on leaves a scan to see that the bytes are those that are known, and
        # the trash to tell of what it keeps.
        await performer.drive(note_restored(self._engine.directories, {node: result}))
        await self._store.versions.adopt(wrong)
        self.damage.mended, self.damage.last_s = self.damage.mended + 1, wrong.ended_s
        await self._settle(node)
        self._hinting.add(path[:-1], False, now)
        log.warning("%s was brought back to what it had been", wrong.path)

    def _as_version(self, row: Row, path: Path, read: FileRead | None) -> Version:
        """What the disk made of a file; what it does not give out has no hash, and gets a name."""
        hash_, manifest = self._engine.random(32), b""
        if read is not None:
            hash_ = read.file_hash
            manifest = encode_manifest(read.chunks) if len(read.chunks) > 1 else b""
        now_s = int(time.time())
        return Version(
            row.id, hash_, row.disk.size, row.disk.mtime_ns, row.shown.is_executable, manifest,
            now_s, self._engine.label, PATH_SEPARATOR.join(path), now_s, False,
            kept_name(row.id, hash_, row.disk),
        )  # fmt: skip
