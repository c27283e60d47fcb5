"""What a folder asks of the others is what the network does, word for word."""

from __future__ import annotations

import inspect

from peer.connectivity.network import Network
from peer.folders.neighbours import Neighbours, Source


def acts_of(protocol: type) -> list[str]:
    return [name for name, value in vars(protocol).items() if inspect.isfunction(value)
            and not name.startswith("_")]  # fmt: skip


def test_the_network_does_all_that_a_folder_asks_of_its_neighbours() -> None:
    acts = acts_of(Neighbours) + acts_of(Source)
    assert {"announce", "acknowledge", "applied", "misbehaved", "need", "forget"} <= set(acts)
    for act in acts:
        assert inspect.signature(getattr(Network, act)) == inspect.signature(
            getattr(Neighbours, act)
        )


def test_whoever_only_fetches_needs_no_more_than_a_source() -> None:
    assert set(acts_of(Source)) == {"need", "forget"}
    assert Source in Neighbours.__mro__
