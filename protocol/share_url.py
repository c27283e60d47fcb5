"""A share link as a person passes it on: `https://HOST/s/ID#SECRET` (SPEC 17)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from crypto.share_links import LINK_ID_SIZE, LINK_SECRET_SIZE

URL_LENGTH_MAX: Final = 400
_PATH: Final = re.compile(r"/s/([A-Za-z0-9_-]{22})")
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_AUTHORITY: Final = re.compile(r"(?:[0-9A-Za-z.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class BadShareUrl(ValueError):
    """This is no share link. One looks like https://HOST/s/ID#SECRET; copy all of it, also what is
    behind the #.
    """

    def __init__(self) -> None:
        super().__init__(" ".join((self.__doc__ or "").split()))


@dataclass(frozen=True, slots=True)
class ShareUrl:
    """Where a link is, and what opens it."""

    base: str
    """Scheme, host and port."""
    link_id: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> ShareUrl:
        """Reads what `str` writes; raises BadShareUrl.

        Without TLS only on this machine: whoever is in between could take what they like away.
        """
        text = text.strip()
        if len(text) > URL_LENGTH_MAX or not text.isascii():
            raise BadShareUrl
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise BadShareUrl from None
        path, secret = _PATH.fullmatch(parts.path), _SECRET.fullmatch(parts.fragment)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname))
        is_whole = path is not None and secret is not None and not parts.query and port != 0
        if not is_whole or not is_safe or not _AUTHORITY.fullmatch(parts.netloc):
            raise BadShareUrl
        assert path is not None
        link_id = _decoded(path[1], LINK_ID_SIZE)
        return cls(
            f"{parts.scheme}://{parts.netloc}", link_id, _decoded(parts.fragment, LINK_SECRET_SIZE)
        )

    @property
    def path(self) -> str:
        """What is asked of the host."""
        return f"/s/{text_of(self.link_id)}"

    def __str__(self) -> str:
        return f"{self.base}{self.path}#{text_of(self.secret)}"


def text_of(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str, size: int) -> bytes:
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The last character has unused bits: one id has one text.
    if len(data) != size or text_of(data) != text:
        raise BadShareUrl
    return data


def _is_here(host: str | None) -> bool:
    try:
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False
