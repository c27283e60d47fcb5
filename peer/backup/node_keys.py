"""The namespaces of a folder at its nodes: how they are founded, found again and kept up to date.

The folder's ledger says which namespace is its own at which node, so every member finds it. What
opens it are the keys of one epoch; after a rotation whoever is owner names the new epoch's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from crypto.epochs import Tier, TierSecrets
from crypto.errors import FormError
from crypto.ids import EntryId, RelayId
from crypto.namespaces import (
    SALT_SIZE,
    Delegation,
    Signer,
    capability_public,
    capability_seed,
    decode_delegation,
    delegate,
    emergency_hash,
    namespace_id,
    node_tag,
    sign_delegation,
)
from crypto.primitives import SIGNATURE_SIZE, sign_public
from crypto.vault import VAULT_GENERATION, Vault
from peer.backup.share_transfers import Opened
from protocol.epochs import EpochChain
from protocol.errors import LinkError, StorageRefused
from protocol.folder_actions import Storage
from protocol.folder_ledger import FolderLedger
from protocol.storage_client import ANSWER_TIMEOUT_S, StorageClient
from protocol.storage_messages import StoreOpen, StoreOpened, StoreOutcome

FIRST_GENERATION: Final = 1


def secrets_of(chain: EpochChain, epoch_id: EntryId) -> TierSecrets | None:
    """What is held here of an epoch's secrets; None if not even its data can be read."""
    read = chain.read_secret(epoch_id)
    if read is None:
        return None
    others = (chain.tier_secret(epoch_id, tier) for tier in (Tier.WRITE, Tier.ADMIN, Tier.OWNER))
    return TierSecrets(read, *others)


def storage_at(ledger: FolderLedger, node_id: RelayId) -> Storage | None:
    """The folder's namespace at a node; of two that were founded at once everybody takes one."""
    found = [storage for storage in ledger.storages() if storage.node_id == node_id]
    return min(found, key=lambda storage: storage.namespace, default=None)


async def open_vault(
    client: StorageClient, vault_secret: bytes, *, may_found: bool
) -> Opened | None:
    """The vault at a node; None if there is none. Raises LinkError or StorageRefused."""
    node_id = client.address.relay_id
    vault = Vault(vault_secret, node_id)
    owner = vault.secrets.owner
    assert owner is not None
    seed = capability_seed(owner, node_id, Tier.OWNER)
    try:
        await client.open(vault.namespace, VAULT_GENERATION, Tier.OWNER, seed)
    except StorageRefused as refusal:
        if refusal.outcome != StoreOutcome.UNKNOWN or not may_found:
            if refusal.outcome == StoreOutcome.UNKNOWN:
                return None
            raise
        delegation = vault.delegation()
        signature = sign_delegation(seed, node_id, delegation)
        await client.delegate(delegation, signature, Signer.OWNER, vault.emergency)
        await client.open(vault.namespace, VAULT_GENERATION, Tier.OWNER, seed)
    return Opened(client, vault.namespace)


class FolderAtNode:
    """One folder's namespace on one link."""

    def __init__(
        self,
        ledger: FolderLedger,
        chain: EpochChain,
        client: StorageClient,
        emergency_pk: bytes,
        random: Callable[[int], bytes],
        tell: Callable[[Storage], Coroutine[Any, Any, None]],
    ) -> None:
        """`tell` writes into the folder's ledger which namespace was founded."""
        self._ledger, self._chain, self._client = ledger, chain, client
        self._node_id = client.address.relay_id
        self.was_lost = False
        """Whether the node knew nothing any more of what the ledger says it holds."""
        self._emergency_pk, self._random, self._tell = emergency_pk, random, tell

    async def open(self, *, may_found: bool) -> Opened:
        """Opens it for writing, founding it if it is named nowhere and this device is to; raises
        LinkError. If every device might found it, each would store into its own.
        """
        storage = storage_at(self._ledger, self._node_id)
        if storage is None:
            if not may_found:
                raise LinkError("Another device has not begun to store there yet.")
            storage = await self._found()
        delegation = await self._shown(storage.namespace)
        if delegation is None:
            delegation = await self._found_again(storage)
        secrets = self._secrets_of(delegation)
        newest = self._newest()
        if secrets.owner is not None and newest.read != secrets.read:
            delegation = await self._renew(delegation, secrets.owner, newest)
            secrets = newest
        assert secrets.write is not None, "its tag was found among those that may write"
        seed = capability_seed(secrets.write, self._node_id, Tier.WRITE)
        await self._client.open(storage.namespace, delegation.generation, Tier.WRITE, seed)
        return Opened(self._client, storage.namespace)

    async def _found(self) -> Storage:
        secrets = self._newest()
        node_id = self._node_id
        assert secrets.owner is not None
        salt = self._random(SALT_SIZE)
        owner_pk = capability_public(secrets.owner, node_id, Tier.OWNER)
        emergency = emergency_hash(self._emergency_pk, salt)
        namespace = namespace_id(node_id, owner_pk, emergency)
        delegation = delegate(secrets, node_id, namespace, FIRST_GENERATION)
        seed = capability_seed(secrets.owner, node_id, Tier.OWNER)
        signature = sign_delegation(seed, node_id, delegation)
        await self._client.delegate(delegation, signature, Signer.OWNER, emergency)
        storage = Storage(node_id, namespace, owner_pk, salt, FIRST_GENERATION)
        await self._tell(storage)
        return storage

    def _newest(self) -> TierSecrets:
        epoch_id = self._chain.sealing_epoch()
        secrets = None if epoch_id is None else secrets_of(self._chain, epoch_id)
        if secrets is None or secrets.owner is None:
            raise LinkError("The folder's keys are not all here yet.")
        return secrets

    async def _found_again(self, storage: Storage) -> Delegation:
        """Founds the same namespace at a node that has lost it, with its disk for instance."""
        self.was_lost = True
        for epoch_id in self._ledger.epoch_ids():
            secrets = secrets_of(self._chain, epoch_id)
            if secrets is None or secrets.owner is None:
                continue
            seed = capability_seed(secrets.owner, self._node_id, Tier.OWNER)
            if sign_public(seed) == storage.owner_pk:
                emergency = emergency_hash(self._emergency_pk, storage.salt)
                made = delegate(secrets, self._node_id, storage.namespace, FIRST_GENERATION)
                signature = sign_delegation(seed, self._node_id, made)
                await self._client.delegate(made, signature, Signer.OWNER, emergency)
                return made
        raise LinkError("The super-node has lost what it held, and this device cannot begin anew.")

    async def _shown(self, namespace: bytes) -> Delegation | None:
        """The delegation that counts at the node, which is shown to who comes with an older one;
        None if the node knows nothing of it.
        """
        client = self._client
        asked = StoreOpen(client.number(), namespace, 0, Tier.READ, bytes(SIGNATURE_SIZE))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await (await client.send(asked))
        except TimeoutError:
            raise LinkError("The super-node does not answer.") from None
        if answer.outcome == StoreOutcome.UNKNOWN:
            return None
        try:
            if isinstance(answer, StoreOpened):
                return decode_delegation(answer.delegation)
        except FormError:
            pass
        raise LinkError("The super-node shows no delegation.")

    def _secrets_of(self, delegation: Delegation) -> TierSecrets:
        for epoch_id in reversed(self._ledger.epoch_ids()):
            secrets = secrets_of(self._chain, epoch_id)
            if secrets is not None and secrets.write is not None:
                if node_tag(secrets.read, self._node_id) == delegation.tag:
                    return secrets
        raise LinkError("The super-node has newer keys of the folder than this device.")

    async def _renew(
        self, delegation: Delegation, owner_secret: bytes, newest: TierSecrets
    ) -> Delegation:
        """After a rotation: names the keys of the new epoch."""
        made = delegate(newest, self._node_id, delegation.namespace, delegation.generation + 1)
        seed = capability_seed(owner_secret, self._node_id, Tier.OWNER)
        signature = sign_delegation(seed, self._node_id, made)
        await self._client.delegate(made, signature, Signer.OWNER)
        return made
