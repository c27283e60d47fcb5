"""Brings the bytes that a folder lacks: from its own disk where it has them, else from other
devices.

What arrives is decompressed and verified in the disk's thread and lands in the incoming directory;
nothing here is visible to the person until the engine publishes it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from crypto.chunks import ChunkHasher
from crypto.compression import Codec, decompress
from crypto.errors import CryptoError
from crypto.ids import ChunkId, FolderId, NodeId
from peer.core.disk_types import (
    Disk,
    DiskError,
    Path,
    Problem,
    RangeRequest,
    StagedFile,
    StageFile,
    Trouble,
)
from peer.core.engine import Need
from peer.disk.local_copies import Places, Targets, copy_here, not_as_named
from peer.folders.index_store import ChunkPlace, IndexStore
from peer.folders.neighbours import Source
from protocol.events import ReceivedChunk
from protocol.nodes import Content, Kind
from protocol.records import placed_chunks_of

SMALL_BYTES_MAX: Final = 512 << 10
"""Files of one chunk are staged whole, in batches; larger ones are written piece by piece."""
FALSE_RECORD: Final = "The hash or size that a device gave for this file is not that of its bytes."
BEGUN_MAX: Final = 8
"""Large files kept half fetched, each with a descriptor; of more the oldest begins anew."""
PAUSED_BEGUN_MAX: Final = 32
"""The same of those that a person has paused."""

Key = tuple[NodeId, bytes]
T = TypeVar("T")


@dataclass(slots=True)
class Job:
    """One file on its way."""

    key: Key
    content: Content
    temp_name: str
    missing: Targets
    copied: Targets = field(default_factory=dict)
    """What came from files on this disk, and is verified with the whole."""
    staged: StagedFile | None = None
    owners: dict[NodeId, None] = field(default_factory=dict)
    is_executable: bool = False
    is_begun: bool = False
    """Something that came from others is in the staged file."""
    lacking_bytes: int = field(init=False)
    """What is missing of it; counted, for people are told of it while it changes."""

    def __post_init__(self) -> None:
        self.lacking_bytes = _lacking(self)


@dataclass(slots=True)
class _Results:
    done: list[tuple[Job, bytes | None]] = field(default_factory=list)
    bad: list[ChunkId] = field(default_factory=list)
    good: list[ChunkId] = field(default_factory=list)
    begun: list[Job] = field(default_factory=list)
    """Files of which a piece has come and another is missing."""
    lost: list[Job] = field(default_factory=list)
    """Files of which a chunk could not be written."""
    false: list[Job] = field(default_factory=list)
    """Files whose record says another length than a chunk of theirs has."""
    error: DiskError | None = None


class Fetcher:
    """The files that one folder is waiting for."""

    def __init__(
        self,
        folder_id: FolderId,
        store: IndexStore,
        disk: Disk,
        executor: Executor,
        hasher: ChunkHasher,
        source: Source,
        path_of: Callable[[ChunkPlace], Path | None],
        on_staged: Callable[[], None],
        free_min_bytes: int = 0,
    ) -> None:
        self.folder_id = folder_id
        self.jobs: dict[Key, Job] = {}
        self.staged: dict[Key, str] = {}
        self.unavailable: set[Key] = set()
        """Bytes that nobody connected has; asked for again when somebody joins."""
        self.retries = 0
        """How often what nobody had was to be asked for again."""
        self.problems: dict[Key, str] = {}
        self.staged_owners: list[NodeId] = []
        """Nodes some of whose bytes were staged since somebody took this list."""
        self.coming: set[NodeId] = set()
        """Nodes of large files of which a piece has come since somebody took this set."""
        self.paused: set[NodeId] = set()
        """Files whose bytes are not to come until the person says so; change it by `pause`."""
        self.resting: dict[Key, Need] = {}
        """What is wanted of these."""
        self.owners: dict[Key, NodeId] = {}
        """Of what is unavailable or a problem: whose record asks for it."""
        self.has_refused = False
        """The disk did not take something: worth another try soon."""
        self.make_room: Callable[[int], Awaitable[int]] | None = None
        """Who can let go of something to free so many bytes, and says how many it freed."""
        self.pending_bytes = 0
        self.no_room = ""
        """Why something was not begun: what to tell the person once all else is done."""
        self._store, self._disk, self._executor, self._hasher = store, disk, executor, hasher
        self._source, self._path_of, self._on_staged = source, path_of, on_staged
        self._free_min_bytes = free_min_bytes
        self._waiting: dict[ChunkId, list[Job]] = {}
        self._handing = threading.Lock()
        """Held for what the disk's thread takes of what waits, and for what is put there: a file is
        there with all that it lacks, or not at all.
        """
        self._begun: dict[Key, Job] = {}
        """Large files of which a part is here, and nobody connected has the rest: they go on where
        they are as soon as somebody has it.
        """
        self._serial = 0

    @property
    def lacking_bytes(self) -> int:
        """What is still to come of the files on their way; less with each piece that comes."""
        return sum(job.lacking_bytes for job in self.jobs.values())

    def is_pending(self, node: NodeId, hash_: bytes) -> bool:
        """True when these bytes are on their way, or known to be with nobody here."""
        key = (node, hash_)
        return key in self.jobs or key in self.unavailable or key in self.problems

    def is_lost(self, node: NodeId, hash_: bytes) -> bool:
        """True when these bytes are known to be with nobody here."""
        return (node, hash_) in self.unavailable or (node, hash_) in self.problems

    async def _in_disk_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    # ------------------------------------------------------------ what is needed

    async def need(self, needs: Iterable[Need], *, is_asked: bool = False) -> None:
        """Starts to get these bytes, as far as there is room for them; those of a file that is
        paused only if the person asked for just them.
        """
        small: list[tuple[Job, bytes]] = []
        chunked: list[Job] = []
        needs = [n for n in needs if is_asked or not self._rests(n)]
        if not needs:
            return
        free = await self._in_disk_thread(self._disk.free_bytes)
        room = free - self._free_min_bytes - self.pending_bytes
        wanted = sum(need.content.size for need in needs)
        if wanted > room and self.make_room is not None:
            room += await self.make_room(wanted - room)
        lacking = 0
        for need in needs:
            key = (need.node, need.content.hash)
            if key in self.jobs:
                self.jobs[key].owners[need.owner] = None
                continue
            if key in self.staged:
                self.staged_owners.append(need.owner)
                continue
            if key in self.unavailable or key in self.problems:
                continue
            if need.content.size > room:
                lacking += need.content.size
                continue
            room -= need.content.size
            job = self._new_job(key, need.content)
            job.owners[need.owner], job.is_executable = None, need.is_executable
            if job.missing or job.staged is not None:
                chunked.append(job)
            elif self._hasher.chunk_id(self._whole(job)) != job.key[1]:
                self._refuse(job)
            else:
                small.append((job, b""))
        if small:
            await self._stage(small)
        if chunked:
            await self._find_here(chunked)
        if lacking:
            self.no_room = (
                f"{_megabytes(lacking)} are to be fetched, {_megabytes(free)} are free, and "
                f"{_megabytes(self._free_min_bytes)} have to stay free. "
                "Make room; syncing goes on by itself."
            )

    def _new_job(self, key: Key, content: Content) -> Job:
        job = self._begun.pop(key, None)
        if job is not None:
            self.jobs[key] = job
            self.pending_bytes += content.size
            return job
        self._serial += 1
        missing: Targets = {}
        if key[0][15] & 3 != Kind.SYMLINK:
            for chunk_id, offset, length in placed_chunks_of(content):
                missing.setdefault(chunk_id, []).append((offset, length))
        job = Job(key, content, f"{key[1][:8].hex()}-{self._serial:x}", missing)
        self.jobs[key] = job
        self.pending_bytes += content.size
        return job

    async def _find_here(self, jobs: list[Job]) -> None:
        """Takes from this disk what is on it: a copy, an edit of a large file, a moved chunk."""
        large = [job for job in jobs if not _is_small(job)]
        ids = [chunk_id for job in jobs for chunk_id in job.missing]
        ids += [ChunkId(job.key[1]) for job in large]
        places: dict[ChunkId, tuple[Path, int, int]] = {}
        for place in await self._store.find_chunks(ids):
            path = self._path_of(place)
            if path is not None:
                places.setdefault(place.id, (path, place.offset, place.length))
        for job in large:
            _add_chunks(job, places)
        if places or large:
            done = await self._in_disk_thread(lambda: self._copy_here(jobs, places))
            jobs = [job for job in jobs if job.missing]
            await self._finish(done)
        self._ask(jobs)

    def _ask(self, jobs: Iterable[Job]) -> None:
        """Wants of others what these files lack still."""
        files = []
        for job in jobs:
            with self._handing:
                if self.jobs.get(job.key) is job and job.missing:
                    for chunk_id in job.missing:
                        self._waiting.setdefault(chunk_id, []).append(job)
                    files.append((job.key, [(c, at[0][1]) for c, at in job.missing.items()]))
        if files:
            self._source.need(self.folder_id, files)

    def _copy_here(self, jobs: list[Job], places: Places) -> list[tuple[Job, bytes | None]]:
        done: list[tuple[Job, bytes | None]] = []
        small = [j for j in jobs if _is_small(j) and j.key[1] in places]
        requests = [RangeRequest(*places[ChunkId(j.key[1])]) for j in small]
        for job, data in zip(small, self._disk.read_ranges(requests), strict=True):
            if data is not None and self._hasher.chunk_id(data) == job.key[1]:
                job.missing.clear()
                job.lacking_bytes = 0
                done.append((job, data))
        for job in jobs:
            if _is_small(job):
                continue
            if job.staged is None:
                job.staged = self._disk.open_staged(job.temp_name, job.content.size)
            job.copied |= copy_here(job.staged, job.missing, places)
            job.lacking_bytes = _lacking(job)
            if not job.missing:
                done.append((job, None))
        return done

    # ------------------------------------------------------------ what arrives

    async def received(
        self, chunks: Sequence[ReceivedChunk]
    ) -> tuple[list[ChunkId], list[ChunkId]]:
        """Verifies and writes chunks from another device; returns the good and the bad ones.

        Raises DiskFull or DiskError when one could not be written; its file is begun anew later.
        """
        results = await self._in_disk_thread(lambda: self._take(chunks))
        for job in results.begun:
            self.coming.update(job.owners)
        await self._finish(results.done)
        for job in results.false:
            self._refuse(job)
        if results.error is not None:
            self.drop([job.key for job in results.lost if job.key in self.jobs])
            raise results.error
        return results.good, results.bad

    def _take(self, chunks: Sequence[ReceivedChunk]) -> _Results:
        results = _Results()
        for chunk in chunks:
            data = _content(chunk)
            if self._hasher.chunk_id(data) != chunk.chunk_id:
                results.bad.append(chunk.chunk_id)
                continue
            results.good.append(chunk.chunk_id)
            with self._handing:
                jobs = self._waiting.pop(chunk.chunk_id, [])
                places = [job.missing.pop(chunk.chunk_id, ()) for job in jobs]
            try:
                for job, at in zip(jobs, places, strict=True):
                    self._put(job, at, data, results)
            except DiskError as error:
                results.lost += jobs
                results.error = error
                break
        return results

    def _put(
        self,
        job: Job,
        places: Sequence[tuple[int, int]],
        data: bytes | memoryview,
        results: _Results,
    ) -> None:
        if not places:
            return
        if any(length != len(data) for _, length in places):
            results.false.append(job)
            return
        job.lacking_bytes -= len(data) * len(places)
        if job.staged is None:
            results.done.append((job, bytes(data)))
            return
        for offset, _ in places:
            job.staged.write(offset, data)
        job.is_begun = True
        if not job.missing:
            results.done.append((job, None))
        else:
            results.begun.append(job)

    async def _finish(self, done: list[tuple[Job, bytes | None]]) -> None:
        done = [(job, data) for job, data in done if self.jobs.get(job.key) is job]
        small = [(job, data) for job, data in done if data is not None]
        if small:
            await self._stage(small)
        for job, data in done:
            if data is None:
                await self._complete(job)

    async def _stage(self, files: list[tuple[Job, bytes]]) -> None:
        staging = []
        for job, data in files:
            is_link = job.key[0][15] & 3 == Kind.SYMLINK
            target = job.content.manifest.decode() if is_link else None
            staging.append(
                StageFile(job.temp_name, None if is_link else data, target, job.content.mtime_ns,
                          job.is_executable)
            )  # fmt: skip
        results = await self._in_disk_thread(lambda: self._disk.stage(staging))
        for (job, _), result in zip(files, results, strict=True):
            self._close(job)
            if isinstance(result, Problem):
                self._note_problem(job, result.reason)
                self.has_refused = True
                if result.trouble is Trouble.NO_SPACE:
                    self.no_room = result.reason
            else:
                self.staged[job.key] = job.temp_name
                self.staged_owners += job.owners
        self._on_staged()

    async def _complete(self, job: Job) -> None:
        staged = job.staged
        assert staged is not None

        def finish() -> bool:
            if staged.file_hash() == job.content.hash:
                staged.finish(job.content.mtime_ns, job.is_executable)
                return True
            # What others sent was verified. What was copied here may have been changed meanwhile;
            # if not, the record's hash is not that of its chunks.
            for chunk_id in not_as_named(staged, job.copied):
                job.missing[chunk_id] = job.copied[chunk_id]
            job.copied.clear()
            job.lacking_bytes = _lacking(job)
            if not job.missing:
                staged.abandon()
            return False

        is_whole = await self._in_disk_thread(finish)
        if job.missing:
            self._source.forget(self.folder_id, [job.key])  # as below
            self._ask([job])
            return
        self._close(job)
        if is_whole:
            self.staged[job.key] = job.temp_name
            self.staged_owners += job.owners
        else:
            self._note_problem(job, FALSE_RECORD)
        self._on_staged()

    def _close(self, job: Job) -> None:
        if self.jobs.pop(job.key, None) is not None:
            self.pending_bytes -= job.content.size
            # Its last chunk may not be counted there yet, and the file be wanted again by then.
            self._source.forget(self.folder_id, [job.key])

    @staticmethod
    def _whole(job: Job) -> bytes:
        """The bytes of what has no chunks: a symlink's target, or nothing."""
        return job.content.manifest if job.key[0][15] & 3 == Kind.SYMLINK else b""

    def _refuse(self, job: Job) -> None:
        """A member's record is false; its file is not shown, and the node stays as it was."""
        self._forget(job)
        self._note_problem(job, FALSE_RECORD)

    def _note_problem(self, job: Job, reason: str) -> None:
        self.problems[job.key] = reason
        self.owners[job.key] = next(iter(job.owners), job.key[0])
        self.staged_owners += job.owners

    # ------------------------------------------------------------ what is paused

    def pause(self, nodes: Iterable[NodeId]) -> None:
        """The bytes of these files wait; what is here of them stays for later."""
        self.paused.update(nodes)
        for job in [j for j in self.jobs.values() if j.owners.keys() <= self.paused]:
            owner = next(iter(job.owners))
            self.resting[job.key] = Need(job.key[0], job.content, owner, job.is_executable)
            if job.is_begun:
                self._leave(job)
            else:
                self._forget(job)

    def resume(self, nodes: Collection[NodeId]) -> None:
        """They may come, as soon as they are wanted again."""
        self.paused.difference_update(nodes)
        self.look_again(nodes)

    def look_again(self, nodes: Collection[NodeId]) -> None:
        """Whatever is wanted of these files is about to be said anew."""
        if self.resting:
            self.resting = {k: n for k, n in self.resting.items() if n.owner not in nodes}

    def _rests(self, need: Need) -> bool:
        key = (need.node, need.content.hash)
        if need.owner not in self.paused or key in self.jobs or key in self.staged:
            return False  # or somebody else wants the same bytes
        self.resting[key] = need
        return True

    def resting_bytes(self, key: Key) -> int:
        """What is still to come of a file that is paused."""
        job = self._begun.get(key)
        return self.resting[key].content.size if job is None else job.lacking_bytes

    @property
    def paused_lack(self) -> tuple[int, int]:
        """How many files are paused, and what is to come of them."""
        files = {need.owner for need in self.resting.values()}
        return len(files), sum(map(self.resting_bytes, self.resting))

    # ------------------------------------------------------------ what does not arrive

    def recheck(self, key: Key) -> None:
        """All chunks of this file have come: if it lacks one still, that came for another file just
        before this one was waiting for it.
        """
        job = self.jobs.get(key)
        if job is None:
            return
        with self._handing:
            wanted = [(chunk_id, at[0][1]) for chunk_id, at in job.missing.items()]
        if wanted:
            self._source.need(self.folder_id, [(key, wanted)])

    def give_up(self, key: Key) -> None:
        """Nobody connected has these bytes."""
        job = self.jobs.get(key)
        if job is None:
            return
        if job.is_begun:
            self._leave(job)
        else:
            self._forget(job)
        self.unavailable.add(key)
        self.owners[key] = next(iter(job.owners), key[0])
        self.staged_owners += job.owners  # another version may be shown instead

    def retry(self) -> None:
        """Somebody joined, or space was made: what was given up may be asked for again."""
        self.unavailable.clear()
        self.problems.clear()
        self.retries += 1
        self.owners.clear()

    def drop(self, keys: Iterable[Key]) -> list[str]:
        """Wants these bytes no longer; returns the temp files to be deleted."""
        names = []
        for key in keys:
            job = self.jobs.get(key)
            if job is not None:
                self._forget(job)
            name = self.staged.pop(key, None)
            if name is not None:
                names.append(name)
        return names

    def begin_anew(self) -> None:
        """Forgets all that is on its way or staged: after a failed fsync no temp file is to be
        trusted.
        """
        self.drop([*self.jobs, *self.staged])
        self.forget_begun()
        self.staged_owners.clear()
        self.retry()

    def forget_begun(self) -> None:
        """Lets go of large files that were begun: nobody wants them any more."""
        for job in self._begun.values():
            self._abandon(job)
        self._begun.clear()

    def _leave(self, job: Job) -> None:
        """Keeps what is here of a large file for when it is wanted again."""
        self._wait_no_more(job)
        self._close(job)
        self._begun[job.key] = job
        passing = [key for key in self._begun if key not in self.resting]
        if len(passing) > BEGUN_MAX:
            self._abandon(self._begun.pop(passing[0]))
        elif len(self._begun) > BEGUN_MAX + PAUSED_BEGUN_MAX:
            self._abandon(self._begun.pop(next(iter(self._begun))))

    def _forget(self, job: Job) -> None:
        self._wait_no_more(job)
        self._abandon(job)
        self._close(job)

    def _abandon(self, job: Job) -> None:
        if job.staged is not None:
            self._executor.submit(_abandon, job.staged)

    def _wait_no_more(self, job: Job) -> None:
        with self._handing:
            for chunk_id in list(job.missing):  # what lies here is copied in the disk's thread
                jobs = self._waiting.get(chunk_id)
                if jobs is not None:
                    jobs = [j for j in jobs if j is not job]
                    if jobs:
                        self._waiting[chunk_id] = jobs
                    else:
                        del self._waiting[chunk_id]


def _abandon(staged: StagedFile) -> None:
    with suppress(DiskError):  # the next run deletes it
        staged.abandon()


def _lacking(job: Job) -> int:
    return sum(length for places in job.missing.values() for _, length in places)


def _is_small(job: Job) -> bool:
    return not job.content.manifest and job.content.size <= SMALL_BYTES_MAX


def _add_chunks(job: Job, places: dict[ChunkId, tuple[Path, int, int]]) -> None:
    """Where the whole file lies, its chunks do: after the index was lost, nothing but the whole is
    known of what is in the trash.
    """
    whole = places.get(ChunkId(job.key[1]))
    if whole is not None and whole[2] == job.content.size:
        path, start, _ = whole
        for chunk_id, targets in job.missing.items():
            offset, length = targets[0]
            places.setdefault(chunk_id, (path, start + offset, length))


def _content(chunk: ReceivedChunk) -> bytes | memoryview:
    """What a chunk says that it holds, not verified; nothing if it holds something else."""
    if chunk.codec == Codec.RAW:
        return chunk.data if len(chunk.data) == chunk.plain_length else b""
    try:
        return decompress(chunk.codec, bytes(chunk.data), chunk.plain_length)
    except CryptoError:
        return b""


def _megabytes(size_bytes: int) -> str:
    """Decimal, as all sizes that a person is shown."""
    return f"{size_bytes / 1e6:,.0f} MB"
