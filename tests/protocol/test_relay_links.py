"""A device's ways to a relay, spoken by hand from the other side (whole relays: tests/relay)."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from crypto.ids import DeviceId
from crypto.relay_ids import pseudonym_keys, relay_ask, relay_id_of
from protocol.errors import LinkError, NotAuthenticated, ProtocolError, TooLong
from protocol.link import Link, LinkKind
from protocol.relay_address import RelayAddress
from protocol.relay_links import accept_device, dial_relay, open_stream, pseudonym
from protocol.relay_messages import (
    RELAY_VERSION,
    RelayAsk,
    RelayKeys,
    RelayPing,
    encode,
    stream_prefix,
)
from protocol.tls import TlsLink
from tests.protocol.link_stage import LOOPBACK, new_keys, serving

RELAY = new_keys()
ID = relay_id_of(RELAY.sign_public, RELAY.dh_public)


async def test_both_know_each_other_afterwards() -> None:
    device = new_keys()
    async with serving(admits=False) as server:
        dialling = asyncio.ensure_future(
            dial_relay(RelayAddress(LOOPBACK, server.port, ID), device)
        )
        accepted = await server.links.get()
        who = await accept_device(accepted, RELAY)
        link = await dialling
        assert who.peer.device_id == pseudonym_keys(device, ID).device_id
        number, payload = encode(RelayPing(1))
        link.send(number, [payload])
        assert await accepted.receive() == (number, payload)
        link.send(number, [bytes((16 << 10) + 1)])
        with pytest.raises(TooLong):
            await accepted.receive()
        link.abort()


async def test_a_relay_s_silence_is_noticed_by_the_kernel() -> None:
    """On the link and on each stream: nobody is woken for it, and nothing has to be said."""
    async with serving(admits=False) as server:
        dialling = asyncio.ensure_future(
            dial_relay(RelayAddress(LOOPBACK, server.port, ID), new_keys())
        )
        await accept_device(await server.links.get(), RELAY)
        link = await dialling
        assert isinstance(link, TlsLink)
        assert link._transport is not None
        with socket.create_server((LOOPBACK, 0)) as listening:
            stream = await open_stream(listening.getsockname(), bytes(32))
            for connection in (link._transport.get_extra_info("socket"), stream):
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            stream.close()
        link.abort()


@pytest.mark.parametrize(
    "ask",
    [
        encode(RelayAsk(RELAY_VERSION, bytes(32))),
        encode(RelayPing(1)),
        (1, b"rubbish"),
    ],
)
async def test_who_does_not_know_the_address_gets_no_word(ask: tuple[int, bytes]) -> None:
    async with serving(admits=False) as server:
        link = await server.dial(LinkKind.TLS)
        link.send(ask[0], [ask[1]])
        with pytest.raises(ProtocolError):
            await accept_device(await server.links.get(), RELAY)
        assert await link.receive() is None


async def test_an_ask_of_another_link_is_no_ask() -> None:
    async with serving(admits=False) as server:
        link = await server.dial(LinkKind.TLS)
        number, payload = encode(RelayAsk(RELAY_VERSION, relay_ask(ID, b"other" + bytes(27))))
        link.send(number, [payload])
        with pytest.raises(NotAuthenticated):
            await accept_device(await server.links.get(), RELAY)
        assert await link.receive() is None


@pytest.mark.parametrize("answer", ["other keys", "other message", "rubbish", "silence", "end"])
async def test_what_is_not_that_relay_is_told_no_pseudonym(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if answer == "silence":
        monkeypatch.setattr("protocol.relay_links.HALF_OPEN_TIMEOUT_S", 0.3)
    other = new_keys()
    async with serving(admits=False) as server:
        dialling = asyncio.ensure_future(
            dial_relay(RelayAddress(LOOPBACK, server.port, ID), new_keys())
        )
        accepted: Link = await server.links.get()
        assert await accepted.receive() is not None
        match answer:
            case "other keys":
                frame = encode(RelayKeys(RELAY_VERSION, other.sign_public, other.dh_public))
                accepted.send(frame[0], [frame[1]])
            case "other message":
                frame = encode(RelayPing(1))
                accepted.send(frame[0], [frame[1]])
            case "rubbish":
                accepted.send(49, [os.urandom(40)])
            case "end":
                accepted.abort()
        words = "said nothing" if answer == "silence" else "not the relay of that fingerprint"
        with pytest.raises(LinkError, match=words):
            await dialling
        assert await accepted.receive() is None, "it was sent nothing more"


def test_a_pseudonym_brings_the_keys_that_its_id_stands_for() -> None:
    keys, other = new_keys(), new_keys()
    both = keys.sign_public + keys.dh_public
    found = pseudonym(keys.device_id, [both])
    assert found is not None
    assert (found.sign_pk, found.dh_pk) == (keys.sign_public, keys.dh_public)
    for introduction in ([], [both, both], [both[:-1]], [both + b"x"]):
        assert pseudonym(keys.device_id, introduction) is None
    assert pseudonym(other.device_id, [both]) is None
    assert pseudonym(DeviceId(bytes(32)), [both]) is None


async def test_a_stream_begins_with_its_ticket() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        stream = await open_stream(server.getsockname()[:2], b"t" * 32)
        accepted, _ = server.accept()
        with stream, accepted:
            assert accepted.recv(100) == stream_prefix(b"t" * 32)
        place = server.getsockname()[:2]
    with pytest.raises(LinkError, match="takes no stream"):
        await open_stream(place, b"t" * 32)
