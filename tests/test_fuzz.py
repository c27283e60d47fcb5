"""The fuzzer's targets are alive: what they begin with passes, and a defect is a finding."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import fuzz


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_what_honest_devices_send_is_no_finding(name: str) -> None:
    for seed in fuzz.seeds()[name]:
        fuzz.try_one(fuzz.TARGETS[name], seed)


@pytest.mark.row("A30")
@pytest.mark.parametrize("name", fuzz.TARGETS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_what_was_honest_but_for_a_few_bytes_is_no_finding(name: str, data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(fuzz.seeds()[name])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        damaged = damaged or bytearray(b"\0")
    fuzz.try_one(fuzz.TARGETS[name], bytes(damaged))


@pytest.mark.row("A30")
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_sixty_four_kibibytes_of_anything_cost_little(name: str) -> None:
    for piece in (b"\x81", b"\x80", b"\x00", b"\x40", b"\xa0", b"\xff", b"\x9f", b"\xd8\x1c"):
        for head in (b"", b"\x99\xff\x00", b"\x82\x99\xff\x00"):
            fuzz.try_one(fuzz.TARGETS[name], (head + piece * 0xFF00)[: 64 << 10])


def test_what_costs_too_much_is_a_finding() -> None:
    def takes_memory(data: bytes) -> None:
        assert bytes(2 * fuzz.BYTES_MAX)

    def takes_time(data: bytes) -> None:
        begin = time.process_time()
        while time.process_time() - begin < 2 * fuzz.SECONDS_MAX:
            pass

    for target in (takes_memory, takes_time):
        with pytest.raises(AssertionError, match="it took"):
            fuzz.try_one(target, b"")


def test_a_defect_is_a_finding() -> None:
    def defect(data: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fuzz.try_one(defect, b"")
