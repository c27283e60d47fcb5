"""EvilLAN: whoever is on the same network announces, answers, relays and stalls as it likes."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from peer.connectivity.discovery import (
    DEVICE_SERVICE,
    RESOLVE_TIMEOUT_MS,
    UNRESOLVED_MAX,
    Discovery,
)
from peer.daemon import Daemon
from peer.device import setup
from peer.device.home import Home
from protocol.errors import ExpiredCode, LinkError, WrongCode
from protocol.half_open import HALF_OPEN_PER_HOST_MAX
from protocol.handshake import ACCEPT, HELLO, ClientHandshake
from protocol.invitations import TRIES
from protocol.link import Link, LinkKind
from protocol.links import HALF_OPEN_TIMEOUT_S, dial
from protocol.pairing import PairingDialler
from protocol.pairing_messages import PairingNumber
from protocol.tls import TlsLink
from protocol.words import PairingCode, parse_code
from tests.peer.connectivity.test_discovery import A, B, knowing, running
from tests.peer.device_stage import (
    LOOPBACK,
    copy_homes,
    device_id,
    devices,
    keys_of,
    make_homes,
    pass_time,
    port_of,
    until,
)
from tests.peer.evil_stage import EvilStage, bounded_memory, counted_frames, evil_stage
from tests.protocol.link_stage import Server, serving
from tests.work import counted_work

MDNS = ("224.0.0.251", 5353)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two", "evil"))
    return base


@pytest.fixture
async def scene(homes: Path, tmp_path: Path) -> AsyncIterator[EvilStage]:
    async with evil_stage(homes, tmp_path) as scene:
        yield scene


# ---------------------------------------------------------------- announcements


@pytest.mark.row("A25", "A32")
async def test_an_impostor_at_an_announced_address_gets_one_sealed_frame_and_no_link(
    homes: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """10,000 false announcements of a device we look for; the one that answers cannot prove it."""
    copy_homes(homes, tmp_path)
    async with serving() as impostor, devices(tmp_path) as stage:
        two = await stage.start("two")
        home = await Home.open(stage.home("one"))
        await home.close()
        one_id = home.keys.device_id
        with bounded_memory(8 << 20) as peak:
            for number in range(10_000):
                two.dialling.heard_of(one_id, "127.0.0.1", 1 + number % 1000)
            two.dialling.heard_of(one_id, LOOPBACK, impostor.port)
            link = await impostor.links.get()
            frame = await link.receive()
            assert frame is not None
            number, hello = frame
            assert number == HELLO
            for secret in (two.home.keys.device_id, one_id, two.home.keys.sign_public):
                assert secret not in hello
            link.send(ACCEPT, [b"\x83\x01X " + bytes(32) + b"X@" + bytes(64)])
            assert await link.receive() is None
        record_property("figure", f"{peak[0] / (1 << 20):.1f} MiB for 10,000 announcements")
        assert two.network.connections == {}
        one = await stage.start("one")
        await stage.meet(one, two)


@pytest.mark.row("A32")
async def test_packets_of_pointers_and_lies_do_not_stop_discovery(
    monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """1,400 chained pointers, a loop, a record cut short, and 4 names, by real multicast."""
    names: set[str] = set()
    notice = Discovery._notice

    def note(self: Discovery, **event: Any) -> None:
        names.add(event["name"])
        notice(self, **event)

    monkeypatch.setattr(Discovery, "_notice", note)
    chain = (
        bytes([0, 0, 0x84, 0, 0, 0, 5, 220, 0, 0, 0, 0])
        + b"\x01a"
        + b"".join((0xC000 | (12 + 2 * n)).to_bytes(2, "big") for n in range(1, 1400))
    )
    loop = chain[:12] + b"\xc0\x0c" * 700
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as evil:
        evil.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
        async with running() as (a, _), running() as (b, seen_by_b):
            with bounded_memory(20 << 20) as peak:
                for number in range(20):
                    for packet in (chain, loop, chain[:40], service_named(number % 4)):
                        evil.sendto(packet, MDNS)
                    await asyncio.sleep(0)  # else the socket's buffer overflows
                async with asyncio.timeout(60):
                    await b.announce(2222, B, knowing(A))
                    await a.announce(1111, A, knowing(B))
                    assert await seen_by_b.get() == (A.device_id, "127.0.0.1", 1111)
            assert len(names) >= 4  # the lies did arrive
    record_property("figure", f"{peak[0] / (1 << 20):.1f} MiB for 80 packets")


@pytest.mark.row("A32")
async def test_names_that_nobody_answers_for_keep_no_device_waiting(
    record_property: Callable[[str, object], None],
) -> None:
    """Each would hold one of four resolvers for a second and a half: for minutes, all together."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as evil:
        evil.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
        async with running() as (a, _), running() as (b, seen_by_b):
            await b.announce(2222, B, knowing(A))
            with bounded_memory(20 << 20) as peak:
                for number in range(3 * UNRESOLVED_MAX):
                    evil.sendto(service_named(number), MDNS)
                    await asyncio.sleep(0)
                async with asyncio.timeout(60):
                    while not b._unresolved.full():
                        await asyncio.sleep(0.01)
                await a.announce(1111, A, knowing(B))
                async with asyncio.timeout(RESOLVE_TIMEOUT_MS * UNRESOLVED_MAX / 4000):
                    assert await seen_by_b.get() == (A.device_id, "127.0.0.1", 1111)
                assert b._unresolved.qsize() > UNRESOLVED_MAX // 2  # those are waiting still
    record_property("figure", f"{peak[0] / (1 << 20):.1f} MiB for {3 * UNRESOLVED_MAX} names")


def service_named(number: int) -> bytes:
    """An answer that there is one more service of ours."""
    labels = DEVICE_SERVICE.removesuffix(".").split(".")
    service = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    name = b"\x08%08d" % number + b"\xc0\x0c"
    record = b"\x00\x0c\x00\x01\x00\x00\x11\x94" + len(name).to_bytes(2, "big") + name
    return bytes([0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0]) + service + record


# ---------------------------------------------------------------- in the middle of a pairing


async def relay(evil: Server, inviter: Daemon) -> None:
    """Answers as the inviting device would, by asking it; each side has a link with the middle."""
    while True:
        joiner = await evil.links.get()
        onward = await dial(LinkKind.TLS, LOOPBACK, port_of(inviter))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(carry(joiner, onward))
            tasks.create_task(carry(onward, joiner))


async def carry(source: Link, target: Link) -> None:
    while (frame := await source.receive()) is not None:
        target.send(frame[0], [frame[1]])
        await target.drain()
    await target.close()


@pytest.mark.row("A24")
async def test_who_goes_through_codes_on_the_lan_burns_them_and_learns_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Every number, four times, on links of its own, against a device that shows two codes."""
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        codes = [parse_code((await one.invite())["code"]) for _ in range(2)]
        answered = asked = 0
        for _ in range(TRIES + 1):
            for number in sorted({*range(1, 12), *(code.nameplate for code in codes)}):
                link = await dial(LinkKind.TLS, LOOPBACK, port_of(one))
                guess = PairingCode(number, ("abacus", "abdomen"))
                dialler = PairingDialler(guess, link.kind, link.binding, os.urandom)
                first, payload = dialler.hello()
                link.send(first, [payload])
                frame = await link.receive()
                answered += frame is not None and frame[0] == PairingNumber.PAIR_REPLY
                asked += 1
                link.abort()
        assert answered == TRIES * len(codes)
        for code in codes:
            with pytest.raises(ExpiredCode):
                await setup.join(stage.home("new"), str(code), (LOOPBACK, port_of(one)), "new")
        # What is shown anew is as good as ever.
        fresh = (await one.invite())["code"]
        await setup.join(stage.home("new"), fresh, (LOOPBACK, port_of(one)), "new")
        assert len(list(one.ledgers.user.live_devices())) == 2
        record_property("figure", f"{answered} answers to {asked} guesses at 2 codes on a LAN")


@pytest.mark.row("A24")
async def test_who_relays_a_pairing_gains_nothing_and_uses_the_code_up(tmp_path: Path) -> None:
    """The right code, typed at the wrong address: both confirmations fail, each costs a try."""
    async with devices(tmp_path) as stage, serving() as evil:
        one = await stage.found("one")
        code = (await one.invite())["code"]
        middle = stage.tasks.create_task(relay(evil, one))
        for _ in range(3):
            with pytest.raises(WrongCode):
                await setup.join(stage.home("new"), code, (LOOPBACK, evil.port), "new")
        with pytest.raises(ExpiredCode):
            await setup.join(stage.home("new"), code, (LOOPBACK, port_of(one)), "new")
        middle.cancel()
        assert list(one.ledgers.user.live_devices()) == [device_id(one)]
        assert not (stage.home("new") / "key").exists()


# ---------------------------------------------------------------- who stops


Stuck = Callable[[EvilStage], Awaitable[Callable[[], None]]]


async def connects(scene: EvilStage) -> Callable[[], None]:
    stuck = socket.socket()
    stuck.setblocking(False)
    await asyncio.get_running_loop().sock_connect(stuck, (LOOPBACK, port_of(scene.one)))
    return stuck.close


async def encrypts(scene: EvilStage) -> Callable[[], None]:
    return (await dial(LinkKind.TLS, LOOPBACK, port_of(scene.one))).abort


async def begins_a_frame(scene: EvilStage) -> Callable[[], None]:
    link = await dial(LinkKind.TLS, LOOPBACK, port_of(scene.one))
    assert isinstance(link, TlsLink)
    assert link._transport is not None
    link._transport.write(b"\x00\x00\x40\x00\x01")
    return link.abort


async def says_hello(scene: EvilStage) -> Callable[[], None]:
    """And is answered, being a device of the user, but never proves that it is the one."""
    link = await dial(LinkKind.TLS, LOOPBACK, port_of(scene.one))
    client = ClientHandshake(
        scene.evil.keys, keys_of(scene.one), link.kind, link.binding, os.urandom
    )
    for number, payload in client.frames_to_send():
        link.send(number, [payload])
    assert await link.receive() is not None
    return link.abort


@pytest.mark.row("A29")
@pytest.mark.parametrize("stops", [connects, encrypts, begins_a_frame, says_hello])
async def test_who_stops_at_a_step_has_a_few_places_for_seconds(
    scene: EvilStage, monkeypatch: pytest.MonkeyPatch, stops: Stuck
) -> None:
    """100 at once; the friends' link goes on, and the places are free again in time."""
    half_open = scene.one._listener.half_open
    ends: list[Callable[[], None]] = []

    async def stop() -> None:
        with suppress(LinkError, AssertionError):  # there was no place
            ends.append(await stops(scene))

    try:
        with counted_frames(monkeypatch, "one") as heard:
            await asyncio.gather(*(stop() for _ in range(100)))
            await until(lambda: len(half_open) > 0)
            assert len(half_open) <= HALF_OPEN_PER_HOST_MAX
            assert heard == []
        await scene.lives_on()
        pass_time(monkeypatch, HALF_OPEN_TIMEOUT_S)
        await until(lambda: len(half_open) == 0)
        await scene.lives_on()
    finally:
        for end in ends:
            end()


async def work_of_a_sync(scene: EvilStage, files: int) -> int:
    """Calls of functions that this thread makes until the other device shows new files: the work
    of both devices and of the strangers, as no clock of a busy machine can tell it.
    """
    scene_root, shown = scene.root(scene.one), scene.root(scene.two)
    name = os.urandom(4).hex()
    with counted_work() as work:
        (scene_root / name).mkdir()
        for number in range(files):
            (scene_root / name / str(number)).write_bytes(os.urandom(500))
        await until(lambda: (shown / name).is_dir() and len(os.listdir(shown / name)) == files, 60)
    return work.calls


@asynccontextmanager
async def stuck_strangers(scene: EvilStage, count: int) -> AsyncIterator[None]:
    """So many from as many addresses, each stopped after another step; who is thrown out comes
    back. They have all been answered or refused once when this begins.
    """
    steps = [b"", b"\x16", tls_hello()[:-1], tls_hello()]
    refused = [0]

    async def stuck(number: int) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    LOOPBACK, port_of(scene.one), local_addr=(f"127.1.{number}.1", 0)
                )
                try:
                    writer.write(steps[number % len(steps)])
                    while await reader.read(4096):
                        pass
                finally:
                    refused[0] += 1
                    writer.transport.abort()
            await asyncio.sleep(HALF_OPEN_TIMEOUT_S)  # as long as those stay who have a place

    tasks = [asyncio.ensure_future(stuck(number)) for number in range(count)]
    try:
        await until(lambda: len(scene.one._listener.half_open) + refused[0] >= count)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def tls_hello() -> bytes:
    """The first flight of a client, after which it stops."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["hf/1"])
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


@pytest.mark.row("A29")
async def test_a_hundred_who_stop_cost_a_sync_no_fifth_of_its_work(
    scene: EvilStage, record_property: Callable[[str, object], None]
) -> None:
    """The least of a few runs counts: in how many pieces the files come is a matter of chance."""
    alone, beside = [], []
    await work_of_a_sync(scene, 300)
    for _ in range(3):
        alone.append(await work_of_a_sync(scene, 300))
        async with stuck_strangers(scene, 100):
            half_open = scene.one._listener.half_open
            beside.append(await work_of_a_sync(scene, 300))
            await until(lambda: len(half_open) > HALF_OPEN_PER_HOST_MAX)  # noqa: B023 - still there
        await until(lambda: len(half_open) == 0)  # noqa: B023
    assert min(beside) <= 1.2 * min(alone)
    more = min(beside) / min(alone) - 1
    record_property("figure", f"{more:+.0%} of work for a sync beside 100 who stop")
