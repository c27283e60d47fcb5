"""Two devices in two homes of any two kinds pair, sync and find the best way that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.device import wait_until
from tests.nat.devices import (
    RELAY_PORT,
    Site,
    SiteRelay,
    found_through_relay,
    share_tree,
)
from tests.nat.matrix import SETTLE_TIMEOUT_S, Outcome, Pair, pairs, play, play_all
from tests.nat.miniupnpd import Miniupnpd
from tests.nat.routers import Kind
from tests.nat.theory import DIRECT, LAN, MAPPED, RELAYED, expected


@pytest.mark.row("F11", "F12")
def test_every_pair_of_homes_syncs_by_the_best_way(site: Site) -> None:
    outcomes = play_all(site, pairs())
    assert list(outcomes) == pairs()
    wrong = [outcome.problem for pair, outcome in outcomes.items() if not is_right(pair, outcome)]
    assert not wrong, "\n\n".join(wrong)


def is_right(pair: Pair, outcome: Outcome) -> bool:
    theory = expected(*pair)
    return outcome.path == theory.path and theory.says in outcome.problem


def test_on_one_network_the_link_stays_on_it(site: Site) -> None:
    home = site.world.home(Kind.SYMMETRIC, hosts=2)
    one, other = site.device("near", home), site.device("by", home, 1)
    one.discovery = other.discovery = True
    assert play(one, other, LAN).path == LAN


@pytest.mark.parametrize("hairpin", [True, False])
def test_behind_one_router_that_keeps_them_apart(site: Site, hairpin: bool) -> None:
    """RFC 4787, REQ-9: then its outside is the only way, if the router leads it back in."""
    home = site.world.home(Kind.PORT_RESTRICTED, hosts=2, hairpin=hairpin, isolated=True)
    way = DIRECT if hairpin else RELAYED
    assert play(site.device("one", home), site.device("other", home, 1), way).path == way


def test_two_relays_show_that_both_networks_change_ports(site: Site) -> None:
    """With one relay it is not to be known, and nothing is said that is not known."""
    second = SiteRelay(site, site.directory / "second-relay", port=RELAY_PORT + 1)
    second.start()
    one, other = (site.device(name, site.world.home(Kind.SYMMETRIC)) for name in ("one", "other"))
    try:
        found_through_relay(one, other)
        one.command("relay", "add", second.address)
        sentence = "Both networks give a device another port for every destination"
        wait_until(
            lambda: all(sentence in d.problem() for d in (one, other)),
            lambda: f"{one.link()} {other.link()}",
            SETTLE_TIMEOUT_S,
        )
    finally:
        one.kill()
        other.kill()
        second.kill()


@pytest.mark.parametrize("by", ["PCP", "UPnP"])
def test_a_port_of_the_router_makes_a_way_where_there_is_none(
    site: Site, by: str, tmp_path: Path
) -> None:
    home, far = site.world.home(Kind.SYMMETRIC), site.world.home(Kind.SYMMETRIC)
    router = Miniupnpd(home, tmp_path / "router", by=by)
    router.start()
    one, other = site.device("mapped", home), site.device("far", far)
    try:
        found_through_relay(one, other)
        wait_until(
            lambda: one.way() == other.way() == MAPPED,
            lambda: f"{one.link()} {other.link()}\n{one.log_tail()}\n{other.log_tail()}",
        )
        share_tree(one, other)
        assert "dnat" in router.open_ports()
        one.stop()
        assert "dnat" not in router.open_ports(), "given back"
    finally:
        one.kill()
        other.kill()
        router.stop()
