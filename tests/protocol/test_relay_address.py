"""A relay's address is read as it was written, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import RelayId
from protocol.relay_address import (
    FINGERPRINT_LENGTH,
    BadRelayAddress,
    RelayAddress,
    fingerprint_of,
)

ID = RelayId(bytes(range(32)))
PRINT = fingerprint_of(ID)


@given(
    host=st.sampled_from(["relay.example", "192.0.2.1", "2001:db8::1", "a", "x-1.example."]),
    port=st.integers(1, 65535),
    relay_id=st.binary(min_size=32, max_size=32),
)
def test_what_is_written_is_read(host: str, port: int, relay_id: bytes) -> None:
    address = RelayAddress(host, port, RelayId(relay_id))
    assert RelayAddress.parse(str(address)) == address


def test_case_and_space_around_do_not_matter() -> None:
    assert len(PRINT) == FINGERPRINT_LENGTH
    shouted = f"  holdfast-relay://h:1#{PRINT.upper()}\n"
    assert RelayAddress.parse(shouted) == RelayAddress("h", 1, ID)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"h:1#{PRINT}",
        f"https://h:1#{PRINT}",
        "holdfast-relay://h:1",
        "holdfast-relay://h:1#",
        f"holdfast-relay://h#{PRINT}",
        f"holdfast-relay://h:#{PRINT}",
        f"holdfast-relay://:1#{PRINT}",
        f"holdfast-relay://h:0#{PRINT}",
        f"holdfast-relay://h:65536#{PRINT}",
        f"holdfast-relay://h:1٣#{PRINT}",
        f"holdfast-relay://h:+1#{PRINT}",
        f"holdfast-relay://2001:db8::1:1#{PRINT}",
        f"holdfast-relay://[h]:1#{PRINT}",
        f"holdfast-relay://[192.0.2.1]:1#{PRINT}",
        f"holdfast-relay://a b:1#{PRINT}",
        f"holdfast-relay://a\x1b:1#{PRINT}",
        f"holdfast-relay://-h:1#{PRINT}",
        f"holdfast-relay://{'h' * 254}:1#{PRINT}",
        f"holdfast-relay://h:1#{PRINT[:-1]}",
        f"holdfast-relay://h:1#{PRINT}a",
        f"holdfast-relay://h:1#{PRINT[:-1]}b",
        f"holdfast-relay://h:1#{PRINT}====",
        f"holdfast-relay://h:1#{'1' * 52}",
        f"holdfast-relay://h:1#{PRINT}#{PRINT}",
    ],
)
def test_nothing_else_is_an_address(text: str) -> None:
    with pytest.raises(BadRelayAddress, match="holdfast-relay://HOST:PORT#FINGERPRINT"):
        RelayAddress.parse(text)


@given(st.text(max_size=450))
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    for tried in (text, f"holdfast-relay://{text}", f"holdfast-relay://h:1#{text}"):
        try:
            address = RelayAddress.parse(tried)
        except BadRelayAddress:
            continue
        assert RelayAddress.parse(str(address)) == address
