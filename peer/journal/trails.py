"""The audit trails of a user's devices, as these show each other how they end.

Each holds what the others have signed, and says when one of them shows less, or another thing; and
each learns from the others how far its own trail was, which somebody with its disk in hand cannot
know or change there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from crypto.ids import DeviceId
from peer.connectivity.connection import Connection
from peer.connectivity.network import Network
from peer.device.ledgers import Ledgers
from peer.journal.held_checkpoints import HeldCheckpoints
from peer.journal.trail_file import goes_through, heads_of
from peer.journal.witness import Witness
from protocol.errors import ProtocolError
from protocol.events import TrailsReceived
from protocol.messages import TrailsKnown
from protocol.trail import CHECKPOINTS_MAX, Checkpoint

OWN_CHANGED: Final = (
    "This device's audit trail is not the one that it signed: up to entry {entries} it was cut off,"
    " changed, or removed and begun anew. `holdfast log verify` says more."
)
OTHER_CHANGED: Final = "The audit trail of {name} was tampered with: {problem}."

log = logging.getLogger(__name__)


class Trails:
    """One daemon's."""

    def __init__(self, witness: Witness, ledgers: Ledgers, network: Network) -> None:
        self._witness, self._trail = witness, witness.trail
        self._ledgers, self._network = ledgers, network
        self._held = HeldCheckpoints(self._trail.directory)
        self._past: dict[bytes, Checkpoint] = {}
        """How the chains of this device's trail end in which nothing is written any more."""
        self._is_read = False
        self._compared: set[bytes] = set()
        """What others hold of this device's trail and was found to be in it."""
        network.on_own[TrailsReceived] = self._received
        self._trail.on_signed = lambda: network.tell_own(self.known())

    async def start(self) -> None:
        """Reads what is in the home."""
        try:
            self._held.load()
            self._past = await asyncio.to_thread(heads_of, self._trail.directory)
            self._is_read = True
        except OSError as error:
            log.warning("what other devices have signed cannot be read: %s", error)

    def known(self) -> TrailsKnown:
        """What the user's other devices are shown."""
        heads = dict(self._past)
        current = self._trail.sign()
        if not self._is_read:
            return TrailsKnown(())  # to show a part would say that the rest is gone
        if current is not None:
            heads[current.nonce] = current
        own = self._ledgers.keys.device_id
        others = [c for c in self._held.checkpoints() if c.device_id != own]
        shown = [*heads.values(), *others][:CHECKPOINTS_MAX]
        return TrailsKnown(tuple(checkpoint.encode() for checkpoint in shown))

    async def _received(self, event: TrailsReceived, connection: Connection) -> None:
        sender, own = connection.device_id, self._ledgers.keys.device_id
        heads: dict[bytes, Checkpoint] = {}
        others: list[tuple[Checkpoint, str]] = []
        for checkpoint in self._signed(event.checkpoints):
            if checkpoint.device_id == sender:
                heads[checkpoint.nonce] = checkpoint
            elif checkpoint.device_id == own:
                await self._compare(checkpoint)
            else:
                others.append((checkpoint, checkpoint.device_id.hex()[:8]))
        try:
            found = self._held.shown(sender, connection.name, heads, int(time.time()))
            self._held.told(others)
        except OSError as error:
            log.warning("what another device has signed cannot be written down: %s", error)
            return
        for problem in found:
            self._say(OTHER_CHANGED.format(name=connection.name, problem=problem), sender)

    def _signed(self, encoded: tuple[bytes, ...]) -> list[Checkpoint]:
        """Those that are signed by the device of the user that they name."""
        out: list[Checkpoint] = []
        for data in encoded:
            try:
                checkpoint = Checkpoint.decode(data)
            except ProtocolError:
                continue
            certificate = self._ledgers.user.certificate(checkpoint.device_id)
            if certificate is not None and checkpoint.is_signed_by(certificate.sign_pk):
                out.append(checkpoint)
        return out

    async def _compare(self, checkpoint: Checkpoint) -> None:
        """Whether this device's own trail goes through what it once signed."""
        encoded = checkpoint.encode()
        if encoded in self._compared:
            return
        try:
            is_in_it = await asyncio.to_thread(goes_through, self._trail.directory, checkpoint)
        except OSError as error:
            log.warning("the audit trail cannot be read: %s", error)
            return
        if is_in_it:
            self._compared.add(encoded)
            return
        said = OWN_CHANGED.format(entries=checkpoint.entries)
        problem = f"it signed {checkpoint.entries} entries that its trail does not have so any more"
        try:
            is_new = self._held.contradicted(checkpoint, "this device", problem)
        except OSError as error:
            log.warning("what another device holds cannot be written down: %s", error)
            return
        if is_new:
            self._say(said, checkpoint.device_id)

    def _say(self, said: str, about: DeviceId) -> None:
        log.error("%s", said)
        self._trail.note("contradicted", about=about.hex(), found=said)
        self._witness.board.tell("trail", int(time.time()), about=said)
