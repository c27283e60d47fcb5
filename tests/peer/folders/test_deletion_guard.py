"""The question before many deletions: what passes, what is held, and what each answer does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peer.folders.deletion_guard import UNLIMITED, DeletionGuard

PASS_MAX = 10


def guard() -> DeletionGuard:
    return DeletionGuard(lambda: PASS_MAX)


def test_without_a_limit_everything_passes() -> None:
    assert DeletionGuard().limit(is_full=True) == UNLIMITED
    assert DeletionGuard().limit(is_full=False) == UNLIMITED


def test_few_deletions_pass_without_a_question() -> None:
    for is_full in (True, False):
        assert guard().limit(is_full) == PASS_MAX


def test_the_limit_is_asked_for_each_time() -> None:
    """It is a share of a folder that grows."""
    limits = [3, 7]
    growing = DeletionGuard(lambda: limits.pop(0))
    assert [growing.limit(True), growing.limit(True)] == [3, 7]


def test_while_some_are_held_a_hint_lets_none_through() -> None:
    """Else a directory that is removed piece by piece would go in small numbers."""
    asking = guard()
    assert not asking.note(25, is_full=False)
    assert asking.held == 25
    assert asking.limit(is_full=False) == 0
    assert asking.limit(is_full=True) == PASS_MAX


def test_hints_add_nothing_up_and_take_nothing_away() -> None:
    """Only a scan of everything knows how many are missing."""
    asking = guard()
    for held in (25, 3, 0):
        asking.note(held, is_full=False)
        assert asking.held == 25
    asking.note(12, is_full=True)
    assert asking.held == 12


def test_what_comes_back_by_itself_is_asked_about_no_more() -> None:
    """A disk that was away, put in again."""
    asking = guard()
    asking.note(25, is_full=True)
    assert not asking.note(0, is_full=True)
    assert asking.held == 0
    assert asking.limit(is_full=False) == PASS_MAX


def test_they_were_meant() -> None:
    asking = guard()
    asking.note(25, is_full=True)
    asking.allow()
    assert asking.held == 0
    assert asking.limit(is_full=True) == UNLIMITED
    assert not asking.note(0, is_full=True)
    assert asking.limit(is_full=True) == PASS_MAX  # for once


def test_they_were_not_meant() -> None:
    asking = guard()
    asking.note(25, is_full=True)
    asking.restore()
    assert asking.held == 0
    assert asking.limit(is_full=True) == 0
    assert asking.note(25, is_full=True)  # what is missing is to be put back
    assert asking.held == 0
    assert asking.limit(is_full=True) == PASS_MAX  # for once


def test_a_hint_between_the_answer_and_the_scan_does_not_use_the_answer_up() -> None:
    asking = guard()
    asking.note(25, is_full=True)
    asking.restore()
    assert not asking.note(1, is_full=False)
    assert asking.limit(is_full=True) == 0
    assert asking.note(26, is_full=True)


def test_the_last_answer_counts() -> None:
    asking = guard()
    asking.note(25, is_full=True)
    asking.allow()
    asking.restore()
    assert asking.limit(is_full=True) == 0
    asking.allow()
    assert asking.limit(is_full=True) == UNLIMITED


steps = st.one_of(
    st.tuples(st.just("scan"), st.integers(0, 40), st.booleans()),
    st.tuples(st.just("allow"), st.just(0), st.just(True)),
    st.tuples(st.just("restore"), st.just(0), st.just(True)),
)


@given(st.lists(steps))
def test_more_than_the_limit_passes_only_once_after_it_was_allowed(
    taken: list[tuple[str, int, bool]],
) -> None:
    asking, is_allowed, is_to_restore = guard(), False, False
    for act, missing, is_full in taken:
        if act == "scan":
            limit = asking.limit(is_full)
            is_held = missing > limit
            assert not (limit > PASS_MAX and not is_allowed)
            assert not (is_to_restore and missing and not is_held)
            is_restored = asking.note(missing if is_held else 0, is_full)
            assert is_restored == (is_full and is_to_restore)
            if is_full:
                is_allowed = is_to_restore = False
                assert (asking.held > 0) == (is_held and not is_restored)
        else:
            is_allowed, is_to_restore = act == "allow", act == "restore"
            getattr(asking, act)()
            assert not asking.held
