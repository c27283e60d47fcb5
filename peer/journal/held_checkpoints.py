"""What a device holds of the audit trails of its user's other devices: how long they were, signed,
and whether what they show now contradicts it.

Whoever cuts off a trail, or begins it anew, has its device's file in hand and perhaps its key, but
not what others hold. It lies as lines in a file beside this device's own trail, for a command that
runs without the daemon.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from crypto.ids import DeviceId
from peer.device.small_file import write_durably
from protocol.errors import ProtocolError
from protocol.trail import Checkpoint

FILE_NAME: Final = "held"
"""In the directory of the trail."""
CHAINS_MAX: Final = 16
"""Of one device: as many as there are segments of a trail (`peer.journal.trail_file`)."""
ARCHIVED_ENTRIES: Final = 100_000
"""After so many in a later chain the segments of an earlier one may have given way to them."""

log = logging.getLogger(__name__)


class Held(NamedTuple):
    """One chain of another device's trail, or of this one's as others hold it."""

    checkpoint: Checkpoint
    """The furthest one that its device has signed."""
    name: str
    """What the device was called then."""
    seen_s: int
    """When it was last in keeping with what the device showed."""
    problem: str = ""
    """What contradicts it; stays once it was found."""


def contradiction(held: Checkpoint, shown: Checkpoint | None) -> str:
    """What is wrong with a trail of which a chain was as long as `held`, and ends with `shown` now;
    empty if nothing is.
    """
    if shown is None:
        return (
            f"the trail of {held.entries} entries that it had is not there any more: it was"
            " removed, or begun anew"
        )
    if shown.entries < held.entries:
        return (
            f"it ends after entry {shown.entries}, and had {held.entries}: it was cut off, or put"
            " back from an older copy"
        )
    if shown.entries == held.entries and shown.hash != held.hash:
        return f"entry {held.entries} or one before it is another than it was: it was changed"
    return ""


class HeldCheckpoints:
    """All that one device holds."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._held: dict[tuple[DeviceId, bytes], Held] = {}

    def load(self) -> None:
        """Reads the file; what cannot be read of it is left out. Raises OSError."""
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                one = json.loads(line)
                checkpoint = Checkpoint.decode(bytes.fromhex(one["checkpoint"]))
                held = Held(checkpoint, str(one["name"]), int(one["seen"]), str(one["problem"]))
            except (LookupError, ValueError, TypeError, ProtocolError) as error:
                log.warning("a checkpoint of another device cannot be read: %s", error)
                continue
            self._held[checkpoint.device_id, checkpoint.nonce] = held

    def _save(self) -> None:
        lines = [
            json.dumps(
                {
                    "checkpoint": held.checkpoint.encode().hex(),
                    "name": held.name,
                    "seen": held.seen_s,
                    "problem": held.problem,
                }
            )
            for held in self._held.values()
        ]
        write_durably(self._path, "".join(f"{line}\n" for line in lines).encode())

    def all(self) -> list[Held]:
        """Everything, device by device."""
        return sorted(self._held.values(), key=lambda h: (h.name, h.checkpoint.time_s))

    def checkpoints(self) -> list[Checkpoint]:
        """For other devices: the furthest of each chain."""
        return [held.checkpoint for held in self.all()]

    def shown(
        self, device_id: DeviceId, name: str, heads: Mapping[bytes, Checkpoint], now_s: int
    ) -> list[str]:
        """A device shows how each chain of its trail ends, by its nonce, each signed; what that
        contradicts, as far as it is new. Who shows none says nothing. Raises OSError.
        """
        found: list[str] = []
        if not heads:
            return found
        before = dict(self._held)
        newest = max((head.entries for head in heads.values()), default=0)
        for key, held in before.items():
            if key[0] != device_id or held.problem:
                continue
            problem = contradiction(held.checkpoint, heads.get(key[1]))
            if problem and key[1] not in heads and newest >= ARCHIVED_ENTRIES:
                del self._held[key]
            elif problem:
                self._held[key] = held._replace(problem=problem)
                found.append(problem)
        for nonce, head in heads.items():
            held_now = self._held.get((device_id, nonce))
            if held_now is None or not held_now.problem:
                self._held[device_id, nonce] = Held(head, name, now_s)
        own = [key for key in self._held if key[0] == device_id]
        for key in own[:-CHAINS_MAX]:
            if not self._held[key].problem:
                del self._held[key]
        if self._held != before:
            self._save()
        return found

    def told(self, checkpoints: Iterable[tuple[Checkpoint, str]]) -> None:
        """What another device holds of others, whose names are given: kept where it is further than
        what is held here. Raises OSError.
        """
        before = dict(self._held)
        for checkpoint, name in checkpoints:
            key = checkpoint.device_id, checkpoint.nonce
            held = self._held.get(key)
            chains = sum(known == key[0] for known, _ in self._held)
            if held is None and chains < CHAINS_MAX:
                self._held[key] = Held(checkpoint, name, 0)
            elif held is not None and held.checkpoint.entries < checkpoint.entries:
                self._held[key] = held._replace(checkpoint=checkpoint)
        if self._held != before:
            self._save()

    def contradicted(self, checkpoint: Checkpoint, name: str, problem: str) -> bool:
        """This device's own trail is not what it signed; whether that is new. Raises OSError."""
        key = checkpoint.device_id, checkpoint.nonce
        held = self._held.get(key)
        if held is not None and held.problem:
            return False
        self._held[key] = Held(checkpoint, name, 0, problem)
        self._save()
        return True
