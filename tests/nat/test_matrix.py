"""Two devices in two homes of any two kinds pair, sync and find the best way that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.device import wait_until
from tests.nat.devices import Site, found_through_relay, share_tree
from tests.nat.matrix import Pair, pairs, play, play_all
from tests.nat.miniupnpd import Miniupnpd
from tests.nat.routers import Kind
from tests.nat.theory import DIRECT, LAN, MAPPED, RELAYED, expected


@pytest.mark.row("F11", "F12")
def test_every_pair_of_homes_syncs_by_the_best_way(site: Site) -> None:
    outcomes = play_all(site, pairs())
    found: dict[Pair, str] = {pair: outcome.path for pair, outcome in outcomes.items()}
    assert found == {pair: expected(*pair).path for pair in pairs()}


def test_on_one_network_the_link_stays_on_it(site: Site) -> None:
    home = site.world.home(Kind.SYMMETRIC, hosts=2)
    one, other = site.device("near", home), site.device("by", home, 1)
    one.discovery = other.discovery = True
    assert play(one, other, wait_for=LAN).path == LAN


@pytest.mark.parametrize("hairpin", [True, False])
def test_behind_one_router_that_keeps_them_apart(site: Site, hairpin: bool) -> None:
    """RFC 4787, REQ-9: then its outside is the only way, if the router leads it back in."""
    home = site.world.home(Kind.PORT_RESTRICTED, hosts=2, hairpin=hairpin, isolated=True)
    outcome = play(site.device("one", home), site.device("other", home, 1))
    assert outcome.path == (DIRECT if hairpin else RELAYED)


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
