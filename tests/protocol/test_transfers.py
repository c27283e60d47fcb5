"""Asks and answers in simulated time: who is asked for what, and what a bad peer costs."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest

from crypto.ids import ChunkId, DeviceId, FolderId
from protocol.chunk_requests import OPEN_CHUNKS_MAX, OPEN_REQUESTS_MAX
from protocol.transfers import (
    PEER_ASKS_MAX,
    PEER_CHUNKS_MAX,
    SILENT_S,
    Ask,
    CancelAsk,
    FileComplete,
    FileUnavailable,
    Transfers,
)
from tests.work import counted_work

FOLDER = FolderId(b"f" * 32)
OTHER_FOLDER = FolderId(b"o" * 32)
A, B, C = (DeviceId(letter * 32) for letter in (b"a", b"b", b"c"))


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(32))


def file_of(numbers: range, length: int = 1000) -> list[tuple[ChunkId, int]]:
    return [(chunk(number), length) for number in numbers]


def transfers_with(*peers: DeviceId) -> Transfers:
    transfers = Transfers()
    for peer in peers:
        transfers.peer_joined(peer, FOLDER)
    return transfers


def asked(commands: object) -> dict[DeviceId, list[ChunkId]]:
    chunks: dict[DeviceId, list[ChunkId]] = {}
    for command in commands:  # type: ignore[attr-defined]
        assert isinstance(command, Ask)
        chunks.setdefault(command.peer, []).extend(command.chunk_ids)
    return chunks


@dataclass
class SimulatedPeer:
    """Sends chunks one after the other at a rate, 0 for never, after a round trip."""

    rate: float
    round_trip_s: float = 0.01
    lacks: frozenset[ChunkId] = frozenset()
    free_at: float = 0.0
    sent_bytes: int = 0
    cancelled: set[int] = field(default_factory=set)


class Simulation:
    """Peers of given rates serve the asks of one Transfers in virtual time."""

    def __init__(self, transfers: Transfers, peers: dict[DeviceId, SimulatedPeer]) -> None:
        self.transfers = transfers
        self.peers = peers
        self.now = 0.0
        self.lengths: dict[ChunkId, int] = {}
        self.complete: list[object] = []
        self.unavailable: list[object] = []
        self._arrivals: list[tuple[float, int, DeviceId, int, ChunkId]] = []

    def need(self, key: object, chunks: list[tuple[ChunkId, int]]) -> None:
        self.lengths.update(chunks)
        self.transfers.need(FOLDER, [(key, chunks)])

    def run(self, until_s: float = 1000.0) -> float:
        """Lets time pass until all files are settled; the time it took."""
        while self.now < until_s:
            self._perform()
            deadline = self.transfers.next_deadline()
            if deadline is None:
                return self.now
            if self._arrivals and self._arrivals[0][0] <= deadline:
                self.now, _, peer_id, number, chunk_id = heapq.heappop(self._arrivals)
                self._arrive(peer_id, number, chunk_id)
            else:
                self.now = deadline
        raise AssertionError(f"not finished after {until_s} s")

    def _perform(self) -> None:
        for command in self.transfers.handle_timer(self.now):
            peer = self.peers[command.peer]
            if isinstance(command, CancelAsk):
                peer.cancelled.add(command.number)
                continue
            at = max(peer.free_at, self.now + peer.round_trip_s)
            for chunk_id in command.chunk_ids if peer.rate else ():
                if chunk_id not in peer.lacks:
                    at += self.lengths[chunk_id] / peer.rate
                arrival = (at, len(self._arrivals), command.peer, command.number, chunk_id)
                heapq.heappush(self._arrivals, arrival)
            peer.free_at = at
        for event in self.transfers.take_events():
            is_complete = isinstance(event, FileComplete)
            (self.complete if is_complete else self.unavailable).append(event.key)

    def _arrive(self, peer_id: DeviceId, number: int, chunk_id: ChunkId) -> None:
        peer = self.peers[peer_id]
        if number in peer.cancelled:
            return
        if chunk_id in peer.lacks:
            self.transfers.missing(peer_id, FOLDER, [chunk_id])
        else:
            peer.sent_bytes += self.lengths[chunk_id]
            self.transfers.received(peer_id, FOLDER, [chunk_id], self.now)


def simulate(size_bytes: int, **peers: SimulatedPeer) -> Simulation:
    named = {DeviceId(name.encode() * 32): peer for name, peer in peers.items()}
    simulation = Simulation(transfers_with(*named), named)
    length = 128 << 10
    simulation.need("file", file_of(range(size_bytes // length), length))
    return simulation


def test_nothing_is_asked_without_a_peer() -> None:
    transfers = Transfers()
    transfers.need(FOLDER, [("x", file_of(range(3)))])
    assert transfers.handle_timer(0.0) == []
    assert transfers.next_deadline() is None
    transfers.peer_joined(A, OTHER_FOLDER)
    assert transfers.handle_timer(0.0) == []
    transfers.peer_joined(A, FOLDER)
    assert asked(transfers.handle_timer(0.0)) == {A: [chunk(n) for n in range(3)]}


def test_a_file_is_complete_with_its_last_chunk() -> None:
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("x", file_of(range(2))), ("empty", [])])
    assert transfers.take_events() == [FileComplete(FOLDER, "empty")]
    transfers.handle_timer(0.0)
    transfers.received(A, FOLDER, [chunk(0)], 0.1)
    assert transfers.take_events() == []
    transfers.received(A, FOLDER, [chunk(1), chunk(1), chunk(7)], 0.2)
    assert transfers.take_events() == [FileComplete(FOLDER, "x")]
    assert transfers.next_deadline() is None


def test_one_chunk_is_asked_of_one_peer_only() -> None:
    transfers = transfers_with(A, B)
    transfers.need(FOLDER, [("x", file_of(range(3000)))])
    chunks = asked(transfers.handle_timer(0.0))
    assert set(chunks) == {A, B}
    assert not set(chunks[A]) & set(chunks[B])


def test_files_of_a_smaller_priority_number_come_first_over_all_folders() -> None:
    transfers = transfers_with(A)
    transfers.peer_joined(A, OTHER_FOLDER)
    transfers.need(FOLDER, [("x", file_of(range(2)))], priority=2)
    transfers.need(OTHER_FOLDER, [("y", file_of(range(2, 4)))], priority=1)
    transfers.need(FOLDER, [("z", file_of(range(4, 6)))], priority=0)
    order = [number for number in (4, 5, 2, 3, 0, 1)]
    assert asked(transfers.handle_timer(0.0)) == {A: [chunk(number) for number in order]}


def test_a_small_file_does_not_wait_behind_a_large_one_that_was_wanted_before() -> None:
    transfers = transfers_with(A)
    large = file_of(range(9), 1 << 20)
    transfers.need_small_first(FOLDER, [("large", large), ("small", file_of(range(20, 21)))])
    transfers.need_small_first(FOLDER, [("later", file_of(range(21, 22)))])
    first = asked(transfers.handle_timer(0.0))[A][:3]
    assert first == [chunk(20), chunk(21), chunk(0)]
    transfers.forget(FOLDER, ["small", "later"])
    received = [id_ for id_, _ in large]
    transfers.received(A, FOLDER, received, 1.0)
    assert transfers.take_events() == [FileComplete(FOLDER, "large")]


def test_asks_stay_below_what_a_session_allows() -> None:
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("x", file_of(range(100_000), 1))])
    commands = transfers.handle_timer(0.0)
    assert len(commands) <= PEER_ASKS_MAX < OPEN_REQUESTS_MAX
    assert sum(map(len, asked(commands).values())) <= PEER_CHUNKS_MAX < OPEN_CHUNKS_MAX
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("x", file_of(range(100), 1 << 20))])
    assert asked(transfers.handle_timer(0.0)) == {A: [chunk(0)]}


def test_what_one_lacks_another_is_asked_for_and_then_nobody() -> None:
    transfers = transfers_with(A, B)
    transfers.need(FOLDER, [("x", file_of(range(1))), ("y", file_of(range(1, 2)))])
    (ask,) = transfers.handle_timer(0.0)
    first, second = (A, B) if ask.peer == A else (B, A)
    transfers.missing(first, FOLDER, [chunk(0)])
    assert asked(transfers.handle_timer(0.1)) == {second: [chunk(0)]}
    assert transfers.take_events() == []
    transfers.missing(first, FOLDER, [chunk(0)])
    assert transfers.take_events() == []
    transfers.missing(second, FOLDER, [chunk(0)])
    assert transfers.take_events() == [FileUnavailable(FOLDER, "x")]
    transfers.received(first, FOLDER, [chunk(1)], 0.2)
    assert transfers.take_events() == [FileComplete(FOLDER, "y")]
    transfers.need(FOLDER, [("x", file_of(range(1)))])
    assert len(transfers.handle_timer(0.3)) == 1


def test_what_a_lost_peer_was_asked_for_goes_to_the_others() -> None:
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("x", file_of(range(5)))])
    transfers.handle_timer(0.0)
    transfers.received(A, FOLDER, [chunk(2)], 0.1)
    transfers.peer_left(A)
    transfers.peer_left(A)
    transfers.peer_joined(B, FOLDER)
    assert asked(transfers.handle_timer(0.2)) == {B: [chunk(n) for n in (0, 1, 3, 4)]}


def test_who_leaves_one_folder_still_serves_the_other() -> None:
    transfers = transfers_with(A)
    transfers.peer_joined(A, OTHER_FOLDER)
    transfers.need(FOLDER, [("x", file_of(range(1)))])
    transfers.need(OTHER_FOLDER, [("y", file_of(range(1, 2)))])
    transfers.handle_timer(0.0)
    transfers.peer_left(A, FOLDER)
    transfers.received(A, OTHER_FOLDER, [chunk(1)], 0.1)
    assert transfers.take_events() == [FileComplete(OTHER_FOLDER, "y")]
    assert transfers.handle_timer(0.2) == []


def test_the_last_who_might_have_it_leaves() -> None:
    transfers = transfers_with(A, B)
    transfers.need(FOLDER, [("x", file_of(range(1)))])
    (ask,) = transfers.handle_timer(0.0)
    transfers.missing(ask.peer, FOLDER, [chunk(0)])
    transfers.peer_left(A if ask.peer == B else B)
    assert transfers.take_events() == [FileUnavailable(FOLDER, "x")]


def test_a_forgotten_file_is_heard_of_no_more() -> None:
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("x", file_of(range(2)))])
    transfers.handle_timer(0.0)
    transfers.forget(FOLDER, ["x", "never needed"])
    transfers.received(A, FOLDER, [chunk(0)], 0.1)
    transfers.missing(A, FOLDER, [chunk(1)])
    assert transfers.take_events() == []
    assert transfers.next_deadline() is None


def test_a_stuck_ask_is_given_to_an_idle_peer() -> None:
    simulation = simulate(32 << 20, a=SimulatedPeer(0.0), b=SimulatedPeer(40e6))
    elapsed_s = simulation.run()
    assert simulation.complete == ["file"]
    assert elapsed_s < (32 << 20) / 40e6 + 3


def test_a_stuck_peer_is_waited_for_if_there_is_nobody_else() -> None:
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("x", file_of(range(2)))])
    transfers.handle_timer(0.0)
    assert transfers.handle_timer(50.0) == []
    transfers.peer_joined(B, FOLDER)
    commands = transfers.handle_timer(50.5)
    assert [type(command) for command in commands] == [CancelAsk, Ask]
    assert commands[1].peer == B


def test_who_was_late_rests_while_there_is_somebody_else() -> None:
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("x", file_of(range(1)))])
    transfers.handle_timer(0.0)
    transfers.peer_joined(B, FOLDER)
    assert len(transfers.handle_timer(5.5)) == 2
    transfers.need(FOLDER, [("y", file_of(range(1, 5000)))])
    assert set(asked(transfers.handle_timer(5.6))) == {B}
    assert set(asked(transfers.handle_timer(7.6))) == {A}
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("x", file_of(range(1)))])
    transfers.handle_timer(0.0)
    transfers.peer_joined(B, FOLDER)
    transfers.handle_timer(5.5)
    transfers.peer_left(B)
    assert asked(transfers.handle_timer(5.6)) == {A: [chunk(0)]}


def test_nobody_takes_over_what_it_does_not_have() -> None:
    transfers = transfers_with(A, B)
    transfers.need(FOLDER, [("x", file_of(range(1)))])
    (ask,) = transfers.handle_timer(0.0)
    transfers.missing(ask.peer, FOLDER, [chunk(0)])
    (ask,) = transfers.handle_timer(0.1)
    assert transfers.handle_timer(4.0) == []


@pytest.mark.row("A29", "F28")
@pytest.mark.parametrize("bad", [0.0, 20e3], ids=["silent", "slow"])
def test_a_bad_peer_among_good_ones_costs_its_own_share_only(bad: float) -> None:
    size_bytes = 512 << 20
    good = {"b": SimulatedPeer(20e6), "c": SimulatedPeer(20e6)}
    elapsed_s = simulate(size_bytes, a=SimulatedPeer(bad), **good).run()
    assert elapsed_s < size_bytes / 40e6 / 0.8


def test_peers_share_the_work_by_their_rates() -> None:
    fast, slow = SimulatedPeer(40e6), SimulatedPeer(4e6)
    elapsed_s = simulate(256 << 20, a=slow, b=fast).run()
    assert elapsed_s < (256 << 20) / 44e6 * 1.25
    assert 5 < fast.sent_bytes / slow.sent_bytes < 20


def test_a_far_peer_is_kept_busy() -> None:
    elapsed_s = simulate(128 << 20, a=SimulatedPeer(20e6, round_trip_s=0.3)).run()
    assert elapsed_s < (128 << 20) / 20e6 * 1.5


@pytest.mark.parametrize("seed", range(6))
def test_every_file_is_settled_whatever_peers_lack_and_come_and_go(seed: int) -> None:
    rng = random.Random(seed)
    peers = {
        peer_id: SimulatedPeer(
            rng.choice([1e4, 1e6, 1e8]),
            lacks=frozenset(chunk(number) for number in range(60) if rng.random() < 0.4),
        )
        for peer_id in (A, B, C)
    }
    simulation = Simulation(transfers_with(*peers), peers)
    files = {key: [rng.randrange(60) for _ in range(rng.randrange(5))] for key in range(40)}
    for key, numbers in files.items():
        simulation.need(key, [(chunk(number), 10_000) for number in numbers])
    simulation.run()
    lost = frozenset.intersection(*(peer.lacks for peer in peers.values()))
    expected = {key for key, numbers in files.items() if not lost & set(map(chunk, numbers))}
    assert set(simulation.complete) == expected
    assert len(simulation.complete) + len(simulation.unavailable) == len(files)


def test_ten_thousand_small_files_are_cheap() -> None:
    files = [(key, [(chunk(key), 1024)]) for key in range(10_000)]
    transfers = transfers_with(A)
    now, complete = 0.0, 0
    with counted_work() as work:
        transfers.need(FOLDER, files)
        commands = transfers.handle_timer(now)
        while commands:
            (ask, *commands) = commands
            assert isinstance(ask, Ask)
            for start in range(0, len(ask.chunk_ids), 128):
                now += 0.001
                transfers.received(A, FOLDER, ask.chunk_ids[start : start + 128], now)
                complete += len(transfers.take_events())
            commands += transfers.handle_timer(now)
    assert complete == 10_000
    assert work.calls < 30 * complete


@pytest.mark.row("A29", "F28")
def test_what_only_a_silent_peer_has_is_given_up() -> None:
    """And what others have is fetched: not even the window of the silent one is held for ever."""
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("f", file_of(range(4)))])
    now = 0.0
    assert asked(transfers.handle_timer(now))[A]
    events: list[object] = []
    while not events and now < 200:
        now = transfers.next_deadline() or now + 1
        transfers.handle_timer(now)
        events += transfers.take_events()
    assert events == [FileUnavailable(FOLDER, "f")]
    assert SILENT_S <= now < 2 * SILENT_S


def test_a_slow_peer_is_not_a_silent_one() -> None:
    transfers = transfers_with(A)
    transfers.need(FOLDER, [("f", file_of(range(5)))])
    for number in range(5):
        transfers.handle_timer(now := number * (SILENT_S - 5))
        assert transfers.take_events() == []
        transfers.received(A, FOLDER, [chunk(number)], now)
    assert transfers.take_events() == [FileComplete(FOLDER, "f")]
