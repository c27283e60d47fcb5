"""A device that hears of nobody says since when what it shows may be old (A13)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from peer import daemon as daemon_module
from peer.connectivity.staleness import STALE_AFTER_S, silent_s, warning
from peer.daemon import Daemon
from peer.device.home_store import Device
from peer.status import DeviceEntry
from tests.peer.device_stage import are_linked, device_id, devices, until

DAY_S = 86_400.0


def device(last_seen_s: float | None, connected: bool = False, this: bool = False) -> DeviceEntry:
    return {
        "id": "", "name": "", "this": this, "connected": connected, "last_seen_s": last_seen_s,
    }  # fmt: skip


OWN = device(None, connected=True, this=True)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], None),
        ([device(None)], None),
        ([device(STALE_AFTER_S)], None),
        ([device(STALE_AFTER_S + 1)], STALE_AFTER_S + 1),
        ([device(9 * DAY_S), device(2 * DAY_S), device(None)], 2 * DAY_S),
        ([device(9 * DAY_S), device(60)], None),
        ([device(9 * DAY_S), device(2 * DAY_S, connected=True)], None),
    ],
)
def test_the_last_of_the_others_counts(others: list[DeviceEntry], expected: float | None) -> None:
    assert silent_s([OWN, *others]) == expected


def test_the_warning_says_since_when() -> None:
    at = time.mktime((2026, 3, 9, 14, 2, 0, 0, 0, -1))
    said = warning(3 * DAY_S, at + 3 * DAY_S)
    assert "2026-03-09 1" in said
    assert "may be stale" in said


async def told(daemon: Daemon) -> dict[str, Any]:
    (folder,) = (await daemon.status())["folders"]
    return {key: folder.get(key) for key in ("possibly_stale_s", "warnings")}


@pytest.mark.row("A13")
async def test_who_is_kept_from_all_others_says_that_it_may_be_stale(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await until(lambda: are_linked(one, two))
        await stage.share(one, two)
        assert (await told(one)) == {"possibly_stale_s": None, "warnings": None}

        # Two days in which nothing came: the other device, or the way to it, is gone.
        for daemon in (one, two):
            await daemon._listener.stop()
            daemon.network.close_all()
        await until(lambda: not one.network.connections)
        async with one.home.store.transaction() as write:
            at = time.time() - 2 * DAY_S
            await write.put_device(Device(device_id(two), "two", at))
        answer = await told(one)
        assert answer["possibly_stale_s"] == pytest.approx(2 * DAY_S, abs=60)
        (sentence,) = answer["warnings"]
        assert "may be stale" in sentence
        assert time.strftime("%Y-%m-%d", time.localtime(at)) in sentence


@pytest.mark.row("A13")
async def test_who_is_connected_is_noted_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the link begins alone: else a link of a week that ends now were a silent week."""
    monkeypatch.setattr(daemon_module, "HEARD_EVERY_S", 0.05)
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await until(lambda: are_linked(one, two))
        async with one.home.store.transaction() as write:
            await write.put_device(Device(device_id(two), "two", time.time() - 9 * DAY_S))
        async with asyncio.timeout(60):
            while True:
                (seen,) = [
                    d["last_seen_s"] for d in (await one.devices())["devices"] if not d["this"]
                ]
                if seen is not None and seen < DAY_S:
                    break
                await asyncio.sleep(0.01)
