"""A share link to a folder that its relay keeps already: how long it takes and how much is sent.

One device and one relay, both programs of their own; all that the device sends to the relay goes
through a pipe that counts it. Used by `bench_share_links`.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.bench.machine import cpu_s, peak_memory_bytes
from tests.end_to_end.device import FOLDER, PROGRAM, ROOT, Device, end, found, wait_until
from tests.end_to_end.test_share_links import WebRelay

PIECE: Final = 1 << 20
STORED_WITHIN_S: Final = 7200.0
SENT_MAX: Final = 200_000
TOOK_MAX_S: Final = 1.0
EACH: Final = 3
"""Links of each kind: what each took is told, for a machine with other work gives no even times."""


class CountingPipe:
    """Joins whoever connects to a port, and counts what comes from there."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._turn = threading.Lock()
        self.sent = 0
        self._spawn(self._accept)

    def close(self) -> None:
        """Joins nobody any more."""
        self._door.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                one, _ = self._door.accept()
                other = socket.create_connection(("127.0.0.1", self._to))
                for each in (one, other):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._spawn(lambda a=one, b=other: self._copy(a, b, is_counted=True))  # type: ignore[misc]
                self._spawn(lambda a=one, b=other: self._copy(b, a, is_counted=False))  # type: ignore[misc]

    def _copy(self, source: socket.socket, target: socket.socket, *, is_counted: bool) -> None:
        room = memoryview(bytearray(PIECE))
        with suppress(OSError):
            while size := source.recv_into(room):
                if is_counted:
                    with self._turn:
                        self.sent += size
                target.sendall(room[:size])
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _spawn(work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()


def stored_link(place: Path, size: int, files: int) -> None:
    """Prints a line a figure, for a folder of so many bytes in so many files."""
    relay = WebRelay(place / "relay-home")
    pipe = CountingPipe(relay.port)
    device = Device(place, "alpha")
    device.links, device.nursery = "tls", None
    address = relay.address.replace(f":{relay.port}#", f":{pipe.port}#")
    try:
        found(device)
        assert device.process is not None
        pids = [device.process.pid]
        with told(f"{files:,} files of {size // files:,} bytes: stored at the relay", pids, pipe):
            fill(device.folder, size // files, files)
            device.command("relay", "add", address)
            device.command("folder", "add", str(device.folder), "--name", FOLDER)
            device.command("backup", "add", FOLDER, "--nodes", address, "--scheme", "1/1")
            wait_until(lambda: is_stored(device, files, size), "all stored", STORED_WITHIN_S)
        print(f"packs of pages put beforehand: {packs_of_pages(device)}")
        measure("as soon as all is stored", device, pids, pipe, 1)
        measure("afterwards", device, pids, pipe, EACH)
        print(f"the device's most memory: {peak_memory_bytes(pids) / 1e6:.0f} MB")
    finally:
        end([device])
        relay.kill()
        pipe.close()


def measure(when: str, device: Device, pids: list[int], pipe: CountingPipe, times: int) -> None:
    """Links by the control API, by the command, and by the API with their downloads counted."""
    path = str(device.folder)
    body: dict[str, Any] = {"path": path}
    counted = body | {"downloads_max": 5}

    def ask(wish: dict[str, Any]) -> dict[str, Any]:
        return device.client.request("POST", "/api/links/create", wish, 600)

    def command() -> dict[str, Any]:
        words = ("--home", str(device.home), "link", "create", path, "--json")
        done = subprocess.run([*PROGRAM, *words], capture_output=True, check=True, cwd=ROOT)
        made: dict[str, Any] = json.loads(done.stdout)
        return made

    ways: tuple[tuple[str, Callable[[], dict[str, Any]]], ...] = (
        ("by the API", lambda: ask(body)),
        ("by `link create`, its start included", command),
        ("with a number of downloads", lambda: ask(counted)),
    )
    for what, make in ways:
        for _ in range(times):
            began, used_s, sent = time.monotonic(), cpu_s(pids), pipe.sent
            made = make()
            took, used_s = time.monotonic() - began, cpu_s(pids) - used_s
            sent = pipe.sent - sent
            judged = "" if took <= TOOK_MAX_S and sent <= SENT_MAX else " (to be 1 s and 200 kB)"
            print(
                f"link {when}, {what}: {took:.2f} s, {used_s:.2f} s of the device's processor,"
                f" {sent / 1000:.1f} kB sent: {made['uploaded_bytes'] / 1000:.1f} of packs,"
                f" {made['manifest_bytes'] / 1000:.1f} of manifest; {made['files']:,} files,"
                f" {made['bytes'] / 1e9:.2f} GB{judged}",
                flush=True,
            )


@contextmanager
def told(what: str, pids: list[int], pipe: CountingPipe) -> Iterator[None]:
    """What something took."""
    began, used_s, sent = time.monotonic(), cpu_s(pids), pipe.sent
    yield
    took, used_s, sent = time.monotonic() - began, cpu_s(pids) - used_s, pipe.sent - sent
    print(
        f"{what}: {took:.1f} s, {used_s:.1f} s of the device's processor, {sent / 1e6:.1f} MB sent",
        flush=True,
    )


def fill(directory: Path, size: int, files: int) -> None:
    """Files of noise, 500 in a directory."""
    for number in range(files):
        path = directory / f"part {number // 500:03}" / f"file {number:05}.raw"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            left = size
            while left:
                left -= file.write(os.urandom(min(left, PIECE)))


def is_stored(device: Device, files: int, size: int) -> bool:
    """Whether the relay holds all of the folder."""
    time.sleep(1)
    status = device.folder_status()
    if status["files"] != files or status["state"] != "in sync":
        return False
    (entry,) = device.client.request("GET", "/api/backups")["backups"]
    return bool(entry["state"] == "up to date" and entry["stored_bytes"] >= size)


def packs_of_pages(device: Device) -> int:
    """How many packs this device has put at the relay for links."""
    path = device.home / "links.db"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        (count,) = db.execute("SELECT count(*) FROM pack").fetchone()
    return int(count)
