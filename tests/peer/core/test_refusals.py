"""What the disk refused is held back, told and tried again."""

from peer.core.refusals import PASSING_MAX, Refusals, held_with_contents
from peer.core.rows import Row
from protocol.nodes import ROOT
from tests.peer.tree_stage import X, directory, directory_id, file, file_id

F, G = file_id(1), file_id(2)
F_PATH, G_PATH = ("d", "f"), ("g",)


def two_refused() -> Refusals:
    refusals = Refusals()
    refusals.note(F, F_PATH, "It may not be changed.", 0.0)
    refusals.note(G, G_PATH, "There is no such device.", 1.0)
    return refusals


def test_it_is_told_until_it_is_done() -> None:
    refusals = two_refused()
    assert refusals.time_came(10.0)
    assert refusals.held == set()
    assert refusals.told().keys() == {F_PATH, G_PATH}
    refusals.done([F])
    assert refusals.told() == {G_PATH: "There is no such device."}
    refusals.all_done()
    assert refusals.told() == {}


def test_it_is_held_back_until_it_is_time() -> None:
    refusals = two_refused()
    assert not refusals.time_came(4.9)
    assert refusals.held == {F, G}


def test_what_others_change_is_tried_at_once() -> None:
    refusals = two_refused()
    refusals.changed([F])
    assert refusals.held == {G}


def test_what_is_otherwise_than_planned_passes_a_few_times_in_a_row() -> None:
    refusals = Refusals()
    assert all(refusals.passes(F) for _ in range(PASSING_MAX))
    assert not refusals.passes(F)
    assert refusals.passes(G)  # each by itself


def test_what_is_done_or_written_anew_may_be_otherwise_again() -> None:
    refusals = Refusals()

    def fill() -> None:
        while refusals.passes(F):
            pass

    fill()
    refusals.done([F])
    assert refusals.passes(F)
    fill()
    refusals.changed([F])
    assert refusals.passes(F)
    fill()
    refusals.all_done()
    assert refusals.passes(F)


def test_what_is_to_lie_in_a_held_directory_is_held_with_it() -> None:
    d, e = directory_id(1), directory_id(2)
    rows = {
        i: Row(i, state)
        for i, state in ((d, directory(ROOT, "d")), (e, directory(d, "e")), (F, file(e, "f", X)))
    }
    assert held_with_contents([d], rows, ()) == {d, e, F}
    assert held_with_contents([d], rows, [d]) == {d}  # it is shown, and is to move
