"""Two QUIC connections and the network between them, all in memory, on a clock of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch

from protocol import quic_engine
from protocol.certificates import LinkCertificate
from protocol.quic import Connection, client_configuration
from protocol.quic_door import Door, read_initial
from protocol.quic_packets import PacketKeys

CLIENT, SERVER = ("192.0.2.1", 1), ("192.0.2.2", 2)
CERTIFICATE = LinkCertificate.generate()
DOOR = Door(CERTIFICATE)
BULK = 2
DATA = Random(1).randbytes(2 << 20)


@dataclass
class Heard:
    """What a connection told its listener."""

    is_established: bool = False
    streams: dict[int, bytearray] = field(default_factory=dict)
    ids: set[bytes] = field(default_factory=set)
    ended: list[int | None] = field(default_factory=list)

    def established(self) -> None:
        self.is_established = True

    def stream_data(self, stream_id: int, data: bytes) -> None:
        self.streams.setdefault(stream_id, bytearray()).extend(data)

    def connection_id_issued(self, connection_id: bytes) -> None:
        self.ids.add(connection_id)

    def connection_id_retired(self, connection_id: bytes) -> None:
        self.ids.discard(connection_id)

    def terminated(self, code: int | None) -> None:
        self.ended.append(code)


class QuicPair:
    """`run` moves the clock from event to event; the same seed gives the same run."""

    def __init__(
        self,
        *,
        loss: float = 0.0,
        corrupt: float = 0.0,
        reorder: float = 0.0,
        delay_s: float = 0.01,
        length_max: int = 65_535,
        seed: int = 0,
        is_admitted: bool = True,
        consumes: bool = True,
        takes: int | None = None,
    ) -> None:
        self.now = 1_000.0
        self.loss, self.corrupt, self.reorder = loss, corrupt, reorder
        self.delay_s, self.length_max = delay_s, length_max
        self.is_admitted, self.consumes = is_admitted, consumes
        self.datagrams = 0
        self._random = Random(seed)
        self._wire: list[tuple[float, int, QuicConnection, list[bytes], tuple[str, int]]] = []
        self._count = 0
        self.client = Connection(client_configuration())
        self.client_heard, self.server_heard = Heard(), Heard()
        self.client.connect(SERVER, self.now)
        ((first, _),) = self.client.datagrams_to_send(self.now)
        initial = read_initial(first)
        assert initial is not None
        server = DOOR.accept(initial, CLIENT, self.now)
        assert server is not None
        self.server = server
        if takes is not None:
            take_at_most(server, takes)
        self.server.receive([first], CLIENT, self.now)
        self._settle()
        self.run(5.0, until=lambda: self.client._handshake_confirmed)
        assert self.client_heard.is_established
        assert self.server_heard.is_established
        if is_admitted:
            self.client.admit()
            self.server.admit()

    def run(self, duration_s: float, until: object = None) -> None:
        """Lets time pass, or less of it when `until` comes true."""
        end = self.now + duration_s
        self._settle()
        while self.now < end and not (callable(until) and until()):
            timers = [
                at for at in (self.client.get_timer(), self.server.get_timer()) if at is not None
            ]
            wire = [self._wire[0][0]] if self._wire else []
            if not timers and not wire:
                break
            # A microsecond more, because `sent + delay <= now` may not hold at the rounded moment.
            self.now = max(self.now, min([end, *timers, *wire])) + 1e-6
            while self._wire and self._wire[0][0] <= self.now:
                _, _, to, datagrams, source = heappop(self._wire)
                assert isinstance(to, Connection)
                to.receive(datagrams, source, self.now)
            for side in (self.client, self.server):
                at = side.get_timer()
                if at is not None and at < self.now:
                    side.handle_timer(self.now)
            self._settle()

    def _settle(self) -> None:
        for side, heard in ((self.client, self.client_heard), (self.server, self.server_heard)):
            side.dispatch(heard)
            if self.consumes:
                side.consumed_bytes = sum(map(len, heard.streams.values()))
            to, source = (self.server, CLIENT) if side is self.client else (self.client, SERVER)
            for datagrams, _ in side.take_datagrams(self.now):
                self._carry(datagrams, to, source)

    def _carry(self, datagrams: list[bytes], to: Connection, source: tuple[str, int]) -> None:
        chance = self._random.random
        together: list[bytes] = []
        for datagram in datagrams:
            self.datagrams += 1
            if len(datagram) > self.length_max or chance() < self.loss:
                continue
            if chance() < self.corrupt:
                at = self._random.randrange(len(datagram))
                datagram = datagram[:at] + bytes((datagram[at] ^ 4,)) + datagram[at + 1 :]
            if chance() < self.reorder:
                self._push(self.delay_s * 1.5, to, [datagram], source)
            else:
                together.append(datagram)
        if together:
            self._push(self.delay_s, to, together, source)

    def _push(
        self, delay_s: float, to: Connection, datagrams: list[bytes], source: tuple[str, int]
    ) -> None:
        self._count += 1
        heappush(self._wire, (self.now + delay_s, self._count, to, datagrams, source))

    def inject(self, to: Connection, datagrams: list[bytes]) -> None:
        """Datagrams that an attacker in the place of the other side made."""
        to.receive(datagrams, CLIENT if to is self.server else SERVER, self.now)
        self._settle()


def move(pair: QuicPair, data: bytes = DATA, limit_s: float = 60.0) -> float:
    """Sends data to the server on a bulk stream; gives the time that it took."""
    begin = pair.now
    pair.client.send_stream_data(BULK, data)
    received = pair.server_heard.streams.setdefault(BULK, bytearray())
    pair.run(limit_s, until=lambda: len(received) >= len(data))
    assert bytes(received) == data
    return pair.now - begin


def packet_keys(connection: QuicConnection) -> PacketKeys:
    pair = connection._cryptos[Epoch.ONE_RTT]
    return quic_engine._packet_keys(pair.send, pair.key_phase, is_sealing=True)


def take_at_most(connection: QuicConnection, longest: int) -> None:
    """Has it tell the other side that it takes no longer datagrams, as browsers do."""
    usual = connection._serialize_transport_parameters
    parameter = b"\x03\x02" + (0x4000 | longest).to_bytes(2, "big")
    connection._serialize_transport_parameters = lambda: usual() + parameter  # type: ignore[method-assign]
