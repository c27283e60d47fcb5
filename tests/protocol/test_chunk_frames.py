"""Raw chunk frames: bounded, without copies, and small chunks share one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.chunk_frames import (
    CHUNKS_FRAME_BYTES,
    PIECE_HEADER,
    REQUEST_HEADER,
    WANTED_CHUNKS_MAX,
    Chunks,
    Piece,
    decode_chunks,
    encode_chunks,
    split_pieces,
)
from protocol.errors import Malformed, TooLong
from protocol.wire import CHUNK_LENGTH_MAX, FRAME_LENGTH_MAX


def raw(index: int, length: int) -> Piece:
    return Piece(index, 0, length, bytes(length))


def frame_of(*headers: tuple[int, int, int, int], data: bytes = b"") -> bytes:
    return REQUEST_HEADER.pack(7) + b"".join(PIECE_HEADER.pack(*h) for h in headers) + data


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", Malformed),
        (b"\0\0\0", Malformed),
        (frame_of(), Malformed),
        (frame_of() + b"\0", Malformed),
        (frame_of((0, 0, 2, 2), data=b"x"), Malformed),
        (frame_of((0, 0, 1, 1), data=b"xy"), Malformed),
        (frame_of((0, 2, 1, 1), data=b"x"), Malformed),
        (frame_of((0, 0, 2, 1), data=b"x"), Malformed),
        (frame_of((0, 0, 0, 0)), TooLong),
        (frame_of((0, 1, 1, 2), data=b"xy"), TooLong),
        (frame_of((0, 1, CHUNK_LENGTH_MAX + 1, 1), data=b"x"), TooLong),
        (frame_of((0, 0, 2**32 - 1, 2**32 - 1), data=b"x"), Malformed),
        (frame_of() + (PIECE_HEADER.pack(0, 0, 1, 1) + b"x") * (WANTED_CHUNKS_MAX + 1), TooLong),
        (bytes(FRAME_LENGTH_MAX + 1), TooLong),
    ],
)
def test_what_is_no_frame_of_chunks_is_refused(payload: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_chunks(payload)


def test_the_largest_chunk_fits_a_frame_and_is_not_copied() -> None:
    piece = raw(0, CHUNK_LENGTH_MAX)
    parts = encode_chunks(Chunks(1, (piece,)))
    assert any(part is piece.data for part in parts)
    payload = b"".join(parts)
    assert len(payload) <= FRAME_LENGTH_MAX
    data = decode_chunks(payload).pieces[0].data
    assert isinstance(data, memoryview)
    assert data.obj is payload


def test_small_chunks_of_one_frame_are_one_buffer() -> None:
    assert len(encode_chunks(Chunks(1, (raw(0, 5), raw(1, 6))))) == 1


@given(st.lists(st.integers(1, 2 * CHUNKS_FRAME_BYTES), max_size=12))
def test_frames_keep_the_order_and_their_size(lengths: list[int]) -> None:
    pieces = [raw(index, length) for index, length in enumerate(lengths)]
    frames = list(split_pieces(pieces))
    assert [piece for frame in frames for piece in frame] == pieces
    for frame in frames:
        assert len(frame) == 1 or sum(p.plain_length for p in frame) <= CHUNKS_FRAME_BYTES


def test_no_frame_brings_more_chunks_than_one_request_names() -> None:
    frames = list(split_pieces([raw(0, 1)] * (WANTED_CHUNKS_MAX + 1)))
    assert [len(frame) for frame in frames] == [WANTED_CHUNKS_MAX, 1]
