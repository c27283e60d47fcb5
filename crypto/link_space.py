"""A device's own namespace for the packs of its share links at one relay (CRYPTO 9, 10).

All of it follows from the device secret, so that nothing has to be kept to open it again; and at
two relays there is nothing in common.
"""

from __future__ import annotations

from typing import Final

from crypto.epochs import TIERS, Tier, TierSecrets
from crypto.ids import RelayId
from crypto.namespaces import (
    SALT_SIZE,
    Delegation,
    capability_public,
    capability_seed,
    delegate,
    emergency_hash,
    namespace_id,
    sign_delegation,
)
from crypto.primitives import derive, sign_public

GENERATION: Final = 0


class LinkSpace:
    """The namespace, as the device that it belongs to knows it."""

    def __init__(self, device_secret: bytes, relay_id: RelayId) -> None:
        parts = [
            derive(device_secret, "link space", relay_id, bytes([n])) for n in range(TIERS + 2)
        ]
        self._relay_id = relay_id
        self._secrets = TierSecrets(*parts[:TIERS])
        self.emergency = emergency_hash(sign_public(parts[TIERS]), parts[TIERS + 1][:SALT_SIZE])
        owner = self._secrets.owner
        assert owner is not None
        self.namespace = namespace_id(
            relay_id, capability_public(owner, relay_id, Tier.OWNER), self.emergency
        )

    def seed(self) -> bytes:
        """Of the owner's capability, which may do everything there."""
        owner = self._secrets.owner
        assert owner is not None
        return capability_seed(owner, self._relay_id, Tier.OWNER)

    def founding(self) -> tuple[Delegation, bytes]:
        """What founds it, and its signature."""
        delegation = delegate(self._secrets, self._relay_id, self.namespace, GENERATION)
        return delegation, sign_delegation(self.seed(), self._relay_id, delegation)

    def __repr__(self) -> str:
        return "LinkSpace()"
