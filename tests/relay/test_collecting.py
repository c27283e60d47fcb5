"""A node's sweep beside uploads, leases, share links and reads: every order of their reads, commits
and acts on files, not only of whole requests.

In none of them does something go that was acknowledged and whose lease lasts, nothing goes that was
not in the trash for a day, and in the end nothing is left of what nobody asked for again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.collecting import TESTED
from tests.interleaving import every_order, some_orders
from tests.relay import collecting_stage as stage
from tests.relay.collecting_stage import Actors, Histories, Setting

ALL = [
    (stage.in_trash, stage.put_while_swept),
    (stage.begun, stage.put_while_swept),
    (stage.expiring, stage.link_while_swept),
    (stage.expiring, stage.renew_while_swept),
    (stage.expiring, stage.sweep_in_time),
]
LARGER = [
    (stage.in_trash, stage.two_devices),
    (stage.unleased, stage.owner_in_time),
    (stage.leased, stage.time_beside_a_link),
    (stage.leased, stage.time_beside_a_lease),
]


@pytest.mark.row("F29")
@pytest.mark.parametrize(("setting", "actors"), ALL)
def test_two_actors_in_every_order(tmp_path: Path, setting: Setting, actors: Actors) -> None:
    histories = Histories(tmp_path / "node", setting, actors)
    assert every_order(histories.play) > 10
    is_asked = actors is not stage.sweep_in_time
    assert len(histories.answers) > is_asked, "who goes first makes a difference"


@pytest.mark.row("F29")
@pytest.mark.parametrize(("setting", "actors"), LARGER)
def test_more_of_them_with_two_delays(tmp_path: Path, setting: Setting, actors: Actors) -> None:
    histories = Histories(tmp_path / "node", setting, actors)
    assert every_order(histories.play, delays=2) > 50


@pytest.mark.row("F29")
@pytest.mark.parametrize("setting", [stage.leased, stage.in_trash, stage.begun])
def test_everybody_in_some_orders(tmp_path: Path, setting: Setting) -> None:
    some_orders(Histories(tmp_path / "node", setting, stage.everybody).play, range(TESTED))
