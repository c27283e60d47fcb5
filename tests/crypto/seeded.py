"""Randomness for tests: a stream that a seed decides and that never repeats itself."""

from __future__ import annotations

from hashlib import shake_256


class Seeded:
    """Calls give fresh bytes; two objects of one seed give the same ones for the same calls."""

    def __init__(self, seed: int | str) -> None:
        self._seed = str(seed)
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return shake_256(f"{self._seed} {self._count}".encode()).digest(size)
