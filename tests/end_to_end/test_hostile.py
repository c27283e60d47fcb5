"""Hostile and broken input against real daemons: refused, and everything else goes on."""

import os
import secrets
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.command_line.demo_device import find_free_port
from tests.end_to_end.device import (
    DEADLINE_S,
    FOLDER,
    Device,
    Refused,
    end,
    explain,
    found,
    wait_for_same,
    wait_for_tree,
    wait_until,
)

Pair = tuple[Device, Device]


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path, "stranger")
    yield device
    end([device])


def is_alive(pair: Pair) -> None:
    """Both go on: they are linked and what one does the other shows."""
    name = secrets.token_hex(4)
    (pair[0].folder / name).write_text(name)
    wait_for_tree((pair[1].folder / name).exists, *pair)


def change_word(code: str) -> str:
    number, first, second = code.split("-")
    return "-".join((number, second, first if first != second else "abdomen"))


@pytest.mark.row("A24")
def test_a_wrong_code(shared_pair: Pair, stranger: Device) -> None:
    one = shared_pair[0]
    code = one.command("invite")["code"]
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            stranger.command("join", change_word(code), "--address", one.address, "--name", "x")
        assert refused.value.exit_code == 10
    # Three tries are all that a code has: now the right one comes too late.
    with pytest.raises(Refused) as refused:
        stranger.command("join", code, "--address", one.address, "--name", "x")
    assert refused.value.exit_code == 11
    assert len(one.command("devices")["devices"]) == 2
    is_alive(shared_pair)


def test_a_mistyped_code_costs_no_try(shared_pair: Pair, stranger: Device) -> None:
    one = shared_pair[0]
    code = one.command("invite")["code"]
    for _ in range(4):
        with pytest.raises(Refused) as refused:
            stranger.command("join", code + "x", "--address", one.address, "--name", "x")
        assert refused.value.exit_code == 10
        assert "is not a word of pairing codes" in refused.value.sentence
    is_alive(shared_pair)


def test_a_used_code(shared_pair: Pair, stranger: Device, tmp_path: Path) -> None:
    one = shared_pair[0]
    code = one.command("invite")["code"]
    third = Device(tmp_path, "third")
    third.command("join", code, "--address", one.address, "--name", "third")
    with pytest.raises(Refused) as refused:
        stranger.command("join", code, "--address", one.address, "--name", "x")
    assert refused.value.exit_code == 11
    assert not (stranger.home / "key").exists()
    is_alive(shared_pair)


def test_nobody_answers(stranger: Device) -> None:
    address = f"127.0.0.1:{find_free_port()}"
    with pytest.raises(Refused) as refused:
        stranger.command("join", "7-cranberry-clubhouse", "--address", address, "--name", "x")
    assert refused.value.exit_code == 13


@pytest.mark.row("A25")
def test_an_unknown_device(shared_pair: Pair, stranger: Device) -> None:
    """A device of somebody else, led to ours where it expects its own: nobody learns anything."""
    one = shared_pair[0]
    found(stranger)
    code = stranger.command("invite")["code"]
    helper = Device(stranger.home.parent, "helper")
    helper.links = "tls"
    helper.command("join", code, "--address", stranger.address, "--name", "helper")
    stranger.stop()
    with socket.create_server(("127.0.0.1", stranger.port)) as door:
        door.settimeout(DEADLINE_S)
        try:
            helper.start()
            client, _ = door.accept()
            with client, socket.create_connection(("127.0.0.1", one.port), DEADLINE_S) as server:
                client.settimeout(DEADLINE_S)
                sizes = forward(client, server)
        finally:
            end([helper])
    assert sizes[client] > 0
    assert "stranger" not in one.linked_to()
    wait_until(lambda: one.linked_to() == {"beta"}, lambda: explain(shared_pair))
    is_alive(shared_pair)


def forward(client: socket.socket, server: socket.socket) -> dict[socket.socket, int]:
    """Carries bytes both ways until one side hangs up; how many came from each."""
    sizes = {client: 0, server: 0}
    with selectors.DefaultSelector() as waiting:
        waiting.register(client, selectors.EVENT_READ, server)
        waiting.register(server, selectors.EVENT_READ, client)
        while True:
            events = waiting.select(DEADLINE_S)
            assert events, f"neither side has hung up in {DEADLINE_S:.0f} s"
            for key, _ in events:
                source: socket.socket = key.fileobj  # type: ignore[assignment]
                try:
                    data = source.recv(65536)
                    key.data.sendall(data)
                except OSError:
                    return sizes
                if not data:
                    return sizes
                sizes[source] += len(data)


@pytest.mark.row("A33")
def test_rubbish_on_both_ports(shared_pair: Pair) -> None:
    one = shared_pair[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for size in (1, 20, 1200, 1500, 9000):
            for _ in range(50):
                udp.sendto(os.urandom(size), ("127.0.0.1", one.port))
    for size in (0, 1, 100, 100_000):
        with socket.create_connection(("127.0.0.1", one.port), DEADLINE_S) as tcp:
            try:
                tcp.sendall(os.urandom(size))
                tcp.shutdown(socket.SHUT_WR)
                while tcp.recv(4096):
                    pass
            except (ConnectionError, BrokenPipeError):
                pass
    is_alive(shared_pair)


@pytest.mark.row("F32")
def test_two_daemons_on_one_home(shared_pair: Pair) -> None:
    one = shared_pair[0]
    with pytest.raises(Refused) as refused:
        one.command("run", "--listen", f"127.0.0.1:{find_free_port()}", "--no-discovery")
    assert refused.value.exit_code == 6
    is_alive(shared_pair)


def test_two_daemons_on_one_port(shared_pair: Pair, stranger: Device) -> None:
    stranger.command("init", "--name", "stranger")
    with pytest.raises(Refused) as refused:
        stranger.command("run", "--listen", shared_pair[0].address, "--no-discovery")
    assert refused.value.exit_code == 34
    is_alive(shared_pair)


def index_of(device: Device) -> Path:
    [index] = (device.home / "folders").glob("*.db")
    return index


@pytest.mark.row("F09")
@pytest.mark.parametrize("damage", ["rubbish", "hole", "gone"])
def test_a_damaged_index(shared_pair: Pair, damage: str) -> None:
    """Moved aside, rebuilt from disk and peers; bytes of unknown age do not win."""
    one, other = shared_pair
    directory = one.folder / damage
    directory.mkdir()
    for name in ("same", "edited by alpha", "edited by beta", "deleted by alpha"):
        (directory / name).write_text(f"{name} at first")
    wait_for_tree((other.folder / damage / "deleted by alpha").exists, *shared_pair)
    other.stop()
    (directory / "edited by alpha").write_text("by alpha, while beta was away")
    (directory / "deleted by alpha").unlink()
    (directory / "new of alpha").write_text("new")
    one.wait_for_state("in sync")
    (other.folder / damage / "edited by beta").write_text("by beta, while its index was lost")
    index = index_of(other)
    if damage == "gone":
        index.unlink()
    else:
        data = bytearray(index.read_bytes())
        start = 0 if damage == "rubbish" else 4096
        data[start:] = os.urandom(len(data) - start)
        index.write_bytes(data)
    for part in (f"{index}-wal", f"{index}-shm"):
        Path(part).unlink(missing_ok=True)
    other.start()
    wait_until((other.folder / damage / "new of alpha").exists, lambda: explain(shared_pair))
    tree = wait_for_same(*shared_pair)
    found = {
        n.removeprefix(f"{damage}/"): c for n, (_, c) in tree.items() if n.startswith(f"{damage}/")
    }
    assert found["same"] == b"same at first"
    assert found["edited by alpha"] == b"by alpha, while beta was away"
    assert "deleted by alpha" not in found
    assert b"by beta, while its index was lost" in found.values()
    assert len(found) <= 5
    damaged = list((other.home / "folders").glob("*.damaged-*"))
    assert bool(damaged) == (damage != "gone")
    for path in damaged:
        path.unlink()
    assert other.folder_status()["errors"] == []
    is_alive(shared_pair)
    assert FOLDER == other.folder_status()["name"]
