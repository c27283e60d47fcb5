"""Half-open links are counted, so that strangers cannot use up what friends need."""

from __future__ import annotations

from collections import Counter
from typing import Final

HALF_OPEN_MAX: Final = 64
HALF_OPEN_PER_HOST_MAX: Final = 8
VALIDATE_FROM: Final = 8
"""From this many on, QUIC clients first show that they receive what is sent to their address."""
VALIDATE_FROM_PER_HOST: Final = 2
"""Few: the address of a first packet can be a lie, and must not use up its victim's places."""


class HalfOpen:
    """The places for links whose other side is not authenticated yet (CRYPTO 7)."""

    def __init__(
        self, count_max: int = HALF_OPEN_MAX, per_host_max: int = HALF_OPEN_PER_HOST_MAX
    ) -> None:
        self._count_max, self._per_host_max = count_max, per_host_max
        self._hosts: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, host: str) -> bool:
        """Takes a place; False if there is none left, in all or for this host."""
        if self._count >= self._count_max or self._hosts[host] >= self._per_host_max:
            return False
        self._hosts[host] += 1
        self._count += 1
        return True

    def leave(self, host: str) -> None:
        """Gives a place back."""
        assert self._hosts[host] > 0
        self._hosts[host] -= 1
        self._count -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def must_validate(self, host: str) -> bool:
        """Whether an address has to be shown to be real before it gets a place."""
        return self._count >= VALIDATE_FROM or self._hosts[host] >= VALIDATE_FROM_PER_HOST
