"""The mailboxes of this device, over all relays: who is away, and when somebody has to look.

When a device of the folder is away, what is new goes to the relays' mailboxes at once; what others
put there is told by the relays, and taken at once. Nothing is asked for by the clock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final

from crypto.ids import DeviceId, FolderId, RelayId
from peer.connectivity.network import Network
from peer.connectivity.relay_session import RelaySession
from peer.device.home import Home
from peer.device.ledgers import Ledgers
from peer.errors import PeerError
from peer.mail.folder_mail import FolderMail
from peer.mail.relay_mail import RelayMail
from protocol.errors import LinkError, ProtocolError
from protocol.holdings import Holdings
from protocol.messages import FrontierEntry

log = logging.getLogger(__name__)

AWAY_AFTER_S: Final = 3.0
"""How long a device may be on its way to us before it counts as away: a dial takes less."""
GATHER_S: Final = 0.05
"""After something has happened, for more of it: an editor saves in several steps."""
LOOK_AGAIN_S: Final = 30.0
"""A device that is away longer than `AWAY_AFTER_S`, and a relay that asked for patience, are no
events."""
RETRY_FIRST_S: Final = 0.5
"""After a visit that broke off; doubling."""
KEEP_INTERVAL_S: Final = 10.0
FLUSH_S: Final = 3.0
"""How long the end of the daemon waits for what is still to be put."""


class Mailboxes:
    """All of them; `run` has to run meanwhile."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        network: Network,
        on_membership: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._home, self._ledgers, self._network = home, ledgers, network
        self._on_membership = on_membership
        self._mails: dict[FolderId, FolderMail] = {}
        self._relays: dict[RelayId, RelayMail] = {}
        self._wakes: dict[RelayId, asyncio.Event] = {}
        self._gone_at: dict[DeviceId, float] = {}
        """When each device was last connected, as far as that is known, by the loop's clock."""
        network.on_told, network.on_grown = self._told, self.wake

    async def start(self) -> None:
        """Reads back how far the other devices are."""
        for folder_id in list(self._ledgers.folders):
            data = await self._home.store.setting(_setting(folder_id))
            self._mails[folder_id] = self._new_mail(folder_id, Holdings.decode(data or b""))

    async def run(self) -> None:
        """Keeps what is known, and notices who comes and goes."""
        while True:
            try:
                async with asyncio.timeout(KEEP_INTERVAL_S):
                    await self._network.changed.wait()
            except TimeoutError:
                pass
            await self._keep()
            await asyncio.sleep(KEEP_INTERVAL_S)

    def wake(self) -> None:
        """There may be something to put."""
        for wake in self._wakes.values():
            wake.set()

    def told_of(self, folder_id: FolderId) -> list[tuple[DeviceId, int, int]]:
        """(device, how many changes, when) of what devices that are away had, said so, and is at no
        relay that there is a link to.
        """
        folder, mail = self._network.folders.get(folder_id), self._mails.get(folder_id)
        if folder is None or mail is None or not self._relays:
            return []
        found = []
        for device_id, beat in mail.newest.items():
            seq_of = folder.engine.book.seq_of
            count = sum(max(0, entry.seq - seq_of(entry.log_id)) for entry in beat.held)
            if count and device_id not in self._network.connections:
                found.append((device_id, count, beat.time_s))
        return found

    def heard_s(self, device_id: DeviceId) -> float | None:
        """When the device was last there, by its own signed word in a mailbox; None without one."""
        beats = [m.newest[device_id].time_s for m in self._mails.values() if device_id in m.newest]
        return min(float(max(beats)), time.time()) if beats else None

    # ------------------------------------------------------------ relays

    async def attend(self, relay_id: RelayId, host: str, session: RelaySession) -> None:
        """Looks after the mailboxes at one relay, as long as the link to it lasts."""
        wake = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            mail = RelayMail(
                relay_id, host, session, self._network, self._ledgers, self._mail_of,
                self._on_membership, os.urandom, tasks,
            )  # fmt: skip

            def on_news(tag: bytes) -> None:
                mail.news(tag)
                wake.set()

            session.on_news = on_news
            self._relays[relay_id], self._wakes[relay_id] = mail, wake
            try:
                await self._keep_visiting(mail, wake)
            finally:
                mail.close()
                if self._relays.get(relay_id) is mail:
                    del self._relays[relay_id], self._wakes[relay_id]

    async def _keep_visiting(self, mail: RelayMail, wake: asyncio.Event) -> None:
        retry_s = RETRY_FIRST_S
        while True:
            is_done = await self._visit(mail, self._away())
            retry_s = RETRY_FIRST_S if is_done else min(2 * retry_s, LOOK_AGAIN_S)
            try:
                async with asyncio.timeout(self._patience() if is_done else retry_s):
                    await wake.wait()
                await asyncio.sleep(GATHER_S)
            except TimeoutError:
                pass
            wake.clear()

    async def _visit(self, mail: RelayMail, away: Collection[DeviceId]) -> bool:
        """Visits all folders' mailboxes at one relay; False if one has to be visited again."""
        is_done, visited = True, set[FolderId]()
        # A visit may tell of a folder, which is visited then.
        while to_visit := [
            each for each in self._network.folders.items() if each[0] not in visited
        ]:
            folder_id, folder = to_visit[0]
            visited.add(folder_id)
            if folder_id not in self._ledgers.folders:
                continue
            absent = set(away).intersection(self._mail_of(folder_id).others())
            try:
                await mail.visit(folder, absent)
            except (LinkError, ProtocolError, PeerError, sqlite3.Error) as error:
                log.info("the mailboxes have to wait: %s", error)
                is_done = False
        return is_done

    async def flush(self) -> None:
        """This device goes: what anybody lacks is put now, as far as that is quickly done."""
        everybody = set(self._ledgers.user.live_devices()) - {self._ledgers.keys.device_id}
        try:
            async with asyncio.timeout(FLUSH_S):
                for mail in list(self._relays.values()):
                    await self._visit(mail, everybody)
        except TimeoutError:
            log.info("not all of what others lack is in the mailboxes")
        await self._keep()

    # ------------------------------------------------------------ who is where

    def _away(self) -> set[DeviceId]:
        """Who is not connected, and has not been for a moment."""
        now = asyncio.get_running_loop().time()
        away = set()
        for device_id in self._ledgers.user.live_devices():
            connection = self._network.connections.get(device_id)
            if connection is not None and connection.name:
                self._gone_at[device_id] = now
            elif now >= self._gone_at.setdefault(device_id, now) + AWAY_AFTER_S:
                away.add(device_id)
        away.discard(self._ledgers.keys.device_id)
        return away

    def _patience(self) -> float:
        """Until somebody counts as away who does not yet."""
        now = asyncio.get_running_loop().time()
        return min(
            [gone_at + AWAY_AFTER_S - now + 0.01 for gone_at in self._gone_at.values()
             if gone_at + AWAY_AFTER_S > now] or [LOOK_AGAIN_S]
        )  # fmt: skip

    def _told(
        self,
        device_id: DeviceId,
        folder_id: FolderId,
        entries: Sequence[FrontierEntry],
        is_applied: bool,
    ) -> None:
        if not self._ledgers.is_member(device_id, folder_id):
            return
        told = {entry.log_id: entry.seq for entry in entries}
        self._mail_of(folder_id).holdings.told(
            device_id, told, int(time.time()), applied=is_applied
        )

    # ------------------------------------------------------------ folders

    def _mail_of(self, folder_id: FolderId) -> FolderMail:
        mail = self._mails.get(folder_id)
        if mail is None:
            mail = self._mails[folder_id] = self._new_mail(folder_id, Holdings())
        return mail

    def _new_mail(self, folder_id: FolderId, holdings: Holdings) -> FolderMail:
        def live_others() -> list[DeviceId]:
            ledger = self._ledgers.folders[folder_id].ledger
            own = self._ledgers.keys.device_id
            return [d for d in ledger.devices() if d != own and ledger.is_live(d)]

        return FolderMail(holdings, live_others)

    async def _keep(self) -> None:
        for folder_id, mail in list(self._mails.items()):
            if not mail.holdings.has_changed:
                continue
            mail.holdings.has_changed = False
            try:
                async with self._home.store.transaction() as write:
                    await write.put_setting(_setting(folder_id), mail.holdings.encode())
            except sqlite3.OperationalError as error:
                mail.holdings.has_changed = True
                log.warning("%s", error)


def _setting(folder_id: FolderId) -> str:
    return f"holdings:{folder_id.hex()}"
