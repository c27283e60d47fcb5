"""The upload links of a device: made, listed, ended, and asked after for what has come by them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crypto.ids import FolderId
from crypto.keys import DeviceKeys
from crypto.primitives import SEAL_RANDOM_SIZE
from crypto.share_links import (
    LINK_SECRET_SIZE,
    LINK_SEED_SIZE,
    PASSWORD_SALT_SIZE,
    SALT_SIZE,
    LinkFlags,
    LinkKey,
    LinkSecrets,
    seal_link,
    token_hash,
)
from crypto.uploads import gate_of
from peer.device.opened import Opened
from peer.errors import LinkNotMade, RelayUnreachable
from peer.history.history_requests import HistoryRequests
from peer.share_links.link_ending import ENDS, REVOKED, TROUBLE, end_at_relay
from peer.share_links.link_entries import SenderEntry, UploadLinkEntry, said_of
from peer.share_links.link_relay import LinkRelay, NewBlob, link_relay, serving_relay
from peer.share_links.upload_files import NoPlace
from peer.share_links.upload_intake import Came, NoRoom, Trouble, UploadIntake
from peer.share_links.upload_store import (
    Arrival,
    ArrivalState,
    UploadLink,
    UploadSecrets,
    UploadStore,
)
from protocol.errors import LinkError, StorageRefused
from protocol.link_messages import LinkUse
from protocol.link_records import TOLD_MAX
from protocol.messages import UploadLinksKnown
from protocol.relay_address import RelayAddress
from protocol.storage_messages import StoreOutcome
from protocol.upload_head import NAME_LENGTH_MAX, UploadManifest
from protocol.upload_messages import Waiting

log = logging.getLogger(__name__)

ASKED_EVERY_S: Final = 15.0
"""How long a file waits at a relay that can be reached."""
ASKED_LATER_MAX_S: Final = 300.0
"""A relay that does not answer is asked after twice as long each time, up to this."""
SENDERS_LISTED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class UploadWish:
    """What a person asks of an upload link."""

    lifetime_s: int
    """0: it does not expire."""
    files_max: int
    file_bytes_max: int
    bytes_max: int
    password: str | None = None


class Place:
    """Where folders are, for who puts files into them."""

    def __init__(self, history: HistoryRequests) -> None:
        self._history = history

    def locate(self, path: Path) -> tuple[FolderId, str]:
        """The folder that a path is in, and the directory in it; raises PeerError."""
        folder, _, names = self._history.locate(path)
        if not os.path.lexists(path):
            raise LinkNotMade(f"There is no directory {path}. Make it, and ask again.")
        if path.is_symlink() or not path.is_dir() or ".holdfast" in names:
            raise LinkNotMade(
                f"{path} is no directory that files could go to. Name one inside of the folder."
            )
        return folder.folder_id, "/".join(names)

    def root(self, folder_id: FolderId) -> Path | None:
        """Where a folder is on this disk; None where it is not, or is paused."""
        return self._history.writable_root(folder_id)


Heard = Callable[[FolderId, str, Came | Trouble], None]
"""Of the folder, the link's name, and what came."""


class UploadLinks:
    """One daemon's."""

    def __init__(
        self,
        path: Path,
        keys: DeviceKeys,
        relays: Callable[[], Sequence[RelayAddress]],
        place: Place,
        heard: Heard,
    ) -> None:
        """`path` is of the database; `relays` gives those in use."""
        self.on_ended: Callable[[], Awaitable[None]] | None = None
        """Hears that another device has ended a link of this one."""
        self._path, self._keys, self._relays = path, keys, relays
        self._place, self._heard = place, heard
        self._store = Opened(lambda: UploadStore.open(path, keys.database_key))
        self._is_closed = False
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._tries: dict[bytes, int] = {}
        self._asked: dict[str, tuple[float, float]] = {}
        """Of each relay that did not answer: not before, and how long it was let alone."""
        self._waiting: dict[bytes, int | None] = {}
        self._problems: dict[bytes, str] = {}
        self._ended: dict[bytes, str] = {}
        """As its relay says."""

    async def close(self) -> None:
        """Closes the list of links; from now on relays are asked no more."""
        async with self._turn:
            self._is_closed = True
            await self._store.close()

    # ------------------------------------------------------------ what a person asks

    async def create(
        self, path: Path, name: str, relay: str | None, wish: UploadWish
    ) -> UploadLinkEntry:
        """Makes a link by which files come into a directory; raises PeerError."""
        folder_id, directory = self._place.locate(path)
        name = name or path.name
        if len(name) > NAME_LENGTH_MAX or not name.isprintable():
            raise LinkNotMade(
                f"No link was made: its name has up to {NAME_LENGTH_MAX} characters, all of them"
                " printable."
            )
        async with AsyncExitStack() as stack:
            place = await serving_relay(stack, self._relays(), self._keys, relay)
            try:
                link = await self._make(place, folder_id, directory, name, wish)
            except StorageRefused as refusal:
                raise LinkNotMade(f"{refusal} No link was made.") from refusal
            except LinkError as error:
                raise RelayUnreachable(f"{error} No link was made.") from error
        self._waiting[link.link_id] = 0
        self._wake.set()
        return self._entry(link, {}, "live")

    async def listed(self) -> list[UploadLinkEntry]:
        """All upload links of this device, after what waits was fetched."""
        store = await self._store.get()
        await self.ask()
        return [
            self._entry(link, await store.arrivals(link.link_id), self._state(link))
            for link in await store.links()
        ]

    async def unrevoked(self) -> list[UploadLink]:
        """Those that were not ended by hand."""
        return [link for link in await (await self._store.get()).links() if not link.revoked_s]

    async def every(self) -> list[UploadLink]:
        """All of them, the newest first; none if no link was ever made."""
        if not await asyncio.to_thread(self._path.exists):
            return []
        return await (await self._store.get()).links()

    async def living(self) -> list[UploadLink]:
        """Those that have not ended, for all that is known here."""
        now_s = time.time()
        return [
            link
            for link in await self.every()
            if not (link.revoked_s or link.is_over or 0 < link.expires_s <= now_s)
        ]

    async def end(self, link_id: bytes) -> None:
        """Ends one. Raises RelayUnreachable while its relay cannot be told."""
        (link,) = [each for each in await self.every() if each.link_id == link_id]
        key = link.secrets.key
        await self.revoked(link_id, await end_at_relay(link.relay, self._keys, link_id, key))

    async def revoked(self, link_id: bytes, at_s: int) -> None:
        """One was ended, by whichever device."""
        await (await self._store.get()).revoked(link_id, at_s)

    async def known(self) -> UploadLinksKnown:
        """What the user's other devices are told."""
        now_s = time.time()
        every = [link for link in await self.every() if not 0 < link.expires_s <= now_s]
        return UploadLinksKnown(tuple(link.told for link in every[:TOLD_MAX]))

    # ------------------------------------------------------------ what comes

    async def run(self) -> None:
        """Asks relays for what was put in, until cancelled."""
        while True:
            self._wake.clear()  # a link that is made meanwhile is asked for at once
            try:
                await self.ask(is_patient=True)
            except TROUBLE as error:
                log.warning("what was put in by upload links cannot be taken: %s", error)
            try:
                async with asyncio.timeout(ASKED_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def ask(self, *, is_patient: bool = False) -> None:
        """Fetches what waits at every relay that may have something; one that did not answer is
        let alone for a while by who is patient.
        """
        if not await asyncio.to_thread(self._path.exists):
            return  # no link was ever made
        async with self._turn:
            if self._is_closed:
                return
            store = await self._store.get()
            links = {link.link_id: link for link in await store.links() if not link.is_over}
            for address in dict.fromkeys(link.relay for link in links.values()):
                now = asyncio.get_running_loop().time()
                not_before, pause = self._asked.get(address, (0.0, ASKED_EVERY_S))
                if is_patient and now < not_before:
                    continue
                here = {i: link for i, link in links.items() if link.relay == address}
                try:
                    async with link_relay(RelayAddress.parse(address), self._keys) as relay:
                        await relay.open()
                        await self._ask_one(relay, here)
                    self._asked.pop(address, None)
                except (LinkError, StorageRefused) as error:
                    self._asked[address] = now + pause, min(2 * pause, ASKED_LATER_MAX_S)
                    for link_id in here:
                        self._waiting[link_id] = None
                        self._problems[link_id] = str(error)

    async def _ask_one(self, relay: LinkRelay, links: dict[bytes, UploadLink]) -> None:
        uses = await relay.uses()
        for link_id in links:
            use = uses.get(link_id)
            is_known = use is not None and use.ended < len(ENDS)
            self._ended[link_id] = ENDS[use.ended] if use is not None and is_known else "unknown"
            self._problems[link_id] = ""
            self._waiting[link_id] = 0
        await self._note_ends(links, uses)
        for link in links.values():
            await self._take_all(relay, link)

    async def _note_ends(self, links: dict[bytes, UploadLink], uses: dict[bytes, LinkUse]) -> None:
        """Writes down what other devices have ended by their end keys."""
        is_any = False
        for link_id, link in links.items():
            use = uses.get(link_id)
            if use is not None and use.ended == REVOKED and not link.revoked_s:
                await self.revoked(link_id, use.ended_s)
                is_any = True
        if is_any and self.on_ended is not None:
            await self.on_ended()

    async def _take_all(self, relay: LinkRelay, link: UploadLink) -> None:
        seen: set[bytes] = set()
        try:
            while True:
                listed = await relay.waiting_uploads(link.link_id)
                new = [each for each in listed if each.upload_id not in seen]
                if not new:
                    break
                for waiting in new:
                    seen.add(waiting.upload_id)
                    await self._take(relay, link, waiting)
        except StorageRefused as refusal:
            if refusal.outcome != StoreOutcome.UNKNOWN:
                raise
            # A relay that has forgotten the link has nothing that came by it either.
        if self._ended[link.link_id] in ENDS[1:] and not self._waiting[link.link_id]:
            await (await self._store.get()).over(link.link_id)

    async def _take(self, relay: LinkRelay, link: UploadLink, waiting: Waiting) -> None:
        problem = ""
        root = self._place.root(link.folder_id)
        if root is None:
            problem = "The folder is not on this device, or is paused."
        else:
            intake = UploadIntake(
                await self._store.get(), relay, link, root,
                lambda what: self._heard(link.folder_id, link.name, what),
            )  # fmt: skip
            try:
                if not await intake.take(waiting, self._tries):
                    problem = "It does not open; it is tried again."
            except NoPlace:
                problem = "The folder's disk is not there."
            except NoRoom:
                problem = "The disk has no room for it."
            except OSError as error:
                problem = f"It cannot be written: {error.strerror or error}."
        if problem:
            self._waiting[link.link_id] = (self._waiting[link.link_id] or 0) + 1
            self._problems[link.link_id] = problem

    # Private

    async def _make(
        self, relay: LinkRelay, folder_id: FolderId, directory: str, name: str, wish: UploadWish
    ) -> UploadLink:
        random = os.urandom
        await relay.open()
        key, upload = (LinkKey.from_seed(random(LINK_SEED_SIZE)) for _ in range(2))
        secrets = await asyncio.to_thread(
            LinkSecrets.of, random(LINK_SECRET_SIZE), random(PASSWORD_SALT_SIZE), wish.password
        )
        expires_s = relay.time_s + wish.lifetime_s if wish.lifetime_s else 0
        manifest = UploadManifest(
            expires_s, upload.public, name, wish.files_max, wish.file_bytes_max, wish.bytes_max
        )
        flags = LinkFlags.UPLOAD
        if wish.password is not None:
            flags |= LinkFlags.PASSWORD
        blob = seal_link(
            key, secrets, manifest.encode(), flags=flags, version=1, salt=random(SALT_SIZE)
        )
        link = UploadLink(
            key.link_id, str(relay.address), relay.base,
            UploadSecrets(secrets.secret, key.secret, upload.secret, gate_of(secrets, key.link_id)),
            name, folder_id, directory, wish.password is not None, relay.time_s, expires_s,
            wish.files_max, wish.file_bytes_max, wish.bytes_max,
        )  # fmt: skip
        store = await self._store.get()
        await store.add(link, random(SEAL_RANDOM_SIZE))
        new = NewBlob(
            key.link_id, secrets.password_salt, token_hash(secrets.token(key.link_id)),
            wish.lifetime_s, 0, (),
        )  # fmt: skip
        try:
            await relay.put_link(new, blob)
            await relay.allow_uploads(
                key.link_id, wish.files_max, wish.file_bytes_max, wish.bytes_max
            )
        except StorageRefused:
            await store.forget(link.link_id)
            raise
        return link

    def _state(self, link: UploadLink) -> str:
        if link.revoked_s:
            return "revoked"
        if link.is_over:
            return "expired"
        if self._waiting.get(link.link_id) is None:
            return "unknown"
        return self._ended.get(link.link_id, "") or "live"

    def _entry(
        self, link: UploadLink, arrivals: dict[bytes, Arrival], state: str
    ) -> UploadLinkEntry:
        here = [
            each
            for each in arrivals.values()
            if each.state in (ArrivalState.PLACED, ArrivalState.DONE)
        ]
        refused = sum(each.state is ArrivalState.REFUSED for each in arrivals.values())
        root = self._place.root(link.folder_id)
        waiting = 0 if link.is_over else self._waiting.get(link.link_id)
        return {
            **said_of(link, state),
            "place": "" if root is None else str(root / link.directory),
            "files": len(here),
            "bytes": sum(each.size for each in here),
            "files_max": link.files_max,
            "file_bytes_max": link.file_bytes_max,
            "bytes_max": link.bytes_max,
            "refused": refused,
            "waiting": waiting,
            "senders": _senders(here),
            "problem": self._problems.get(link.link_id, ""),
        }


def _senders(arrivals: Sequence[Arrival]) -> list[SenderEntry]:
    """By their labels, the latest first."""
    found: dict[str, SenderEntry] = {}
    for each in arrivals:
        entry = found.setdefault(
            each.label, {"label": each.label, "files": 0, "bytes": 0, "came_s": 0}
        )
        entry["files"] += 1
        entry["bytes"] += each.size
        entry["came_s"] = max(entry["came_s"], each.came_s)
    latest = sorted(found.values(), key=lambda entry: -entry["came_s"])
    return latest[:SENDERS_LISTED_MAX]
