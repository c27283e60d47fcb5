"""StolenDevice: all keys and all secrets of a real device, until it is revoked and afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crypto.keys import DeviceKeys
from protocol.errors import NotAuthenticated
from protocol.handshake import HELLO, PROOF
from protocol.link import Link, LinkKind
from protocol.links import authenticate_client, dial
from protocol.messages import MessageNumber
from protocol.nodes import ROOT, Kind
from tests.peer.device_stage import (
    LOOPBACK,
    device_id,
    folder_of,
    keys_of,
    make_homes,
    port_of,
    until,
)
from tests.peer.evil_peer import evil_peer
from tests.peer.evil_stage import EvilStage, counted_frames, evil_stage, node_id, place_record
from tests.protocol.people import Person

HEADER = [0, "evil", 0]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two", "evil"))
    return base


@pytest.fixture
async def scene(homes: Path, tmp_path: Path) -> AsyncIterator[EvilStage]:
    async with evil_stage(homes, tmp_path, ("tls", "quic")) as scene:
        yield scene


async def talk_as(scene: EvilStage, keys: DeviceKeys | None, kind: LinkKind) -> Link:
    """A link with a proof by these keys, or none; then messages without waiting for anything."""
    link = await dial(kind, LOOPBACK, port_of(scene.one))
    if keys is not None:
        try:
            await authenticate_client(link, keys, keys_of(scene.one))
        except NotAuthenticated:
            assert link.is_closed
            return link
    for number in (MessageNumber.GREETING, MessageNumber.WANT, PROOF, HELLO, 255):
        link.send(number, [b"\x82\x01aX"])
    return link


@pytest.mark.row("A25")
@pytest.mark.parametrize("kind", [LinkKind.TLS, LinkKind.QUIC], ids=["tls", "quic"])
@pytest.mark.parametrize("who", ["nobody", "a stranger", "a revoked device"])
async def test_who_is_no_live_device_is_heard_not_one_message(
    scene: EvilStage, monkeypatch: pytest.MonkeyPatch, who: str, kind: LinkKind
) -> None:
    if who == "a revoked device":
        await scene.revoke_evil()
    keys = {"nobody": None, "a stranger": Person(9).device}.get(who, scene.evil.keys)
    with counted_frames(monkeypatch, "one") as heard:
        link = await talk_as(scene, keys, kind)
        async with asyncio.timeout(60):
            assert await link.receive() is None, "an answer to a stranger"
        assert set(scene.one.network.connections) == {device_id(scene.two)}
        assert heard == []
    await scene.lives_on()


async def test_a_live_device_is_heard(scene: EvilStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would prove nothing."""
    with counted_frames(monkeypatch, "one") as heard:
        async with evil_peer(scene.one, scene.evil) as peer:
            await peer.meet()
            await until(lambda: MessageNumber.GREETING in heard)


@pytest.mark.row("A10", "A19")
async def test_what_a_revoked_device_signs_changes_nothing_whoever_brings_it(
    scene: EvilStage,
) -> None:
    """Backdated too: by the ledger and the epoch as they were before it was revoked."""
    place = scene.place()
    wires = tuple(
        place.draft_and_seal([HEADER, place_record(node_id(n, Kind.DIRECTORY), ROOT, f"late {n}")])
        .changeset.wire
        for n in range(3)
    )  # fmt: skip
    await scene.revoke_evil()
    ledgers = scene.two.ledgers
    await until(lambda: scene.evil.keys.device_id not in ledgers.user.live_devices())
    for daemon, other in ((scene.one, scene.two), (scene.two, scene.one)):
        accomplice = daemon.network.connections[device_id(other)]
        folder_of(daemon).changesets_received(wires, accomplice, 0)
    await scene.lives_on()
    for daemon in (scene.one, scene.two):
        assert not list(scene.root(daemon).glob("late*"))
