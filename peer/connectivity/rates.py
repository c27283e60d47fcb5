"""How fast bytes go over one link now: an average of the last seconds. Pure."""

from __future__ import annotations

from math import exp
from typing import Final

SPAN_S: Final = 3.0
"""What is older counts for little: a transfer that has ended is not shown for long."""
STEP_S: Final = 0.1
"""What comes more often is counted together: a link brings thousands of frames a second."""


class Rates:
    """Of one link, from how much it has sent and received in all."""

    def __init__(self, now: float) -> None:
        self.sent_bytes_s = self.received_bytes_s = 0.0
        self._sent = self._received = 0
        self._at = now

    def note(self, sent: int, received: int, now: float) -> None:
        """So many bytes have been sent and received since the link began."""
        passed = now - self._at
        if passed < STEP_S:
            return
        kept = exp(-passed / SPAN_S)
        new = (1 - kept) / passed
        self.sent_bytes_s = kept * self.sent_bytes_s + new * (sent - self._sent)
        self.received_bytes_s = kept * self.received_bytes_s + new * (received - self._received)
        self._sent, self._received, self._at = sent, received, now
