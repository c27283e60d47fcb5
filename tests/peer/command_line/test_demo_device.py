import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from peer.command_line import demo_device as module
from peer.command_line.demo_device import DemoDevice, find_free_port, wait_until
from peer.errors import DemoFailed


def test_waiting_ends_when_it_is_so() -> None:
    answers = iter([False, False, True])
    wait_until(lambda: next(answers), "the third answer", 5)
    assert list(answers) == []


def test_waiting_in_vain_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses_s: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(pauses_s), sleep=pauses_s.append)
    monkeypatch.setattr(module, "time", clock)
    with pytest.raises(DemoFailed, match="Waited 60 s in vain: the moon"):
        wait_until(lambda: False, "the moon", 60)
    assert 60 <= sum(pauses_s) < 60.1


def test_the_port_is_free_for_both() -> None:
    port = find_free_port()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as endpoint:
            endpoint.bind(("127.0.0.1", port))


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="`holdfast status` failed on alpha: There is no device"):
        DemoDevice(tmp_path, "alpha").command("status")


def test_a_daemon_that_does_not_start_says_why(tmp_path: Path) -> None:
    device = DemoDevice(tmp_path, "alpha")
    with pytest.raises(DemoFailed, match=r"The daemon of alpha ended\. Its log ends: .*holdfast: "):
        device.start()  # There is no device in its home.
    device.stop()
    device.stop()
