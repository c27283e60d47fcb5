"""Limits: what holds for a folder where nothing was set."""

from __future__ import annotations

from peer.folders.limits import Limits
from peer.folders.upkeep import Policy
from peer.history.version_store import VersionPolicy


def test_what_is_not_set_is_kept_for_a_month() -> None:
    limits = Limits(60.0, 0, lambda summary: summary.files, lambda summary: summary.files)
    assert limits.policy == Policy()
    assert limits.versions == VersionPolicy()
    assert limits.versions.all_s == 30 * 86_400
