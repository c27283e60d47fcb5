"""`holdfast get URL`: all files of a share link into a directory, verified, and gone on with later.

What has come lies in a hidden directory beside where it is to be, and is moved to its name when all
of it is there and right; an interrupted `get` of the same link finds it. Ranges are fetched and
opened by a few threads; files are written in order by one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final

from crypto.chunks import SealedChunk
from crypto.errors import CryptoError
from crypto.share_links import (
    LinkFlags,
    LinkSecrets,
    check_link,
    open_link,
    open_shared_chunk,
)
from peer.errors import LinkDamaged, LinkUnknown, LinkUnreachable, PathUnusable, WrongLinkPassword
from peer.share_links.link_visit import Visitor
from protocol.errors import ProtocolError
from protocol.link_manifest import LinkManifest, SharedChunk, SharedFile, decode_manifest
from protocol.link_pages import expanded, pages_of
from protocol.share_url import ShareUrl, text_of

RUN_SIZE: Final = 4 << 20
"""Bytes of a pack that are asked for at once: enough that a request's round trip costs little."""
THREADS: Final = 3
AHEAD: Final = 6
"""Runs fetched or being fetched while one is written: 24 MiB and as much again opened."""
SYNCED_BYTES: Final = 64 << 20
"""How much of one file a power cut may make to be fetched again."""
WORK_PREFIX: Final = ".holdfast-get-"
_STATE: Final = "state.json"
_BLOB: Final = "manifest"


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring chunks of one pack, fetched by one request."""

    pack: int
    first: int
    end: int
    chunks: tuple[SharedChunk, ...]


@dataclass(slots=True)
class Got:
    """What a `get` has done."""

    names: list[str] = field(default_factory=list)
    files: int = 0
    size: int = 0


Progress = Callable[[int, int], None]
"""Bytes that are there, of how many."""


def get(
    url: ShareUrl,
    directory: Path,
    ask_password: Callable[[], str],
    progress: Progress = lambda done, size: None,
    visitor: Visitor | None = None,
) -> Got:
    """Fetches all of a link into a directory; raises PeerError, and what has come is kept then."""
    visitor = visitor or Visitor(url)
    work = directory / f"{WORK_PREFIX}{text_of(url.link_id)}"
    made = [each for each in (work, directory, *directory.parents) if not os.path.lexists(each)]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        work.mkdir(mode=0o700, exist_ok=True)
        manifest, secrets = _manifest(url, visitor, work, ask_password)
        manifest = _with_pages(manifest, visitor, secrets, work)
        tops = sorted({file.path.split("/", 1)[0] for file in manifest.files})
        try:
            _check_free(directory, tops)
        except PathUnusable:
            _give_back(visitor, work)
            raise
        fetch = _Fetch(visitor, secrets, manifest, work, progress)
        fetch.run()
        for top in tops:
            _check_free(directory, [top])
            (work / "tree" / top).rename(directory / top)
        shutil.rmtree(work)
        return Got(tops, len(manifest.files), manifest.size)
    except OSError as error:
        raise PathUnusable(
            f"{error.filename or directory}: {error.strerror}. Choose another place with `-o DIR`;"
            " what has come is kept."
        ) from error
    finally:
        visitor.close()
        with suppress(OSError):  # where something has come they stay
            for each in made:
                each.rmdir()


def _check_free(directory: Path, tops: list[str]) -> None:
    for top in tops:
        if os.path.lexists(directory / top):
            raise PathUnusable(
                f"{directory / top} is there already, and nothing is written over it. Move it away"
                " or choose another place with `-o DIR`."
            )


def _give_back(visitor: Visitor, work: Path) -> None:
    """Who is refused here may come again at once, and elsewhere; what has come of it is kept."""
    if not (work / "tree").exists() and visitor.give_back():
        shutil.rmtree(work)


def _manifest(
    url: ShareUrl, visitor: Visitor, work: Path, ask_password: Callable[[], str]
) -> tuple[LinkManifest, LinkSecrets]:
    """The manifest, of this try or an earlier one, which then goes on with its download."""
    head = visitor.head()
    password = ask_password() if head.flags & LinkFlags.PASSWORD else None
    try:
        secrets = LinkSecrets.of(url.secret, head.password_salt, password)
    except CryptoError:
        raise WrongLinkPassword from None
    state, kept = work / _STATE, work / _BLOB
    if kept.exists() and state.exists():
        try:
            manifest = decode_manifest(open_link(url.link_id, secrets, kept.read_bytes()))
            visitor.ticket = str(json.loads(state.read_text())["ticket"])
        except (CryptoError, ProtocolError, ValueError, KeyError, TypeError):
            pass  # of another password, or damaged: it is claimed anew
        else:
            return manifest, secrets
    blob = _claim(visitor, secrets, has_password=password is not None)
    try:
        plain = open_link(url.link_id, secrets, blob)
        if check_link(url.link_id, blob).flags & LinkFlags.UPLOAD:
            raise LinkUnknown("This link takes files; it gives none. Open it in a browser.")
        manifest = decode_manifest(plain)
    except (CryptoError, ProtocolError):
        raise LinkDamaged from None
    shutil.rmtree(work)
    work.mkdir(mode=0o700)
    kept.write_bytes(blob)
    state.write_text(json.dumps({"ticket": visitor.ticket}))
    return manifest, secrets


def _claim(visitor: Visitor, secrets: LinkSecrets, *, has_password: bool) -> bytes:
    try:
        return visitor.claim(secrets.token(visitor.url.link_id))
    except LinkUnknown:
        if has_password:
            raise WrongLinkPassword from None
        raise


def _with_pages(
    manifest: LinkManifest, visitor: Visitor, secrets: LinkSecrets, work: Path
) -> LinkManifest:
    """The manifest with what it has in pages, fetched and opened as chunks are."""
    if not manifest.is_paged:
        return manifest
    try:
        pages = pages_of(manifest)
        fetch = _Fetch(visitor, secrets, manifest, work, lambda done, size: None)
        with ThreadPoolExecutor(THREADS, "get") as pool:
            try:
                return expanded(manifest, list(fetch.opened(pool, pages)))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    except ProtocolError:
        raise LinkDamaged from None


class _Fetch:
    """All chunks of a manifest, in order, into the tree below a work directory."""

    def __init__(
        self,
        visitor: Visitor,
        secrets: LinkSecrets,
        manifest: LinkManifest,
        work: Path,
        progress: Progress,
    ) -> None:
        self._visitor, self._secrets, self._manifest = visitor, secrets, manifest
        self._tree, self._work, self._progress = work / "tree", work, progress
        self._done = 0
        self._claims_left = 1
        self._claiming = Lock()

    def run(self) -> None:
        """Fetches what is not there; raises PeerError or OSError."""
        self._tree.mkdir(exist_ok=True)
        missing: list[tuple[SharedFile, int]] = []
        for file in self._manifest.files:
            missing += self._begun(file)
        self._progress(self._done, self._manifest.size)
        with ThreadPoolExecutor(THREADS, "get") as pool:
            opened = self.opened(pool, [chunk for f, n in missing for chunk in f.chunks[n:]])
            try:
                for file, count in missing:
                    self._write(file, count, opened)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _begun(self, file: SharedFile) -> list[tuple[SharedFile, int]]:
        """What is missing of a file, and how many of its chunks are there; nothing if it is whole.

        A file that has its name is whole. One that has not is good as far as it was synced.
        """
        path = self._tree / file.path.removesuffix("/")
        if file.is_directory:
            path.mkdir(parents=True, exist_ok=True)
            return []
        if path.exists():
            self._done += file.size
            return []
        path.parent.mkdir(parents=True, exist_ok=True)
        synced = self._synced(file)
        count = there = 0
        for chunk in file.chunks:
            if there + chunk.plain_len > synced:
                break
            there += chunk.plain_len
            count += 1
        self._done += there
        return [(file, count)]

    def _synced(self, file: SharedFile) -> int:
        try:
            found = json.loads((self._work / "synced.json").read_text())
            is_this = found["path"] == file.path and type(found["size"]) is int
            return int(found["size"]) if is_this and self._part.stat().st_size else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    @property
    def _part(self) -> Path:
        """The one file that is being written."""
        return self._work / "part"

    def _write(self, file: SharedFile, count: int, opened: Iterator[bytes]) -> None:
        start = sum(chunk.plain_len for chunk in file.chunks[:count])
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        # In a directory that others cannot enter; the file gets the mode that any program's has.
        with open(os.open(self._part, flags, 0o666), "r+b") as part:
            part.truncate(start)
            part.seek(start)
            unsynced = 0
            for _ in file.chunks[count:]:
                data = next(opened)
                part.write(data)
                self._done += len(data)
                unsynced += len(data)
                self._progress(self._done, self._manifest.size)
                if unsynced >= SYNCED_BYTES:
                    self._sync(part, file)
                    unsynced = 0
            part.flush()
            os.fsync(part.fileno())
        mtime_ns = file.mtime_ms * 1_000_000
        os.utime(self._part, ns=(mtime_ns, mtime_ns))
        self._part.rename(self._tree / file.path)

    def _sync(self, part: BinaryIO, file: SharedFile) -> None:
        part.flush()
        os.fsync(part.fileno())
        fresh = self._work / "synced.new"
        fresh.write_text(json.dumps({"path": file.path, "size": part.tell()}))
        fresh.replace(self._work / "synced.json")

    def opened(self, pool: ThreadPoolExecutor, chunks: list[SharedChunk]) -> Iterator[bytes]:
        """The plaintext of chunks in order, some of them ahead of who takes them."""
        under_way: deque[Future[list[bytes]]] = deque()
        for run in runs(chunks):
            if len(under_way) >= AHEAD:
                yield from under_way.popleft().result()
            under_way.append(pool.submit(self._fetch, run))
        while under_way:
            yield from under_way.popleft().result()

    def _fetch(self, run: Run) -> list[bytes]:
        """The chunks of one run; what does not open is asked for once more."""
        for is_last in (False, True):
            try:
                data = memoryview(self._range(run))
                return [_open(chunk, run, data) for chunk in run.chunks]
            except CryptoError:
                if is_last:
                    raise LinkDamaged from None
        raise AssertionError

    def _range(self, run: Run) -> bytes:
        pack_id = self._manifest.pack_ids[run.pack]
        ticket = self._visitor.ticket
        try:
            return self._visitor.range(pack_id, run.first, run.end)
        except LinkUnknown:
            pass
        # The download was given back meanwhile: another is claimed, once for all threads.
        with self._claiming:
            if ticket == self._visitor.ticket:
                self._claim_anew()
        return self._visitor.range(pack_id, run.first, run.end)

    def _claim_anew(self) -> None:
        if not self._claims_left:
            raise LinkUnreachable("The relay does not know the download that it has begun.")
        self._claims_left -= 1
        self._visitor.claim(self._secrets.token(self._visitor.url.link_id))
        (self._work / _STATE).write_text(json.dumps({"ticket": self._visitor.ticket}))


def runs(chunks: list[SharedChunk]) -> Iterator[Run]:
    """Chunks in order, those that lie near each other in one pack together."""
    group: list[SharedChunk] = []
    first = end = 0
    for chunk in chunks:
        start, stop = chunk.leaves
        is_near = group and chunk.pack == group[-1].pack and first <= start <= end
        if group and (not is_near or max(end, stop) - first > RUN_SIZE):
            yield Run(group[-1].pack, first, end, tuple(group))
            group = []
        if not group:
            first, end = start, stop
        group.append(chunk)
        end = max(end, stop)
    if group:
        yield Run(group[-1].pack, first, end, tuple(group))


def _open(chunk: SharedChunk, run: Run, data: memoryview) -> bytes:
    at = chunk.offset - run.first
    sealed = SealedChunk(chunk.codec, chunk.plain_len, bytes(data[at : at + chunk.length]))
    return open_shared_chunk(chunk.key, chunk.sealed_hash, sealed)
