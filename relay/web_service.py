"""The web endpoint as part of a relay that runs: its sockets, certificate and what it serves."""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
import time
from pathlib import Path
from typing import Final, NamedTuple

from crypto.primitives import derive
from relay.co_holders import CoHolders
from relay.config import RelayConfig
from relay.errors import AddressInUse, BadConfig, PathUnusable
from relay.link_desk import LinkDesk
from relay.link_packs import StoredPacks
from relay.pack_cache import PackCache
from relay.ports import listen, listen_udp
from relay.scrub import LinkScrub
from relay.share_links import LinkLimits, ShareLinks
from relay.storage_desk import StorageDesk
from relay.store import RelayStore
from relay.uploads import UploadLimits, Uploads
from relay.web import WebEndpoint
from relay.web_files import PageFiles
from relay.web_server import Certificate, WebServer, is_loopback

log = logging.getLogger(__name__)

LINKS_NAME: Final = "links"
CACHE_NAME: Final = "pack-cache"
UPLOADS_NAME: Final = "uploads"
SWEEP_INTERVAL_S: Final = 20.0
"""An expired link is erased within a minute, asked for or not."""
HTTPS_PORT: Final = 443


class Places(NamedTuple):
    """The sockets of the endpoint."""

    listening: socket.socket
    udp: socket.socket | None
    """Of HTTP/3; None without TLS."""


def listen_for_visitors(config: RelayConfig) -> Places | None:
    """Sockets where the settings say; None where they say nothing. Raises RelayError."""
    if config.web is None:
        return None
    has_files = bool(config.web_certificate and config.web_key)
    if bool(config.web_certificate) != bool(config.web_key):
        raise BadConfig("web.certificate and web.key of relay.toml are set together or not at all.")
    is_tls = has_files or config.web_self_signed
    if not is_tls and not is_loopback(config.web[0]):
        raise BadConfig(
            "Without TLS share links are served on this machine alone, for a proxy in front. Set"
            " web.certificate and web.key in relay.toml, or listen on 127.0.0.1."
        )
    try:
        listening = listen(*config.web)
        return Places(listening, listen_udp(listening) if is_tls else None)
    except AddressInUse as error:
        raise AddressInUse(
            f"The address {config.web[0]} port {config.web[1]} for share links cannot be used."
            " Choose another by `--web` or web.listen in relay.toml."
        ) from error


class WebService:
    """An endpoint that is ready to run."""

    def __init__(
        self,
        links: ShareLinks,
        uploads: Uploads,
        others: CoHolders,
        server: WebServer,
        places: Places,
        base: str,
    ) -> None:
        self.base = base
        """What URLs of share links begin with."""
        self._links, self._uploads, self._others = links, uploads, others
        self._server, self._places = server, places

    async def run(self) -> None:
        """Serves, and ends links whose time has come, until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweep())
            tasks.create_task(self._others.run())
            await self._server.run(*self._places)

    async def _sweep(self) -> None:
        scrub = LinkScrub(self._links)
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            try:
                await self._links.sweep()
                await self._uploads.sweep()
                await scrub.step(SWEEP_INTERVAL_S)
            except (OSError, sqlite3.Error) as error:
                log.error("share links cannot be ended: %s", error)


async def open_web(
    desk: StorageDesk, store: RelayStore, config: RelayConfig, home: Path, host: str, places: Places
) -> WebService:
    """Reads what links there are, and lets devices make new ones; raises RelayError."""
    assert config.web is not None
    certificate = None
    name = config.public_host or (host if is_loopback(config.web[0]) else config.web[0])
    if config.web_certificate:
        certificate = Certificate(Path(config.web_certificate), Path(config.web_key))
    elif config.web_self_signed:
        certificate = Certificate.self_signed(home, name)
    links = ShareLinks(
        store,
        home / LINKS_NAME,
        derive(desk.keys.device_secret, "link head"),
        LinkLimits(links=config.web_links, links_per_owner=config.web_links_per_owner),
        asyncio.get_running_loop().time,
        time.time,
    )
    await links.start()
    uploads = Uploads(
        store,
        home / UPLOADS_NAME,
        links,
        UploadLimits(config.web_uploads_mib << 20, config.web_uploads_mib_per_owner << 20),
        asyncio.get_running_loop().time,
        time.time,
    )
    await uploads.start()
    is_tls = certificate is not None
    others, cache = CoHolders(desk.shares, desk.keys), PackCache(home / CACHE_NAME)
    try:
        await asyncio.to_thread(cache.start)
    except OSError as error:
        raise PathUnusable(f"The directory {home / CACHE_NAME} cannot be used: {error}.") from error
    packs = StoredPacks(desk.shares, others, cache)
    endpoint = WebEndpoint(
        links,
        packs,
        PageFiles.load(),
        uploads,
        is_behind_proxy=not is_tls,
        requests_per_second=config.web_requests_per_second,
    )
    server = WebServer(endpoint.app, certificate)
    port = places.listening.getsockname()[1]
    base = config.web_url or _base(name if is_tls else config.web[0], port, is_tls=is_tls)
    desk.share_links = LinkDesk(links, store, base, uploads)
    return WebService(links, uploads, others, server, places, base)


def _base(host: str, port: int, *, is_tls: bool) -> str:
    host = f"[{host}]" if ":" in host else host
    shown = "" if is_tls and port == HTTPS_PORT else f":{port}"
    return f"{'https' if is_tls else 'http'}://{host}{shown}"
