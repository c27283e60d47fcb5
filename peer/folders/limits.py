"""What a person may set for folders, as the parts of one want it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from peer.folders.index_store import Summary
from peer.folders.upkeep import Policy
from peer.history.version_store import VersionPolicy


@dataclass(frozen=True, slots=True)
class Limits:
    """One device's, for all of its folders."""

    rescan_interval_s: float
    free_min_bytes: int
    deletions_pass_max: Callable[[Summary], int]
    """How many deletions pass without a question in a folder of this size."""
    rewrites_pass_max: Callable[[Summary], int]
    """The same of rewrites."""
    policy: Policy = field(default_factory=Policy)
    """When logs are compacted."""
    versions: VersionPolicy = field(default_factory=VersionPolicy)
    """How long what was replaced or deleted is kept."""
    recheck_s: float = 0.0
    """Within which all files are read again; 0 for never."""
