from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import LogId
from protocol import version_vector as vv
from protocol.version_vector import Ordering, Vector

LOGS = [LogId(bytes([65 + i]) * 16) for i in range(4)]
A, B, C, D = LOGS

entries = st.tuples(st.sampled_from(LOGS), st.integers(1, 5))
vectors = st.dictionaries(st.sampled_from(LOGS), st.integers(1, 5)).map(
    lambda d: tuple(sorted(d.items()))
)


def counts(vector: Vector) -> dict[LogId, int]:
    return {log: vv.seq_of(vector, log) for log in LOGS}


@given(vectors, vectors, vectors)
def test_join_is_a_semilattice(x: Vector, y: Vector, z: Vector) -> None:
    assert vv.join(x, y) == vv.join(y, x)
    assert vv.join(vv.join(x, y), z) == vv.join(x, vv.join(y, z)) == vv.join(x, y, z)
    assert vv.join(x, x) == x
    assert vv.join(x, vv.EMPTY) == x
    assert vv.join() == vv.EMPTY


@given(vectors, vectors)
def test_join_is_the_least_that_has_seen_both(x: Vector, y: Vector) -> None:
    both = vv.join(x, y)
    assert counts(both) == {log: max(counts(x)[log], counts(y)[log]) for log in LOGS}
    assert vv.is_within(x, both)
    assert vv.is_within(y, both)


@given(st.lists(entries))
def test_make_sorts_names_each_log_once_and_keeps_the_highest(
    given_entries: list[tuple[LogId, int]],
) -> None:
    made = vv.make(given_entries)
    assert all(low[0] < high[0] for low, high in pairwise(made))
    for log in LOGS:
        assert vv.seq_of(made, log) == max(
            (s for name, s in given_entries if name == log), default=0
        )


@given(vectors, vectors)
def test_is_within_is_the_order_of_every_count(x: Vector, y: Vector) -> None:
    assert vv.is_within(x, y) == all(counts(x)[log] <= counts(y)[log] for log in LOGS)
    if vv.is_within(x, y) and vv.is_within(y, x):
        assert x == y


@given(vectors, vectors)
def test_compare_is_antisymmetric(x: Vector, y: Vector) -> None:
    opposite = {
        Ordering.EQUAL: Ordering.EQUAL,
        Ordering.BEFORE: Ordering.AFTER,
        Ordering.AFTER: Ordering.BEFORE,
        Ordering.CONCURRENT: Ordering.CONCURRENT,
    }
    assert vv.compare(y, x) is opposite[vv.compare(x, y)]
    assert (vv.compare(x, y) in (Ordering.EQUAL, Ordering.BEFORE)) == vv.is_within(x, y)


def test_orderings_by_example() -> None:
    assert vv.compare(((A, 1),), ((A, 2),)) is Ordering.BEFORE
    assert vv.compare(((A, 1), (B, 1)), ((A, 1),)) is Ordering.AFTER
    assert vv.compare(((A, 1),), ((B, 1),)) is Ordering.CONCURRENT
    assert vv.compare(((A, 2), (B, 1)), ((A, 1), (B, 2))) is Ordering.CONCURRENT
    assert vv.compare((), ((D, 1),)) is Ordering.BEFORE
    assert vv.compare((), ()) is Ordering.EQUAL
    assert vv.seq_of(((A, 1), (C, 7)), C) == 7
    assert vv.seq_of(((A, 1), (C, 7)), B) == 0
