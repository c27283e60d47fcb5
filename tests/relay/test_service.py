"""A relay as a program: it starts, is told to stop, and is itself again afterwards."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from protocol.relay_address import RelayAddress
from protocol.relay_links import dial_relay
from protocol.relay_messages import Admission, AdmissionOutcome, Admit, RelayPing, RelayPong
from protocol.relay_token import parse_token
from relay import service
from relay.limits import Limits
from relay.service import descriptors_wanted, raise_descriptor_limit
from tests.relay.relay_program import program, words
from tests.relay.relay_stage import LOOPBACK, Caller, new_keys, relaying

CANARY_HOST = "127.77.88.99"
"""An address of this machine that stands in no text by chance."""


async def run(command: str, home: Path, *more: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *words(command, home, *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), errors.decode()


async def caller_at(address: RelayAddress, keys: Any = None) -> Caller:
    return Caller(await dial_relay(address, keys or new_keys()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_ends_at_once_and_comes_back_as_itself(
    tmp_path: Path, number: int
) -> None:
    home = tmp_path / "relay"
    async with program(home) as first:
        before = first.address
        caller = await caller_at(before)
        caller.say(RelayPing(1))
        assert await caller.hear() == RelayPong(1)
        log = await first.stop(number)
        assert first.process.returncode == 0
        assert await caller.hear() is None
        assert "Traceback" not in log
    async with program(home, port=before.port) as second:
        assert second.text == str(before), "the same port at once, and the same keys"
        caller = await caller_at(before)
        caller.link.abort()


async def test_a_relay_that_was_killed_comes_back_with_whom_it_let_in(tmp_path: Path) -> None:
    home, keys = tmp_path / "relay", new_keys()
    async with program(home, "relay.open = false") as first:
        code, out, _ = await run("invite", home, "--json")
        assert code == 0
        token = parse_token(json.loads(out)["token"])
        caller = await caller_at(first.address, keys)
        caller.say(Admit(token))
        assert await caller.hear() == Admission(AdmissionOutcome.ADMITTED)
        await first.stop(signal.SIGKILL)
        caller.link.abort()
    async with program(home, "relay.open = false") as second:
        again, stranger = await caller_at(second.address, keys), await caller_at(second.address)
        assert await again.register((b"r" * 16,)) == ()
        stranger.say(Admit(bytes(16)))
        assert await stranger.hear() == Admission(AdmissionOutcome.REFUSED)
        for each in (again, stranger):
            each.link.abort()


@pytest.mark.row("A17", "A37")
async def test_logs_and_metrics_name_nobody(tmp_path: Path) -> None:
    """Addresses, pseudonyms, ids, tokens and codes are looked for in all that it writes."""
    home, keys = tmp_path / "relay", new_keys()
    port = _free_port()
    config = f"log.form = 'json'\nwatch.listen = {port}\nrelay.open = false"
    async with program(home, config) as relay:
        _, out, _ = await run("invite", home, "--json")
        text = json.loads(out)["token"]
        caller = await _caller_from(CANARY_HOST, relay.address, keys)
        caller.say(Admit(parse_token(text)))
        assert await caller.hear() == Admission(AdmissionOutcome.ADMITTED)
        rid = os.urandom(16)
        await caller.register((rid,), (4711,))
        for rubbish in (b"GET / HTTP/1.0\r\n\r\n", b"HFR1" + os.urandom(32), bytes(99)):
            reader, writer = await asyncio.open_connection(
                LOOPBACK, relay.address.port, local_addr=(CANARY_HOST, 0)
            )
            writer.write(rubbish)
            await reader.read()
            writer.close()
        pages = [await _page(port, path) for path in ("/metrics", "/healthz", "/other")]
        assert b"\r\n\r\nok\n" in pages[1]
        assert b"holdfast_relay_devices 1.0" in pages[0]
        assert pages[2].startswith(b"HTTP/1.1 404")
        caller.link.abort()
        log = await relay.stop()
    assert [json.loads(line)["event"] for line in log.splitlines()][:1] == ["the relay runs"]
    seen = log.encode() + b"".join(pages)
    pseudonym = _pseudonym(keys, relay.address)
    for secret in (CANARY_HOST.encode(), text.encode(), text[8:20].encode(), b"4711"):
        assert secret not in seen
    for secret in (pseudonym, rid, parse_token(text)):
        assert secret not in seen
        assert secret.hex().encode() not in seen
    disk = b"".join(path.read_bytes() for path in home.iterdir())
    assert CANARY_HOST.encode() not in disk
    assert text.encode() not in disk
    assert parse_token(text) not in disk


async def test_mistakes_are_sentences_and_exit_codes(tmp_path: Path) -> None:
    home = tmp_path / "relay"
    path = tmp_path / "bad.toml"
    path.write_text("[limits]\ndevises = 1")
    more = ("--host", LOOPBACK, "--port", "0", "--json")
    code, out, errors = await run("run", home, *more, "--config", str(path))
    assert (code, json.loads(out)["error"]["code"]) == (30, "bad_config")
    assert "limits.devises" in errors
    assert (await run("withdraw", home, "abc"))[0] == 38
    assert (await run("invite", home, "--devices", "0"))[0] == 2
    code, out, _ = await run("config", home)
    assert (code, "[limits]" in out) == (0, True)
    with _listening() as taken:
        path.write_text(f"watch.listen = {taken.getsockname()[1]}")
        taken.listen()
        code, _, errors = await run("run", home, *more, "--config", str(path))
    assert code == 34
    assert "watch.listen" in errors
    assert "Traceback" not in errors


def _listening() -> socket.socket:
    listening = socket.socket()
    listening.bind((LOOPBACK, 0))
    return listening


def _free_port() -> int:
    with _listening() as listening:
        return int(listening.getsockname()[1])


def _pseudonym(keys: Any, address: RelayAddress) -> bytes:
    from crypto.relay_ids import pseudonym_keys

    return bytes(pseudonym_keys(keys, address.relay_id).device_id)


async def _caller_from(source: str, address: RelayAddress, keys: Any) -> Caller:
    from protocol import tls

    dial = tls.dial

    async def dial_from(host: str, port: int) -> tls.TlsLink:
        return await tls._connect("", host=host, port=port, local_addr=(source, 0))

    tls.dial = dial_from
    try:
        return await caller_at(address, keys)
    finally:
        tls.dial = dial


async def _page(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    page = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return page


def test_the_system_is_asked_for_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[int, int]] = []
    limits = Limits()
    wanted = descriptors_wanted(limits)
    assert wanted > limits.devices + 2 * limits.calls
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    for soft, hard, given in (
        (1024, 1 << 20, wanted),
        (1024, resource.RLIM_INFINITY, wanted),
        (1024, 2048, 2048),
        (1 << 20, 1 << 20, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ):
        asked.clear()
        caplog.clear()
        monkeypatch.setattr(resource, "getrlimit", lambda _, pair=(soft, hard): pair)
        with caplog.at_level(logging.WARNING):
            raise_descriptor_limit(limits)
        assert asked == ([] if given is None else [(given, hard)])
        assert bool(caplog.records) == (given == 2048)


async def test_what_was_carried_is_kept_also_if_the_links_do_not_end_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "STOP_TIMEOUT_S", 0.0)
    saved: list[bool] = []
    async with relaying() as stage:
        relay, may_end = stage.relay, asyncio.Event()

        async def save(now: float) -> None:
            saved.append(True)

        async def lingers() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await may_end.wait()

        lingering = asyncio.ensure_future(lingers())
        await asyncio.sleep(0)
        relay._running.add(lingering)
        monkeypatch.setattr(relay.desk.usage, "save", save)
        with pytest.raises(TimeoutError):
            await service._stop(relay)
        may_end.set()
    assert saved == [True]
