"""A machine is itself, and does not tell its own id."""

from __future__ import annotations

from pathlib import Path

from peer.device.machine import machine_id


def test_it_stays_the_same() -> None:
    assert machine_id() == machine_id()
    assert len(machine_id()) in (0, 32)


def test_it_hides_what_it_is_made_of() -> None:
    source = Path("/etc/machine-id")
    own = source.read_bytes().strip() if source.exists() else b""
    assert not own or own not in machine_id() + machine_id().hex().encode()
