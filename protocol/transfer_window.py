"""How many bytes to have on their way from one peer: about a second of what it gives."""

from __future__ import annotations

from typing import Final

WINDOW_START_BYTES: Final = 1 << 20
WINDOW_MIN_BYTES: Final = 64 << 10
WINDOW_MAX_BYTES: Final = 8 << 20
"""At 300 MB/s this is 27 ms, well above the round trip of a LAN; and it bounds our memory."""
WINDOW_S: Final = 1.0
"""Longer than any usual round trip, so that the distance never limits the rate."""
RATE_ASSUMED: Final = float(1 << 20)
"""Bytes a second, until there is a measurement."""
MEASURE_S: Final = 0.25
SLOW_MEASURE_S: Final = 1.0
REST_S: Final = 2.0
REST_MAX_S: Final = 60.0


class TransferWindow:
    """The window of one peer: bytes on their way, measured rate, and rest after being late."""

    def __init__(self) -> None:
        self.in_flight_bytes = 0
        self.size_bytes = WINDOW_START_BYTES
        self.rests_until = 0.0
        self._rate = 0.0
        self._rest_s = REST_S
        self._measured_bytes = 0
        self._measured_since = 0.0

    @property
    def rate(self) -> float:
        """Bytes a second, as measured or assumed."""
        return self._rate or RATE_ASSUMED

    @property
    def room_bytes(self) -> int:
        """How much to ask for now; 0 until a quarter of the window is free: asks are to be few."""
        room = self.size_bytes - self.in_flight_bytes
        return room if room * 4 >= self.size_bytes else 0

    def asked(self, size_bytes: int, now: float) -> None:
        """So many bytes more are on their way."""
        if not self.in_flight_bytes:
            self._measured_bytes = 0
            self._measured_since = now
        self.in_flight_bytes += size_bytes

    def received(self, size_bytes: int, now: float) -> None:
        """So many bytes have come."""
        self.in_flight_bytes -= size_bytes
        self._measured_bytes += size_bytes
        if not self.in_flight_bytes:
            self.measure(now)

    def given_up(self, size_bytes: int) -> None:
        """So many bytes are not expected any more."""
        self.in_flight_bytes -= size_bytes

    def measure(self, now: float) -> None:
        """Takes a measurement if there is enough to go by, and sets the window by it.

        A few small chunks say nothing of the rate but that they did not fill the window; a second
        with little to show for it does.
        """
        elapsed = now - self._measured_since
        is_filled = self._measured_bytes * 2 >= self.size_bytes
        if elapsed <= 0 or not (is_filled or elapsed >= SLOW_MEASURE_S):
            return
        if elapsed < MEASURE_S and self.in_flight_bytes:
            return
        sample = self._measured_bytes / elapsed
        self._rate = sample if not self._rate else (self._rate + sample) / 2
        self.size_bytes = int(min(max(self._rate * WINDOW_S, WINDOW_MIN_BYTES), WINDOW_MAX_BYTES))
        self._measured_bytes = 0
        self._measured_since = now
        if is_filled:
            self._rest_s = REST_S

    def late(self, now: float) -> None:
        """It did not deliver in time: a smaller window, after a rest that doubles each time."""
        self.size_bytes = max(WINDOW_MIN_BYTES, self.size_bytes // 4)
        self._rate = min(self.rate, float(self.size_bytes)) / WINDOW_S
        self.rests_until = now + self._rest_s
        self._rest_s = min(2 * self._rest_s, REST_MAX_S)
