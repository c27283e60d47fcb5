"""Watcher: all bytes between two devices pass through its hands; it reads, keeps, flips, cuts and
replays them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from peer.daemon import Daemon
from peer.device.home import Home
from peer.mail import mailboxes
from relay.watch import Watch
from tests.peer.device_stage import (
    LOOPBACK,
    Stage,
    are_linked,
    copy_homes,
    device_id,
    devices,
    folder_of,
    make_homes,
    port_of,
    until,
)
from tests.peer.evil_stage import counted_frames, is_file
from tests.peer.mail_stage import part
from tests.protocol.lossy_proxy import Address, LossyProxy, Weather
from tests.relay.relay_stage import relaying

# 16 bytes each, found nowhere by chance.
ONE, TWO = "canary-one-4f1c9", "canary-two-e07b2"
FILE, DIRECTORY, CONTENT = "canary-file-83a6", "canary-dir-5d90c", b"canary-text-b271"


class Wire:
    """Carries TCP connections to a device, and keeps every byte of both directions."""

    def __init__(self, target: int) -> None:
        self.seen: list[bytearray] = []
        """Each connection's bytes: from the client, from the server, and so on."""
        self.flip_at: int | None = None
        self.cut_at: int | None = None
        """What becomes of the n-th byte from the client, or of the connection there; once."""
        self.damaged = 0
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._connected, LOOPBACK, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward = await asyncio.open_connection(LOOPBACK, self._target)
        self._writers += [writer, onward]
        up, down = bytearray(), bytearray()
        self.seen += [up, down]
        await asyncio.gather(
            self._carry(reader, onward, up, True), self._carry(onward_reader, writer, down, False)
        )

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        kept: bytearray,
        is_from_client: bool,
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                begin = len(kept)
                kept += data
                if is_from_client and self.flip_at is not None and self.flip_at < len(kept):
                    at = max(0, self.flip_at - begin)
                    data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
                    self.flip_at, self.damaged = None, self.damaged + 1
                if is_from_client and self.cut_at is not None and self.cut_at < len(kept):
                    data = data[: max(0, self.cut_at - begin)]
                    self.cut_at, self.damaged = None, self.damaged + 1
                    writer.write(data)
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class RecordingProxy(LossyProxy):
    """The same of datagrams; what it does to them is the weather's."""

    def __init__(self, server: Address, weather: Weather, seed: int) -> None:
        super().__init__(server, weather, seed)
        self.seen: list[bytes] = []

    def _forward(self, out: object, data: bytes, to: Address) -> None:
        self.seen.append(data)
        super()._forward(out, data, to)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, ONE, TWO))
    return base


@asynccontextmanager
async def watched(homes: Path, base: Path) -> AsyncIterator[tuple[Stage, Daemon, Daemon, Wire]]:
    """Two devices that share a folder over a wire that is watched."""
    copy_homes(homes, base)
    async with devices(base) as stage:
        one, two = await stage.start(ONE), await stage.start(TWO)
        wire = Wire(port_of(one))
        two.dialling.heard_of(device_id(one), LOOPBACK, await wire.start())
        try:
            await until(lambda: are_linked(one, two))
            await stage.share(one, two)
            yield stage, one, two, wire
        finally:
            await wire.stop()


def secrets_of(one: Daemon, two: Daemon) -> list[bytes]:
    """What nobody may find in what went over the wire."""
    found = [name.encode() for name in (ONE, TWO, FILE, DIRECTORY)] + [CONTENT]
    for daemon in (one, two):
        keys = daemon.home.keys
        found += [keys.device_id, keys.sign_public, keys.dh_public, daemon.ledgers.user_id]
        found += [folder_of(daemon).folder_id]
    return found + [secret.hex().encode() for secret in found]


async def write_canaries(stage: Stage, one: Daemon, two: Daemon) -> None:
    root, there = stage.root(ONE), stage.root(TWO)
    (root / DIRECTORY).mkdir()
    (root / DIRECTORY / FILE).write_bytes(CONTENT * 1000)
    await until(lambda: is_file(there / DIRECTORY / FILE, CONTENT * 1000))
    (there / FILE).write_bytes(CONTENT)
    await until(lambda: is_file(root / FILE, CONTENT))


@pytest.mark.row("A37")
async def test_no_name_no_content_and_no_id_is_seen_on_a_tls_link(
    homes: Path, tmp_path: Path
) -> None:
    async with watched(homes, tmp_path) as (stage, one, two, wire):
        await write_canaries(stage, one, two)
        seen = b"\0".join(wire.seen)
        assert len(seen) > 1000
        assert [secret for secret in secrets_of(one, two) if secret in seen] == []


@pytest.mark.row("A07", "A37", "F12")
async def test_no_canary_is_seen_on_a_quic_link_and_damage_changes_nothing(
    homes: Path, tmp_path: Path
) -> None:
    """Datagrams that are lost, doubled, held back and flipped: the files are those that were
    written.
    """
    copy_homes(homes, tmp_path)
    weather = Weather(loss=0.02, duplicate=0.02, corrupt=0.05, reorder=0.05)
    async with devices(tmp_path, ("quic",)) as stage:
        one, two = await stage.start(ONE), await stage.start(TWO)
        proxy = RecordingProxy((LOOPBACK, port_of(one)), weather, 7)
        try:
            two.dialling.heard_of(device_id(one), *proxy.address)
            await until(lambda: are_linked(one, two))
            await stage.share(one, two)
            await write_canaries(stage, one, two)
            data = bytes(range(256)) * 2000
            (stage.root(ONE) / "large").write_bytes(data)
            await until(lambda: is_file(stage.root(TWO) / "large", data))
            assert min(proxy.counts[each] for each in ("damaged", "lost", "copied", "held")) > 0
            seen = b"\0".join(proxy.seen)
            assert [secret for secret in secrets_of(one, two) if secret in seen] == []
        finally:
            proxy.close()


@pytest.mark.row("A07", "A08")
@pytest.mark.parametrize("how", ["flip", "cut"])
async def test_a_byte_flipped_or_cut_on_the_wire_ends_the_link_and_no_file_is_wrong(
    homes: Path, tmp_path: Path, how: str, record_property: Callable[[str, object], None]
) -> None:
    """At one place after the other while a file travels: the next link brings it whole."""
    data = bytes(range(256)) * 1200
    async with watched(homes, tmp_path) as (stage, one, two, wire):
        for number in range(4):
            begun = len(wire.seen)
            at = len(wire.seen[-2]) + 40 + 70_000 * number
            setattr(wire, f"{how}_at", at)
            name = f"file {number}"
            (stage.root(TWO) / name).write_bytes(name.encode() + data)
            await until(lambda: wire.damaged)
            await until(lambda: not two.network.connections)
            known = two.dialling._known[device_id(one)]
            await until(lambda known=known: not known.is_busy)  # type: ignore[misc]
            known.next_at = 0.0  # else it waits, each time longer
            two.dialling.wake()
            await until(lambda begun=begun: len(wire.seen) > begun)  # type: ignore[misc]
            there = stage.root(ONE) / name
            whole = name.encode() + data
            await until(lambda there=there, whole=whole: is_file(there, whole))  # type: ignore[misc]
            wire.damaged = 0
        for path in stage.root(ONE).glob("file*"):
            assert path.read_bytes() == path.name.encode() + data
    record_property("figure", f"4 places, {how}")


@pytest.mark.row("A12", "A26")
async def test_what_was_recorded_is_replayed_in_vain(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a conversation again, to the same device, from its first byte."""
    async with watched(homes, tmp_path) as (stage, one, two, wire):
        await write_canaries(stage, one, two)
        recorded = bytes(wire.seen[0])
        before = folder_of(one).engine.book.frontier()
        with counted_frames(monkeypatch, ONE) as heard:
            for _ in range(3):
                reader, writer = await asyncio.open_connection(LOOPBACK, port_of(one))
                writer.write(recorded)
                async with asyncio.timeout(60):
                    while await reader.read(1 << 16):
                        pass
                writer.transport.abort()
                await asyncio.sleep(0)
            assert heard == []
        assert folder_of(one).engine.book.frontier() == before
        assert are_linked(one, two)


# ---------------------------------------------------------------- through a relay

LABEL = "canary-label-60d"


@pytest.mark.row("A17")
async def test_a_relay_finds_no_canary_on_its_wires_its_disk_its_log_or_its_metrics(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It carries two devices' link first, and their mail when they have none any more."""

    async def well() -> str:
        return ""

    monkeypatch.setattr(mailboxes, "AWAY_AFTER_S", 0.0)
    caplog.set_level(logging.DEBUG)
    copy_homes(homes, tmp_path)
    own = tmp_path / "relay's own"
    own.mkdir()
    async with relaying(home=own) as relay, devices(tmp_path) as stage:
        wire = Wire(relay.relay.port)
        address = replace(relay.address, port=await wire.start())
        for name in (ONE, TWO):
            home = await Home.open(stage.home(name))
            async with home.store.transaction() as write:
                await write._execute("DELETE FROM addresses")
            await home.close()
        one, two = pair = [await stage.start(name) for name in (ONE, TWO)]
        for daemon in pair:
            await daemon.add_relay(address)
        await until(lambda: are_linked(one, two))
        assert [c.kind_name for c in one.network.status()] == ["relayed"]
        await one.add_folder(stage.root(ONE), LABEL)
        await until(lambda: any(two._name_of(s) == LABEL for s in two.stored.values()))
        await two.attach_folder(LABEL, stage.root(TWO))
        for number, between in enumerate(("a link", "mail")):
            directory = stage.root(ONE) / f"{DIRECTORY} {number}"
            directory.mkdir()
            (directory / FILE).write_bytes(CONTENT * 50)
            path = stage.root(TWO) / f"{DIRECTORY} {number}" / FILE
            await until(lambda path=path: is_file(path, CONTENT * 50))  # type: ignore[misc]
            if between == "a link":
                await part(pair, monkeypatch)
        page = await Watch(relay.relay, well).page(b"GET /metrics HTTP/1.1")
        await wire.stop()
        ids = [device_id(daemon) for daemon in pair]
    disk = b"".join(path.read_bytes() for path in own.rglob("*") if path.is_file())
    wires = b"".join(bytes(seen) for seen in wire.seen)
    assert len(wires) > 20_000
    assert len(disk) > 10_000
    own_log = [r for r in caplog.records if r.name.split(".")[0] == "relay"]
    said = "\n".join(f"{r.getMessage()} {vars(r)}" for r in own_log).encode()
    words = [word.encode() for word in (ONE, TWO, FILE, DIRECTORY, LABEL)]
    words += [CONTENT, *ids, *(each.hex().encode() for each in ids)]
    for word in words:
        for where in (wires, disk, page, said):
            assert word not in where
