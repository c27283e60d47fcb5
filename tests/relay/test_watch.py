"""Numbers for who watches, and nothing for who asks for more."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from protocol.storage_client import storing
from relay import watch as module
from relay.ports import listen
from relay.watch import Watch
from tests.relay.relay_stage import LOOPBACK, new_keys, relaying, until
from tests.relay.storage_stage import FAR_S, ROOMY, Owner, Packed, files_of


async def well() -> str:
    return ""


async def test_the_numbers_are_those_of_the_relay() -> None:
    async with relaying() as stage:
        one, other = await stage.joined()
        with one, other:
            await until(lambda: len(stage.relay.half_open) == 0)
            stage.relay.desk.counts["Oops"] = 3
            page = (await Watch(stage.relay, well).page(b"GET /metrics HTTP/1.1")).decode()
        head, _, body = page.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 200 OK")
        assert f"Content-Length: {len(body.encode())}" in head
        lines = [line for line in body.splitlines() if not line.startswith("#")]
        assert [line for line in lines if "start_time" not in line and "process" not in line] == [
            "holdfast_relay_devices 2.0",
            "holdfast_relay_calls 1.0",
            "holdfast_relay_datagram_sessions 0.0",
            "holdfast_relay_devices_seen_by_udp 0.0",
            "holdfast_relay_waiting_places 1.0",
            "holdfast_relay_half_open 0.0",
            "holdfast_relay_carried_bytes_total 0.0",
            "holdfast_relay_datagram_bytes_total 0.0",
            "holdfast_relay_datagram_runs_lost_total 0.0",
            'holdfast_relay_refused_total{reason="Oops"} 3.0',
        ]
        assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


async def test_a_node_s_numbers_are_those_of_its_shares(tmp_path: Path) -> None:
    packed = Packed.of(5, 2, 3)
    async with (
        relaying(home=tmp_path, storage=ROOMY) as stage,
        storing(stage.address, new_keys()) as client,
    ):
        namespace = await Owner().found_and_open(client)
        await client.put(namespace, packed.descriptor, 0, packed.shares[0], FAR_S, [])
        await client.fetch(namespace, packed.descriptor, 0)
        (path,) = files_of(tmp_path)
        path.write_bytes(bytes(len(packed.shares[0])))
        assert stage.relay.scrub is not None
        await stage.relay.scrub.step()

        page = (await Watch(stage.relay, well).page(b"GET /metrics HTTP/1.1")).decode()
        size = float(packed.descriptor.share_size)
        for line in (
            'holdfast_relay_stored_shares{state="damaged"} 1.0',
            f'holdfast_relay_stored_bytes{{state="damaged"}} {size}',
            'holdfast_relay_stored_shares{state="whole"} 0.0',
            "holdfast_relay_storage_links 1.0",
            "holdfast_relay_storage_namespaces 1.0",
            f"holdfast_relay_storage_taken_bytes_total {size}",
            f"holdfast_relay_storage_given_bytes_total {size}",
            "holdfast_relay_storage_damaged_leaves_total 3.0",
            "holdfast_relay_storage_healed_shares 0.0",
        ):
            assert f"{line}\n" in page
        assert namespace.hex() not in page


async def test_what_is_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEALTH_TIMEOUT_S", 0.05)

    async def ill() -> str:
        return "the database cannot be read"

    async def stuck() -> str:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async with relaying() as stage:
        for is_well, status, words in (
            (well, b"200 OK", b"ok"),
            (ill, b"503 Unavailable", b"cannot be read"),
            (stuck, b"503 Unavailable", b"does not answer"),
        ):
            page = await Watch(stage.relay, is_well).page(b"GET /healthz HTTP/1.1")
            assert status in page.splitlines()[0]
            assert words in page.splitlines()[-1]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /metrics/../../etc/passwd HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"", b"405"),
        (b"\xff \xfe", b"405"),
    ],
)
async def test_there_are_two_pages(request_line: bytes, status: bytes) -> None:
    async with relaying() as stage:
        page = await Watch(stage.relay, well).page(request_line)
        assert page.split(b" ")[1] == status


@pytest.mark.row("A29")
async def test_who_asks_badly_or_never_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_TIMEOUT_S", 0.3)
    async with relaying() as stage, asyncio.TaskGroup() as tasks:
        watch = Watch(stage.relay, well)
        listening = listen(LOOPBACK, 0)
        port = listening.getsockname()[1]
        serving = tasks.create_task(watch.serve(listening))
        silent = [socket.create_connection((LOOPBACK, port)) for _ in range(module.AT_ONCE_MAX)]
        async with asyncio.timeout(60):
            while watch._open < module.AT_ONCE_MAX:
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            assert await reader.read() == b"", "one too many"
            writer.close()
            while watch._open:
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(b"GET /" + b"x" * 100_000)
            try:
                assert await reader.read() == b"", "a line that never ends"
            except ConnectionError:
                pass
            writer.close()
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert (await reader.read()).endswith(b"ok\n")
            writer.close()
        for each in silent:
            each.close()
        serving.cancel()
