"""Tickets: good once, for one end of one call, for some seconds."""

from __future__ import annotations

import os
import socket

import pytest

from relay.calls import TICKET_LIFETIME_S, Calls
from relay.limits import Limits
from relay.registry import Client

CALLED = Client(b"called", "far")


def stream() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def is_closed(end: socket.socket) -> bool:
    return end.recv(1) == b""


def test_two_tickets_make_a_pair_whichever_comes_first() -> None:
    calls, caller = Calls(os.urandom, Limits()), Client(b"c", "h")
    for order in ((0, 1), (1, 0)):
        call = calls.begin(caller, CALLED, 0.0)
        assert call is not None
        (a, far_a), (b, far_b) = stream(), stream()
        assert calls.arrive(call.tickets[order[0]], a, 1.0) is None
        assert calls.arrive(call.tickets[order[1]], b, 2.0) == (call, a)
        assert calls.tickets == 0
        calls.end(call)
        for end in (a, b, far_a, far_b):
            end.close()
    assert len(calls) == 0
    assert not calls._callers
    assert not calls._hosts


def test_a_ticket_is_used_up() -> None:
    calls, caller = Calls(os.urandom, Limits()), Client(b"c", "h")
    call = calls.begin(caller, CALLED, 0.0)
    assert call is not None
    (first, far_first), (again, far_again) = stream(), stream()
    calls.arrive(call.tickets[0], first, 1.0)
    assert calls.arrive(call.tickets[0], again, 1.0) is None
    assert is_closed(far_again)
    calls.end_all()
    assert is_closed(far_first)
    for end in (far_first, far_again):
        end.close()


def test_late_is_never() -> None:
    calls, caller = Calls(os.urandom, Limits()), Client(b"c", "h")
    call = calls.begin(caller, CALLED, 0.0)
    assert call is not None
    (first, far_first), (late, far_late) = stream(), stream()
    calls.arrive(call.tickets[0], first, 1.0)
    assert calls.arrive(call.tickets[1], late, TICKET_LIFETIME_S) is None
    assert is_closed(far_first)
    assert is_closed(far_late)
    assert (len(calls), calls.tickets, len(calls._callers)) == (0, 0, 0)
    calls.end(call)
    assert len(calls) == 0
    for end in (far_first, far_late):
        end.close()


def test_calls_are_bounded_in_all_by_caller_and_by_address() -> None:
    limits = Limits(calls=5, calls_per_device=3, calls_per_address=4)
    calls, caller = Calls(os.urandom, limits), Client(b"c", "h")
    assert all([calls.begin(caller, CALLED, 0.0) for _ in range(3)])
    assert calls.begin(caller, CALLED, 0.0) is None
    neighbour, stranger = Client(b"n", "h"), Client(b"s", "elsewhere")
    assert calls.begin(neighbour, CALLED, 0.0) is not None
    assert calls.begin(neighbour, CALLED, 0.0) is None
    assert calls.begin(stranger, CALLED, 0.0) is not None
    assert calls.begin(stranger, CALLED, 0.0) is None
    assert calls.begin(caller, CALLED, TICKET_LIFETIME_S) is not None


@pytest.mark.row("A29")
def test_a_new_link_gives_a_device_no_more_calls() -> None:
    calls = Calls(os.urandom, Limits(calls_per_device=2))
    begun = [calls.begin(Client(b"c", "h"), CALLED, 0.0) for _ in range(3)]
    assert [call is not None for call in begun] == [True, True, False]
    assert begun[0] is not None
    calls.end(begun[0])
    assert calls.begin(Client(b"c", "elsewhere"), CALLED, 0.0) is not None
