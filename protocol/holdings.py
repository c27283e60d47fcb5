"""How far each other device of a folder is, as far as is known here: who lacks what. No I/O.

What a device says on a link is the truth of that moment; what it left in a mailbox may be old, and
is only ever taken for more. So a relay that shows an old heartbeat again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from crypto.ids import DeviceId, LogId
from protocol import wire

Positions = Mapping[LogId, int]


@dataclass(slots=True)
class _Device:
    held: dict[LogId, int] = field(default_factory=dict)
    applied: dict[LogId, int] = field(default_factory=dict)
    heard_s: int = 0


class Holdings:
    """One folder's other devices."""

    def __init__(self) -> None:
        self._devices: dict[DeviceId, _Device] = {}
        self.has_changed = False
        """Whether there is something to be stored; its owner sets it back."""

    def told(
        self, device_id: DeviceId, entries: Positions, now_s: int, *, applied: bool = False
    ) -> None:
        """The device said on a link how far it is in these logs."""
        device = self._of(device_id)
        (device.applied if applied else device.held).update(entries)
        device.heard_s = max(device.heard_s, now_s)
        self.has_changed = True

    def read(
        self, device_id: DeviceId, held: Positions, applied: Positions, time_s: int, now_s: int
    ) -> None:
        """A heartbeat of the device says that it was so far."""
        device = self._of(device_id)
        for known, more in ((device.held, held), (device.applied, applied)):
            for log_id, seq in more.items():
                if seq > known.get(log_id, 0):
                    known[log_id] = seq
                    self.has_changed = True
        if device.heard_s < min(time_s, now_s):
            device.heard_s = min(time_s, now_s)
            self.has_changed = True

    def heard_s(self, device_id: DeviceId) -> int:
        """When the device was last heard of, in seconds of the wall clock; 0 if never."""
        device = self._devices.get(device_id)
        return 0 if device is None else device.heard_s

    def is_known(self, device_id: DeviceId) -> bool:
        """Whether the device ever said how far it is: it has the folder then."""
        device = self._devices.get(device_id)
        return device is not None and bool(device.held or device.applied)

    def note(self, device_id: DeviceId, now_s: int) -> None:
        """The device is there, and was not heard of yet."""
        if device_id not in self._devices:
            self._of(device_id).heard_s = now_s
            self.has_changed = True

    def lacking(self, devices: Iterable[DeviceId], ours: Positions) -> dict[LogId, int]:
        """For each log of which one of these devices lacks something: up to where all hold it."""
        return _lacking([self._of(d).held for d in devices], ours)

    def unapplied(self, devices: Iterable[DeviceId], ours: Positions) -> dict[LogId, int]:
        """The same of what is on their disks; who never said it shows what it holds."""
        known = [self._of(d) for d in devices]
        return _lacking([d.applied or d.held for d in known], ours)

    def forget_all_but(self, devices: Iterable[DeviceId]) -> None:
        """Only these devices are left."""
        live = set(devices)
        for device_id in [d for d in self._devices if d not in live]:
            del self._devices[device_id]
            self.has_changed = True

    def encode(self) -> bytes:
        """For the store."""
        return wire.encode(
            [
                [device_id, device.heard_s, _flat(device.held), _flat(device.applied)]
                for device_id, device in sorted(self._devices.items())
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Holdings:
        """From the store; nothing known for no bytes."""
        holdings = cls()
        for device_id, heard_s, held, applied in wire.decode_own(data) if data else ():
            holdings._devices[DeviceId(device_id)] = _Device(
                {LogId(log): seq for log, seq in held},
                {LogId(log): seq for log, seq in applied},
                heard_s,
            )
        return holdings

    def _of(self, device_id: DeviceId) -> _Device:
        return self._devices.setdefault(device_id, _Device())


def _lacking(devices: list[dict[LogId, int]], ours: Positions) -> dict[LogId, int]:
    lacking = {}
    for log_id, head in ours.items():
        least = min((held.get(log_id, 0) for held in devices), default=head)
        if least < head:
            lacking[log_id] = least
    return lacking


def _flat(positions: Positions) -> list[list[object]]:
    return [[log_id, seq] for log_id, seq in sorted(positions.items())]
