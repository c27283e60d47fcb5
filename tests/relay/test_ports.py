"""The relay's one port."""

from __future__ import annotations

import socket

import pytest

from relay.errors import AddressInUse
from relay.ports import listen, listen_on_both, listen_udp

LOOPBACK = "127.0.0.1"


def test_tcp_and_udp_have_one_number() -> None:
    listening, udp = listen_on_both(LOOPBACK, 0)
    with listening, udp:
        assert listening.getsockname() == udp.getsockname()
        assert listening.getsockname()[1] > 0
        assert not udp.getblocking()


def test_a_port_whose_udp_is_taken_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        with pytest.raises(AddressInUse, match=r"UDP.*--listen"):
            listen_on_both(LOOPBACK, taken.getsockname()[1])


def test_ipv6_that_takes_ipv4_too_does_so_for_both() -> None:
    if not socket.has_ipv6:
        return
    listening = listen("::1", 0)
    with listening, listen_udp(listening) as udp:
        for each in (listening, udp):
            assert each.family == socket.AF_INET6
        option = socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
        assert listening.getsockopt(*option) == udp.getsockopt(*option)
