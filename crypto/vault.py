"""The vault: what a recovery kit finds at a node when it has nothing but itself (CRYPTO 2).

The kit's vault secret gives a namespace at each node, as a folder's secrets do, with all its keys
and its id, so that whoever has the kit computes where to look. What lies there is a pack of the
kind for logs, sealed under the vault's own key in the place of an epoch's read secret.
"""

from __future__ import annotations

from typing import Final

from crypto.epochs import Tier, TierSecrets
from crypto.ids import RelayId
from crypto.namespaces import Delegation, capability_public, delegate, emergency_hash, namespace_id
from crypto.primitives import derive, sign_public

VAULT_GENERATION: Final = 1
"""A vault's keys are never replaced: a new kit has another vault."""


class Vault:
    """Where the vault of one kit lies at one node, and what opens it."""

    def __init__(self, vault_secret: bytes, node_id: RelayId) -> None:
        def part(name: bytes) -> bytes:
            return derive(vault_secret, "vault tag", node_id, name)

        self.secrets = TierSecrets(*(part(bytes([tier])) for tier in Tier))
        owner = self.secrets.owner
        assert owner is not None
        owner_pk = capability_public(owner, node_id, Tier.OWNER)
        self.emergency = emergency_hash(sign_public(part(b"emergency")), part(b"salt")[:16])
        self.namespace = namespace_id(node_id, owner_pk, self.emergency)
        self._node_id = node_id

    def delegation(self) -> Delegation:
        """What founds the namespace."""
        return delegate(self.secrets, self._node_id, self.namespace, VAULT_GENERATION)


def vault_key(vault_secret: bytes) -> bytes:
    """What packs in a vault are sealed under, the same at every node."""
    return derive(vault_secret, "vault box")
