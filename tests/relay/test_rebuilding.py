"""A rebuild by nodes among themselves beside an owner, devices, a sweep, a lost node that comes and
goes, another node that rebuilds, and a death in the middle: orders of their reads and commits.

In none of them is anything lost that a node has said it keeps, does what was given up come back,
is forgotten who holds what, or is anything left for ever; and where the pack is kept, all its
shares are there in the end, the others know who has them, and each is what it has to be.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.collecting import REBUILT
from tests.interleaving import every_order, some_orders
from tests.relay import rebuilding_stage as stage
from tests.relay.rebuilding_stage import Actors, Histories

PLAYED = [
    (stage.given_up, 1, {("given up",)}),
    (stage.told_again, 1, {("told",)}),
    (stage.healed_by_a_device, 1, {(), ("refused",)}),
    (stage.killed, 1, {(), ("killed",)}),
    (stage.swept, 1, {()}),
    (stage.renewed, 1, {("missing",), ("renewed",)}),
    (stage.flapping, 2, {()}),
]


@pytest.mark.row("F24", "F29")
@pytest.mark.parametrize(("actors", "delays", "answers"), PLAYED)
def test_a_rebuild_beside_another(
    tmp_path: Path, actors: Actors, delays: int, answers: set[tuple[str, ...]]
) -> None:
    histories = Histories(tmp_path, actors)
    assert every_order(histories.play, delays) > 10
    assert histories.answers == answers


@pytest.mark.row("F24", "F29")
def test_two_nodes_that_stand_by(tmp_path: Path) -> None:
    assert every_order(Histories(tmp_path, stage.two_nodes, standing_by=2).play, delays=1) > 30


@pytest.mark.row("F24", "F29")
@pytest.mark.parametrize("actors", [stage.everybody, stage.nobody_gives_up])
def test_everybody_in_some_orders(tmp_path: Path, actors: Actors) -> None:
    some_orders(Histories(tmp_path, actors, standing_by=2).play, range(REBUILT))
