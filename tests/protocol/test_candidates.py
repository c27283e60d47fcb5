"""Which addresses may be told and probed."""

from __future__ import annotations

import pytest

from protocol.candidates import Candidate, CandidateKind, is_probeable, pack_host, read_host
from protocol.errors import Malformed


@pytest.mark.parametrize("host", ["192.0.2.7", "10.0.0.1", "2001:db8::7", "100.64.1.1", "fd00::1"])
def test_machines_elsewhere_may_be_probed(host: str) -> None:
    assert is_probeable(host, 22330, may_be_loopback=False)


@pytest.mark.row("A33")
@pytest.mark.parametrize(
    "host",
    ["224.0.0.251", "255.255.255.255", "0.0.0.0", "::", "ff02::fb", "fe80::1", "::ffff:192.0.2.7",
     "240.0.0.1", "0.1.2.3", "relay.example", "", "127.0.0.1", "::1"],
)  # fmt: skip
def test_many_machines_at_once_and_this_one_may_not(host: str) -> None:
    assert not is_probeable(host, 22330, may_be_loopback=False)


def test_a_device_that_listens_on_loopback_finds_others_there() -> None:
    assert is_probeable("127.0.0.1", 22330, may_be_loopback=True)
    assert is_probeable("::1", 22330, may_be_loopback=True)


@pytest.mark.row("A33")
@pytest.mark.parametrize("port", [0, 22, 53, 1023, 65536, -1])
def test_services_of_other_machines_are_no_candidates(port: int) -> None:
    assert not is_probeable("192.0.2.7", port, may_be_loopback=False)


def test_ipv6_comes_first_then_what_is_near() -> None:
    kinds = [
        Candidate(CandidateKind.MAPPED, "192.0.2.7", 2000),
        Candidate(CandidateKind.OBSERVED, "192.0.2.7", 2000),
        Candidate(CandidateKind.LOCAL, "192.168.1.7", 2000),
        Candidate(CandidateKind.LOCAL, "2001:db8::7", 2000),
    ]
    assert sorted(kinds, key=lambda c: c.preference) == kinds[::-1]


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::7"])
def test_a_host_is_what_it_was(host: str) -> None:
    assert read_host(pack_host(host)) == host


def test_an_address_in_the_clothes_of_another_is_seen_through() -> None:
    assert read_host(pack_host("::ffff:192.0.2.7")) == "192.0.2.7"
    with pytest.raises(Malformed):
        read_host(b"12345")
