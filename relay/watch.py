"""Watching a relay: /metrics for Prometheus and /healthz, on an address of their own.

Numbers only: nobody's address, pseudonym or id. Whoever reaches the address may ask, which is why
it is one of this machine alone unless its operator says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from protocol.storage_messages import ShareState
from relay.mailboxes import Mailboxes
from relay.repairer import Repairer
from relay.scrub import Scrub
from relay.server import Relay
from relay.storage_desk import StorageDesk

log = logging.getLogger(__name__)

ASK_TIMEOUT_S: Final = 5.0
HEALTH_TIMEOUT_S: Final = 2.0
REQUEST_BYTES_MAX: Final = 8 << 10
AT_ONCE_MAX: Final = 16
"""Connections; the next is closed."""
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class RelayCollector(Collector):
    """What a relay can say of itself, read when it is asked for."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._began_s = time.time()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        relay, desk = self._relay, self._relay.desk
        gauges = (
            ("devices", "Devices that have a link to this relay.", len(desk.registry)),
            ("calls", "Calls that are not over.", len(desk.calls)),
            ("datagram_sessions", "Sessions of datagrams that are carried.", len(desk.ferries)),
            ("devices_seen_by_udp", "Devices that may show themselves.", len(desk.sightings)),
            ("waiting_places", "Rendezvous ids and codes waited under.", desk.registry.places),
            ("half_open", "Connections that have not shown what they are.", len(relay.half_open)),
            ("start_time_seconds", "When it was started, since 1970.", self._began_s),
        )
        for name, words, value in gauges:
            yield GaugeMetricFamily(f"holdfast_relay_{name}", words, value)
        yield CounterMetricFamily(
            "holdfast_relay_carried_bytes", "Bytes carried by calls.", desk.usage.bytes
        )
        yield CounterMetricFamily(
            "holdfast_relay_datagram_bytes", "Of these, bytes carried by UDP.", desk.ferries.bytes
        )
        yield CounterMetricFamily(
            "holdfast_relay_datagram_runs_lost",
            "Runs of datagrams that were not carried: of no session, or more than the rate.",
            desk.ferries.refused,
        )
        if desk.mailboxes is not None:
            yield from _mailboxes(desk.mailboxes)
        refused = CounterMetricFamily(
            "holdfast_relay_refused", "What was refused, by reason.", labels=["reason"]
        )
        for reason, count in sorted(desk.counts.items()):
            refused.add_metric([reason], count)
        yield refused
        if desk.storage is not None and relay.scrub is not None:
            yield from _of_shares(desk.storage, relay.scrub)
        if relay.repairer is not None:
            yield from _of_nodes(relay.repairer)


def _of_shares(storage: StorageDesk, scrub: Scrub) -> Iterator[Metric]:
    shares = storage.shares
    sizes, counts, healed = shares.namespaces.totals()
    for name, words, values in (
        ("stored_bytes", "Bytes of shares, by state.", sizes),
        ("stored_shares", "Shares, by state.", counts),
    ):
        family = GaugeMetricFamily(f"holdfast_relay_{name}", words, labels=["state"])
        for state in ShareState:
            if state not in (ShareState.UNKNOWN, ShareState.STANDBY):
                family.add_metric([state.name.lower()], values[state])
        yield family
    for name, words, value in (
        ("storage_links", "Links on which shares are stored.", len(storage.links)),
        ("storage_namespaces", "Namespaces, one a folder.", len(shares.namespaces)),
        ("storage_free_bytes", "Bytes that would still be taken.", shares.free_bytes()),
        ("storage_healed_shares", "Shares that were rebuilt here.", healed),
        ("storage_unread_seconds", "Age of the oldest byte not read since.", scrub.unread_for_s),
    ):
        yield GaugeMetricFamily(f"holdfast_relay_{name}", words, value)
    for name, words, value in (
        ("storage_taken_bytes", "Bytes of shares that were taken.", storage.put_bytes),
        ("storage_given_bytes", "Bytes of shares that were given out.", storage.get_bytes),
        ("storage_scrubbed_bytes", "Bytes that were read to look at them.", scrub.read_bytes),
        ("storage_damaged_leaves", "Leaves that were found damaged.", scrub.damaged_leaves),
    ):
        yield CounterMetricFamily(f"holdfast_relay_{name}", words, value)


def _mailboxes(mailboxes: Mailboxes) -> Iterator[Metric]:
    counts = mailboxes.counts()
    for name, words in (
        ("mailboxes", "Mailboxes in which there is something."),
        ("mailbox_items", "Sealed items in them."),
        ("mailbox_bytes", "Bytes of these."),
    ):
        count = counts[name.removeprefix("mailbox_")]
        yield GaugeMetricFamily(f"holdfast_relay_{name}", words, count)
    requests = CounterMetricFamily(
        "holdfast_relay_mailbox_requests",
        "Requests of devices, by what came of them.",
        labels=["outcome"],
    )
    for outcome, count in sorted(mailboxes.outcomes.items()):
        requests.add_metric([outcome], count)
    yield requests
    words = "Items that the disk has changed, which were dropped."
    yield CounterMetricFamily("holdfast_relay_mailbox_damaged_items", words, mailboxes.damaged)


def _of_nodes(repairer: Repairer) -> Iterator[Metric]:
    for name, words, value in (
        ("met", "Other nodes that were met the last time.", repairer.met),
        ("late", "Other nodes that are late.", repairer.late),
        ("lost", "Other nodes that are lost.", repairer.lost),
    ):
        yield GaugeMetricFamily(f"holdfast_relay_nodes_{name}", words, value)
    yield CounterMetricFamily(
        "holdfast_relay_nodes_failed_challenges",
        "Leaves that other nodes did not show.",
        repairer.failed_challenges,
    )


class Watch:
    """The two pages; `serve` runs until cancelled."""

    def __init__(self, relay: Relay, is_well: Callable[[], Awaitable[str]]) -> None:
        """`is_well` gives an empty string, or what is wrong."""
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(RelayCollector(relay))
        ProcessCollector(registry=self.registry)
        self._is_well = is_well
        self._open = 0

    async def serve(self, listening: socket.socket) -> None:
        """Answers on this socket, which it closes at the end."""
        server = await asyncio.start_server(self._answer, sock=listening, limit=REQUEST_BYTES_MAX)
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= AT_ONCE_MAX:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(await self.page(head.split(b"\r\n")[0]))
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asks so gets no answer
        finally:
            self._open -= 1
            writer.close()

    async def page(self, request: bytes) -> bytes:
        """The whole answer to the first line of a request."""
        match request.split(b" "):
            case [b"GET", b"/metrics", _]:
                return _response(200, generate_latest(self.registry))
            case [b"GET", b"/healthz", _]:
                try:
                    async with asyncio.timeout(HEALTH_TIMEOUT_S):
                        trouble = await self._is_well()
                except TimeoutError:
                    trouble = "the database does not answer"
                if trouble:
                    return _response(503, f"{trouble}\n".encode())
                return _response(200, b"ok\n")
            case [b"GET", _, _]:
                return _response(404, b"There are /metrics and /healthz.\n")
            case _:
                return _response(405, b"There is GET, and nothing else.\n")


REASONS: Final = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Unavailable"}


def _response(status: int, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
