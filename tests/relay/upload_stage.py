"""Upload links made in memory, and senders of all kinds: as a page seals, without a page."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from crypto.share_links import LinkFlags, LinkKey, LinkSecrets, seal_link, token_hash
from crypto.uploads import (
    SEALED_SEGMENT_SIZE,
    SEGMENT_SIZE,
    UploadKeys,
    gate_of,
    open_head,
    seal_head,
    segment_count,
)
from protocol.upload_head import UploadHead, UploadManifest, decode_upload_head
from relay.link_rows import Ended
from relay.share_links import NewLink
from relay.upload_rows import UploadRules
from tests.relay.web_stage import OWNER, Answer, LinkStage, Made, WebStage, text_of

BATCH = b"b" * 16


@dataclass
class UploadLinkMade:
    """An upload link as its maker has it."""

    made: Made
    upload: LinkKey
    rules: UploadRules

    @property
    def gate(self) -> bytes:
        return gate_of(self.made.secrets, self.made.link_id)


@dataclass
class Sealed:
    """A file as a page sends it."""

    upload_id: bytes
    size: int
    head: bytes
    segments: list[bytes] = field(repr=False)


def make_upload_link(
    *,
    files_max: int = 10,
    file_bytes_max: int = 8 << 20,
    bytes_max: int = 16 << 20,
    password: str | None = None,
    name: str = "Party",
    **changes: Any,
) -> UploadLinkMade:
    key, upload = (LinkKey.from_seed(os.urandom(40)) for _ in range(2))
    secrets = LinkSecrets.of(os.urandom(32), os.urandom(16), password)
    manifest = UploadManifest(0, upload.public, name, files_max, file_bytes_max, bytes_max)
    flags = LinkFlags.UPLOAD | (LinkFlags.NONE if password is None else LinkFlags.PASSWORD)
    blob = seal_link(key, secrets, manifest.encode(), flags=flags, version=1, salt=os.urandom(32))
    hashed = token_hash(secrets.token(key.link_id))
    new = NewLink(OWNER, secrets.password_salt, hashed, changes.get("lifetime_s", 0), 0, (), 0)
    rules = UploadRules(key.link_id, files_max, file_bytes_max, bytes_max)
    return UploadLinkMade(Made(key, secrets, new, blob, ()), upload, rules)


async def put_upload_link(stage: LinkStage, link: UploadLinkMade) -> None:
    """Gives a relay the link, and lets senders in."""
    assert await stage.put(link.made) == Ended.LIVE
    assert await stage.uploads.allow(link.rules)


def sealed_file(
    link: UploadLinkMade,
    data: bytes,
    path: str = "picture.raw",
    label: str = "Ada",
    upload_id: bytes | None = None,
    **said: Any,
) -> Sealed:
    """A file sealed by who has the URL; `said` is what its head says otherwise than is true."""
    upload_id = upload_id or os.urandom(16)
    values = {"size": len(data), "mtime_ms": 1_767_225_600_000, "number": 0, "count": 1}
    head = UploadHead(path=path, label=label, batch=BATCH, **{**values, **said})
    sealed, keys = seal_head(
        link.upload.public, link.made.link_id, upload_id, link.gate, head.encode(), os.urandom(32)
    )
    return Sealed(upload_id, len(data), sealed, segments_of(keys, data))


def segments_of(keys: UploadKeys, data: bytes) -> list[bytes]:
    count = segment_count(len(data))
    return [
        keys.seal_segment(
            i, data[i * SEGMENT_SIZE : (i + 1) * SEGMENT_SIZE], is_last=i == count - 1
        )
        for i in range(count)
    ]


def opened(stage: LinkStage, link: UploadLinkMade) -> dict[str, tuple[UploadHead, bytes]]:
    """What waits for the maker, opened with the maker's key alone."""
    found = {}
    uploads = stage.uploads
    for row in uploads.waiting(link.made.link_id):
        plain, keys = open_head(
            link.upload.secret, link.made.link_id, row.upload_id, link.gate, row.head
        )
        head = decode_upload_head(plain)
        sealed = uploads.read(row, 0, 1 << 30)
        pieces = range(0, len(sealed), SEALED_SEGMENT_SIZE)
        data = b"".join(
            keys.open_segment(
                i, sealed[at : at + SEALED_SEGMENT_SIZE], is_last=i == len(pieces) - 1
            )
            for i, at in enumerate(pieces)
        )
        assert len(data) == head.size
        found[head.path] = (head, data)
    return found


class Sender:
    """One visitor of an upload link, by hand over HTTP."""

    def __init__(self, web: WebStage, link: UploadLinkMade, ticket: str) -> None:
        self.web, self.link, self.ticket = web, link, ticket

    @classmethod
    async def claim(cls, web: WebStage, link: UploadLinkMade) -> Sender:
        return cls(web, link, await web.ticket(link.made))

    async def begin(self, sealed: Sealed, size: int | None = None) -> Answer:
        path = f"{self.link.made.path}/uploads/{text_of(sealed.upload_id)}"
        named = {
            "X_Holdfast_Ticket": self.ticket,
            "X_Holdfast_Size": str(sealed.size if size is None else size),
        }
        return await self.web.ask("PUT", path, sealed.head, **named)

    async def put(self, sealed: Sealed, first: int, body: bytes) -> Answer:
        path = f"{self.link.made.path}/uploads/{text_of(sealed.upload_id)}/{first}"
        return await self.web.ask("PUT", path, body, X_Holdfast_Ticket=self.ticket)

    async def send(self, sealed: Sealed) -> None:
        assert (await self.begin(sealed)).status == 200
        answer = await self.put(sealed, 0, b"".join(sealed.segments))
        assert answer.json == {"at": len(sealed.segments), "whole": True}

    async def room(self) -> Answer:
        path = f"{self.link.made.path}/uploads"
        return await self.web.ask("GET", path, X_Holdfast_Ticket=self.ticket)
