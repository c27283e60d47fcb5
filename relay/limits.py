"""How much a relay does for whom: what `relay.toml` can set, each within a hard cap.

Per device means per pseudonym, whichever link it comes by: to come again gives nobody more. Per
address means what can be told apart by an address (relay/origins.py), so that a thousand
pseudonyms of one attacker count as one. The caps are what one process can hold, at some 40 KiB a
device and two descriptors a call.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The defaults are for a small machine; a number of 0 bytes a day is no limit."""

    devices: int = 4096
    """Linked at once."""
    devices_per_address: int = 256
    """An office, or a network whose provider puts many behind one address."""
    half_open: int = 512
    """Connections that have not shown yet what they are."""
    half_open_per_address: int = 32
    """An office behind one address comes back at once when the relay does, with jitter."""
    connections_per_minute_per_address: int = 2400
    """An office of 256 that comes back, and their calls; a handshake costs 2 ms of a processor."""
    messages_per_minute: int = 240
    """Of one device: more is an offence, for an honest one needs a tenth of it."""
    calls_per_minute: int = 60
    """Of one device; it looks for each of its others once a minute, and for a newcomer at once."""
    calls_per_minute_per_address: int = 600
    codes_per_minute_per_address: int = 30
    """Calls of nameplates: each may burn a try of somebody's code."""
    rings_per_minute: int = 120
    """Calls of one device, whoever calls."""
    calls: int = 1024
    """Under way at once: two connections each, and 128 KiB."""
    calls_per_device: int = 64
    calls_per_address: int = 128
    """Behind one address are the devices of an office; one that fills this keeps its own house
    out."""
    waiting_places: int = 400_000
    """Rendezvous ids in all: some 100 MB; 2,000 devices that wait for ten others each are 60,000.
    """
    waiting_places_per_address: int = 65_536
    nameplates_per_address: int = 64
    """Of 9,999: one address must not use up the numbers of all."""
    datagram_sessions: int = 4096
    """Of QUIC by UDP, at once; each takes a few hundred bytes."""
    datagram_sessions_per_device: int = 64
    """Begun by one; beyond them the oldest of its own ends."""
    datagram_mib_per_second: int = 128
    """A gigabit line; of one session, of one device and of one address."""
    shows_per_minute: int = 120
    """Of one device; it shows itself every 20 s, and a few times more when its network changes."""
    mib_per_day_per_device: int = 0
    """Carried for it by calls, whichever side began them."""
    mib_per_day_per_address: int = 0
    mailboxes_mib: int = 4096
    """Sealed items in all mailboxes together; 0: this relay keeps none."""
    mailboxes_mib_per_device: int = 128
    """Put there by one device, in all of its folders."""


MIB = 1 << 20
