"""The control API's routes of the user and of what happened: profile, login, the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from peer.control.control_fields import Fields
from peer.control.log_requests import LogChoice
from peer.status import Login, LogPage, Profile


class UsersApi(Protocol):
    """What the routes ask of the daemon; each raises PeerError."""

    async def profile(self) -> Profile:
        """Who the user is."""

    async def register(self) -> None:
        """An identity, where there is none."""

    async def login(self, passphrase: str) -> Login:
        """A token for the passphrase."""

    def accepts(self, token: bytes) -> bool:
        """Whether it is such a token."""

    async def share(self) -> None:
        """A folder for another user."""


class LogApi(Protocol):
    """Who keeps the audit trail."""

    async def log(self, choice: LogChoice) -> LogPage:
        """A page of it."""


async def profile(users: UsersApi, fields: Fields) -> Mapping[str, Any]:
    """Who the user is."""
    fields.end()
    return await users.profile()


async def register(users: UsersApi, fields: Fields) -> None:
    """An identity, where there is none."""
    fields.optional_text("name")
    fields.optional_text("passphrase")
    fields.end()
    await users.register()


async def login(users: UsersApi, fields: Fields) -> Mapping[str, Any]:
    """A token for the passphrase."""
    passphrase = fields.text("passphrase")
    fields.end()
    return await users.login(passphrase)


async def share(users: UsersApi, fields: Fields) -> None:
    """A folder for another user."""
    fields.optional_text("folder")
    fields.optional_text("user")
    fields.optional_text("role")
    fields.end()
    await users.share()


async def log(witness: LogApi, fields: Fields) -> Mapping[str, Any]:
    """A page of the audit trail."""
    choice = LogChoice(
        fields.optional_number("limit"), fields.optional_text("cursor"),
        fields.optional_number("since_s"), fields.optional_number("until_s"),
        fields.optional_text("folder"), fields.optional_text("by"), fields.optional_text("what"),
    )  # fmt: skip
    fields.end()
    return await witness.log(choice)
