"""The route for who shows all of it all the time: one answer with everything that a screen draws at
one look. While nothing of it changes, its ETag stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from peer.control.control_fields import Fields
from peer.control.home_control import TransferApi
from peer.journal.notices import NOTICES_MAX
from peer.status import (
    BackupList,
    ConflictList,
    DeviceEntry,
    DeviceList,
    NoticeList,
    Overview,
    RelayList,
    Status,
    TransferList,
)

AGE_STEP_S: Final = 60
"""Ages are to the minute, or every answer would be another one."""


class _Backups(Protocol):
    async def every(self) -> BackupList: ...


class _Witness(Protocol):
    async def notifications(self, *, unread_only: bool, limit: int) -> NoticeList: ...


class OverviewApi(Protocol):
    """What the control API asks of a daemon for it."""

    @property
    def witness(self) -> _Witness:
        """Who keeps what happened."""

    @property
    def transfers(self) -> TransferApi:
        """Who knows what is on its way."""

    @property
    def backups(self) -> _Backups:
        """The copies at super-nodes."""

    async def status(self) -> Status:
        """How everything stands."""

    async def devices(self) -> DeviceList:
        """The user's devices."""

    async def list_relays(self) -> RelayList:
        """The relays of this device."""

    async def conflicts(self) -> ConflictList:
        """The conflict copies of all folders, for which indexes are walked."""


async def overview(daemon: OverviewApi, fields: Fields) -> Mapping[str, Any]:
    """`GET /api/overview`: what costs more than a look is worth comes only if asked for.
    What is on its way is looked for only where something is lacking.
    """
    has_conflicts, has_backups = fields.flag("conflicts"), fields.flag("backups")
    fields.end()
    status = await daemon.status()
    is_moving = any(f["need_bytes"] or "paused_files" in f for f in status["folders"])
    nothing: TransferList = {"transfers": [], "more": 0, "under_way": []}
    answer: Overview = {
        "status": status,
        "devices": [_to_the_minute(one) for one in (await daemon.devices())["devices"]],
        "relays": (await daemon.list_relays())["relays"],
        "notifications": await daemon.witness.notifications(unread_only=False, limit=NOTICES_MAX),
        "transfers": await daemon.transfers.listed() if is_moving else nothing,
    }
    if has_conflicts:
        answer["conflicts"] = (await daemon.conflicts())["conflicts"]
    if has_backups:
        answer["backups"] = await daemon.backups.every()
    return answer


def _to_the_minute(device: DeviceEntry) -> DeviceEntry:
    seen = device["last_seen_s"]
    if seen is None:
        return device
    return {**device, "last_seen_s": float(math.ceil(seen / AGE_STEP_S) * AGE_STEP_S)}
