"""HTTP/3 without sockets: each thing that aioquic would keep for a visitor has its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aioquic.h3.connection import H3Connection, Setting
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset
from aioquic.tls import Epoch

from protocol.quic_door import Initial, QuicDoor, read_initial
from protocol.quic_engine import _packet_keys
from protocol.quic_packets import STREAM_HEAD, payload_room, seal_burst
from relay.http3_connection import (
    FRAME_LENGTH_MAX,
    NARROW_BYTES,
    QPACK_TABLE_MAX,
    STREAMS_MAX,
    UNIDIRECTIONAL_MAX,
    WIDE_BYTES,
    Asked,
    BodyCame,
    BodyEnded,
    BrokenOff,
    Event,
    Http3Connection,
    server_configuration,
)
from relay.web_server import Certificate
from tests.relay.http3_visitor import client_configuration
from tests.relay.relay_stage import LOOPBACK

SERVER, CLIENT, ELSEWHERE = (LOOPBACK, 1), (LOOPBACK, 2), ("198.51.100.7", 2)
NEW_ID = b"retry-id"
HEADS = [
    (b":method", b"PUT"),
    (b":scheme", b"https"),
    (b":authority", b"a"),
    (b":path", b"/s"),
]


class Pair:
    """A visitor and our side of its connection."""

    def __init__(self, home: Path) -> None:
        certificate = Certificate.self_signed(home, LOOPBACK)
        self.visitor = QuicConnection(configuration=client_configuration())
        self.visitor.connect(SERVER, 0.0)
        self.now = 0.0
        self.ours = Http3Connection(
            server_configuration(certificate.certificate, certificate.key),
            original_destination_connection_id=self.visitor.original_destination_connection_id,
        )
        self.http: H3Connection
        self.told: list[Event] = []
        self.is_reading = True
        self.longest = 0
        self.heard: list[Any] = []
        self.roundtrip()
        self.http = H3Connection(self.visitor)
        self.roundtrip()

    def roundtrip(self, turns: int = 40) -> None:
        """Until nothing is on its way."""
        for _ in range(turns):
            self.now += 0.03
            sent = self._carry(self.visitor, self.ours, CLIENT)
            before = self.bodies()
            self.told += self.ours.take_events()
            if not self.is_reading:
                self.ours.unread_bytes += self.bodies() - before
            sent += self._carry(self.ours, self.visitor, SERVER)
            while (event := self.visitor.next_event()) is not None:
                self.heard.append(event)
            if not sent:
                break

    def _carry(self, one: QuicConnection, other: QuicConnection, address: Any) -> int:
        if isinstance(one, Http3Connection):
            datagrams = [each for run, _ in one.take_datagrams(self.now) for each in run]
            for datagram in datagrams:
                other.receive_datagram(datagram, address, self.now)
        else:
            datagrams = [each for each, _ in one.datagrams_to_send(self.now)]
            self.ours.receive(datagrams, address, self.now)
        self.longest = max([self.longest, *map(len, datagrams)])
        return len(datagrams)

    def answered(self, stream: int, size: int) -> None:
        self.ours.answer(stream, [(b":status", b"200")])
        self.ours.send(stream, bytes(size), is_last=True)

    def arrived(self, stream: int) -> tuple[int, bool]:
        """How much of an answer, and whether its end."""
        came = [
            each
            for each in self.heard
            if isinstance(each, StreamDataReceived) and each.stream_id == stream
        ]
        return sum(len(each.data) for each in came), any(each.end_stream for each in came)

    def ask(self, *, is_whole: bool = True) -> int:
        stream = self.visitor.get_next_available_stream_id()
        self.http.send_headers(stream, HEADS, end_stream=is_whole)
        return stream

    def bodies(self) -> int:
        return sum(len(event.data) for event in self.told if isinstance(event, BodyCame))

    def is_closed(self) -> bool:
        return any(isinstance(event, ConnectionTerminated) for event in self.heard) or (
            self.visitor._close_event is not None
        )


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_a_request_and_its_answer(pair: Pair) -> None:
    stream = pair.ask(is_whole=False)
    pair.http.send_data(stream, b"body", end_stream=True)
    pair.roundtrip()
    told = [each for each in pair.told if isinstance(each, Asked | BodyCame | BodyEnded)]
    assert [type(each) for each in told] == [Asked, BodyCame, BodyEnded]
    assert pair.bodies() == 4
    pair.ours.answer(stream, [(b":status", b"200")])
    pair.ours.send(stream, b"answer", is_last=True)
    assert pair.ours.unsent_bytes() > 6
    assert not pair.ours.is_delivered(stream)
    pair.roundtrip()
    assert pair.ours.is_delivered(stream)
    pair.ours.forget(stream)
    assert stream not in pair.ours._streams


def test_a_window_grows_by_what_was_read_alone(pair: Pair) -> None:
    stream = pair.ask(is_whole=False)
    pair.http.send_data(stream, bytes(300_000), end_stream=True)
    pair.is_reading = False
    pair.roundtrip()
    assert NARROW_BYTES // 2 < pair.bodies() <= NARROW_BYTES
    pair.ours.unread_bytes = 0
    assert pair.ours.has_window_to_give()
    pair.roundtrip()
    assert NARROW_BYTES < pair.bodies() <= 2 * NARROW_BYTES
    pair.is_reading = True
    pair.ours.unread_bytes, pair.ours.window = 0, WIDE_BYTES
    pair.roundtrip()
    assert pair.bodies() == 300_000


def test_what_is_behind_a_gap_counts_as_unread(pair: Pair) -> None:
    stream = pair.ask(is_whole=False)
    pair.roundtrip()
    sender = pair.visitor._streams[stream].sender
    sender.write(bytes(40_000))
    sender._pending.subtract(sender.highest_offset, sender.highest_offset + 1_000)
    pair.roundtrip()
    used = pair.ours._local_max_data.used
    assert used > 39_000
    assert pair.ours._local_max_data.value <= NARROW_BYTES + used - 39_000


def test_streams_at_once_are_few_and_each_that_ends_makes_room_for_one(pair: Pair) -> None:
    streams = [pair.ask() for _ in range(STREAMS_MAX + 3)]
    pair.roundtrip()
    assert len([each for each in pair.told if isinstance(each, Asked)]) == STREAMS_MAX
    assert UNIDIRECTIONAL_MAX == pair.ours._local_max_streams_uni.value
    for stream in streams[:2]:
        pair.ours.answer(stream, [(b":status", b"200")])
        pair.ours.send(stream, b"", is_last=True)
    pair.roundtrip()
    assert len([each for each in pair.told if isinstance(each, Asked)]) == STREAMS_MAX + 2


def test_a_frame_that_is_no_body_has_a_greatest_length(pair: Pair) -> None:
    stream = pair.visitor.get_next_available_stream_id()
    length = (FRAME_LENGTH_MAX * 2 | 0x8000_0000).to_bytes(4, "big")
    pair.visitor.send_stream_data(stream, b"\x01" + length + bytes(FRAME_LENGTH_MAX - 6))
    pair.roundtrip()
    assert not pair.is_closed()
    pair.visitor.send_stream_data(stream, bytes(1_000))
    pair.roundtrip()
    assert pair.is_closed()


def test_few_bytes_do_not_become_many_fields(pair: Pair) -> None:
    stream = pair.visitor.get_next_available_stream_id()
    # Field 85 of QPACK's static table, whose value has 53 bytes, again and again: 2 bytes each.
    block = b"\x00\x00" + b"\xff\x16" * 4_000
    pair.visitor.send_stream_data(
        stream, b"\x01" + (len(block) | 0x4000).to_bytes(2, "big") + block, end_stream=True
    )
    pair.roundtrip()
    assert pair.is_closed()
    assert not any(isinstance(each, Asked) for each in pair.told)


def test_no_table_of_fields_is_filled_by_visitors(pair: Pair) -> None:
    assert pair.http._received_settings is None
    for event in pair.heard:
        pair.http.handle_event(event)
    settings = pair.http._received_settings
    assert settings is not None
    assert settings[Setting.QPACK_MAX_TABLE_CAPACITY] == 0
    assert settings[Setting.QPACK_BLOCKED_STREAMS] == 0
    theirs = {Setting.QPACK_MAX_TABLE_CAPACITY: 1 << 40, Setting.QPACK_BLOCKED_STREAMS: 1 << 40}
    http = pair.ours._http
    assert http is not None
    http._validate_settings(theirs)
    assert theirs[Setting.QPACK_MAX_TABLE_CAPACITY] == QPACK_TABLE_MAX
    assert theirs[Setting.QPACK_BLOCKED_STREAMS] == STREAMS_MAX


def test_who_is_answered_early_sends_no_more_and_breaks_nothing(pair: Pair) -> None:
    stream = pair.ask(is_whole=False)
    pair.roundtrip()
    pair.ours.answer(stream, [(b":status", b"413")])
    pair.ours.send(stream, b"", is_last=True)
    pair.ours.forget(stream)
    pair.visitor._streams[stream].sender.write(b"\x00\x04more")
    pair.roundtrip()
    assert pair.bodies() == 0
    assert not pair.is_closed()
    assert stream not in pair.ours._streams, "it is reset by who was told to stop"
    assert not pair.ours._done
    pair.ask()
    pair.roundtrip()
    assert len([each for each in pair.told if isinstance(each, Asked)]) == 2


def test_what_is_broken_off_is_told_on_both_sides(pair: Pair) -> None:
    stream = pair.ask(is_whole=False)
    pair.roundtrip()
    pair.visitor.reset_stream(stream, 0x10C)
    pair.roundtrip()
    assert BrokenOff(stream) in pair.told
    other = pair.ask()
    pair.roundtrip()
    pair.ours.break_off(other)
    pair.roundtrip()
    assert [each.stream_id for each in pair.heard if isinstance(each, StreamReset)] == [other]


# ---------------------------------------------------------------- the short way of long answers


def test_long_answers_arrive_whole_by_the_short_way_on_any_stream(pair: Pair) -> None:
    pair.ours.window = WIDE_BYTES
    for number in range(20):
        stream = pair.ask()
        assert stream == 4 * number
        pair.roundtrip()
        before = pair.longest
        pair.answered(stream, 100_000)
        pair.roundtrip(400)
        size, is_whole = pair.arrived(stream)
        assert is_whole
        assert 100_000 < size < 100_100
        assert pair.ours.is_delivered(stream)
        assert stream not in pair.ours._streams, "aioquic lets go of it, and allows another"
    assert pair.longest == before == 8_900


def test_an_end_that_no_full_packet_carried_is_told(pair: Pair) -> None:
    stream = pair.ask()
    pair.roundtrip()
    pair.ours.answer(stream, [(b":status", b"200")])
    pair.roundtrip()
    before, _ = pair.arrived(stream)
    room = payload_room(pair.ours.datagram_size, pair.ours._peer_cid.cid, STREAM_HEAD.size)
    pair.ours.send_stream_data(stream, bytes(8 * room), end_stream=True)
    pair.roundtrip()
    assert pair.arrived(stream) == (before + 8 * room, True)


def test_an_answer_that_is_broken_off_is_not_gone_on_with(pair: Pair) -> None:
    pair.ours.window = WIDE_BYTES
    stream = pair.ask()
    pair.roundtrip()
    pair.answered(stream, 800_000)
    pair.roundtrip(3)
    assert len(pair.ours._streams[stream].sender._pending)
    came, _ = pair.arrived(stream)
    pair.ours.break_off(stream)
    pair.roundtrip()
    assert pair.arrived(stream)[0] - came < 20_000, "what was on its way"
    assert [each.stream_id for each in pair.heard if isinstance(each, StreamReset)] == [stream]
    assert not pair.ours.take_datagrams(pair.now)


def test_the_head_of_a_long_stream_id_is_not_taken_for_a_short_one(pair: Pair) -> None:
    """Id 192 is `40 c0`; with what stands behind it, it looks like id 64 and a long offset."""
    waiting, stream = 64, 192
    asked = -1
    while asked < stream - 4:
        asked = pair.ask(is_whole=asked + 4 != waiting)
        pair.roundtrip()
        if asked != waiting:
            pair.answered(asked, 10)
            pair.roundtrip()
    pair.visitor.get_next_available_stream_id()
    receiver = pair.ours._streams[waiting].receiver
    offset = receiver.highest_offset
    evil = b"\x0c\x40\xc0" + b"\x00" + offset.to_bytes(6, "big") + bytes(40)
    keys = pair.visitor._cryptos[Epoch.ONE_RTT]
    datagrams = seal_burst(
        _packet_keys(keys.send, keys.key_phase, is_sealing=True),
        pair.visitor._peer_cid.cid,
        pair.visitor._packet_number,
        [evil],
    )
    pair.ours.receive(datagrams, CLIENT, pair.now)
    assert receiver.highest_offset == offset
    assert pair.ours._streams[stream].receiver.highest_offset == 46


# ---------------------------------------------------------------- before there is a connection


@pytest.fixture
def door(tmp_path: Path) -> QuicDoor[Http3Connection]:
    certificate = Certificate.self_signed(tmp_path, LOOPBACK)
    return QuicDoor(server_configuration(certificate.certificate, certificate.key), Http3Connection)


def first_flight(client: QuicConnection) -> Initial:
    (datagram, _), *_ = client.datagrams_to_send(0.0)
    initial = read_initial(datagram)
    assert initial is not None
    return initial


def begun() -> tuple[QuicConnection, Initial]:
    client = QuicConnection(configuration=client_configuration())
    client.connect(SERVER, 0.0)
    return client, first_flight(client)


def test_other_versions_are_told_ours(door: QuicDoor[Http3Connection]) -> None:
    _, initial = begun()
    assert door.negotiate(initial) is None
    answer = door.negotiate(replace(initial, version=0x1A2A3A4A))
    assert answer is not None
    assert (1).to_bytes(4, "big") in answer


def test_a_token_is_good_for_its_address_its_id_and_a_short_time(
    door: QuicDoor[Http3Connection],
) -> None:
    client, initial = begun()
    assert door.accept(initial, CLIENT, 0.0) is not None
    client.receive_datagram(door.retry(initial, CLIENT, NEW_ID, 0.0), SERVER, 0.0)
    again = first_flight(client)
    assert again.token
    assert again.destination_id == NEW_ID
    assert door.accept(again, CLIENT, 1.0) is not None
    assert door.accept(again, ELSEWHERE, 1.0) is None
    assert door.accept(again, CLIENT, 60.0) is None
    assert door.accept(replace(again, destination_id=b"another1"), CLIENT, 1.0) is None
    assert door.accept(replace(again, token=b"no token of ours"), CLIENT, 1.0) is None
