"""What a device says of itself on the local network: a nonce, and a tag for each device it knows.

Nothing in it names the device, its user or a folder. A device that is known finds the tag that was
made for it; everybody else sees random bytes, in a number that is rounded up to hide how many
devices there are. Whatever is received may be forged: it is a hint of where to dial, and the link
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from crypto.errors import BadKeyError
from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from crypto.pair_secret import LAN_TAG_SIZE, lan_tag, pair_secret

NONCE_SIZE: Final = 16
DEVICES_MAX: Final = 256
TAGS_STEP: Final = 16
"""Tags are filled up with random ones to a multiple of this."""
_TAGS_IN_STRING: Final = 48
"""A string of a TXT record has at most 255 bytes, its name included."""
_STRINGS_MAX: Final = -(-DEVICES_MAX // _TAGS_IN_STRING)

Properties = Mapping[bytes, bytes | None]
"""The names and values of a TXT record."""


class LanTags:
    """One device's secrets with the devices it knows: makes its own record and reads theirs."""

    def __init__(self, keys: DeviceKeys, devices: Mapping[DeviceId, bytes]) -> None:
        """`devices` gives the X25519 key of each device; more than 256 are not announced to."""
        self._device_id = keys.device_id
        self._secrets: dict[DeviceId, bytes] = {}
        for device_id, dh_pk in list(devices.items())[:DEVICES_MAX]:
            try:
                self._secrets[device_id] = pair_secret(keys, device_id, dh_pk)
            except BadKeyError:
                continue  # a device that made itself unreachable

    def record(self, nonce: bytes, random: Callable[[int], bytes]) -> dict[str, bytes]:
        """The properties to announce under this nonce, which changes daily."""
        assert len(nonce) == NONCE_SIZE
        tags = [lan_tag(secret, nonce, self._device_id) for secret in self._secrets.values()]
        tags += (random(LAN_TAG_SIZE) for _ in range(-len(tags) % TAGS_STEP))
        # Sorted, or the order would tell the real ones from the filling.
        joined = b"".join(sorted(tags))
        step = _TAGS_IN_STRING * LAN_TAG_SIZE
        strings = (joined[start : start + step] for start in range(0, len(joined), step))
        return {"r": nonce} | {f"t{number}": value for number, value in enumerate(strings)}

    def announcer(self, properties: Properties) -> DeviceId | None:
        """Which known device made this record for us; None for a foreign or malformed one."""
        nonce = properties.get(b"r")
        if nonce is None or len(nonce) != NONCE_SIZE:
            return None
        tags = set(_tags(properties))
        for device_id, secret in self._secrets.items():
            if lan_tag(secret, nonce, device_id) in tags:
                return device_id
        return None


def _tags(properties: Properties) -> Iterable[bytes]:
    for number in range(_STRINGS_MAX):
        value = properties.get(b"t%d" % number) or b""
        for start in range(0, len(value) - LAN_TAG_SIZE + 1, LAN_TAG_SIZE):
            yield value[start : start + LAN_TAG_SIZE]
