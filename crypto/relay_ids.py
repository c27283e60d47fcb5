"""What a relay is called, who a device is at it, and where two devices meet there (CRYPTO 7, 9).

A relay knows a device by a pseudonym of its own, and two devices by ids that only these two can
compute and that change with the day: neither says who they are, nor what two relays have in common.
"""

from __future__ import annotations

from typing import Final

from crypto.ids import DeviceId, RelayId
from crypto.keys import DeviceKeys
from crypto.primitives import KEY_SIZE, derive, digest

RENDEZVOUS_ID_SIZE: Final = 16


def relay_id_of(sign_pk: bytes, dh_pk: bytes) -> RelayId:
    """The id that fixes both of a relay's public keys."""
    assert len(sign_pk) == len(dh_pk) == KEY_SIZE
    return RelayId(digest("relay", sign_pk, dh_pk))


def relay_ask(relay_id: RelayId, binding: bytes) -> bytes:
    """The 32 bytes that show, on one link only, that its dialler knows the relay's address."""
    return derive(relay_id, "relay ask", binding)


def pseudonym_keys(keys: DeviceKeys, relay_id: RelayId) -> DeviceKeys:
    """The keys by which this device is known at one relay, and nowhere else."""
    sign_seed, dh_secret = keys.relay_pseudonym(relay_id)
    # A pseudonym keeps no database and has no pseudonyms: those two secrets are nobody's.
    return DeviceKeys(sign_seed, dh_secret, bytes(KEY_SIZE), bytes(KEY_SIZE))


def storage_keys(keys: DeviceKeys, relay_id: RelayId) -> DeviceKeys:
    """The keys of a device's storage links at one relay: a second pseudonym, so that a relay that
    knows of no storage does not take such a link for the device's only one.
    """
    sign_seed, dh_secret = keys.storage_pseudonym(relay_id)
    return DeviceKeys(sign_seed, dh_secret, bytes(KEY_SIZE), bytes(KEY_SIZE))


def rendezvous_id(secret: bytes, relay_id: RelayId, day: int, waiting: DeviceId) -> bytes:
    """Where `waiting` waits at a relay for the one device that shares the pair secret with it.

    `day` counts from 1970, in UTC.
    """
    size = RENDEZVOUS_ID_SIZE
    return derive(secret, "rendezvous", relay_id, day.to_bytes(4, "big"), waiting, size=size)


def invitation_tag(token: bytes) -> bytes:
    """The 32 bytes by which a relay knows the token of an invitation, which it does not keep."""
    return digest("relay invitation", token)
