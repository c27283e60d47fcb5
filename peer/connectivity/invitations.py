"""The inviting side of pairing: shows a code, answers whoever types it, and gives them all they
need.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from crypto.ids import FolderId
from peer.connectivity.discovery import Discovery
from peer.connectivity.relays import Relays
from peer.device.home import Home
from peer.device.home_store import Device
from peer.device.ledgers import Ledgers
from peer.errors import TooManyInvitations
from peer.folders.folder import Folder
from peer.status import Invitation as InvitationStatus
from protocol.errors import ProtocolError
from protocol.invitations import LIFETIME_S, Invitation
from protocol.link import Link
from protocol.messages import FrontierEntry
from protocol.pairing import PairingListener, refusal
from protocol.pairing_messages import PairingWrap, WelcomeFolder
from protocol.wire import MESSAGE_LENGTH_MAX
from protocol.words import NAMEPLATE_MAX

log = logging.getLogger(__name__)

NAMEPLATES = 99
"""Small numbers are quickly typed; one device hardly has two invitations open at once."""


class Invitations:
    """The invitations that are open."""

    def __init__(
        self,
        ledgers: Ledgers,
        home: Home,
        name: str,
        port: int,
        discovery: Discovery | None,
        folders: Callable[[], dict[FolderId, tuple[str, Folder | None]]],
        on_paired: Callable[[], Coroutine[Any, Any, None]],
        tasks: asyncio.TaskGroup,
        relays: Relays,
    ) -> None:
        self._ledgers, self._home, self._name, self._port = ledgers, home, name, port
        self._discovery, self._folders = discovery, folders
        self._on_paired, self._tasks = on_paired, tasks
        self._relays = relays
        self._open: dict[int, Invitation] = {}
        self._asked: set[int] = set()
        """Numbers of which relays are being asked whether they are free."""

    async def open(self) -> InvitationStatus:
        """A new invitation for ten minutes and one device."""
        await self._withdraw_closed()
        nameplate, relays = await self._choose()
        invitation = Invitation.create(nameplate, os.urandom, time.monotonic())
        self._open[nameplate] = invitation
        if self._discovery is not None:
            await self._discovery.open_invitation(nameplate, self._port)
        self._tasks.create_task(self._withdraw_later())
        return {"code": str(invitation.code), "expires_s": LIFETIME_S, "relays": relays}

    async def _choose(self) -> tuple[int, list[str]]:
        """A number that is free here and at the relays, which show it from now on; a small one if
        there is one.
        """
        for numbers in (NAMEPLATES, NAMEPLATES, NAMEPLATE_MAX, NAMEPLATE_MAX, NAMEPLATE_MAX):
            free = [
                n for n in range(1, numbers + 1) if n not in self._open and n not in self._asked
            ]
            if not free or len(self._open) + len(self._asked) >= NAMEPLATES:
                raise TooManyInvitations
            nameplate = secrets.choice(free)
            self._asked.add(nameplate)
            try:
                relays = await self._relays.show(nameplate)
            finally:
                self._asked.discard(nameplate)
            if relays is not None:
                return nameplate, relays
        return nameplate, []  # a relay whose numbers are all taken is of no use

    async def _withdraw_later(self) -> None:
        await asyncio.sleep(LIFETIME_S + 1)
        await self._withdraw_closed()

    async def _withdraw_closed(self) -> None:
        """Announces no longer what nobody can join by any more: too old, used, or tried too
        often.
        """
        now = time.monotonic()
        closed = [n for n, invitation in self._open.items() if not invitation.is_open(now)]
        for nameplate in closed:
            del self._open[nameplate]
            self._relays.hide(nameplate)
        if self._discovery is not None:
            for nameplate in closed:
                if nameplate not in self._open:  # another may have its number by now
                    await self._discovery.close_invitation(nameplate)

    async def answer(self, link: Link, first: tuple[int, bytes]) -> None:
        """Talks to somebody who says that they know a code; errors end this link only."""
        pairing = PairingListener(
            self._open.get, self._ledgers.user_id, link.kind, link.binding, os.urandom
        )
        frame: tuple[int, bytes] | None = first
        try:
            while frame is not None:
                for number, payload in pairing.receive(*frame, time.monotonic()):
                    link.send(number, [payload])
                if pairing.newcomer is not None:
                    await self._welcome(link, pairing)
                    break
                async with asyncio.timeout(max(0.0, (pairing.deadline or 0) - time.monotonic())):
                    frame = await link.receive()
        except TimeoutError:
            log.info("a pairing was not finished in time")
        except ProtocolError as error:
            log.info("a pairing failed: %s", type(error).__name__)
            number, payload = refusal(error)
            link.send(number, [payload])
        finally:
            await link.close()
        await self._withdraw_closed()
        if pairing.newcomer is not None:
            await self._on_paired()

    async def _welcome(self, link: Link, pairing: PairingListener) -> None:
        newcomer, certificate = pairing.newcomer, pairing.certificate
        assert newcomer is not None
        assert certificate is not None
        link.admit()
        await self._ledgers.add_device(newcomer.certificate, newcomer.signature)
        async with self._home.store.transaction() as write:
            await write.put_device(Device(certificate.device_id, newcomer.device_name, None))
        folders = []
        running = self._folders()
        for folder_id, membership in self._ledgers.folders.items():
            name, folder = running.get(folder_id, ("", None))
            frontier = folder.engine.frontier if folder is not None else []
            folders.append(
                WelcomeFolder(
                    folder_id,
                    name,
                    tuple(membership.ledger.export()),
                    tuple(PairingWrap(*wrap) for wrap in membership.chain.wraps()),  # type: ignore[arg-type]
                    tuple(FrontierEntry(*entry) for entry in frontier),
                )
            )
        number, payload = pairing.give(
            self._name,
            self._home.keys.device_id,
            tuple(self._ledgers.user.export()),
            tuple(folders),
            self._relays.records,
        )
        link.set_frame_limit(MESSAGE_LENGTH_MAX)
        link.send(number, [payload])
        log.info("paired with %s", newcomer.device_name)
