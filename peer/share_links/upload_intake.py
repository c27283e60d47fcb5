"""Takes what waits at a relay into a folder: fetched, opened, checked once more, put in its place.

Each step is written down before the next (`upload_store`): a device that is killed between any two
goes on from there. The relay is told last, and believed in nothing: what it shows under a wrong
link, again, changed or cut off does not open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, ParamSpec, TypeVar

from crypto.errors import OpenError
from crypto.uploads import SEALED_SEGMENT_SIZE, SEGMENT_SIZE, UploadKeys, open_head, segment_count
from peer.share_links.link_relay import LinkRelay
from peer.share_links.upload_files import Begun, Identity, Receiving, receiving
from peer.share_links.upload_names import directory_name, numbered, safe_names, shown_label
from peer.share_links.upload_store import Arrival, ArrivalState, UploadLink, UploadStore
from protocol.errors import LinkError, ProtocolError
from protocol.upload_head import UploadHead, decode_upload_head
from protocol.upload_messages import Waiting

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

NAMES_TRIED_MAX: Final = 10_000
BESIDE_MAX: Final = 5
KEPT_EVERY: Final = 64
"""Segments between two syncs: what a device that loses its power fetches again, 64 MiB."""
DAMAGED_TRIES: Final = 3
"""A file that does not open is fetched so often before it is given up: a disk or a link may have
had a bad moment."""


class Came(NamedTuple):
    """What a person hears of."""

    label: str
    path: str


class Trouble(NamedTuple):
    """A file that was not taken, and why."""

    reason: str


class NoRoom(Exception):
    """The disk has no room for a file; it waits at the relay."""


Told = Callable[[Came | Trouble], None]


class UploadIntake:
    """One upload link's, at its relay."""

    def __init__(
        self, store: UploadStore, relay: LinkRelay, link: UploadLink, root: Path, told: Told
    ) -> None:
        self._store, self._relay, self._link = store, relay, link
        self._root, self._told = root, told

    async def take(self, waiting: Waiting, tries: dict[bytes, int]) -> bool:
        """Goes on with one file until the relay is told of it; `tries` counts what was damaged,
        and False says that it is tried again.

        Raises LinkError, StorageRefused, NoPlace, NoRoom or OSError: it is gone on with later.
        """
        arrivals = await self._store.arrivals(self._link.link_id)
        arrival = arrivals.get(waiting.upload_id)
        with receiving(self._root) as place:
            if arrival is not None and arrival.state is ArrivalState.HERE:
                arrival = await self._found_again(place, arrival)
            if arrival is None:
                arrival = await self._fetch(place, waiting, arrivals, tries)
            if arrival is not None and arrival.state is ArrivalState.HERE:
                arrival = await self._place(place, arrival)
        if arrival is None:
            return False
        if arrival.state is ArrivalState.PLACED:
            self._told(Came(arrival.label, arrival.path))
        await self._relay.upload_taken(self._link.link_id, waiting.upload_id)
        if arrival.state is ArrivalState.PLACED:
            await self._store.put(arrival.with_state(ArrivalState.DONE))
        return True

    # ------------------------------------------------------------ fetching

    async def _fetch(
        self, place: Receiving, waiting: Waiting, arrivals: dict[bytes, Arrival],
        tries: dict[bytes, int],
    ) -> Arrival | None:  # fmt: skip
        link = self._link
        try:
            plain, keys = await asyncio.to_thread(
                open_head, link.secrets.upload_secret, link.link_id, waiting.upload_id,
                link.secrets.gate, waiting.head,
            )  # fmt: skip
            head = decode_upload_head(plain)
            if head.size != waiting.size:
                raise OpenError
        except (OpenError, ProtocolError):
            return await self._damaged(waiting, tries)
        reason = self._over_limits(head, arrivals)
        if reason is not None:
            return await self._refuse(waiting, reason)
        name, now_s = begun_name(link.link_id, waiting), int(time.time())
        if not place.has_room_for(head.size - place.segments_of(name) * SEGMENT_SIZE):
            raise NoRoom
        mtime_ns = min(max(head.mtime_ms, 0), now_s * 1000) * 1_000_000
        begun = place.begin(name)
        try:
            await self._pour(place, begun, waiting, keys, head.size)
            aside = aside_name(link.link_id, waiting.upload_id)
            identity = await _done(place.finish, begun, aside, mtime_ns)
        except OpenError:
            place.discard(name)
            return await self._damaged(waiting, tries)
        finally:
            os.close(begun.descriptor)
        directory = tuple(link.directory.split("/")) if link.directory else ()
        top = directory_name(head.label, datetime.fromtimestamp(now_s))
        path = "/".join((*directory, top, *safe_names(head.path)))
        arrival = Arrival(
            link.link_id, waiting.upload_id, ArrivalState.HERE, shown_label(head.label), path,
            identity.size, identity.inode, identity.mtime_ns, now_s,
        )  # fmt: skip
        await self._store.put(arrival)
        return arrival

    async def _pour(
        self, place: Receiving, begun: Begun, waiting: Waiting, keys: UploadKeys, size: int
    ) -> None:
        """Each segment is opened before it is written; raises OpenError for a wrong one.

        It begins behind what is here, and what it has come to is kept when it does not get on.
        """
        count = segment_count(size)
        written = begun.segments
        try:
            for index in range(begun.segments, count):
                sealed = await self._segment(waiting, index)
                plain = await asyncio.to_thread(
                    keys.open_segment, index, sealed, is_last=index == count - 1
                )
                await _done(_write, begun.descriptor, plain)
                written += len(plain) == SEGMENT_SIZE
                if written - begun.segments >= KEPT_EVERY:
                    await _done(place.keep, begun, written)
        except (LinkError, asyncio.CancelledError):
            if written > begun.segments:
                place.keep(begun, written)
            raise
        if os.fstat(begun.descriptor).st_size != size:
            raise OpenError

    async def _segment(self, waiting: Waiting, index: int) -> bytes:
        sealed = b""
        while len(sealed) < SEALED_SEGMENT_SIZE:
            at = index * SEALED_SEGMENT_SIZE + len(sealed)
            data = await self._relay.read_upload(
                self._link.link_id, waiting.upload_id, at, SEALED_SEGMENT_SIZE - len(sealed)
            )
            if not data:
                break
            sealed += data
        return sealed

    def _over_limits(self, head: UploadHead, arrivals: dict[bytes, Arrival]) -> str | None:
        """The relay was told the limits; that it kept them is looked at here."""
        link = self._link
        taken = [each for each in arrivals.values() if each.state is not ArrivalState.REFUSED]
        if head.size > link.file_bytes_max:
            return "it is larger than the link allows"
        if len(taken) >= link.files_max:
            return "the link allows no more files"
        if sum(each.size for each in taken) + head.size > link.bytes_max:
            return "the link allows no more bytes"
        return None

    async def _damaged(self, waiting: Waiting, tries: dict[bytes, int]) -> Arrival | None:
        tries[waiting.upload_id] = tries.get(waiting.upload_id, 0) + 1
        if tries[waiting.upload_id] < DAMAGED_TRIES:
            return None
        return await self._refuse(waiting, "it does not open: damaged, or forged by its relay")

    async def _refuse(self, waiting: Waiting, reason: str) -> Arrival:
        arrival = Arrival(
            self._link.link_id, waiting.upload_id, ArrivalState.REFUSED, "", reason, waiting.size,
            0, 0, int(time.time()),
        )  # fmt: skip
        await self._store.put(arrival)
        self._told(Trouble(reason))
        return arrival

    # ------------------------------------------------------------ placing

    async def _found_again(self, place: Receiving, arrival: Arrival) -> Arrival | None:
        """Where a file is that was here when this device stopped."""
        identity = Identity(arrival.inode, arrival.size, arrival.mtime_ns)
        if place.is_aside(aside_name(arrival.link_id, arrival.upload_id), identity):
            return arrival
        if place.is_placed(tuple(arrival.path.split("/")), identity):
            return await self._placed(arrival)
        await self._store.drop(arrival)
        return None

    async def _place(self, place: Receiving, arrival: Arrival) -> Arrival:
        """Moves a file to a free name; which one is written down before it is moved there."""
        *above, last = arrival.path.split("/")
        for number in range(1, NAMES_TRIED_MAX):
            path = (*above, numbered(last, number))
            if not place.is_free(path):
                continue
            if "/".join(path) != arrival.path:
                arrival = _moved(arrival, path)
                await self._store.put(arrival)
            try:
                place.make_directories(path)
                place.place(aside_name(arrival.link_id, arrival.upload_id), path)
            except FileExistsError:
                continue
            except NotADirectoryError:
                # A file of a person's has a directory's name: beside it is room.
                if number > BESIDE_MAX:
                    raise
                depth = len(above) - len(safe_tail(above, self._link.directory))
                above = [*above[:depth], *(f"{name}_" for name in above[depth:])]
                continue
            return await self._placed(arrival)
        raise OSError(0, "there is no free name")

    async def _placed(self, arrival: Arrival) -> Arrival:
        arrival = arrival.with_state(ArrivalState.PLACED)
        await self._store.put(arrival)
        return arrival


def begun_name(link_id: bytes, waiting: Waiting) -> str:
    """What a file is called on its way: by its head too, so that nothing is gone on with under
    another one's keys."""
    head = sha256(waiting.head).hexdigest()[:16]
    return f"{aside_name(link_id, waiting.upload_id)}-{head}"


def aside_name(link_id: bytes, upload_id: bytes) -> str:
    """What a file is called until it has its place."""
    return f"{link_id.hex()}-{upload_id.hex()}"


def safe_tail(above: list[str], directory: str) -> list[str]:
    """Those of the directories that are the sender's, and not the link's own."""
    own = len(directory.split("/")) if directory else 0
    return above[own:]


def _moved(arrival: Arrival, path: tuple[str, ...]) -> Arrival:
    return Arrival(
        arrival.link_id, arrival.upload_id, arrival.state, arrival.label, "/".join(path),
        arrival.size, arrival.inode, arrival.mtime_ns, arrival.came_s,
    )  # fmt: skip


async def _done(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs a call in a thread, and is not cancelled before that is through with its descriptor: a
    write after the descriptor is closed is one into whatever has its number by then.
    """
    loop = asyncio.get_running_loop()
    running = loop.run_in_executor(None, partial(call, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
