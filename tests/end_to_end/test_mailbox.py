"""Two devices that are never awake together: what one wrote reaches the other by the relay's
mailbox.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.device import (
    FOLDER,
    Device,
    attach,
    end,
    explain,
    found,
    try_tree,
    wait_for_same,
    wait_until,
)
from tests.end_to_end.test_relay import RelayProcess, is_connected

UNFINISHED = "not all of what others lack is in the mailboxes"
"""What the log says of a goodbye that was cut short."""


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    relay = RelayProcess(tmp_path / "relay-home")
    try:
        yield relay
    finally:
        relay.kill()


@pytest.fixture
def pair(tmp_path: Path, relay: RelayProcess) -> Iterator[tuple[Device, Device]]:
    """Two devices that know each other and the relay, in sync; both run."""
    one, other = Device(tmp_path, "laptop"), Device(tmp_path, "desktop")
    try:
        found(one)
        one.command("relay", "add", relay.address)
        wait_until(lambda: is_connected(one), "the first device at the relay")
        code = one.command("invite")["code"]
        other.command("join", code, "--relay", relay.address, "--name", other.name)
        other.start()
        one.command("folder", "add", str(one.folder), "--name", FOLDER)
        attach(other)
        (one.folder / "first").write_text("both have this")
        wait_for_same(one, other)
        yield one, other
    finally:
        end([one, other])


def wait_for_file(device: Device, name: str, text: str, timeout_s: float = 30.0) -> None:
    def is_there() -> bool:
        path = device.folder / name
        return path.exists() and path.read_text() == text

    wait_until(is_there, lambda: f"{name}: {device.folder_status()} {device.log_tail()}", timeout_s)


def test_a_note_reaches_a_device_that_was_asleep(pair: tuple[Device, Device]) -> None:
    one, other = pair
    other.stop()
    (one.folder / "note.txt").write_text("written while the other slept")
    stop_when_told(one)
    other.start()
    wait_for_file(other, "note.txt", "written while the other slept")
    (other.folder / "note.txt").write_text("and answered")
    stop_when_told(other)
    one.start()
    wait_for_file(one, "note.txt", "and answered")


def test_it_all_goes_by_mail_and_the_relay_restarts_in_between(
    pair: tuple[Device, Device], relay: RelayProcess
) -> None:
    """Deletions, renames, conflicts and a directory of files, never both awake."""
    one, other = pair
    (one.folder / "d").mkdir()
    for number in range(30):
        (one.folder / "d" / f"f{number}").write_text(f"{number}" * 50)
    wait_for_same(one, other)
    other.stop()
    (one.folder / "d").rename(one.folder / "e")
    (one.folder / "e" / "f3").unlink()
    (one.folder / "first").write_text("as the laptop has it")
    stop_when_told(one)
    relay.stop()
    (other.folder / "first").write_text("as the desktop has it")
    relay.start()
    other.start()
    wait_for_file(other, "e/f7", "7" * 50)
    wait_until(lambda: not (other.folder / "d").exists(), "the rename")
    wait_until(lambda: len(list(other.folder.glob("first*"))) == 2, "the conflict copy")
    wait_until(lambda: not (other.folder / "e" / "f3").exists(), "the deletion")
    (other.folder / "e" / "f4").unlink()
    stop_when_told(other)
    one.start()
    wait_until(lambda: not (one.folder / "e" / "f4").exists(), "the deletion")
    wait_until(lambda: len(list(one.folder.glob("first*"))) == 2, "both versions")
    one.wait_for_state("in sync")
    wait_until(lambda: try_tree(one) == other.tree(), lambda: explain([one, other]))
    texts = {path.read_text() for path in one.folder.glob("first*")}
    assert texts == {"as the laptop has it", "as the desktop has it"}


@pytest.mark.row("A17")
def test_nothing_that_can_be_read_lies_at_the_relay(
    pair: tuple[Device, Device], relay: RelayProcess
) -> None:
    one, other = pair
    other.stop()
    canary = "canary-0815-of-the-mail"
    (one.folder / canary).write_text(canary * 50)
    stop_when_told(one)
    memory = memory_of(relay)
    said = relay.stop()
    kept = b"".join(path.read_bytes() for path in relay.home.rglob("*") if path.is_file())
    assert len(kept) > 10_000, "the mail is there"
    words = [canary, FOLDER, "laptop", "desktop"]
    for word in words:
        assert word not in said
        assert word.encode() not in kept
    assert canary.encode() not in memory
    other.start()
    relay.start()
    wait_for_file(other, canary, canary * 50)


def test_what_waits_for_a_device_is_said_with_its_name(pair: tuple[Device, Device]) -> None:
    one, other = pair
    other.stop()
    (one.folder / "film").write_bytes(bytes(range(256)) * 4_000)
    stop_when_told(one)
    other.start()
    wait_until(lambda: "waits for laptop" in reasons(other).get("film", ""), other.log_tail)
    for _ in range(200):  # and it stays, though it is asked for again and again
        assert "waits for laptop" in reasons(other).get("film", "")
    one.start()
    wait_for_same(one, other)


def stop_when_told(device: Device) -> None:
    """Gives the daemon the moment that it needs to see what was saved, and stops it. On a machine
    so busy that the time of its goodbye was too short for the mailbox, it says goodbye once more.
    """
    for _ in range(10):
        before = device.log.stat().st_size
        _stop_when_seen(device)
        if UNFINISHED not in device.log.read_text()[before:]:
            return
        device.start()
    raise AssertionError(f"its mail never left {device.name}: {device.log_tail()}")


def _stop_when_seen(device: Device) -> None:
    (device.folder / "marker").write_text(f"{time.monotonic()}")

    def is_told() -> bool:
        files = [path for path in device.folder.rglob("*") if path.is_file()]
        files = [path for path in files if ".holdfast" not in path.parts]
        status = device.folder_status()
        shown = (status["files"], status["bytes"], status["state"])
        return shown == (len(files), sum(path.stat().st_size for path in files), "in sync")

    wait_until(is_told, lambda: f"the scan: {device.folder_status()}")
    device.stop()


def reasons(device: Device) -> dict[str, str]:
    return {error["path"]: error["reason"] for error in device.folder_status()["errors"]}


def memory_of(relay: RelayProcess) -> bytes:
    """All that the relay's process has in memory."""
    found = b""
    pid = relay.process.pid
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, permissions = line.split()[:2]
        if not permissions.startswith("rw") or "[vvar]" in line:
            continue
        first, last = (int(part, 16) for part in span.split("-"))
        with Path(f"/proc/{pid}/mem").open("rb") as memory, contextlib.suppress(OSError):
            memory.seek(first)
            found += memory.read(last - first)
    return found
