"""The defaults are within the caps, and leave each other room."""

from __future__ import annotations

from relay.config import KEYS
from relay.limits import Limits


def test_what_one_address_has_is_less_than_all_have() -> None:
    limits = Limits()
    for name in ("devices", "half_open", "calls", "waiting_places"):
        assert getattr(limits, f"{name}_per_address") < getattr(limits, name)
    assert limits.calls_per_device < limits.calls_per_address
    assert limits.calls_per_minute < limits.messages_per_minute


def test_every_limit_can_be_set() -> None:
    named = {key.name for key in KEYS if key.dotted.startswith("limits.")}
    assert named == set(vars(Limits()))
