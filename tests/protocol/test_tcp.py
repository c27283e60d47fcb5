from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.tcp import (
    KEEP_ALIVE_AFTER_S,
    KEEP_ALIVE_EVERY_S,
    KEEP_ALIVE_TIMES,
    LOOK_INTERVAL_S,
    UNANSWERED_MAX_S,
    Patience,
    keep_alive,
    unanswered_s,
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        two, _ = listening.accept()
    with one, two:
        yield one, two


def test_a_connection_that_says_nothing_is_asked_for_within_ten_seconds(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    one, _ = pair
    assert KEEP_ALIVE_AFTER_S + KEEP_ALIVE_TIMES * KEEP_ALIVE_EVERY_S < 10
    keep_alive(one)
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for option, value in (
        (socket.TCP_KEEPIDLE, KEEP_ALIVE_AFTER_S),
        (socket.TCP_KEEPINTVL, KEEP_ALIVE_EVERY_S),
        (socket.TCP_KEEPCNT, KEEP_ALIVE_TIMES),
    ):
        assert one.getsockopt(socket.IPPROTO_TCP, option) == value


def looks(patience: Patience, *ages: float | None) -> list[bool]:
    """What each look decides, from how old the last acknowledgement was."""
    return [patience.is_at_end(age, 100 + LOOK_INTERVAL_S * n) for n, age in enumerate(ages)]


def test_who_answers_is_not_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    one, two = pair
    one.sendall(b"x")
    assert two.recv(1) == b"x"
    assert unanswered_s(one) is None


def test_who_is_alive_and_does_not_read_is_not_taken_for_gone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A full disk, or a slow one: the kernel answers, though nothing may be sent."""
    one, _ = pair
    one.settimeout(0.1)
    with pytest.raises(TimeoutError):
        one.sendall(bytes(64 << 20))
    age_s = unanswered_s(one)
    assert age_s is None or age_s < UNANSWERED_MAX_S


def test_silence_before_the_first_byte_does_not_count() -> None:
    patience = Patience()
    assert looks(patience, 3600.0, 3602.0, 3604.0, 3606.0) == [False] * 4
    assert looks(patience, None) == [False]


def test_what_nobody_acknowledges_ends_the_wait() -> None:
    assert looks(Patience(), 1.0, 3.0, 5.0, 7.0, 9.0) == [False] * 4 + [True]


def test_an_acknowledgement_begins_it_anew() -> None:
    assert looks(Patience(), 1.0, 3.0, 5.0, 1.0, 3.0, 5.0, 7.0, 9.0) == [False] * 7 + [True]


@given(st.lists(st.none() | st.floats(0, UNANSWERED_MAX_S - 0.001), max_size=50))
def test_who_acknowledges_within_the_limit_is_never_given_up(ages: list[float | None]) -> None:
    assert not any(looks(Patience(), *ages))
