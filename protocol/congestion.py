"""How fast a QUIC connection sends: CUBIC with HyStart, and a pacer that thinks in bursts.

Written for bursts, because Python pays for each call: aioquic's own take several steps a packet.
They have the methods that aioquic calls (`quic.py` puts them in place of its own) and know
nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any, Final, Protocol

WINDOW_MAX_BYTES: Final = 16 << 20
INITIAL_PACKETS: Final = 10
MINIMUM_PACKETS: Final = 2
CUBIC_C: Final = 0.4
LOSS_FACTOR: Final = 0.7
IDLE_RESET_S: Final = 2.0
ROUND_SAMPLES: Final = 8
HYSTART_DELAY_MIN_S: Final = 0.004
"""RFC 9406: slow start ends when round trips grew by an eighth, and by 4 ms at least."""
HYSTART_DELAY_MAX_S: Final = 0.016
BURST_PACKETS_MAX: Final = 128
PACING_BURST_S: Final = 0.002
"""The event loop's timers are no finer, so shorter bursts would only lose time."""
PACING_GAIN: Final = 1.25


class SentPacket(Protocol):
    """What is looked at of a packet."""

    sent_bytes: int
    sent_time: float | None


class Cubic:
    """CUBIC (RFC 9438) that takes one step an ACK frame, and grows only while it is the limit."""

    def __init__(self, *, max_datagram_size: int) -> None:
        self.datagram_size = max_datagram_size
        self.bytes_in_flight = 0
        self.ssthresh: int | None = None
        self.congestion_window = INITIAL_PACKETS * max_datagram_size
        self._acked_bytes = 0
        self._last_acked_sent_at = 0.0
        self._rtt_s = 0.02
        self._recovery_since = 0.0
        self._window_before_loss = 0.0
        self._reno_window = 0.0
        self._epoch_since: float | None = None
        self._time_to_plateau_s = 0.0
        self._round_min_s = self._previous_min_s = inf
        self._round_samples = 0
        self._round_ends_at = 0.0

    def on_packet_sent(self, *, packet: SentPacket) -> None:
        """Counts a packet; after a long silence the path has to be learned again."""
        self.bytes_in_flight += packet.sent_bytes
        sent_at = packet.sent_time or 0.0
        if self._last_acked_sent_at and sent_at - self._last_acked_sent_at >= IDLE_RESET_S:
            if self.bytes_in_flight == packet.sent_bytes:
                self._restart()

    def on_packet_acked(self, *, now: float, packet: SentPacket) -> None:
        """Only counts; `grow` takes the step."""
        self.bytes_in_flight -= packet.sent_bytes
        self._acked_bytes += packet.sent_bytes
        self._last_acked_sent_at = packet.sent_time or now

    def on_packets_expired(self, *, packets: Iterable[SentPacket]) -> None:
        """Packets that count no longer, but were not lost."""
        self.bytes_in_flight -= sum(packet.sent_bytes for packet in packets)

    def on_packets_lost(self, *, now: float, packets: Iterable[SentPacket]) -> None:
        """Backs off once a round trip, whatever is lost in it."""
        lost = list(packets)
        sent_at = max((packet.sent_time or 0.0 for packet in lost), default=0.0)
        flight = self.bytes_in_flight
        self.bytes_in_flight -= sum(packet.sent_bytes for packet in lost)
        if sent_at <= self._recovery_since:
            return
        self._recovery_since = now
        window = float(min(self.congestion_window, max(flight, self._minimum)))
        # Fast convergence: who loses below the last plateau leaves room for newcomers.
        if window < self._window_before_loss:
            self._window_before_loss = window * (1 + LOSS_FACTOR) / 2
        else:
            self._window_before_loss = window
        self.congestion_window = self.ssthresh = max(int(window * LOSS_FACTOR), self._minimum)
        self._epoch_since = None

    def on_persistent_congestion(self) -> None:
        """Nothing got through for a long time."""
        self.congestion_window = self._minimum
        self._recovery_since = 0.0
        self._epoch_since = None

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """HyStart: ends slow start when round trips grow, before the queue on the way overflows."""
        self._rtt_s = rtt
        if self.ssthresh is not None:
            return
        if now >= self._round_ends_at:
            self._previous_min_s, self._round_min_s = self._round_min_s, inf
            self._round_samples = 0
            self._round_ends_at = now + rtt
        self._round_min_s = min(self._round_min_s, rtt)
        self._round_samples += 1
        previous_s = self._previous_min_s
        if self._round_samples >= ROUND_SAMPLES and previous_s < inf:
            delay_s = min(max(previous_s / 8, HYSTART_DELAY_MIN_S), HYSTART_DELAY_MAX_S)
            if self._round_min_s >= previous_s + delay_s:
                self.ssthresh = self.congestion_window

    def grow(self, now: float) -> None:
        """One step for everything acknowledged since the last."""
        acked, self._acked_bytes = self._acked_bytes, 0
        window = self.congestion_window
        # RFC 9002, 7.8: a window that was not used says nothing about the path.
        if not acked or (self.bytes_in_flight + acked) * 2 < window or window >= WINDOW_MAX_BYTES:
            return
        if self.ssthresh is None or window < self.ssthresh:
            self.congestion_window += acked
            return
        if self._epoch_since is None:
            self._epoch_since = now
            self._reno_window = float(window)
            self._window_before_loss = max(self._window_before_loss, float(window))
            segments = (self._window_before_loss - window) / self.datagram_size
            self._time_to_plateau_s = (segments / CUBIC_C) ** (1 / 3)
        self._reno_window += self.datagram_size * acked / window
        elapsed_s = now - self._epoch_since
        target = min(max(self._cubic_window(elapsed_s + self._rtt_s), window), window * 1.5)
        cubic = window + (target - window) * acked / window
        self.congestion_window = int(max(cubic, self._reno_window, window))

    def _cubic_window(self, elapsed_s: float) -> float:
        growth = CUBIC_C * (elapsed_s - self._time_to_plateau_s) ** 3
        return self._window_before_loss + growth * self.datagram_size

    @property
    def _minimum(self) -> int:
        return MINIMUM_PACKETS * self.datagram_size

    def _restart(self) -> None:
        self.congestion_window = min(self.congestion_window, INITIAL_PACKETS * self.datagram_size)
        self._epoch_since = None

    def get_log_data(self) -> dict[str, Any]:
        """For aioquic's logger."""
        return {"cwnd": self.congestion_window, "bytes_in_flight": self.bytes_in_flight}


class Pacer:
    """Spreads a window over its round trip, in bursts of 2 ms and a quarter faster."""

    def __init__(self, *, max_datagram_size: int) -> None:
        self.datagram_size = max_datagram_size
        self._packet_time_s: float | None = None
        self._credit_s = PACING_BURST_S
        self._checked_at = 0.0

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Learns the window and the round trip."""
        rate = PACING_GAIN * congestion_window / max(smoothed_rtt, 1e-4)
        self._packet_time_s = min(self.datagram_size / rate, 1.0)

    def packets(self, now: float) -> int:
        """How many packets may go now."""
        if self._packet_time_s is None:
            return BURST_PACKETS_MAX
        burst_s = max(PACING_BURST_S, 2 * self._packet_time_s)
        self._credit_s = min(self._credit_s + max(0.0, now - self._checked_at), burst_s)
        self._checked_at = max(now, self._checked_at)
        return min(BURST_PACKETS_MAX, int(self._credit_s / self._packet_time_s))

    def spend(self, packets: int) -> None:
        """Takes off packets that `packets` had allowed."""
        if self._packet_time_s is not None:
            self._credit_s = max(0.0, self._credit_s - packets * self._packet_time_s)

    def next_send_time(self, now: float) -> float | None:
        """When the next packet may go; None for now."""
        if self._packet_time_s is None or self.packets(now):
            return None
        return now + max(PACING_BURST_S / 2, self._packet_time_s)

    def update_after_send(self, now: float) -> None:
        """One packet went."""
        self.spend(1)
