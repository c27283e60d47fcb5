"""A web endpoint on loopback with links in it, and visitors that speak HTTP to it by hand."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import ssl
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crypto.packs import LEAF_SIZE, pack_id
from crypto.share_links import LinkFlags, LinkKey, LinkSecrets, seal_link, token_hash
from relay.link_rows import Ended
from relay.ports import listen, listen_udp
from relay.share_links import LinkLimits, NewLink, ShareLinks
from relay.store import RelayStore
from relay.uploads import UploadLimits, Uploads
from relay.web import PackUnavailable, WebEndpoint
from relay.web_files import PageFiles
from relay.web_server import Certificate, WebServer
from tests.relay.relay_stage import LOOPBACK

OWNER = b"o" * 16
DEADLINE_S = 60.0


def text_of(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


class Clock:
    """The relay's wall clock."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class ShelfOfPacks:
    """Packs in memory."""

    def __init__(self) -> None:
        self.packs: dict[bytes, bytes] = {}
        self.is_away = False
        self.reads: list[tuple[int, int]] = []

    def add(self, leaves: int) -> bytes:
        data = os.urandom(leaves * LEAF_SIZE)
        self.packs[pack_id(data)] = data
        return pack_id(data)

    async def size_of(self, pack: bytes) -> int | None:
        return len(self.packs[pack]) if pack in self.packs else None

    async def read(self, pack: bytes, first: int, end: int) -> bytes:
        if self.is_away:
            raise PackUnavailable
        self.reads.append((first, end))
        return self.packs[pack][first:end]


@dataclass
class Made:
    """A link as its maker has it."""

    key: LinkKey
    secrets: LinkSecrets
    new: NewLink
    blob: bytes
    packs: tuple[bytes, ...]
    link_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.link_id = self.key.link_id

    @property
    def path(self) -> str:
        return f"/s/{text_of(self.link_id)}"

    @property
    def token(self) -> bytes:
        return self.secrets.token(self.link_id)

    def pack_path(self, at: int = 0) -> str:
        return f"{self.path}/pack/{text_of(self.packs[at])}"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class LinkStage:
    """Links without the endpoint: for their rules."""

    def __init__(self, store: RelayStore, home: Path, limits: LinkLimits) -> None:
        self.store, self.home = store, home
        self.wall_clock, self.clock = Clock(), Clock()
        self.packs = ShelfOfPacks()
        self.links = ShareLinks(
            store, home / "links", b"s" * 32, limits, self.clock, self.wall_clock
        )
        self.uploads = Uploads(
            store, home / "uploads", self.links, UploadLimits(), self.clock, self.wall_clock
        )

    def make(
        self,
        manifest: bytes = b"a manifest",
        *,
        packs: tuple[int, ...] = (2,),
        password_key: bytes = b"",
        **changes: Any,
    ) -> Made:
        key = LinkKey.from_seed(os.urandom(40))
        secrets = LinkSecrets(os.urandom(32), os.urandom(16), password_key)
        ids = tuple(self.packs.add(leaves) for leaves in packs)
        new = NewLink(
            OWNER,
            secrets.password_salt,
            token_hash(secrets.token(key.link_id)),
            0,
            0,
            ids,
            sum(packs) * LEAF_SIZE,
        )
        flags = LinkFlags.PASSWORD if password_key else LinkFlags.NONE
        blob = seal_link(key, secrets, manifest, flags=flags, version=1, salt=os.urandom(32))
        return Made(key, secrets, replace(new, **changes), blob, ids)

    async def put(self, made: Made, links: ShareLinks | None = None) -> Ended | None:
        path = self.home / "links" / f"incoming-{os.urandom(4).hex()}"
        path.write_bytes(made.blob)
        return await (links or self.links).put(made.new, path, made.link_id)

    async def made(self, *args: Any, **changes: Any) -> Made:
        made = self.make(*args, **changes)
        assert await self.put(made) == Ended.LIVE
        return made

    def blobs(self) -> list[Path]:
        return sorted((self.home / "links").iterdir())


@asynccontextmanager
async def link_stage(home: Path, limits: LinkLimits | None = None) -> AsyncIterator[LinkStage]:
    await asyncio.to_thread(home.mkdir, exist_ok=True)
    store = await RelayStore.open(home)
    try:
        stage = LinkStage(store, home, limits or LinkLimits())
        await stage.links.start()
        await stage.uploads.start()
        yield stage
    finally:
        await store.close()


class WebStage:
    """A link stage with its endpoint."""

    def __init__(
        self, links: LinkStage, server: WebServer, port: int, context: ssl.SSLContext | None
    ) -> None:
        self.links, self.server, self.port, self._context = links, server, port, context

    async def ask(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> Answer:
        """One request on a connection of its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await asyncio.to_thread(self._ask, method, path, body, named)

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        connection = self.connect()
        try:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            return Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(LOOPBACK, self.port, timeout=DEADLINE_S)
        return http.client.HTTPSConnection(
            LOOPBACK, self.port, timeout=DEADLINE_S, context=self._context
        )

    async def claim(self, made: Made, token: bytes | None = None) -> Answer:
        return await self.ask("POST", f"{made.path}/claim", made.token if token is None else token)

    async def ticket(self, made: Made) -> str:
        answer = await self.claim(made)
        assert answer.status == 200
        return answer.headers["x-holdfast-ticket"]

    async def give_back(self, made: Made, ticket: str) -> Answer:
        return await self.ask("DELETE", f"{made.path}/claim", X_Holdfast_Ticket=ticket)

    async def range(self, made: Made, ticket: str, first: int, end: int, at: int = 0) -> Answer:
        span = f"bytes={first}-{end - 1}"
        return await self.ask("GET", made.pack_path(at), X_Holdfast_Ticket=ticket, Range=span)


@asynccontextmanager
async def web_stage(
    home: Path,
    *,
    is_tls: bool = False,
    files: PageFiles | None = None,
    limits: LinkLimits | None = None,
    is_behind_proxy: bool = False,
) -> AsyncIterator[WebStage]:
    async with link_stage(home, limits) as links:
        endpoint = WebEndpoint(
            links.links,
            links.packs,
            files or PageFiles({}),
            links.uploads,
            is_behind_proxy=is_behind_proxy,
        )
        certificate = Certificate.self_signed(home, LOOPBACK) if is_tls else None
        context = None
        if certificate is not None:
            context = ssl.create_default_context(cafile=str(certificate.certificate))
        listening = listen(LOOPBACK, 0)
        udp = listen_udp(listening) if is_tls else None
        port = listening.getsockname()[1]
        task = asyncio.get_running_loop().create_task
        server = WebServer(endpoint.app, certificate)
        running = task(server.run(listening, udp))
        try:
            yield WebStage(links, server, port, context)
        finally:
            running.cancel()
            await asyncio.wait([running])
            for _ in range(10):  # a transport that was aborted closes its socket some rounds later
                await asyncio.sleep(0)
