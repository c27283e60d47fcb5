"""The lab's times: how soon two devices meet, find a direct way, and are back after a change.

python -m tests.nat times       three runs of each, and the medians
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from tests.end_to_end.device import FOLDER, attach, wait_for_same, wait_until
from tests.nat.devices import Site, SiteDevice, SiteRelay, found_through_relay
from tests.nat.lab import Home
from tests.nat.routers import Kind

RUNS: Final = 3
SETTLED_S: Final = 11.0
"""Two devices that have just linked are held to have dialled each other at once for so long."""


def meeting(one: SiteDevice, other: SiteDevice) -> tuple[float, float]:
    """Seconds from the link to the relay to that with the other device, and from there to a direct
    one, when a daemon starts; by the times in its log.
    """
    other.kill()
    wait_until(lambda: one.way() == "none", "the end of the link")
    begins_at = other.log.stat().st_size
    other.start()
    wait_until(lambda: other.way() == one.way() == "direct", "a direct way")
    told = other.log.read_text()[begins_at:].splitlines()
    at_relay, met, direct = (
        next(_time_of(line) for line in told if words in line)
        for words in ("linked to the relay", "linked by relayed", "linked by quic")
    )
    return met - at_relay, direct - met


def _time_of(line: str) -> float:
    """Of a line such as `2026-03-01 12:00:00,123 INFO ...`."""
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()


def copied(one: SiteDevice, other: SiteDevice, name: str) -> float:
    """Seconds from saving a file on one to having it on the other."""
    began_at = time.monotonic()
    (one.folder / name).write_text(name)
    wait_until(lambda: _has(other, name), lambda: f"{name}: {other.log_tail()}", 90)
    return time.monotonic() - began_at


def _has(device: SiteDevice, name: str) -> bool:
    path = device.folder / name
    return path.exists() and path.read_text() == name


def _pair(site: Site, one_kind: Kind, other_kind: Kind) -> tuple[SiteDevice, SiteDevice, Home]:
    home = site.world.home(one_kind)
    one, other = site.device("one", home), site.device("other", site.world.home(other_kind))
    found_through_relay(one, other)
    (one.folder / "first").write_text("first")
    one.command("folder", "add", str(one.folder), "--name", FOLDER)
    attach(other)
    wait_for_same(one, other)
    return one, other, home


def _median(label: str, times: list[float], bound_s: float) -> str:
    spread = f"{min(times):.2f}-{max(times):.2f}"
    return f"{label}: {statistics.median(times):.2f} s ({spread}), to be at most {bound_s} s"


def measure(site: Site) -> Iterator[str]:
    """All times as lines."""
    one, other, home = _pair(site, Kind.PORT_RESTRICTED, Kind.PORT_RESTRICTED)
    wait_until(lambda: one.way() == "direct", "a direct way")
    found = [meeting(other, one) for _ in range(RUNS)]
    yield _median("meet through the relay", [met for met, _ in found], 0.3)
    yield _median("direct way after that", [direct for _, direct in found], 1.0)

    moves: list[Callable[[], object]] = [
        lambda: home.give_address(0, 77),
        lambda: home.give_address(0, 78),
        lambda: _move(site, home),
    ]
    times = []
    for number, move in enumerate(moves):
        wait_until(lambda: one.way() == "direct", "a direct way", 60)
        time.sleep(SETTLED_S)
        move()
        times.append(copied(one, other, f"moved {number}"))
    yield _median("a file saved after an address change is there", times, 5.0)
    for device in (one, other):
        device.kill()
    yield _lost_relay(site)


def _move(site: Site, home: Home) -> None:
    """Plugs the host into another router, where it has the same address as before."""
    home.router.ip("link del port0")
    site.world.home(Kind.PORT_RESTRICTED, hosts=0).take_in(home.hosts[0])


def _lost_relay(site: Site) -> str:
    """The relay that carries is killed, and there is another one."""
    one, other, _ = _pair(site, Kind.UDP_BLOCKED, Kind.UDP_BLOCKED)
    times = []
    for number in range(RUNS):
        second = SiteRelay(site, site.directory / f"relay-{number}", port=5000 + number)
        second.start()
        one.command("relay", "add", second.address)
        wait_until(lambda: one.is_at_relay() and other.is_at_relay(), "both relays", 60)
        site.relay.kill()
        times.append(copied(one, other, f"other relay {number}"))
        site.relay.start()
        wait_until(lambda: one.is_at_relay() and other.is_at_relay(), "both relays", 90)
        one.command("relay", "remove", second.address)
        second.kill()
        wait_until(lambda: one.way() == other.way() == "relayed", "the first relay", 90)
        copied(one, other, f"first relay {number}")
    one.kill()
    other.kill()
    return _median("a file saved after a relay's death is there by another", times, 10.0)
