"""The audit trail of a device: what is written into it, and when it is made durable.

Whoever has something to tell only calls; a trail that cannot be written keeps nobody from working.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crypto.ids import DeviceId, LogId
from crypto.keys import DeviceKeys
from peer.core.deeds import Deeds, Named
from peer.journal.trail_file import TRAIL_NAME, TrailFile
from protocol.trail import Checkpoint

CHECKPOINT_INTERVAL_S: Final = 300.0
"""CRYPTO 11; also how much a power cut can take."""
TEXT_LENGTH_MAX: Final = 400
"""Of a path or name in an entry: a path of 4 KiB would make ten of them a page."""
UNRECORDED: Final = frozenset(
    {
        "/api/search",
        "/api/search/suggest",
        "/api/versions",
        "/api/versions/read",
        "/api/config/set",
        "/api/notifications/mark_as_read",
        "/api/daemon/stop",
        "/api/users/register",
        "/api/folders/share",
    }
)
"""What is asked and changes nothing, or has an entry of its own, or is never done."""
SECRETS: Final = frozenset({"kit", "token", "password", "passphrase", "code", "secret", "text"})
"""Members of a request that no trail holds."""

log = logging.getLogger(__name__)


class Trail:
    """One daemon's."""

    def __init__(self, home: Path, keys: DeviceKeys) -> None:
        self.directory = home / TRAIL_NAME
        self._keys = keys
        self._name = ""
        self._file: TrailFile | None = None
        self.on_signed: Callable[[], None] = lambda: None
        """Called when more of the trail is signed, for those who are to hold it."""

    def sign(self) -> Checkpoint | None:
        """Signs all that is in the trail now; None if there is no trail in this run."""
        if self._file is None:
            return None
        try:
            self._file.sign(int(time.time()))
        except OSError as error:
            log.warning("the audit trail cannot be signed: %s", error)
        return self._file.checkpoint

    def open(self, name: str, *, begins_anew: bool) -> list[str]:
        """Goes on with the trail of this device; says what was found wrong with it."""
        self._name = name
        try:
            self._file = TrailFile.open(
                self.directory, self._keys, os.urandom, int(time.time()), begins_anew=begins_anew
            )
        except OSError as error:
            return [f"There is no audit trail in this run: {error}."]
        for notice in self._file.notices:
            self.note("repaired", found=notice)
        self.note("started")
        return self._file.notices

    def note(self, what: str, **more: Any) -> None:
        """Something happened, by this device's hand unless `device` names another."""
        if self._file is None:
            return
        now_s = int(time.time())
        entry: dict[str, Any] = {"time": now_s, "what": what}
        if "device" not in more:
            entry |= {"device": self._keys.device_id.hex(), "by": self._name}
        self._file.append(entry | more, now_s)

    def asked(self, path: str, members: Mapping[str, Any]) -> None:
        """Somebody asked for something at the control API, and it was done."""
        if path in UNRECORDED:
            return
        shown = {
            key: _short(value) if isinstance(value, str) else value
            for key, value in members.items()
            if key not in SECRETS and value is not None
        }
        self.note("asked", path=path, **({"with": shown} if shown else {}))

    def files(
        self,
        folder: str,
        all_deeds: Sequence[Deeds],
        device_of: Callable[[LogId], DeviceId | None],
    ) -> None:
        """What was done to files of a folder: an entry for each device that did something."""
        for deeds in all_deeds:
            device_id = device_of(deeds.author)
            by = deeds.label
            if device_id is not None:
                by = by or (self._name if device_id == self._keys.device_id else "")
            self.note(
                "files",
                device=device_id.hex() if device_id is not None else "",
                by=by,
                folder=folder,
                counts={what.value: count for what, count in deeds.counts.items()},
                paths={what.value: list(map(_named, some)) for what, some in deeds.paths.items()},
            )

    async def run(self) -> None:
        """Signs and makes durable, from time to time, until cancelled."""
        while True:
            await asyncio.sleep(CHECKPOINT_INTERVAL_S)
            if self._file is None:
                continue
            before = self._file.checkpoint
            try:
                self._file.sign(int(time.time()))
                await asyncio.to_thread(self._file.sync)
            except OSError as error:
                log.warning("the audit trail cannot be made durable: %s", error)
            if self._file is not None and self._file.checkpoint != before:
                self.on_signed()

    def close(self) -> None:
        """The last entry, and a checkpoint of all."""
        if self._file is not None:
            self.note("stopped")
            self._file.close(int(time.time()))
            self._file = None


def _named(named: Named) -> str | list[str]:
    """A path; of what was renamed both, the older first."""
    return [_short(named.was), _short(named.path)] if named.was else _short(named.path)


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…"
