"""Nobody's clock decides anything: whatever time the devices' clocks say, all show the same (F22).

The clock's times are in the records for conflict names only.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.nodes import Content, Node, Place, maximal, versions, winning_place
from tests.protocol.node_strategies import FILE, LOGS, contents, places

A, B, _ = LOGS
X, Y = b"x" * 32, b"y" * 32
HOME = Place(((A, 1),), 1, A, FILE, "a")


def by_other_clocks(node: Node, clocks: Iterator[int]) -> Node:
    return node._replace(
        places=tuple(sorted(p._replace(time_s=next(clocks)) for p in node.places)),
        contents=tuple(sorted(c._replace(time_s=next(clocks)) for c in node.contents)),
    )


@pytest.mark.row("F22")
def test_a_clock_that_is_years_ahead_does_not_win() -> None:
    early = Content(((A, 2),), 2, A, X, 5, time_s=5)
    late = Content(((B, 1),), 1, B, Y, 5, time_s=1 << 40)
    shown = versions(FILE, Node((HOME,), maximal((early, late))))
    assert [c.hash for c in shown] == [X, Y]


@pytest.mark.row("F22")
def test_a_clock_that_is_years_ahead_does_not_rename() -> None:
    early = HOME._replace(vector=((A, 2),), lamport=2, name="early", time_s=5)
    late = HOME._replace(vector=((B, 1),), author=B, name="late", time_s=1 << 40)
    assert winning_place(Node(maximal((early, late)))).name == "early"


@pytest.mark.row("F22")
@given(
    st.lists(places(FILE[15] & 3), min_size=1, max_size=4),  # type: ignore[arg-type]
    st.lists(contents, max_size=4),
    st.lists(st.integers(0, 1 << 40), min_size=8, max_size=8),
)
def test_other_clocks_show_the_same(
    wheres: list[Place], whats: list[Content], clocks: list[int]
) -> None:
    # One write of an author at a Lamport time, as the logs have it.
    wheres = list({(p.lamport, p.author): p for p in wheres}.values())
    whats = list({(c.lamport, c.author): c for c in whats}.values())
    node = Node(maximal(wheres), maximal(whats))
    other = by_other_clocks(node, iter(clocks))
    assert [c.hash for c in versions(FILE, other)] == [c.hash for c in versions(FILE, node)]
    shown, again = winning_place(node), winning_place(other)
    assert (again.parent, again.name) == (shown.parent, shown.name)
