import asyncio
import socket
import threading
from pathlib import Path

import pytest

from peer.control.control_client import SOCKET_NAME, TOKEN_NAME, ControlClient
from peer.errors import (
    AccessRefused,
    DaemonNotRunning,
    DaemonSilent,
    NoDevice,
    PeerError,
    UnknownFolder,
)
from peer.status import Choice, HoldAnswer
from tests.peer.fake_daemon import RELAY, Refusal, running

PATIENCE_S = 60.0


@pytest.fixture
def client(tmp_path: Path) -> ControlClient:
    return ControlClient(tmp_path, timeout_s=5)


async def test_every_method_asks_for_what_it_says(tmp_path: Path, client: ControlClient) -> None:
    def ask_everything() -> None:
        client.invite()
        client.add_folder(tmp_path, "photos")
        client.folders()
        client.attach_folder("photos", tmp_path)
        client.remove_folder("photos")
        client.remove_device("lost")
        client.add_relay(str(RELAY))
        client.relays()
        client.remove_relay("relay.example")
        client.add_backup("photos", [str(RELAY)], 1, 1)
        client.remove_backup("photos")
        client.backups()
        client.show_kit("PHY6TZ")
        client.pause("photos")
        client.resume()
        client.answer("photos", HoldAnswer.ACCEPT)
        client.conflicts()
        client.resolve(tmp_path / "note", Choice.COPY)
        client.search("a b", 7)
        client.search("a")
        client.versions(tmp_path / "note")
        client.versions(tmp_path, is_deleted=True)
        client.restore(tmp_path / "note", 7, None, tmp_path / "out")
        client.restore(tmp_path / "note", None, 5, None)
        client.restore_folder(tmp_path, 5, is_dry=True)
        client.stop()

    async with running(tmp_path) as daemon:
        await asyncio.to_thread(ask_everything)
        assert daemon.calls == [
            ("invite",),
            ("add_folder", tmp_path, "photos"),
            ("folders",),
            ("attach_folder", "photos", tmp_path),
            ("remove_folder", "photos"),
            ("remove_device", "lost"),
            ("add_relay", RELAY),
            ("list_relays",),
            ("remove_relay", "relay.example"),
            ("add_backup", "photos", [RELAY], 1, 1),
            ("remove_backup", "photos"),
            ("backups",),
            ("show_kit", "PHY6TZ"),
            ("pause", "photos"),
            ("resume", None),
            ("answer_hold", "photos", "accept"),
            ("conflicts",),
            ("resolve", tmp_path / "note", "copy"),
            ("search", "a b", 7),
            ("search", "a", 50),
            ("versions", tmp_path / "note"),
            ("deleted", tmp_path),
            ("restore", tmp_path / "note", 7, None, tmp_path / "out"),
            ("restore", tmp_path / "note", None, 5, None),
            ("restore_folder", tmp_path, 5, True),
            ("stop",),
        ]


async def test_a_relative_path_is_this_process_own(
    tmp_path: Path, client: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(tmp_path) as daemon:
        await asyncio.to_thread(client.add_folder, Path("photos"), "photos")
        assert daemon.calls == [("add_folder", tmp_path / "photos", "photos")]


async def test_an_error_arrives_as_itself(tmp_path: Path, client: ControlClient) -> None:
    async with running(tmp_path) as daemon:
        daemon.failure = UnknownFolder("There is no folder called photos.")
        with pytest.raises(UnknownFolder, match="called photos"):
            await asyncio.to_thread(client.remove_folder, "photos")
        daemon.failure = Refusal()
        with pytest.raises(Refusal):
            await asyncio.to_thread(client.remove_folder, "photos")


async def test_a_wrong_token(tmp_path: Path, client: ControlClient) -> None:
    async with running(tmp_path):
        (tmp_path / TOKEN_NAME).write_text("another")
        with pytest.raises(AccessRefused):
            await asyncio.to_thread(client.status)


def test_no_device_and_no_daemon_are_told_apart(tmp_path: Path, client: ControlClient) -> None:
    with pytest.raises(NoDevice):
        client.status()
    (tmp_path / "key").touch()
    with pytest.raises(DaemonNotRunning):
        client.status()
    (tmp_path / TOKEN_NAME).write_text("token")
    with pytest.raises(DaemonNotRunning):
        client.status()


def answer_once(home: Path, answer: bytes | None) -> threading.Thread:
    """A listener that accepts one connection and answers it with these bytes, or never."""
    (home / TOKEN_NAME).write_text("token")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home / SOCKET_NAME))
    listener.listen()
    listener.settimeout(PATIENCE_S)

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.settimeout(PATIENCE_S)
            connection.recv(65536)
            if answer is None:
                connection.recv(65536)  # until the other side gives up
            else:
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (b"", DaemonSilent, "ended the connection"),
        (b"nonsense\r\n\r\n", DaemonSilent, "ended the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", PeerError, "no JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", PeerError, "no JSON object"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}", PeerError, "status 500"),
        (None, DaemonSilent, "in time"),
    ],
)
def test_what_is_no_answer(
    tmp_path: Path, answer: bytes | None, error: type[PeerError], sentence: str
) -> None:
    thread = answer_once(tmp_path, answer)
    with pytest.raises(error, match=sentence) as caught:
        ControlClient(tmp_path, timeout_s=0.2).status()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert type(caught.value) is error


async def test_a_daemon_that_begins_just_then_is_asked_by_its_own_token(
    tmp_path: Path, client: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, was_read = client._read_token, False

    def older_first() -> str:
        nonlocal was_read
        token, was_read_before = read(), was_read
        was_read = True
        return token if was_read_before else "of the daemon before"

    monkeypatch.setattr(client, "_read_token", older_first)
    async with running(tmp_path) as daemon:
        await asyncio.to_thread(client.stop)
        assert daemon.calls == [("stop",)]
