"""What a request to the control API says: its members, each taken once and checked."""

import json
from pathlib import Path
from typing import Any

from starlette.requests import Request

from peer.errors import UsageError
from peer.status import HoldAnswer
from protocol.relay_address import BadRelayAddress, RelayAddress
from protocol.relay_token import BadRelayToken, parse_token

BODY_SIZE_MAX = 1 << 20
"""A merged text comes in one; what is longer is edited in its folder."""


class Fields:
    """The members of a request's JSON object, each taken once and checked; what is left over is a
    mistake.
    """

    def __init__(self, members: dict[str, Any], *, is_query: bool = False) -> None:
        """`is_query`: they stood behind the address, so that every value is a text."""
        self._members, self._is_query = members, is_query

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self._members.pop(name, None)
        if not isinstance(value, str) or not value:
            raise UsageError(f"The request needs `{name}`, a text.")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or None when it is missing or null."""
        if self._members.get(name) is None:
            self._members.pop(name, None)
            return None
        return self.text(name)

    def whole_text(self, name: str) -> str:
        """A text that must be there and may be empty."""
        value = self._members.pop(name, None)
        if not isinstance(value, str):
            raise UsageError(f"The request needs `{name}`, a text.")
        return value

    def path(self, name: str) -> Path:
        """An absolute path: the daemon's own directory means nothing to who asks."""
        path = Path(self.text(name))
        if not path.is_absolute() or "\0" in str(path):
            raise UsageError(f"`{name}` has to be an absolute path.")
        return path

    def token(self, name: str) -> bytes:
        """The token of an invitation to a relay; empty when it is missing."""
        text = self.optional_text(name)
        try:
            return b"" if text is None else parse_token(text)
        except BadRelayToken as error:
            raise UsageError(str(error)) from error

    def relays(self, name: str) -> list[RelayAddress]:
        """Relays' addresses."""
        values = self._members.pop(name, None)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise UsageError(f"`{name}` has to be a list of addresses.")
        try:
            return [RelayAddress.parse(value) for value in values]
        except BadRelayAddress as error:
            raise UsageError(str(error)) from error

    def relay(self, name: str) -> RelayAddress:
        """A relay's address."""
        try:
            return RelayAddress.parse(self.text(name))
        except BadRelayAddress as error:
            raise UsageError(str(error)) from error

    def optional_path(self, name: str) -> Path | None:
        """The same, or None when it is missing or null."""
        if self._members.get(name) is None:
            self._members.pop(name, None)
            return None
        return self.path(name)

    def number(self, name: str) -> int:
        """A whole number that is not negative."""
        value = self._members.pop(name, None)
        if self._is_query and isinstance(value, str) and value.isascii() and value.isdecimal():
            value = int(value[:20])
        if type(value) is not int or not 0 <= value < 1 << 62:
            raise UsageError(f"`{name}` has to be a whole number.")
        return value

    def optional_number(self, name: str) -> int | None:
        """The same, or None when it is missing or null."""
        if self._members.get(name) is None:
            self._members.pop(name, None)
            return None
        return self.number(name)

    def flag(self, name: str) -> bool:
        """True or false; false when it is missing."""
        value = self._members.pop(name, False)
        if self._is_query:
            value = {"true": True, "false": False}.get(str(value), value)
        if type(value) is not bool:
            raise UsageError(f"`{name}` has to be true or false.")
        return value

    def numbers(self, name: str) -> list[int] | None:
        """A list of at most 1,000 whole numbers; None when it is missing or null."""
        values = self._members.pop(name, None)
        if values is None:
            return None
        if (
            not isinstance(values, list)
            or len(values) > 1_000
            or any(type(value) is not int or not 0 <= value < 1 << 62 for value in values)
        ):
            raise UsageError(f"`{name}` has to be a list of at most 1000 whole numbers.")
        return values

    def answer(self, name: str) -> HoldAnswer:
        """One of HoldAnswer."""
        value = self.text(name)
        if value not in list(HoldAnswer):
            raise UsageError(f"`{name}` has to be one of: {', '.join(HoldAnswer)}.")
        return HoldAnswer(value)

    def end(self) -> None:
        """Refuse members that nothing asked for: a misspelt option must not be silently ignored."""
        if self._members:
            raise UsageError(f"The request has a member too many: {min(self._members)}.")


async def read_members(request: Request) -> dict[str, Any]:
    """The request's members: of a GET what stands behind its address, else its body, a JSON object.

    A body is read no further than BODY_SIZE_MAX; none is an object with no members.
    """
    if request.method in ("GET", "HEAD"):
        members: Any = dict(request.query_params)
        if len(members) < len(request.query_params.multi_items()):
            raise UsageError("The request has a member twice.")
        return members  # type: ignore[no-any-return]
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_SIZE_MAX:
            raise UsageError(f"The request is longer than {BODY_SIZE_MAX} bytes.")
    try:
        members = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise UsageError("The request has to be a JSON object.")
    return members
