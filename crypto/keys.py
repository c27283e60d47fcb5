"""The long-lived keys: those of a device, and those that a recovery kit gives (CRYPTO 1, 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from crypto.ids import DeviceId
from crypto.primitives import (
    KEY_SIZE,
    derive,
    dh_public,
    digest,
    sign,
    sign_public,
    unwrap,
)

KIT_SECRET_SIZE: Final = 32


def device_id_of(sign_pk: bytes, dh_pk: bytes) -> DeviceId:
    """The id that fixes both public keys: a device with other keys is another device."""
    assert len(sign_pk) == len(dh_pk) == KEY_SIZE
    return DeviceId(digest("device", sign_pk, dh_pk))


@dataclass(frozen=True, slots=True, eq=False)
class DeviceKeys:
    """The four secrets of one device, 32 bytes each, with what follows from them.

    They live in the key file and in memory; nothing here ever leaves the device. The repr shows the
    device id only.
    """

    sign_seed: bytes = field(repr=False)
    dh_secret: bytes = field(repr=False)
    database_key: bytes = field(repr=False)
    """Seals what the device keeps locally."""
    device_secret: bytes = field(repr=False)
    """Pseudonyms at relays are derived from it, so that they do not follow from the public keys."""
    sign_public: bytes = field(init=False, repr=False)
    dh_public: bytes = field(init=False, repr=False)
    device_id: DeviceId = field(init=False, repr=False)

    def __post_init__(self) -> None:
        secrets = (self.sign_seed, self.dh_secret, self.database_key, self.device_secret)
        assert all(len(secret) == KEY_SIZE for secret in secrets)
        set_field = object.__setattr__  # the dataclass is frozen for everybody else
        set_field(self, "sign_public", sign_public(self.sign_seed))
        set_field(self, "dh_public", dh_public(self.dh_secret))
        set_field(self, "device_id", device_id_of(self.sign_public, self.dh_public))

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> DeviceKeys:
        """A new device: four independent secrets from `random`."""
        return cls(random(KEY_SIZE), random(KEY_SIZE), random(KEY_SIZE), random(KEY_SIZE))

    def sign(self, label: str, *parts: bytes) -> bytes:
        """This device's 64-byte signature of the parts under the label."""
        return sign(self.sign_seed, label, *parts)

    def unwrap(self, label: str, *context: bytes, wrapped: bytes) -> bytes:
        """What was wrapped to this device under this label and context; else OpenError."""
        return unwrap(self.dh_secret, label, *context, wrapped=wrapped)

    def relay_pseudonym(self, relay_id: bytes) -> tuple[bytes, bytes]:
        """The sign seed and X25519 secret by which one relay knows this device (CRYPTO 7)."""
        both = derive(self.device_secret, "relay pseudonym", relay_id, size=64)
        return both[:32], both[32:]

    def storage_pseudonym(self, relay_id: bytes) -> tuple[bytes, bytes]:
        """The same for the links on which this device stores shares there, beside the other."""
        both = derive(self.device_secret, "relay pseudonym", relay_id, b"storage", size=64)
        return both[:32], both[32:]

    def __repr__(self) -> str:
        return f"DeviceKeys({self.device_id.hex()[:16]})"


@dataclass(frozen=True, slots=True, eq=False)
class KitKeys:
    """What a recovery kit's 32-byte secret gives; kept in memory for the one act that needs it."""

    identity_seed: bytes = field(repr=False)
    """Ed25519: signs the user ledger's genesis, and speaks last about devices."""
    recovery_secret: bytes = field(repr=False)
    """X25519: every epoch is wrapped to it as if it were one more device."""
    emergency_seed: bytes = field(repr=False)
    """Ed25519: takes back a namespace at a node whose owner key was stolen."""
    vault_secret: bytes = field(repr=False)
    """Finds and opens the vault at the relays; live devices of the user hold it too."""
    identity_public: bytes
    recovery_public: bytes
    emergency_public: bytes

    @classmethod
    def from_secret(cls, kit_secret: bytes) -> KitKeys:
        """Derives everything from the 32 bytes that are printed on the kit."""
        assert len(kit_secret) == KIT_SECRET_SIZE
        identity_seed = derive(kit_secret, "identity")
        recovery_secret = derive(kit_secret, "recovery dh")
        emergency_seed = derive(kit_secret, "emergency")
        return cls(
            identity_seed=identity_seed,
            recovery_secret=recovery_secret,
            emergency_seed=emergency_seed,
            vault_secret=derive(kit_secret, "vault secret"),
            identity_public=sign_public(identity_seed),
            recovery_public=dh_public(recovery_secret),
            emergency_public=sign_public(emergency_seed),
        )

    def sign(self, label: str, *parts: bytes) -> bytes:
        """The identity's 64-byte signature of the parts under the label."""
        return sign(self.identity_seed, label, *parts)
