from __future__ import annotations

from peer.connectivity.discovery import own_hosts
from peer.connectivity.surroundings import SLEPT_S, Surroundings


class Machine:
    def __init__(self) -> None:
        self.hosts = ["192.0.2.1"]
        self.slept_s = 100.0
        self.surroundings = Surroundings(lambda: self.hosts, lambda: self.slept_s)


def test_nothing_has_changed() -> None:
    machine = Machine()
    assert not machine.surroundings.have_changed()
    machine.hosts = list(machine.hosts)
    machine.slept_s += SLEPT_S / 2
    assert not machine.surroundings.have_changed()


def test_another_network_is_noticed_once() -> None:
    machine = Machine()
    machine.hosts = []
    assert machine.surroundings.have_changed()
    machine.hosts = ["192.0.2.7"]
    assert machine.surroundings.have_changed()
    assert not machine.surroundings.have_changed()


def test_a_sleep_is_noticed_once() -> None:
    machine = Machine()
    machine.slept_s += SLEPT_S
    assert machine.surroundings.have_changed()
    assert not machine.surroundings.have_changed()


def test_this_machine_is_awake_and_where_it_was() -> None:
    assert not Surroundings(own_hosts).have_changed()
