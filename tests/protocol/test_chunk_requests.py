"""Only what was asked for comes, once; only so much can be asked."""

from __future__ import annotations

import pytest

from crypto.ids import ChunkId, FolderId
from protocol.chunk_frames import Chunks, Piece
from protocol.chunk_requests import (
    OPEN_CHUNKS_MAX,
    OPEN_REQUESTS_MAX,
    AskedChunks,
    ServedChunks,
)
from protocol.errors import LimitReached, Unexpected
from protocol.events import ReceivedChunk
from protocol.messages import Missing, Want

FOLDER = FolderId(b"f" * 32)
IDS = [ChunkId(bytes([number]) * 32) for number in range(4)]


def bring(request: int, *indexes: int) -> Chunks:
    return Chunks(request, tuple(Piece(index, 0, 1, b"x") for index in indexes))


def test_answers_come_by_id_in_any_order() -> None:
    asked = AskedChunks()
    want = asked.open(FOLDER, IDS)
    assert want == Want(FOLDER, 0, tuple(IDS))
    assert asked.receive(bring(0, 2)) == (FOLDER, (ReceivedChunk(IDS[2], 0, 1, b"x"),))
    assert asked.miss(Missing(0, (0, 3))) == (FOLDER, (IDS[0], IDS[3]))
    assert asked.open_requests == 1
    assert asked.receive(bring(0, 1)) is not None
    assert asked.open_requests == asked.open_chunks == 0


@pytest.mark.row("A08")
@pytest.mark.parametrize(
    "message",
    [bring(0, 0), bring(0, 4), bring(0, 1, 1), bring(1, 0), Missing(0, (0,)), Missing(9, (0,))],
    ids=str,
)
def test_what_was_not_asked_for_is_an_offence(message: Chunks | Missing) -> None:
    asked = AskedChunks()
    asked.open(FOLDER, IDS)
    asked.receive(bring(0, 0))
    with pytest.raises(Unexpected):
        asked.receive(message) if isinstance(message, Chunks) else asked.miss(message)


def test_late_answers_are_borne_only_as_many_as_were_open() -> None:
    asked = AskedChunks()
    asked.open(FOLDER, IDS)
    asked.receive(bring(0, 0))
    assert asked.cancel(0)
    assert not asked.cancel(0)
    assert asked.receive(bring(0, 1, 2)) is None
    assert asked.miss(Missing(0, (3,))) is None
    with pytest.raises(Unexpected):
        asked.receive(bring(0, 0))


def test_a_folder_s_requests_end_together() -> None:
    asked, served = AskedChunks(), ServedChunks()
    other = FolderId(b"o" * 32)
    asked.open(FOLDER, IDS)
    asked.open(other, IDS)
    asked.cancel_folder(FOLDER)
    served.open(Want(FOLDER, 0, tuple(IDS)))
    served.open(Want(other, 1, tuple(IDS)))
    served.cancel_folder(FOLDER)
    assert asked.open_requests == served.open_requests == 1
    assert not served.answer(0, [0])
    assert served.answer(1, [0])


def test_an_abandoned_request_is_open_no_more() -> None:
    asked = AskedChunks()
    asked.open(FOLDER, IDS)
    asked.abandon(0)
    with pytest.raises(Unexpected):
        asked.receive(bring(0, 0))


def test_a_served_request_closes_when_all_is_answered() -> None:
    served = ServedChunks()
    served.open(Want(FOLDER, 5, tuple(IDS)))
    assert served.answer(5, [0, 2])
    assert served.answer(5, [1, 3])
    assert served.open_chunks == 0
    assert not served.answer(5, [0])
    assert not served.cancel(5)


@pytest.mark.parametrize("indexes", [[4], [0, 0]])
def test_to_answer_what_is_not_open_is_our_bug(indexes: list[int]) -> None:
    served = ServedChunks()
    served.open(Want(FOLDER, 5, tuple(IDS)))
    with pytest.raises(AssertionError):
        served.answer(5, indexes)


def test_open_requests_are_bounded() -> None:
    served, asked = ServedChunks(), AskedChunks()
    for number in range(OPEN_REQUESTS_MAX):
        served.open(Want(FOLDER, number, tuple(IDS[:1])))
        asked.open(FOLDER, IDS[:1])
    with pytest.raises(Unexpected):
        served.open(Want(FOLDER, 0, tuple(IDS[:1])))
    with pytest.raises(LimitReached):
        served.open(Want(FOLDER, OPEN_REQUESTS_MAX, tuple(IDS[:1])))
    with pytest.raises(AssertionError):
        asked.open(FOLDER, IDS[:1])


def test_open_chunks_are_bounded() -> None:
    served = ServedChunks()
    thousand = tuple(IDS[:1]) * 1024
    for number in range(OPEN_CHUNKS_MAX // 1024):
        served.open(Want(FOLDER, number, thousand))
    with pytest.raises(LimitReached):
        served.open(Want(FOLDER, 63, tuple(IDS[:1])))
    served.cancel(0)
    served.open(Want(FOLDER, 63, tuple(IDS[:1])))
