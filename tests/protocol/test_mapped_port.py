"""What a router grants is bounded, and its clock tells when it has forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Malformed
from protocol.mapped_port import (
    LIFETIME_MAX_S,
    LIFETIME_MIN_S,
    Epoch,
    PortRefused,
    bounded_lifetime,
    check_outside,
    check_port,
)


@given(st.integers(0, 2**32 - 1))
def test_no_lifetime_makes_us_ask_in_a_loop_or_never(seconds: int) -> None:
    assert LIFETIME_MIN_S <= bounded_lifetime(seconds) <= LIFETIME_MAX_S


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.1.1", "224.0.0.1",
             "255.255.255.255"],
)  # fmt: skip
def test_an_outside_that_is_not_of_the_internet_is_none(host: str) -> None:
    with pytest.raises(PortRefused, match="another router"):
        check_outside(host)


def test_an_outside_of_the_internet_is_one() -> None:
    assert check_outside("11.0.0.10") == "11.0.0.10"


@pytest.mark.parametrize("port", [0, 22, 1023, 65536])
def test_a_port_of_somebody_else_is_none_of_ours(port: int) -> None:
    with pytest.raises(Malformed):
        check_port(port)


def test_a_clock_that_goes_on_has_not_forgotten() -> None:
    epoch = Epoch()
    assert not epoch.was_reset(1000, 50.0)
    assert not epoch.was_reset(1600, 650.0)
    assert not epoch.was_reset(1600, 650.5)


@given(st.integers(0, 10**6), st.integers(100, 10**6))
def test_a_clock_that_begins_anew_has(before: int, passed: int) -> None:
    epoch = Epoch()
    epoch.was_reset(before + passed, 0.0)
    assert epoch.was_reset(0, 10.0)


def test_a_clock_that_lags_has_been_set_back_while_nobody_looked() -> None:
    epoch = Epoch()
    epoch.was_reset(100, 0.0)
    assert epoch.was_reset(200, 1000.0)
