"""Share links measured: making one, fetching it, its first byte, and many slow visitors.

    python -m tests.bench.bench_share_links [MiB]
    python -m tests.bench.bench_share_links --stored-gb 10 [--files 10]

One device and one relay, both programs of their own, on loopback, with a file of so many MiB (256);
or a link to a folder of so many GB that the relay keeps already, which takes twice that of disk.
`--directory` is where; otherwise it is `$TMPDIR`.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from crypto.packs import LEAF_SIZE
from crypto.share_links import LinkSecrets, open_link
from peer.share_links.link_get import runs
from peer.share_links.link_visit import Visitor
from protocol.link_manifest import LinkManifest, decode_manifest
from protocol.share_url import ShareUrl, text_of
from tests.bench.stored_link import stored_link
from tests.end_to_end.device import FOLDER, Device, end, found, wait_until
from tests.end_to_end.test_share_links import WebRelay, get

SLOW: Final = 200
SLOW_BYTES: Final = 4 << 20
"""What each slow visitor asks for, and never reads more than a little of."""


def main() -> None:
    """Prints a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mib", nargs="?", type=int, default=256)
    parser.add_argument("--stored-gb", type=float, default=0)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--directory", type=Path, default=os.environ.get("TMPDIR"))
    arguments = parser.parse_args()
    mib: int = arguments.mib
    with tempfile.TemporaryDirectory(dir=arguments.directory) as place:
        if arguments.stored_gb:
            stored_link(Path(place), int(arguments.stored_gb * 1e9), arguments.files)
            return
        relay = WebRelay(Path(place) / "relay-home")
        device = Device(Path(place), "alpha")
        try:
            found(device)
            device.command("relay", "add", relay.address)
            device.command("folder", "add", str(device.folder), "--name", FOLDER)
            with (device.folder / "big.raw").open("wb") as file:
                for _ in range(mib):
                    file.write(os.urandom(1 << 20))
            wait_until(lambda: device.folder_status()["files"] == 1, "the file", 600)
            measure(device, relay, Path(place), mib)
        finally:
            end([device])
            relay.process.kill()
            relay.process.communicate()


def measure(device: Device, relay: WebRelay, place: Path, mib: int) -> None:
    """All figures."""
    path = str(device.folder / "big.raw")
    body = {"path": path}
    for what in ("first link, all uploaded", "link on what is stored"):
        began = time.monotonic()
        made = device.client.request("POST", "/api/links/create", body, 600)
        took = time.monotonic() - began
        uploaded = made["uploaded_bytes"] + made["manifest_bytes"]
        print(f"{what}: {took:.2f} s, {uploaded / 1000:.0f} kB sent ({mib} MiB)")
    began = time.monotonic()
    got = get(made["url"], place / "there")
    took = time.monotonic() - began
    same = digest(place / "there" / "big.raw") == digest(Path(path))
    rate = got["bytes"] / got["seconds"] / 1e6
    print(f"get: {rate:.0f} MB/s in {got['seconds']:.2f} s ({took:.2f} s with the start), {same=}")
    url = ShareUrl.parse(made["url"])
    print(f"first byte of a pack after the click: {first_byte(url) * 1000:.0f} ms")
    idle = rss(relay)
    print(f"{SLOW} slow downloads: relay {slow(url, relay) / 1e6:.0f} MB, {idle / 1e6:.0f} before")


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        hashed = sha256()
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return hashed.hexdigest()


def opened(url: ShareUrl) -> tuple[Visitor, LinkManifest]:
    """A visitor who has claimed a download, and the manifest."""
    visitor = Visitor(url)
    secrets = LinkSecrets.of(url.secret, visitor.head().password_salt)
    blob = visitor.claim(secrets.token(url.link_id))
    return visitor, decode_manifest(open_link(url.link_id, secrets, blob))


def first_byte(url: ShareUrl) -> float:
    """Head, claim and the first leaf, with a new connection; the median of nine."""
    times = []
    for _ in range(9):
        began = time.monotonic()
        visitor, manifest = opened(url)
        run = next(runs(list(manifest.files[0].chunks)))
        visitor.range(manifest.pack_ids[run.pack], run.first, run.first + LEAF_SIZE)
        times.append(time.monotonic() - began)
        visitor.close()
    return sorted(times)[4]


def slow(url: ShareUrl, relay: WebRelay) -> int:
    """The relay's memory while visitors have asked for much and read next to nothing."""
    visitor, manifest = opened(url)
    path = f"{url.path}/pack/{text_of(manifest.pack_ids[0])}"
    headers = {"X-Holdfast-Ticket": visitor.ticket, "Range": f"bytes=0-{SLOW_BYTES - 1}"}
    host = url.base.partition("//")[2]
    visitors: list[Any] = []
    for _ in range(SLOW):
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.connect()
        assert connection.sock is not None
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read(1024)
        visitors.append((connection, response))
    most = 0
    for _ in range(10):
        for _, response in visitors:
            response.read(1024)
        most = max(most, rss(relay))
        time.sleep(0.2)
    for connection, response in visitors:
        response.close()
        connection.close()
    visitor.close()
    return most


def rss(relay: WebRelay) -> int:
    """Resident memory of the relay's process, which took the command's place."""
    status = Path(f"/proc/{relay.process.pid}/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    main()
