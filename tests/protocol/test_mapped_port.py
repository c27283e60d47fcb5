"""What a router grants is bounded, and of its words an address of the internet counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Malformed
from protocol.mapped_port import (
    LIFETIME_MAX_S,
    LIFETIME_MIN_S,
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
