"""When to try again."""

from peer.core.patience import RETRY_S, Patience


def test_each_wait_is_twice_as_long_up_to_a_bound() -> None:
    patience = Patience(4 * RETRY_S)
    waits = []
    now = 0.0
    for _ in range(4):
        patience.wait(now)
        waits.append(patience.retry_at - now)
        assert not patience.time_came(patience.retry_at - 0.1)
        now = patience.retry_at
        assert patience.time_came(now)
    assert waits == [RETRY_S, 2 * RETRY_S, 4 * RETRY_S, 4 * RETRY_S]


def test_it_comes_once_and_the_first_wait_counts() -> None:
    patience = Patience(60.0)
    assert not patience.time_came(1e9)
    patience.wait(10.0)
    patience.wait(12.0)
    assert patience.retry_at == 10.0 + RETRY_S
    assert patience.time_came(20.0)
    assert not patience.time_came(20.0)


def test_after_the_end_it_begins_with_a_short_wait() -> None:
    patience = Patience(60.0)
    patience.wait(0.0)
    assert patience.time_came(100.0)
    patience.end()
    patience.wait(100.0)
    assert patience.retry_at == 100.0 + RETRY_S
