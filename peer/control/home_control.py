"""The routes of the home in the control API: settings, what is on its way, and the daemon's log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from peer.control.control_fields import Fields
from peer.status import LogLines, SettingEntry, SettingList, TransferList


class HomeApi(Protocol):
    """What the control API asks of who keeps settings."""

    async def settings(self) -> SettingList:
        """Every setting."""

    async def set(self, key: str, value: str) -> SettingEntry:
        """Change one."""


class LinesApi(Protocol):
    """What the control API asks of who keeps the newest lines of the log."""

    def page(self, after: str | None = None, limit: int | None = None) -> LogLines:
        """Those that there are, or that came since."""


class TransferApi(Protocol):
    """What the control API asks of who knows what is on its way."""

    async def listed(self) -> TransferList:
        """The files on their way."""

    async def pause(self, path: Path) -> None:
        """Let one of them wait."""

    async def resume(self, path: Path) -> None:
        """Let it go on."""


async def settings(home: HomeApi, fields: Fields) -> Mapping[str, Any]:
    """`GET /api/config`."""
    fields.end()
    return await home.settings()


async def change(home: HomeApi, fields: Fields) -> Mapping[str, Any]:
    """`POST /api/config/set`."""
    key, value = fields.text("key"), fields.text("value")
    fields.end()
    return await home.set(key, value)


async def lines(log: LinesApi, fields: Fields) -> Mapping[str, Any]:
    """`GET /api/daemon/log`."""
    after, limit = fields.optional_text("after"), fields.optional_number("limit")
    fields.end()
    return log.page(after, limit)


async def transfers(api: TransferApi, fields: Fields) -> Mapping[str, Any]:
    """`GET /api/sync/transfers`."""
    fields.end()
    return await api.listed()


async def pause(api: TransferApi, fields: Fields) -> None:
    """`POST /api/sync/transfers/pause`."""
    path = fields.path("path")
    fields.end()
    await api.pause(path)


async def resume(api: TransferApi, fields: Fields) -> None:
    """`POST /api/sync/transfers/resume`."""
    path = fields.path("path")
    fields.end()
    await api.resume(path)
