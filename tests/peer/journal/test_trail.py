"""What is written into the audit trail, and what is not."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from crypto.ids import DeviceId, LogId
from crypto.keys import DeviceKeys
from peer.core.deeds import Deeds, Named, What
from peer.journal.trail import TEXT_LENGTH_MAX, Trail
from peer.journal.trail_file import read_back

KEYS = DeviceKeys.generate(Random(1).randbytes)
OTHER = DeviceId(b"o" * 32)
LOG = LogId(b"l" * 16)


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    trail = Trail(tmp_path, KEYS)
    assert trail.open("laptop", begins_anew=False) == []
    return trail


def entries(trail: Trail) -> list[dict[str, Any]]:
    trail.close()
    found = [line.entry for line in read_back(trail.directory)][::-1]
    assert [found[0]["what"], found[-1]["what"]] == ["started", "stopped"]
    return found[1:-1]


def test_deeds_are_those_of_their_device(trail: Trail) -> None:
    long = "x" * 1_000
    deeds = Deeds(
        LOG, "desktop", {What.RENAMED: 17}, {What.RENAMED: [Named("b", "a"), Named(long)]}
    )
    trail.files("photos", [deeds], {LOG: OTHER}.get)
    trail.files("photos", [Deeds(LogId(b"?"), "", {What.CREATED: 1})], {LOG: OTHER}.get)
    one, two = entries(trail)
    assert (one["device"], one["by"], one["folder"]) == (OTHER.hex(), "desktop", "photos")
    assert one["counts"] == {"renamed": 17}
    (pair, short) = one["paths"]["renamed"]
    assert pair == ["a", "b"]
    assert len(short) == TEXT_LENGTH_MAX
    assert (two["device"], two["by"]) == ("", "")


@pytest.mark.row("A37")
def test_no_secret_is_written(trail: Trail) -> None:
    canary = "canary-secret"
    trail.asked("/api/relays/add", {"address": "relay", "token": canary, "nothing": None})
    trail.asked("/api/links/create", {"path": "a", "password": canary, "passphrase": canary})
    trail.asked("/api/search", {"query": "what is looked for is nobody's business"})
    one, two = entries(trail)
    assert one["with"] == {"address": "relay"}
    assert one["device"] == KEYS.device_id.hex()
    assert two["with"] == {"path": "a"}
    for path in trail.directory.iterdir():
        assert canary.encode() not in path.read_bytes()


def test_a_trail_that_cannot_be_opened_keeps_nobody_from_working(tmp_path: Path) -> None:
    (tmp_path / "trail").write_bytes(b"a file")
    trail = Trail(tmp_path, KEYS)
    (notice,) = trail.open("laptop", begins_anew=False)
    assert "no audit trail" in notice
    trail.note("anything")
    trail.close()
