"""The daemon: puts home, ledgers, folders, links and control API together. The only place of
wiring.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from crypto.ids import DeviceId, FolderId
from peer.backup.backups import Backups
from peer.command_line.service_notify import told_to_manager
from peer.connectivity.connection import Connection
from peer.connectivity.dialling import Dialling
from peer.connectivity.discovery import Discovery, own_hosts
from peer.connectivity.invitations import Invitations
from peer.connectivity.network import Network
from peer.connectivity.network_events import NetworkEvents
from peer.connectivity.own_addresses import announced_of, is_reached
from peer.connectivity.port_mapping import PortMapping
from peer.connectivity.punching import Punching
from peer.connectivity.relays import Relays
from peer.connectivity.staleness import HEARD_EVERY_S
from peer.connectivity.surroundings import LOOK_INTERVAL_S, Surroundings
from peer.control.control_socket import serve_control
from peer.control.file_requests import FileRequests
from peer.control.home_requests import HomeRequests
from peer.control.transfer_requests import TransferRequests
from peer.control.user_requests import UserRequests
from peer.device.config import Address, Config, read_config
from peer.device.home import UPLOADS_NAME, Home
from peer.device.home_store import Device, DeviceAddress
from peer.device.home_store import Folder as StoredFolder
from peer.device.ledgers import Ledgers
from peer.device.removing import expel_revoked, find_device, revoke
from peer.device.transaction import full_home_told
from peer.errors import (
    AddressInUse,
    PeerError,
)
from peer.folders.conflict_requests import ConflictRequests
from peer.folders.folder import Folder
from peer.folders.folder_requests import FolderRequests
from peer.folders.folder_setup import index_path
from peer.folders.openings import Openings
from peer.history.history_requests import HistoryRequests
from peer.journal.daemon_log import RECENT
from peer.journal.trails import Trails
from peer.journal.witness import Witness
from peer.mail.mailboxes import Mailboxes
from peer.reporting import Reports
from peer.search.search_requests import SearchRequests
from peer.search.search_upkeep import SearchUpkeep
from peer.share_links.link_requests import ShareLinkRequests
from peer.share_links.upload_links import Place, UploadLinks
from peer.status import (
    Choice,
    ConflictList,
    DeviceList,
    FolderEntry,
    FolderList,
    HoldAnswer,
    Invitation,
    Profile,
    RelayEntry,
    RelayList,
    RestoreReport,
    SearchAnswer,
    Status,
    Suggestions,
    VersionBytes,
    VersionList,
)
from protocol import messages
from protocol.errors import LinkError, ProtocolError
from protocol.events import (
    EndKeysReceived,
    LinksReceived,
    RelaysReceived,
    UploadLinksReceived,
)
from protocol.handshake import HELLO
from protocol.link import Link, LinkKind
from protocol.links import Listener, authenticate_server
from protocol.pairing_messages import PairingNumber
from protocol.relay_address import RelayAddress

log = logging.getLogger(__name__)

KINDS: Mapping[str, LinkKind] = {"tls": LinkKind.TLS, "quic": LinkKind.QUIC}
GENERATION_INTERVAL_S = 3600.0


class Daemon:
    """One device at work (control.DaemonApi)."""

    log_lines = RECENT

    def __init__(self, home: Home, config: Config, tasks: asyncio.TaskGroup) -> None:
        self.home, self.config = home, config
        self.ledgers = Ledgers(home.store, home.keys)
        self.name = ""
        self._tasks = tasks
        self._stopped = asyncio.Event()
        self._listener = Listener(tasks)
        self._discovery: Discovery | None = None
        self.mapping: PortMapping | None = None
        """At the router of this network; None where no port is to be opened."""
        self.network = Network(self.ledgers, tasks, self._greeted, self._membership_changed)
        self.relays = Relays(
            home, self.ledgers, tasks, self._listener,
            on_connected=lambda: self.dialling.relay_connected(),
            on_lost=self.network.doubt_relayed,
            is_carrying=self.network.is_carried_by,
            on_seen=lambda: self.punching.addresses_changed(),
            tell=lambda: self.network.tell_own(messages.RelaysKnown(self.relays.records)),
        )  # fmt: skip
        self.punching = Punching(
            home, self.ledgers, self.network, self._listener, self.relays, tasks, self._hosts,
            [KINDS[name] for name in config.links],
        )  # fmt: skip
        self.network.on_paths = self.punching.paths_received
        self.network.on_own[RelaysReceived] = lambda event, _: self.relays.receive(event.records)
        self._listener.on_datagram = self.punching.datagram_received
        self.mailboxes = Mailboxes(home, self.ledgers, self.network, self._membership_changed)
        self.relays.attend = self.mailboxes.attend
        self.openings = Openings(home, self.ledgers, self.network, config, tasks, self._opened_late)
        self.stored = self.openings.stored
        self._reports = Reports(
            home, self.ledgers, self.network, self.openings.failures, self.mailboxes
        )
        self.witness = Witness(
            home, self.ledgers, self.stored, self.network.folders, self._reports, config,
            lambda: self.network.connections,
        )  # fmt: skip
        self.openings.on_deeds = self.witness.deeds
        self.folder_requests = FolderRequests(
            self.ledgers, self.network, self.openings, home.path, self._name_of, self._reports.entry
        )
        self.transfers = TransferRequests(self.stored.values, self.network.folders, self._name_of)
        self.history = HistoryRequests(self.stored.values, self.network.folders, self.transfers.now)
        self.files = FileRequests(self.stored, self.network.folders, self._name_of, self.history)
        self.home_requests = HomeRequests(home.path)
        self.uploads = UploadLinks(
            home.path / UPLOADS_NAME, home.keys,
            lambda: [record.place for record in self.relays.records if record.is_used],
            Place(self.history), self.witness.received,
        )  # fmt: skip
        self.conflict_requests = ConflictRequests(
            self.stored.values, self.network.folders, self._name_of, self.history.locate
        )
        self.search_upkeep = SearchUpkeep(
            home.path / "search.db", partial(index_path, home), self.network.folders,
            has_texts=config.search_text, on_changed=partial(self.witness.events.publish, "search"),
        )  # fmt: skip
        self.openings.on_opened = self.search_upkeep.attend
        self.searches = SearchRequests(
            self.stored, self.network.folders, self._name_of, self.search_upkeep, self.devices
        )
        self.backups = Backups(
            home, self.ledgers, self.network, tasks, self.folder_requests.find,
            lambda: {folder_id: self._name_of(s) for folder_id, s in self.stored.items()},
            lambda: self.relays.records, self._membership_changed, self.transfers.now,
        )  # fmt: skip
        self.users = UserRequests(home.path / "key", self._profile)
        self.share_links = ShareLinkRequests(
            home, self.ledgers, self.history, self.relays, self.backups, self.uploads,
            self.transfers.now, self.network.tell_own)  # fmt: skip

    async def start(self) -> None:
        """Opens everything, in the order in which one rests on the other."""
        home = self.home
        user_id = await home.store.user_id()
        name = await home.store.device_name()
        if user_id is None or name is None:
            raise PeerError("This device was not set up. Run `holdfast init` or `holdfast join`.")
        self.name = self.network.own_name = self.openings.label = name
        await self.ledgers.load(user_id)
        suspicion = home.incarnation_is_suspect()
        if suspicion is not None:
            log.warning("this home may be a copy: %s", suspicion)
            await self.share_links.end_keys.distrust()
            await home.renew_incarnations()
        notices = await self.witness.open(name, is_suspect=suspicion is not None)
        for notice in (*home.notices, *notices):
            log.warning("%s", notice)
        self.trails = Trails(self.witness, self.ledgers, self.network)
        await self.trails.start()
        sharing = self.share_links.sharing
        self.network.on_own[LinksReceived] = sharing.received
        self.network.on_own[UploadLinksReceived] = sharing.received_uploads
        self.network.on_own[EndKeysReceived] = sharing.received_keys
        await self._listen()
        self.invitations = Invitations(
            self.ledgers,
            home,
            self.name,
            self._listener.port,
            self._discovery,
            self._welcome_folders,
            self._membership_changed,
            self._tasks,
            self.relays,
        )
        self.dialling = Dialling(
            self.home, self.ledgers, self.network, self._listener,
            [KINDS[name] for name in self.config.links], self.relays,
        )  # fmt: skip
        await self.ledgers.settle()
        for stored in await home.store.folders():
            self.stored[stored.folder_id] = stored
        self.witness.begin()
        await self.openings.open_all()
        if await expel_revoked(self.ledgers, self._at_work()):  # cut short before
            await self._membership_changed()
        self._tasks.create_task(self.network.keep_time())
        self._tasks.create_task(self.dialling.run())
        await self.mailboxes.start()
        self._tasks.create_task(self.mailboxes.run())
        await self.relays.start()
        await self.backups.start()
        if self.mapping is not None:
            self.punching.sources.append(self.mapping)
            self._tasks.create_task(self.mapping.run())
        self._tasks.create_task(self._advance_generation())
        self._tasks.create_task(self._follow_surroundings())
        self._tasks.create_task(self._note_heard())
        self._tasks.create_task(self.witness.run())
        self._tasks.create_task(self.search_upkeep.run())
        self._tasks.create_task(self.uploads.run())
        self._tasks.create_task(self.share_links.run())
        await self._announce()

    async def _listen(self) -> None:
        kinds = [KINDS[name] for name in self.config.links]
        hosts = list(dict.fromkeys(host for host, _ in self.config.listen))
        port = self.config.listen[0][1]
        try:
            port = await self._listener.start(hosts, port, kinds, self._accept)
        except LinkError as error:
            raise AddressInUse(
                f"{error} Choose another with `--listen HOST:PORT`, or from now on with"
                " `holdfast config set network.listen HOST:PORT`."
            ) from error
        log.info("%s listens on port %d", self.name, port)
        if self.config.port_mapping and LinkKind.QUIC in kinds and is_reached(hosts):
            self.mapping = PortMapping(port, self.punching.addresses_changed)
        if self.config.discovery:
            announced, interfaces = announced_of(hosts)
            discovery = Discovery(self._seen, hosts=announced, interfaces=interfaces)
            try:
                await discovery.start()
            except PeerError as error:
                log.warning("%s", error)
                return
            self._discovery = discovery
            self._tasks.create_task(discovery.run())

    def _hosts(self) -> Sequence[str]:
        """The machine's addresses at which this device answers."""
        announced, _ = announced_of([host for host, _ in self.config.listen])
        return own_hosts() if announced is None else announced

    async def run(self) -> None:
        """Works until told to stop."""
        await self._stopped.wait()

    async def close(self) -> None:
        """Closes what is open, also what comes after a step that fails; the tasks have ended by
        then. Raises what failed, the last of it with what was before as its context.
        """
        async with AsyncExitStack() as steps:  # carried out from the last to the first
            steps.push_async_callback(self.uploads.close)
            steps.push_async_callback(self.share_links.close)
            steps.push_async_callback(self.witness.close)
            for folder in reversed(self.network.folders.values()):
                steps.push_async_callback(folder.close)
            steps.push_async_callback(self.search_upkeep.close)
            for each in (self._discovery, self.mapping):
                if each is not None:
                    steps.push_async_callback(each.close)
            await self._listener.stop()

    async def _advance_generation(self) -> None:
        while True:
            await asyncio.sleep(GENERATION_INTERVAL_S)
            try:
                await self.home.advance_generation()
            except (OSError, sqlite3.OperationalError) as error:
                # The folders live on other disks; next hour there may be space again.
                log.warning("%s", error)

    async def _note_heard(self) -> None:
        while True:
            await asyncio.sleep(HEARD_EVERY_S)
            try:
                async with self.home.store.transaction() as write:
                    for connection in self.network.status():
                        seen = Device(connection.device_id, connection.name, time.time())
                        await write.put_device(seen)
                if await self.ledgers.keep_owed():
                    await self._membership_changed()
            except sqlite3.OperationalError as error:
                log.warning("cannot note who is connected: %s", error)

    async def _follow_surroundings(self) -> None:
        surroundings, events = Surroundings(own_hosts), NetworkEvents()
        try:
            while True:
                lost = await events.next(LOOK_INTERVAL_S)
                if surroundings.have_changed() or lost:
                    await self._network_changed(lost or ())
        finally:
            events.close()

    async def _network_changed(self, lost: Collection[str]) -> None:
        """This machine is on another network, or has slept; `lost` addresses went away meanwhile,
        and may be back.
        """
        log.info("the network has changed, or this machine woke up")
        self.network.addresses_lost(lost)
        self.relays.addresses_lost(lost)
        self.network.doubt_all()
        self.relays.doubt()
        self.dialling.network_changed()
        self.punching.addresses_changed()
        if self.mapping is not None:
            self.mapping.network_changed()
        if self._discovery is not None:
            await self._discovery.follow_interfaces()

    # ------------------------------------------------------------ links

    async def _accept(self, link: Link) -> None:
        try:
            first = await link.receive()
            if first is None:
                return
            if first[0] == PairingNumber.PAIR_HELLO:
                await self.invitations.answer(link, first)
                return
            if first[0] != HELLO:
                link.abort()
                return
            peer = await authenticate_server(link, first, self.home.keys, self.ledgers.lookup)
        except ProtocolError as error:
            name = type(error).__name__
            self.network.counts[name] = self.network.counts.get(name, 0) + 1
            log.info("refused a link from %s: %s", link.peer_address[0], name)
            return
        self.punching.note_mapped(link)
        await self.network.run_connection(link, peer.peer)

    async def _greeted(self, connection: Connection) -> None:
        self.witness.link_changed()
        self.punching.greeted(connection)
        if self.ledgers.is_own(connection.device_id):
            connection.session.send(messages.RelaysKnown(self.relays.records))
            connection.session.send(self.backups.known)
            connection.session.send(self.trails.known())
            await self.share_links.sharing.greet(connection)
        now = time.time()
        try:
            async with self.home.store.transaction() as write:
                await write.put_device(Device(connection.device_id, connection.name, now))
                # Where a relay is says nothing of where the device is.
                link = connection.link
                if link.is_client and not link.is_relayed and not link.is_passing:
                    host, port = connection.link.peer_address[:2]
                    await write.put_address(connection.device_id, DeviceAddress(host, port, now))
        except sqlite3.OperationalError as error:
            # It only helps to find the device again: no reason to do without it now.
            log.warning("%s: cannot note where it was seen: %s", connection.name, error)

    def _seen(self, device_id: DeviceId, host: str, port: int) -> None:
        self.dialling.heard_of(device_id, host, port)

    async def _announce(self) -> None:
        if self._discovery is not None:
            known = {
                device_id: certificate.dh_pk
                for device_id, certificate in self.ledgers.user.live_devices().items()
                if device_id != self.home.keys.device_id
            }
            await self._discovery.announce(self._listener.port, self.home.keys, known)

    async def _membership_changed(self) -> None:
        """Ledgers or wraps have grown: admit, open and tell."""
        with full_home_told():
            await self.ledgers.settle()
            await self.openings.open_all()
            await self.witness.membership_changed()
        self.network.tell_ledgers()
        for folder in self.network.folders.values():
            folder.membership_changed()
        self.relays.membership_changed()
        self.backups.wake()
        self.share_links.end_keys.membership_changed()
        await self._announce()
        self.dialling.wake()

    # ------------------------------------------------------------ folders

    def _at_work(self) -> list[Folder]:
        return [folder for folder in self.network.folders.values() if not folder.is_closed]

    async def _opened_late(self, folder: Folder) -> None:
        """What was done with all folders while this one could not be opened is done with it."""
        if await expel_revoked(self.ledgers, [folder]):
            await self._membership_changed()

    def _name_of(self, stored: StoredFolder) -> str:
        return self._reports.name_of(stored)

    # ------------------------------------------------------------ DaemonApi

    async def status(self) -> Status:
        """Everything that `holdfast status` shows."""
        return await self._reports.status(list(self.stored.values()))

    async def devices(self) -> DeviceList:
        """The user's live devices."""
        return await self._reports.devices()

    async def remove_device(self, name_or_id: str) -> None:
        """Makes a device the user's no more."""
        self.backups.check_read_back()
        entries = (await self.devices())["devices"]
        await revoke(self.ledgers, find_device(entries, name_or_id))
        await expel_revoked(self.ledgers, self._at_work())
        await self._membership_changed()

    async def invite(self) -> Invitation:
        """Opens an invitation."""
        return await self.invitations.open()

    async def add_folder(self, path: Path, name: str) -> FolderEntry:
        """Makes a folder of a directory."""
        return await self.folder_requests.add(path, name)

    async def folders(self) -> FolderList:
        """All folders that are known here."""
        return self.folder_requests.list()

    async def attach_folder(self, name_or_id: str, path: Path) -> FolderEntry:
        """Puts an offered folder on a directory."""
        return await self.folder_requests.attach(name_or_id, path)

    async def remove_folder(self, name_or_id: str) -> None:
        """Stops to sync a folder here; its files and its index stay."""
        await self.folder_requests.remove(name_or_id)

    async def pause(self, name_or_id: str | None) -> None:
        """Pauses a folder, or all."""
        await self.folder_requests.set_paused(name_or_id, True)

    async def resume(self, name_or_id: str | None) -> None:
        """Resumes a folder, or all."""
        await self.folder_requests.set_paused(name_or_id, False)

    async def answer_hold(self, name_or_id: str, answer: HoldAnswer) -> None:
        """Goes on with a folder that asks."""
        await self.folder_requests.answer_hold(name_or_id, answer)

    async def add_relay(self, address: RelayAddress, token: bytes = b"") -> RelayEntry:
        """Meets the user's devices at one more relay."""
        return await self.relays.add(address, token)

    async def list_relays(self) -> RelayList:
        """The relays of this device."""
        return self.relays.entries()

    async def remove_relay(self, address_or_host: str) -> None:
        """Uses a relay no more, on none of the user's devices."""
        await self.relays.remove(address_or_host)

    async def conflicts(self) -> ConflictList:
        """The conflict copies of all folders."""
        return await self.conflict_requests.list()

    async def resolve(self, path: Path, choice: Choice) -> None:
        """Does what a person decided about a conflict copy."""
        await self.conflict_requests.resolve(path, choice)
        self.witness.decided()

    async def merge(self, path: Path, text: str) -> None:
        """Puts a text that a person made of both in a conflict's place."""
        await self.conflict_requests.merge(path, text)
        self.witness.decided()

    async def search(self, query: str, limit: int) -> SearchAnswer:
        """The files and directories that match."""
        return await self.searches.find(query, limit)

    async def suggest(self, query: str, limit: int) -> Suggestions:
        """What a query may become."""
        return await self.searches.suggest(query, limit)

    async def versions(self, path: Path) -> VersionList:
        """What a file is and was."""
        return await self.history.versions(path)

    async def read_version(self, path: Path, version: int) -> VersionBytes:
        """The beginning of an earlier version."""
        return await self.history.read(path, version)

    async def deleted(self, path: Path) -> VersionList:
        """What was deleted below a directory."""
        return await self.history.deleted(path)

    async def restore(
        self, path: Path, version: int | None, at_s: int | None, out: Path | None
    ) -> RestoreReport:
        """Brings one version of a file back."""
        return await self.history.restore(path, version, at_s, out)

    async def restore_folder(self, path: Path, at_s: int, *, is_dry: bool) -> RestoreReport:
        """Brings all files below a directory back to what they were."""
        return await self.history.restore_folder(path, at_s, is_dry=is_dry)

    async def stop(self) -> None:
        """Begins to stop."""
        self._stopped.set()

    async def _profile(self) -> Profile:
        devices = (await self.devices())["devices"]
        return {
            "user": self.ledgers.user_id.hex(),
            "device": next(one for one in devices if one["this"]),
            "devices": len(devices),
            "folders": len(self.stored),
        }

    def _welcome_folders(self) -> dict[FolderId, tuple[str, Folder | None]]:
        folders = self.network.folders
        return {i: (self._name_of(stored), folders.get(i)) for i, stored in self.stored.items()}


async def run(
    home_path: Path,
    listen: Address | None = None,
    discovery: bool | None = None,
    links: Sequence[str] | None = None,
) -> None:
    """Runs a home's daemon until it is stopped or cancelled."""
    home = await Home.open(home_path)
    daemon: Daemon | None = None
    try:
        config = read_config(home.config_path)
        changes: dict[str, object] = {}
        if listen is not None:
            changes["listen"] = (listen,)
        if discovery is not None:
            changes["discovery"] = discovery
        if links is not None:
            changes["links"] = tuple(links)
        async with asyncio.TaskGroup() as tasks:
            daemon = Daemon(home, config.with_values(**changes), tasks)
            await daemon.start()
            try:
                async with serve_control(daemon, home.path), told_to_manager(tasks):
                    await daemon.run()
            finally:
                await daemon.mailboxes.flush()
                daemon.network.close_all()
            raise _Stopped
    except* _Stopped:
        pass
    finally:
        try:
            if daemon is not None:
                await daemon.close()
        finally:
            await home.close()  # else its thread would keep the process alive


class _Stopped(Exception):
    """The daemon was told to stop."""
