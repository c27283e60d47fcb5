"""Who waits where: the first keeps its place, and whoever leaves leaves nothing behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LimitReached
from relay.limits import Limits
from relay.registry import Client, Registry


def rid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_the_whole_state_is_said_each_time() -> None:
    registry, one = Registry(Limits()), Client(b"one", "h")
    registry.enter(one)
    assert registry.register(one, [rid(1), rid(2)], [7]) == ()
    assert registry.find(rid(1)) is registry.find(7) is one
    registry.register(one, [rid(2), rid(3)], [])
    assert registry.find(rid(1)) is registry.find(7) is None
    assert registry.find(rid(2)) is registry.find(rid(3)) is one


def test_the_first_keeps_its_place() -> None:
    registry, one, other = Registry(Limits()), Client(b"one", "h"), Client(b"other", "h")
    for client in (one, other):
        registry.enter(client)
    registry.register(one, [rid(1)], [7])
    assert registry.register(other, [rid(1)], [7, 8]) == (7,)
    assert registry.find(rid(1)) is registry.find(7) is one
    registry.leave(one)
    assert registry.register(other, [rid(1)], [7, 8]) == ()
    assert registry.find(rid(1)) is other


def test_one_address_shows_so_many_nameplates() -> None:
    registry = Registry(Limits())
    clients = [Client(bytes([n]), "h") for n in range(2)]
    for client in clients:
        registry.enter(client)
    numbers = list(range(1, Limits().nameplates_per_address + 1))
    assert registry.register(clients[0], [], numbers) == ()
    assert registry.register(clients[1], [], [9000]) == (9000,)
    far = Client(b"far", "elsewhere")
    registry.enter(far)
    assert registry.register(far, [], [9000]) == ()


@pytest.mark.parametrize("limits", [Limits(waiting_places=3), Limits(waiting_places_per_address=3)])
@pytest.mark.row("A29")
def test_a_full_relay_says_so(limits: Limits) -> None:
    registry, one, other = Registry(limits), Client(b"one", "h"), Client(b"other", "h")
    for client in (one, other):
        registry.enter(client)
    registry.register(one, [rid(1), rid(2)], [])
    with pytest.raises(LimitReached):
        registry.register(other, [rid(3), rid(4)], [])
    registry.register(one, [rid(5), rid(6), rid(7)], [])


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.one_of(
                st.none(),
                st.tuples(st.lists(st.integers(0, 5)), st.lists(st.integers(1, 5))),
            ),
        ),
        max_size=30,
    )
)
def test_whoever_leaves_leaves_nothing_behind(
    acts: list[tuple[int, tuple[list[int], list[int]] | None]],
) -> None:
    registry, clients = Registry(Limits()), [Client(bytes([n % 3]), "h") for n in range(4)]
    inside: set[int] = set()
    for number, what in acts:
        client = clients[number]
        if what is None:
            registry.leave(client)
            inside.discard(number)
        else:
            if number not in inside:
                old = registry.enter(client)
                inside = {n for n in inside if clients[n] is not old} | {number}
            registry.register(client, [rid(n) for n in what[0]], what[1])
        held = {t: c for c in clients for t in c.waits_at}
        assert registry._targets == held
        assert sum(len(c.waits_at) for c in clients) == len(held)
        assert len(registry) == len(inside) == registry.count_of("h")
    for client in clients:
        registry.leave(client)
    assert not registry._targets
    assert not registry._nameplates
    assert not registry._hosts
    assert not registry._places
