"""One visitor of a share link, over HTTP: head, claim and ranges of packs (SPEC 17). Blocking.

It runs no page and believes nothing: what it gets is checked by who asked (crypto.share_links).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from crypto.share_links import BLOB_SIZE_MAX, PASSWORD_SALT_SIZE
from peer.errors import (
    LinkEnded,
    LinkUnknown,
    LinkUnreachable,
    TooManyAttempts,
)
from protocol.errors import reason_of
from protocol.share_url import ShareUrl, text_of

TIMEOUT_S: Final = 60.0
TRIES: Final = 6
"""Of one range; the waits between them are a minute together."""
FIRST_WAIT_S: Final = 1.0
_SMALL: Final = 64 << 10
_BROKEN: Final = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Head:
    """What a relay says of a link before a claim."""

    flags: int
    password_salt: bytes


class Visitor:
    """Asks one relay about one link; may be used by several threads, each with its connection."""

    def __init__(
        self, url: ShareUrl, sleep: Callable[[float], None] = time.sleep, ticket: str = ""
    ) -> None:
        self.url = url
        self.ticket = ticket
        """Of the download that was claimed."""
        self._sleep = sleep
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []
        self._context = ssl.create_default_context() if url.base.startswith("https") else None

    def close(self) -> None:
        """Ends all connections."""
        for connection in self._all:
            connection.close()

    def head(self) -> Head:
        """Flags and password salt; raises PeerError."""
        status, _, body = self._patient("GET", f"{self.url.path}/head", {})
        try:
            told = json.loads(body) if status == 200 else {}
            salt = urlsafe_b64decode(told["salt"] + "==")
            flags = told["flags"]
            if told["version"] != 1 or type(flags) is not int or len(salt) != PASSWORD_SALT_SIZE:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise LinkUnreachable(
                "The relay answered something else than a share link: is it one of Holdfast?"
            ) from None
        return Head(flags, salt)

    def claim(self, token: bytes) -> bytes:
        """Takes one download; the sealed manifest. Raises PeerError."""
        # Not repeated when a connection breaks: each may take a download.
        status, headers, body = self._once(
            "POST", f"{self.url.path}/claim", {}, token, BLOB_SIZE_MAX
        )
        if status != 200:
            raise _refusal(status, headers, body)
        self.ticket = headers.get("x-holdfast-ticket", "")
        return body

    def give_back(self) -> bool:
        """Gives back what was claimed and not used, so that nobody has to wait for it; False if the
        relay does not take it, or cannot be asked.
        """
        try:
            ticket = {"X-Holdfast-Ticket": self.ticket}
            status, _, _ = self._once("DELETE", f"{self.url.path}/claim", ticket, b"", _SMALL)
        except LinkUnreachable:
            return False
        return status == 204

    def range(self, pack_id: bytes, first: int, end: int) -> bytes:
        """Bytes of a pack, on the grid; raises PeerError."""
        path = f"{self.url.path}/pack/{text_of(pack_id)}"
        data = b""
        while first + len(data) < end:
            at = first + len(data)
            asked = {"X-Holdfast-Ticket": self.ticket, "Range": f"bytes={at}-{end - 1}"}
            status, headers, body = self._patient("GET", path, asked, end - at)
            if status != 206:
                raise _refusal(status, headers, body)
            if not body or not headers.get("content-range", "").startswith(f"bytes {at}-"):
                raise LinkUnreachable("The relay answered with other bytes than were asked for.")
            data += body
        return data

    # Private

    def _patient(
        self, method: str, path: str, headers: dict[str, str], length_max: int = _SMALL
    ) -> tuple[int, dict[str, str], bytes]:
        """Asks again, ever later, while there is no answer or a pack is not to be had."""
        wait_s = FIRST_WAIT_S
        for tries_left in range(TRIES - 1, -1, -1):
            try:
                answer = self._once(method, path, headers, b"", length_max)
            except LinkUnreachable:
                if not tries_left:
                    raise
            else:
                if answer[0] != 503 or not tries_left:
                    return answer
            self._sleep(wait_s)
            wait_s *= 2
        raise AssertionError

    def _once(
        self, method: str, path: str, headers: dict[str, str], body: bytes, length_max: int
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            with self._connection() as connection:
                connection.request(method, path, body or None, headers)
                with connection.getresponse() as response:
                    length = response.length
                    if length is None or length > max(length_max, _SMALL):
                        raise LinkUnreachable("The relay's answer is longer than it may be.")
                    data = response.read()
        except ssl.SSLCertVerificationError as error:
            raise LinkUnreachable(
                f"The relay's certificate is not trusted: {error.verify_message}."
            ) from error
        except _BROKEN as error:
            raise LinkUnreachable(
                f"{urlsplit(self.url.base).netloc} does not answer: {reason_of(error)}."
                " See that you are online and try again; what has come is kept."
            ) from error
        named = {name.lower(): value for name, value in response.getheaders()}
        return response.status, named, data

    @contextlib.contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        """This thread's; one that broke is not used again."""
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._make()
            self._all.append(connection)
        try:
            yield connection
        except BaseException:
            connection.close()
            self._own.connection = None
            raise

    def _make(self) -> http.client.HTTPConnection:
        place = urlsplit(self.url.base)
        host = place.hostname or ""
        if self._context is None:
            return http.client.HTTPConnection(host, place.port or 80, timeout=TIMEOUT_S)
        return http.client.HTTPSConnection(
            host, place.port or 443, timeout=TIMEOUT_S, context=self._context
        )


def _refusal(status: int, headers: dict[str, str], body: bytes) -> Exception:
    """The error for an answer that is no good one."""
    match status, _member(body):
        case 410, {"ended": str(how)} if how in _ENDS:
            return LinkEnded(_ENDS[how])
        case 410, _:
            return LinkEnded()
        case 429, {"wait": "taken"}:
            return TooManyAttempts(
                "Somebody else takes the last download of this link just now. If they do not, it"
                " is free again in ten minutes."
            )
        case 429, _:
            return TooManyAttempts()
        case 404, _:
            return LinkUnknown()
        case _:
            return LinkUnreachable(f"The relay cannot give that just now ({status}); try later.")


_ENDS: Final = {
    "expired": "This link has expired. Ask who sent it for a new one.",
    "revoked": "This link was revoked by who made it.",
    "used up": "This link was used as often as it may be. Ask who sent it for a new one.",
}


def _member(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
