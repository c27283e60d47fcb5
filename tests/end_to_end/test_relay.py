"""Two devices that are told of a relay and of nothing else: they pair, sync and part through it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.device import (
    FOLDER,
    ROOT,
    Device,
    Refused,
    attach,
    end,
    found,
    wait_for_same,
    wait_until,
)


class RelayProcess:
    """`holdfast relay run`, as a person starts it."""

    words: tuple[str, ...] = ()
    """What else is said to it."""
    stops_within_s = 20

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = 0
        self.start()

    def start(self) -> None:
        words = ["--home", str(self.home), "relay", "run", "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "peer", *words, *self.words, "--json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=ROOT,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said: dict[str, str] = json.loads(self.process.stdout.readline())
        self.address = self.said["address"]
        self.port = int(self.address.rpartition("#")[0].rpartition(":")[2])

    def kill(self) -> None:
        """Ends it at once, whatever it does, and if it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.communicate()

    def stop(self) -> str:
        """As a service manager does; what it had to say."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=self.stops_within_s)
        assert self.process.returncode == 0, said
        return said


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    relay = RelayProcess(tmp_path / "relay-home")
    try:
        yield relay
    finally:
        relay.kill()


@pytest.fixture
def pair(tmp_path: Path, relay: RelayProcess) -> Iterator[tuple[Device, Device]]:
    """Two devices; neither is ever told where the other listens, and discovery is off. They use no
    UDP, so the relay has to carry all.
    """
    one, other = Device(tmp_path, "alpha"), Device(tmp_path, "beta")
    one.links = other.links = "tls"
    try:
        found(one)
        one.command("relay", "add", relay.address)
        wait_until(lambda: is_connected(one), "the first device at the relay")
        invitation = one.command("invite")
        assert invitation["relays"] == [relay.address]
        other.command("join", invitation["code"], "--relay", relay.address, "--name", other.name)
        other.start()
        one.command("folder", "add", str(one.folder), "--name", FOLDER)
        attach(other)
        yield one, other
    finally:
        end([one, other])


def is_connected(device: Device) -> bool:
    return all(relay["connected"] for relay in device.command("relay", "list")["relays"])


def kinds(device: Device) -> list[str]:
    return [link["kind"] for link in device.status()["links"]]


def test_they_pair_and_sync_a_tree_and_the_relay_may_come_and_go(
    pair: tuple[Device, Device], relay: RelayProcess
) -> None:
    one, other = pair
    for number in range(200):
        directory = one.folder / f"d{number % 7}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}").write_bytes(bytes([number]) * (number * 997))
    (other.folder / "from the other").write_bytes(b"x" * 3_000_000)
    wait_for_same(one, other)  # by the mailbox perhaps, if a link has taken longer
    wait_until(lambda: kinds(one) == kinds(other) == ["relayed"], "a link", 60)
    said = relay.stop()
    for canary in ("alpha", "beta", FOLDER, "f199", "127.0.0.1"):
        assert canary not in said
    wait_until(lambda: not kinds(one) and not kinds(other), "the end of the links")
    (one.folder / "meanwhile").write_bytes(b"offline")
    address = relay.address
    relay.start()
    assert relay.address == address, "its key is in its home"
    wait_for_same(one, other, timeout_s=60)  # by its mailbox perhaps, before they have a link
    wait_until(lambda: kinds(one) == kinds(other) == ["relayed"], "a link", 60)


@pytest.mark.row("A17")
def test_nothing_of_what_is_synced_rests_at_the_relay(
    pair: tuple[Device, Device], relay: RelayProcess
) -> None:
    one, other = pair
    canary = "canary-4711-of-the-watcher"
    (one.folder / canary).write_text(canary * 100)
    wait_for_same(one, other)
    said = relay.stop()
    kept = {path.name: path.read_bytes() for path in relay.home.rglob("*") if path.is_file()}
    assert {name for name in kept if not name.startswith("relay.db")} == {"relay.key"}
    ids = [device.status()["device"]["id"] for device in pair]
    for word in (canary, *ids):
        assert word not in said
        for data in kept.values():
            assert word.encode() not in data
            assert bytes.fromhex(word) not in data if len(word) == 64 else True


def test_what_a_person_can_get_wrong(pair: tuple[Device, Device], relay: RelayProcess) -> None:
    one, _ = pair
    with pytest.raises(Refused, match="no relay's address"):
        one.command("relay", "add", "relay.example:443")
    with pytest.raises(Refused, match="relay list"):
        one.command("relay", "remove", "elsewhere")
    one.command("relay", "remove", relay.address)
    assert one.command("relay", "list") == {"relays": []}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match="--listen") as refused:
            one.command("relay", "run", "--listen", f"127.0.0.1:{port}")
        assert refused.value.exit_code == 34
