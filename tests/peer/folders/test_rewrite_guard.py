"""The question before many rewrites: what passes, what is held, and what each answer does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import NodeId
from peer.core.disk_types import Kind, Stat
from peer.core.observation import Entry
from peer.folders.rewrite_guard import WINDOW_S, RewriteGuard
from protocol.nodes import ROOT

PASS_MAX = 10
STAT = Stat(Kind.FILE, 1, 0, 1, 1, 1, False)


def guard() -> RewriteGuard:
    return RewriteGuard(lambda: PASS_MAX)


def item(number: int) -> NodeId:
    return NodeId(bytes([number]) * 16)


def entries(*numbers: int) -> list[Entry]:
    return [Entry(ROOT, f"{n}", STAT, item(n)) for n in numbers]


def read(asking: RewriteGuard, rewritten: list[Entry], now: float, touched: int = 0) -> int:
    """What intake does with files that look changed; returns how many rewrites were recorded."""
    others = [item(200 + n) for n in range(touched)]
    if asking.sets_apart(len(rewritten) + touched, now):
        asking.set_apart(rewritten, others)
        released = asking.decide(now)
        asking.note_recorded([e.item for e in released], now)
        return len(released)
    asking.note_recorded([e.item for e in rewritten], now)
    assert asking.decide(now) == []
    return len(rewritten)


def test_without_a_limit_everything_passes() -> None:
    assert read(RewriteGuard(), entries(*range(100)), 0) == 100


def test_few_rewrites_are_recorded_at_once() -> None:
    asking = guard()
    assert not asking.sets_apart(PASS_MAX, 0)
    assert read(asking, entries(*range(PASS_MAX)), 0) == PASS_MAX
    assert not asking.held


def test_of_too_many_none_is_recorded() -> None:
    asking = guard()
    assert read(asking, entries(*range(11)), 0) == 0
    assert asking.held.keys() == {item(n) for n in range(11)}


def test_files_that_only_look_changed_do_not_count() -> None:
    asking = guard()
    assert read(asking, entries(1, 2), 0, touched=50) == 2
    assert not asking.held


def test_many_small_steps_are_one_act() -> None:
    asking = guard()
    recorded = sum(read(asking, entries(n), n * 0.1) for n in range(30))
    assert recorded == PASS_MAX
    assert len(asking.held) == 20


def test_one_file_that_is_saved_over_and_over_is_one() -> None:
    asking = guard()
    assert all(read(asking, entries(1), n * 0.1) for n in range(100))


def test_what_is_long_ago_does_not_count() -> None:
    asking = guard()
    assert all(read(asking, entries(n % 250), n * WINDOW_S / PASS_MAX) for n in range(100))


def test_while_some_are_held_none_passes() -> None:
    asking = guard()
    read(asking, entries(*range(11)), 0)
    assert read(asking, entries(50), 1000) == 0
    assert len(asking.held) == 12


def test_who_undoes_a_rewrite_is_not_asked_about_it() -> None:
    asking = guard()
    read(asking, entries(*range(11)), 0)
    asking.set_apart([], [item(3)])
    assert len(asking.held) == 10


def test_a_look_at_everything_counts_anew() -> None:
    asking = guard()
    read(asking, entries(*range(11)), 0)
    asking.begin_full()
    assert read(asking, entries(*range(5)), 1) == 5
    assert not asking.held


def test_they_were_meant() -> None:
    asking = guard()
    read(asking, entries(*range(11)), 0)
    asking.allow()
    assert not asking.held
    assert read(asking, entries(20), 1) == 1  # a hint does not use the answer up
    asking.begin_full()
    assert read(asking, entries(*range(30)), 2) == 30
    assert read(asking, entries(*range(30)), 3) == 0  # for once


def test_what_was_brought_back_is_held_no_more() -> None:
    asking = guard()
    read(asking, entries(*range(11)), 0)
    asking.brought_back([item(n) for n in range(11)])
    assert not asking.held
    assert read(asking, entries(1), 1) == 1


steps = st.tuples(
    st.sampled_from(["hint", "full", "allow"]), st.integers(0, 30), st.floats(0, WINDOW_S)
)


@given(st.lists(steps))
def test_more_than_the_limit_is_recorded_only_after_it_was_allowed(
    taken: list[tuple[str, int, float]],
) -> None:
    asking, now, number = guard(), 0.0, 0
    recorded: list[float] = []
    is_allowed = False
    for act, count, pause in taken:
        now += pause
        if act == "allow":
            asking.allow()
            is_allowed, recorded = True, []
            continue
        if act == "full":
            asking.begin_full()
        passed = read(asking, entries(*(n % 256 for n in range(number, number + count))), now)
        number += count
        assert passed in {0, count}
        if not is_allowed:
            recorded += [now] * passed
            assert len([at for at in recorded if at > now - WINDOW_S]) <= PASS_MAX
        if act == "full":
            is_allowed = False


def test_what_a_person_asked_for_passes_and_counts_for_nothing() -> None:
    asking = guard()
    for number in range(30):
        asking.expect(item(number))
    assert read(asking, entries(*range(30)), 0) == 30
    assert not asking.held
    assert read(asking, entries(*range(40, 40 + PASS_MAX)), 1) == PASS_MAX
    assert read(asking, entries(0), 2) == 0  # it was expected once


def test_what_a_person_asked_for_releases_nothing_else() -> None:
    asking = guard()
    assert read(asking, entries(*range(11)), 0) == 0
    asking.expect(item(50))
    assert read(asking, entries(50, 51), 1) == 1
    assert asking.held.keys() == {item(n) for n in (*range(11), 51)}
