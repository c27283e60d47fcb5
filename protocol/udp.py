"""One UDP socket for everything that is not TCP: QUIC, and a hook for other first bytes.

Sends a run of datagrams with one system call (UDP_SEGMENT) and receives many at once (UDP_GRO)
where the kernel can: 6 times the packets a second of plain calls, measured. Elsewhere, and where
a network card or driver refuses, the same calls send one datagram each.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from protocol.datagrams import PREFIX_BITS, PREFIX_MASK, PREFIX_SIZE, RelayedAddress
from protocol.link import Address

SocketAddress = tuple[str, int] | tuple[str, int, int, int] | RelayedAddress
Datagrams = Sequence[bytes]

SOCKET_BUFFER_BYTES: Final = 4 << 20
"""Asked for; the kernel gives what its limits allow."""
RECEIVE_BYTES: Final = 65_535
READS_MAX: Final = 16
"""Receives in one turn of the loop, so that a flood does not starve everything else."""
SEGMENTS_MAX: Final = 64
SEGMENTED_BYTES_MAX: Final = 65_000
"""Below the 64 KiB of one IP packet with its headers, which is what the kernel takes."""
RELAYED_MAX: Final = 256
"""Forwarding sessions known at once, the newest; a device has one for each of its others."""
PENDING_MAX: Final = 4_096
"""Datagrams kept while the socket's buffer is full; beyond it they are lost."""
_LINUX = sys.platform == "linux"
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_PROBE: Final = 3
_SIZE: Final = Struct("@H")
_GRO_SIZE: Final = Struct("@i")
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_GRO_SIZE.size)
_UNSUPPORTED: Final = frozenset({errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP})


class UdpEndpoint:
    """A UDP socket on the running loop; `on_datagrams` gets runs of datagrams by address."""

    def __init__(
        self, udp: socket.socket, on_datagrams: Callable[[list[bytes], SocketAddress], None]
    ) -> None:
        self.on_other: Callable[[bytes, SocketAddress], None] | None = None
        """Gets datagrams without QUIC's fixed bit; without it they are dropped."""
        self.on_prefixed: Callable[[memoryview, int, SocketAddress], None] | None = None
        """A relay's: gets runs of datagrams of a size that begin with a prefix, as they came. The
        memory is used again afterwards.
        """
        self._relayed: OrderedDict[bytes, RelayedAddress] = OrderedDict()
        self._socket = udp
        self._on_datagrams = on_datagrams
        self._loop = asyncio.get_running_loop()
        self._pending: deque[tuple[list[bytes], SocketAddress]] = deque()
        self._pending_count = 0
        self._buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self.has_segmentation, has_coalescing = _prepare(udp)
        self._ancillary_bytes = _ANCILLARY_BYTES if has_coalescing else 0
        self._loop.add_reader(udp, self._read)

    @property
    def address(self) -> Address:
        """The local address."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return self._socket.family

    @property
    def is_full(self) -> bool:
        """Whether datagrams wait because the socket takes no more for now."""
        return bool(self._pending)

    def close(self) -> None:
        """Closes the socket; what waits is dropped."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        if self._pending:
            self._loop.remove_writer(self._socket)
            self._pending.clear()
        self._socket.close()

    def expect(self, relayed: RelayedAddress) -> None:
        """Takes what a relay forwards in this session for datagrams of that address."""
        self._relayed[relayed.prefix] = relayed
        self._relayed.move_to_end(relayed.prefix)
        if len(self._relayed) > RELAYED_MAX:
            self._relayed.popitem(last=False)

    def forward(self, run: memoryview, size: int, address: SocketAddress) -> None:
        """Sends on a run of datagrams of one size as it came; lost if the socket is full."""
        if self._pending or self._socket.fileno() < 0:
            return
        if size >= len(run) or self.has_segmentation:
            ancillary = []
            if size < len(run):
                ancillary = [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SIZE.pack(size))]
            try:
                self._socket.sendmsg([run], ancillary, 0, address)
            except OSError as error:
                if size < len(run) and error.errno in _UNSUPPORTED:
                    self.has_segmentation = False
            return
        for start in range(0, len(run), size):
            self._send_run([bytes(run[start : start + size])], address)

    def send(self, datagrams: Datagrams, address: SocketAddress) -> None:
        """Sends datagrams to one address without blocking; what is refused is lost."""
        if self._socket.fileno() < 0:
            return
        if isinstance(address, RelayedAddress):
            prefix = address.prefix
            datagrams = [prefix + datagram for datagram in datagrams]
            address = (address.host, address.port)
        for run in self._runs(datagrams):
            if self._pending or not self._send_run(run, address):
                self._keep(run, address)

    def _runs(self, datagrams: Datagrams) -> list[list[bytes]]:
        """Cuts into what one call can send: equal sizes, but for a shorter last one."""
        if not self.has_segmentation:
            return [[datagram] for datagram in datagrams]
        runs: list[list[bytes]] = []
        run: list[bytes] = []
        size = room = 0
        for datagram in datagrams:
            length = len(datagram)
            if not run or length > size or length > room or len(run) == SEGMENTS_MAX:
                run = []
                runs.append(run)
                size, room = length, SEGMENTED_BYTES_MAX
            run.append(datagram)
            room = 0 if length < size else room - length
        return runs

    def _send_run(self, run: list[bytes], address: SocketAddress) -> bool:
        """Whether the socket took it, or will never take it; False to try again later."""
        try:
            if len(run) == 1:
                self._socket.sendto(run[0], address)
            else:
                segment = (socket.IPPROTO_UDP, _UDP_SEGMENT, _SIZE.pack(len(run[0])))
                self._socket.sendmsg(run, [segment], 0, address)
        except BlockingIOError:
            return False
        except OSError as error:
            if len(run) > 1 and error.errno in _UNSUPPORTED:
                self.has_segmentation = (
                    False  # a driver without checksum offload: found out only here
                )
                return all([self._send_run([datagram], address) for datagram in run])
            # Unreachable, refused, too long for the interface: lost, and QUIC's timers see to it.
        return True

    def _keep(self, run: list[bytes], address: SocketAddress) -> None:
        if self._pending_count + len(run) > PENDING_MAX:
            return
        if not self._pending:
            self._loop.add_writer(self._socket, self._write)
        self._pending.append((run, address))
        self._pending_count += len(run)

    def _write(self) -> None:
        while self._pending:
            run, address = self._pending[0]
            if not self._send_run(run, address):
                return
            self._pending.popleft()
            self._pending_count -= len(run)
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        for _ in range(READS_MAX):
            try:
                length, ancillary, flags, address = self._socket.recvmsg_into(
                    [self._buffer], self._ancillary_bytes
                )
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier send; the socket is as good as before
            if not length or flags & socket.MSG_TRUNC:
                continue
            size = length
            for level, kind, data in ancillary:
                if level == socket.IPPROTO_UDP and kind == _UDP_GRO:
                    size = max(1, _GRO_SIZE.unpack(data[: _GRO_SIZE.size])[0])
            self._dispatch(length, size, address)
            if self._socket.fileno() < 0:
                return

    def _dispatch(self, length: int, size: int, address: SocketAddress) -> None:
        view = self._view
        if view[0] & PREFIX_MASK == PREFIX_BITS:
            if self.on_prefixed is not None:
                self.on_prefixed(view[:length], size, address)
            else:
                self._unwrap(length, size, address)
            return
        if size >= length:
            datagrams = [bytes(view[:length])]
        else:
            datagrams = [
                bytes(view[start : min(start + size, length)]) for start in range(0, length, size)
            ]
        if all(datagram[0] & 0x40 for datagram in datagrams):
            self._on_datagrams(datagrams, address)
            return
        for datagram in datagrams:
            if datagram[0] & 0x40:
                self._on_datagrams([datagram], address)
            elif self.on_other is not None:
                self.on_other(datagram, address)

    def _unwrap(self, length: int, size: int, address: SocketAddress) -> None:
        """Gives on what a relay forwarded; the rest is nobody's."""
        view = self._view
        run: list[bytes] = []
        run_prefix: bytes | None = None
        for start in range(0, length, size):
            prefix = bytes(view[start : start + PREFIX_SIZE])
            if prefix != run_prefix:
                self._give_relayed(run_prefix, run, address)
                run, run_prefix = [], prefix
            datagram = bytes(view[start + PREFIX_SIZE : min(start + size, length)])
            if datagram and datagram[0] & 0x40:
                run.append(datagram)
        self._give_relayed(run_prefix, run, address)

    def _give_relayed(self, prefix: bytes | None, run: list[bytes], address: SocketAddress) -> None:
        relayed = self._relayed.get(prefix) if prefix is not None and run else None
        if relayed is not None and tuple(relayed[:2]) == tuple(address[:2]):
            self._on_datagrams(run, relayed)


def bind(host: str, port: int) -> socket.socket:
    """A non-blocking UDP socket; IPv6 sockets are for IPv6 alone. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        udp.setblocking(False)
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.bind((host, port))
    except BaseException:
        udp.close()
        raise
    return udp


def _prepare(udp: socket.socket) -> tuple[bool, bool]:
    """Sets what the system has: (segmentation, coalescing). The one place that knows systems."""
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        _try_option(udp, socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
    if not _LINUX:
        return (
            False,
            False,
        )  # macOS has neither; without DF a long datagram is fragmented there, not lost
    # DF on every datagram and no kernel opinion of the path: QUIC finds the size out by itself.
    if udp.family == socket.AF_INET6:
        _try_option(udp, socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        _try_option(udp, socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    return (
        _try_option(udp, socket.IPPROTO_UDP, _UDP_SEGMENT, 0),
        _try_option(udp, socket.IPPROTO_UDP, _UDP_GRO, 1),
    )


def _try_option(udp: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        udp.setsockopt(level, option, value)
    except OSError:
        return False
    return True
