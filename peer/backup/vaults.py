"""Keeps what a recovery kit finds at super-nodes: ledgers, keys for the kit, and where all is."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from crypto.chunks import CHUNK_NONCE_SIZE, open_log_item, seal_log_item
from crypto.errors import CryptoError
from crypto.ids import FolderId, RelayId
from crypto.packs import PackKind, PackWriter, open_pack, pack_id
from crypto.shares import Descriptor, decode_descriptor, describe
from crypto.vault import vault_key
from peer.backup.node_keys import open_vault
from peer.backup.share_transfers import NODE_TROUBLE, Opened, read_pack
from peer.device.home import Home
from peer.device.ledgers import Ledgers
from protocol.backup_records import BackupRecord
from protocol.errors import ProtocolError
from protocol.storage_client import StorageClient
from protocol.storage_messages import (
    DESCRIBED_MAX,
    ShareState,
    StoreDescribe,
    StoreDescribed,
    StoreList,
    StoreListed,
)
from protocol.vault import VaultContents, VaultFolder, VaultWrap, decode_vault

log = logging.getLogger(__name__)

LEASE_S: Final = 90 * 86_400
AGAIN_AFTER_S: Final = 7 * 86_400
"""What does not change is written anew all the same, before its lease ends."""
READ_MAX: Final = 16
"""Of the versions in a vault the newest; a thief of a device can add some, and erase none."""


class Vaults:
    """The vault of this device's user at each super-node."""

    def __init__(
        self,
        home: Home,
        ledgers: Ledgers,
        names: Callable[[], Mapping[FolderId, str]],
        relays: Callable[[], tuple[Any, ...]],
    ) -> None:
        self._home, self._ledgers = home, ledgers
        self._names, self._relays = names, relays
        self._written: dict[RelayId, tuple[bytes, float]] = {}
        """What was last put at each node, and when."""

    async def write(
        self,
        vault_secret: bytes,
        clients: Iterable[StorageClient],
        backups: Sequence[BackupRecord],
    ) -> None:
        """Puts what is now the state where an older one lies; what fails is tried at the next."""
        if not vault_secret:
            return
        now = time.time()
        contents = self._contents(backups)
        digest = pack_id(contents.encode())
        due = []
        for client in clients:
            known = self._written.get(client.address.relay_id)
            if known is None or known[0] != digest or now - known[1] > AGAIN_AFTER_S:
                due.append(client)
        if not due:
            return
        data = await asyncio.to_thread(
            _sealed, vault_key(vault_secret), contents._replace(written_s=int(now)).encode()
        )
        for client in due:
            try:
                node = await open_vault(client, vault_secret, may_found=True)
                if node is None:
                    continue
                descriptor = describe(pack_id(data), len(data), 1, [data])
                await client.put(node.namespace, descriptor, 0, data, int(now) + LEASE_S, ())
            except NODE_TROUBLE as error:
                log.info("the vault could not be written: %s", error)
                continue
            self._written[client.address.relay_id] = (digest, now)

    def _contents(self, backups: Sequence[BackupRecord]) -> VaultContents:
        user, names = self._ledgers.user, self._names()
        folders = []
        for folder_id, membership in self._ledgers.folders.items():
            wraps = [
                VaultWrap(wrap.epoch_id, wrap.wrapped)
                for wrap in membership.chain.wraps()
                if wrap.recipient_id == user.user_id
            ]
            entries = tuple(entry.wire for entry in membership.ledger)
            folders.append(VaultFolder(folder_id, names.get(folder_id, ""), entries, tuple(wraps)))
        return VaultContents(
            0, tuple(entry.wire for entry in user), tuple(folders), tuple(backups), self._relays()
        )


def _sealed(key: bytes, contents: bytes) -> bytes:
    writer = PackWriter(key, PackKind.LOG, os.urandom)
    id_ = pack_id(contents)
    writer.add(id_, seal_log_item(key, id_, contents, os.urandom(CHUNK_NONCE_SIZE)))
    return writer.close().data


def _tell_nobody(read: int, more: int) -> None:
    """For those who do not wait for it."""


async def read_vault(
    client: StorageClient, vault_secret: bytes, on_bytes: Callable[[int, int], None] = _tell_nobody
) -> list[VaultContents]:
    """What is in the vault at a node, the latest first; nothing if there is none. `on_bytes` hears
    of how many bytes more were read, and how many more there are to read.
    """
    node = await open_vault(client, vault_secret, may_found=False)
    if node is None:
        return []
    ids = await _listed(node)
    found: list[VaultContents] = []
    for start in range(0, len(ids), DESCRIBED_MAX):
        part = tuple(ids[start : start + DESCRIBED_MAX])
        described = await client.ask(
            StoreDescribe(client.number(), node.namespace, part), StoreDescribed
        )
        descriptors = [d for one in described.packs if (d := _descriptor(one.descriptor))]
        on_bytes(0, sum(descriptor.pack_size for descriptor in descriptors))
        for descriptor in descriptors:
            try:
                data, _ = await read_pack({0: [node]}, descriptor)
                found.append(_opened(vault_key(vault_secret), data))
            except (CryptoError, ProtocolError, *NODE_TROUBLE) as error:
                log.info("one version in the vault cannot be read: %r", error)
            on_bytes(descriptor.pack_size, 0)
    return sorted(found, key=lambda contents: contents.written_s, reverse=True)


def _descriptor(data: bytes) -> Descriptor | None:
    try:
        return decode_descriptor(data)
    except CryptoError as error:
        log.info("one version in the vault is described in no form that is known: %r", error)
        return None


async def _listed(node: Opened) -> list[bytes]:
    position, ids = 0, dict[bytes, None]()
    while True:
        listed = await node.client.ask(
            StoreList(node.client.number(), node.namespace, position), StoreListed
        )
        ids.update(dict.fromkeys(
            s.descriptor_id for s in listed.shares if s.state == ShareState.WHOLE
        ))  # fmt: skip
        if not listed.is_more or not listed.shares:
            return list(ids)[-READ_MAX:]
        position = max(share.position for share in listed.shares)


def _opened(key: bytes, data: bytes) -> VaultContents:
    (slot,) = open_pack(key, data).slots
    return decode_vault(open_log_item(key, slot.id, slot.cut(data)))
