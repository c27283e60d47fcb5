"""Every chunk of every file comes once, whatever is shared, refused, put back or forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import ChunkId, DeviceId
from protocol.wanted_chunks import ASK_CHUNKS_MAX, REFUSED_SCAN_MAX, URGENT, WantedChunks

A, B = DeviceId(b"a" * 32), DeviceId(b"b" * 32)
ROOM = 1 << 40


def chunk(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(32))


def chunks(*numbers: int) -> list[tuple[ChunkId, int]]:
    return [(chunk(number), 100) for number in numbers]


def take_all(wanted: WantedChunks, device_id: DeviceId = A, room_bytes: int = ROOM) -> list[int]:
    """What one peer would be asked for, queue by queue."""
    taken: list[int] = []
    for _, queue in sorted(wanted.waiting(), key=lambda entry: entry[0]):
        for chunk_id in wanted.take(queue, device_id, room_bytes):
            wanted.in_flight[chunk_id] = 0
            taken.append(int.from_bytes(chunk_id))
    return taken


def receive(wanted: WantedChunks, *numbers: int) -> list[object]:
    complete: list[object] = []
    for number in numbers:
        wanted.in_flight.pop(chunk(number), None)
        complete += wanted.receive(chunk(number))
    return complete


def test_a_chunk_of_several_files_is_taken_once_and_completes_them_all() -> None:
    wanted = WantedChunks()
    wanted.need([("x", chunks(1, 2)), ("y", chunks(2)), ("z", chunks(2, 2, 1, 2))], 0)
    assert take_all(wanted) == [1, 2]
    assert receive(wanted, 1) == []
    assert receive(wanted, 2) == ["x", "y", "z"]
    assert not wanted
    assert receive(wanted, 2) == []


def test_a_file_without_chunks_is_complete_at_once() -> None:
    wanted = WantedChunks()
    assert wanted.need([("x", []), ("y", chunks(1))], 0) == ["x"]
    assert "x" not in wanted
    assert "y" in wanted


def test_the_smaller_priority_and_then_the_older_come_first() -> None:
    wanted = WantedChunks()
    wanted.need([("x", chunks(1, 2))], 5)
    wanted.need([("y", chunks(3))], 1)
    wanted.need([("z", chunks(4))], 5)
    assert take_all(wanted) == [3, 1, 2, 4]
    wanted.in_flight.clear()
    wanted.put_back([chunk(2)])
    assert [priority for priority, _ in wanted.waiting()] == [URGENT]


def test_an_ask_is_bounded_by_room_and_count() -> None:
    wanted = WantedChunks()
    wanted.need([("x", chunks(*range(1000)))], 0)
    assert len(take_all(wanted, room_bytes=250)) == 3
    assert len(take_all(wanted)) == ASK_CHUNKS_MAX
    assert len(take_all(wanted)) == 1000 - 3 - ASK_CHUNKS_MAX


def test_what_one_refused_goes_to_another() -> None:
    wanted = WantedChunks()
    wanted.need([("x", chunks(1, 2))], 0)
    take_all(wanted)
    wanted.in_flight.clear()
    wanted.refuse(chunk(1), A)
    assert wanted.is_refused(chunk(1), A)
    assert take_all(wanted, A) == []
    assert take_all(wanted, B) == [1]
    wanted.in_flight.clear()
    wanted.refuse(chunk(1), B)
    assert wanted.files_refused_by([A]) == ["x"]
    assert wanted.files_refused_by([A, B], [chunk(1)]) == ["x"]
    assert wanted.files_refused_by([A, B], [chunk(2)]) == []
    wanted.forget_peer(A)
    assert wanted.files_refused_by([A, B]) == []
    assert take_all(wanted, A) == [1]


def test_what_many_lack_is_not_searched_in_one_turn() -> None:
    wanted = WantedChunks()
    numbers = range(REFUSED_SCAN_MAX + 10)
    wanted.need([("x", chunks(*numbers))], 0)
    ((_, queue),) = wanted.waiting()
    while queue:
        for chunk_id in wanted.take(queue, A, ROOM):
            wanted.refuse(chunk_id, A)
    wanted.refuse(chunk(len(numbers)), A)
    before = list(dict(wanted.waiting())[URGENT])
    assert take_all(wanted, A) == []
    after = list(dict(wanted.waiting())[URGENT])
    assert after == before[REFUSED_SCAN_MAX:] + before[:REFUSED_SCAN_MAX]


def test_a_forgotten_file_leaves_what_others_want() -> None:
    wanted = WantedChunks()
    wanted.need([("x", chunks(1, 2)), ("y", chunks(2, 3))], 0)
    wanted.forget("x")
    assert "x" not in wanted
    assert take_all(wanted) == [2, 3]
    assert receive(wanted, 2, 3) == ["y"]
    wanted.need([("x", chunks(1))], 0)
    assert take_all(wanted) == [1]


def test_forgetting_all_leaves_no_queues_behind() -> None:
    wanted = WantedChunks()
    for priority in range(10):
        wanted.need([("x", chunks(1))], priority)
        wanted.forget("x")
    assert wanted.waiting() == []


def test_what_is_on_its_way_is_not_taken_again() -> None:
    wanted = WantedChunks()
    wanted.need([("x", chunks(1))], 0)
    take_all(wanted)
    wanted.forget("x")
    wanted.need([("y", chunks(1, 2))], 0)
    assert take_all(wanted) == [2]
    assert receive(wanted, 1, 2) == ["y"]


def test_what_waits_twice_is_taken_once() -> None:
    wanted = WantedChunks()
    wanted.need([("x", chunks(1)), ("y", chunks(2))], 0)
    wanted.forget("x")
    wanted.need([("z", chunks(1))], 0)
    assert take_all(wanted, room_bytes=100) == [1]
    assert take_all(wanted) == [2]
    assert take_all(wanted) == []


def test_to_need_a_file_twice_is_our_bug() -> None:
    wanted = WantedChunks()
    wanted.need([("x", chunks(1))], 0)
    with pytest.raises(AssertionError):
        wanted.need([("x", chunks(2))], 0)


file_lists = st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=6)


@given(file_lists, st.data())
def test_every_file_completes_exactly_once(files: list[list[int]], data: st.DataObject) -> None:
    wanted = WantedChunks()
    complete = wanted.need([(key, chunks(*numbers)) for key, numbers in enumerate(files)], 0)
    order = data.draw(st.permutations(sorted({n for numbers in files for n in numbers})))
    came: set[int] = set()
    for number in order:
        taken = take_all(wanted, data.draw(st.sampled_from([A, B])), 300)
        if data.draw(st.booleans()):
            for again in taken:
                del wanted.in_flight[chunk(again)]
            wanted.put_back(map(chunk, taken))
        came.add(number)
        done = receive(wanted, number)
        assert all(set(files[key]) <= came for key in done)  # type: ignore[call-overload]
        complete += done
    assert sorted(complete) == list(range(len(files)))  # type: ignore[type-var]
    assert not wanted
    assert wanted.waiting() == []
