"""What a relay has carried today, for each device and from each address: the quotas of a day.

Devices are on disk, so that neither a new link nor a restart gives anybody the day anew; addresses
are in memory only. What was carried since the last `save` is lost in a crash.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, TypeVar

from relay.limits import MIB, Limits
from relay.registry import Client
from relay.store import RelayStore

DAY_S: Final = 86_400
KEYS_MAX: Final = 200_000
"""Devices or addresses of one day that are told apart; all others share what one has."""

K = TypeVar("K", bytes, str)


class Usage:
    """Bytes of this day (UTC)."""

    def __init__(self, limits: Limits, store: RelayStore | None = None) -> None:
        self._device_max = limits.mib_per_day_per_device * MIB
        self._address_max = limits.mib_per_day_per_address * MIB
        self._store = store
        self._day = 0
        self._devices: Counter[bytes] = Counter()
        self._addresses: Counter[str] = Counter()
        self._unsaved: Counter[bytes] = Counter()
        self.bytes = 0
        """Carried in all since the start."""

    async def load(self, now: float) -> None:
        """Goes on from what was saved of this day."""
        self._turn_day(now)
        if self._store is not None:
            rows = await self._store.rows(
                "SELECT pseudonym, bytes FROM usage WHERE day = ?", self._day
            )
            self._devices = Counter(dict(rows))

    def may_carry(self, client: Client, now: float) -> bool:
        """Whether there is anything left for this device and its address."""
        self._turn_day(now)
        device = _key(self._devices, client.pseudonym, b"")
        address = _key(self._addresses, client.host, "")
        return not (
            (self._device_max and self._devices[device] >= self._device_max)
            or (self._address_max and self._addresses[address] >= self._address_max)
        )

    def carry(self, clients: tuple[Client, ...], count: int, now: float) -> bool:
        """Counts bytes of one call for both its devices; False when it has to end."""
        self._turn_day(now)
        self.bytes += count
        is_good = True
        for client in clients:
            device = _key(self._devices, client.pseudonym, b"")
            self._devices[device] += count
            self._unsaved[device] += count
        for host in {client.host for client in clients}:
            self._addresses[_key(self._addresses, host, "")] += count
        if self._device_max or self._address_max:
            is_good = all(self.may_carry(client, now) for client in clients)
        return is_good

    async def save(self, now: float) -> None:
        """Writes what was carried since the last time, and forgets days that are over."""
        self._turn_day(now)
        if self._store is None or not self._unsaved:
            return
        day, unsaved, self._unsaved = self._day, self._unsaved, Counter()
        try:
            async with self._store.transaction() as db:
                await db.execute_fetchall("DELETE FROM usage WHERE day < ?", (day,))
                await db.executemany(
                    "INSERT INTO usage VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                    " SET bytes = bytes + excluded.bytes",
                    [(day, key, count) for key, count in unsaved.items() if key],
                )
        except BaseException:
            if self._day == day:
                self._unsaved.update(unsaved)
            raise

    def _turn_day(self, now: float) -> None:
        day = int(now) // DAY_S
        if day != self._day:
            self._day = day
            for counts in (self._devices, self._addresses, self._unsaved):
                counts.clear()


def _key(counts: Counter[K], key: K, other: K) -> K:
    return key if key in counts or len(counts) < KEYS_MAX else other
