"""Whether what this device shows may be old, because it hears of no other device (ATTACKS A13).

Nothing tells a device that is kept from all others what it lacks; it can tell how long it has
heard of none. A link lives by an answer each 20 s from who holds the other device's keys, so a day
without any is a day in which nobody could have told of a change.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from peer.command_line.terminal import format_time
from peer.status import DeviceEntry

HEARD_EVERY_S: Final = 300.0
"""How often it is kept who is connected; `last_seen_s` is so exact."""
STALE_AFTER_S: Final = 86_400.0
"""A machine that is off at night is nothing to tell of."""


def silent_s(devices: Sequence[DeviceEntry]) -> float | None:
    """Seconds since the last of the others was heard, once that is long ago; None while one is
    connected, and where there is no other, or none that was ever heard.
    """
    others = [device for device in devices if not device["this"]]
    if any(device["connected"] for device in others):
        return None
    heard = [s for device in others if (s := device["last_seen_s"]) is not None]
    least = min(heard, default=0.0)
    return least if least > STALE_AFTER_S else None


def warning(silence_s: float, now: float) -> str:
    """What to tell a person of it; `now` is the wall clock's, and decides nothing."""
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(now - silence_s))
    return (
        f"This folder may be stale: no other device was heard of for {format_time(silence_s)}."
        f" What was changed elsewhere since {since} is not here, and what was changed here is not"
        " there. Start another device, or see to the network between them."
    )
