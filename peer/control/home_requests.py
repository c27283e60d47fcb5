"""What a person asks of this device's home: its settings."""

from __future__ import annotations

import asyncio
from pathlib import Path

import tomlkit

from peer.device.config import (
    KEYS,
    Config,
    field_of,
    parse_value,
    read_config,
    read_value,
    write_value,
)
from peer.errors import UsageError
from peer.status import SettingEntry, SettingList


class HomeRequests:
    """One home's."""

    def __init__(self, home: Path) -> None:
        self._home = home

    async def settings(self) -> SettingList:
        """Every setting, as the file says now; raises BadConfig."""
        return await asyncio.to_thread(self._settings)

    async def set(self, key: str, value: str) -> SettingEntry:
        """Changes one, which counts when the daemon is started anew; raises BadConfig."""
        return await asyncio.to_thread(self._set, key, value)

    def _settings(self) -> SettingList:
        found = read_config(self._home / "config.toml")
        return {"settings": [_setting(field, found) for field in KEYS]}

    def _set(self, key: str, value: str) -> SettingEntry:
        field = field_of(key)
        if "\n" in value:
            raise UsageError("A setting is one line.")
        checked = read_value(field, parse_value(value), "")
        return _setting(field, write_value(self._home / "config.toml", field, checked))


def _setting(field: str, config: Config) -> SettingEntry:
    key = KEYS[field]
    return {
        "key": key.dotted,
        "value": _toml(key.write(getattr(config, field))),
        "default": _toml(key.write(getattr(Config(), field))),
        "allowed": key.allowed,
    }


def _toml(value: object) -> str:
    return tomlkit.item(value).as_string()
