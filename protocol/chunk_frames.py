"""The CHUNKS frame: chunks of one request as raw bytes, several small ones or one large one.

    u32 request, then for each chunk: u16 index, u8 codec, u32 plain length, u32 length, bytes

Not CBOR, because a chunk of 512 KiB must go from the disk to the link without being copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

from protocol.errors import Malformed, TooLong
from protocol.wire import CHUNK_LENGTH_MAX, FRAME_LENGTH_MAX

WANTED_CHUNKS_MAX: Final = 1024
"""Chunks that one WANT names, and so the most that one frame can bring."""
CHUNKS_FRAME_BYTES: Final = 256 << 10
"""Small chunks share a frame up to this size: a frame each would cost more than the chunks."""
REQUEST_HEADER: Final = Struct(">I")
PIECE_HEADER: Final = Struct(">HBII")
CODEC_RAW: Final = 0
CODEC_ZSTD: Final = 1


class Piece(NamedTuple):
    """One chunk on its way; when received, `data` is a view of the frame, to be copied if kept."""

    chunk_index: int
    """Which chunk of the request this is."""
    codec: int
    plain_length: int
    """The length of the chunk; `data` is shorter if it is compressed."""
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Chunks:
    """Brings chunks of a request, as a raw frame."""

    request: int
    pieces: tuple[Piece, ...]


def encode_chunks(message: Chunks) -> list[bytes | memoryview]:
    """The payload of a CHUNKS frame; a chunk that is alone in it is not copied."""
    parts: list[bytes | memoryview] = [REQUEST_HEADER.pack(message.request)]
    for index, codec, plain_length, data in message.pieces:
        parts += (PIECE_HEADER.pack(index, codec, plain_length, len(data)), data)
    if len(message.pieces) == 1:
        return parts
    # Many small buffers cost the link more than one copy here.
    return [b"".join(parts)]


def decode_chunks(payload: bytes) -> Chunks:
    """The chunks of a frame as views of it; raises Malformed or TooLong."""
    end = len(payload)
    if end > FRAME_LENGTH_MAX:
        raise TooLong(f"{end} bytes of chunks")
    view = memoryview(payload)
    pieces: list[Piece] = []
    start = REQUEST_HEADER.size
    try:
        request: int = REQUEST_HEADER.unpack_from(payload)[0]
        while start < end:
            index, codec, plain_length, length = PIECE_HEADER.unpack_from(payload, start)
            start += PIECE_HEADER.size
            if length > end - start:
                raise Malformed("a chunk that is cut short")
            # A stored chunk is never longer than its plaintext, and an empty file has no chunk.
            if not 0 < length <= plain_length <= CHUNK_LENGTH_MAX:
                raise TooLong(f"{length} bytes for a chunk of {plain_length}")
            if codec > CODEC_ZSTD or (codec == CODEC_RAW and length != plain_length):
                raise Malformed("a chunk of no known codec")
            pieces.append(Piece(index, codec, plain_length, view[start : start + length]))
            if len(pieces) > WANTED_CHUNKS_MAX:
                raise TooLong("more chunks than a request can name")
            start += length
    except StructError as error:
        raise Malformed("a header that is cut short") from error
    if not pieces:
        raise Malformed("a frame without chunks")
    return Chunks(request, tuple(pieces))


def split_pieces(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, ...]]:
    """Cuts chunks into what goes into one frame each: small ones together, a large one alone."""
    run: list[Piece] = []
    size_bytes = 0
    for piece in pieces:
        length = len(piece.data)
        if run and (size_bytes + length > CHUNKS_FRAME_BYTES or len(run) == WANTED_CHUNKS_MAX):
            yield tuple(run)
            run, size_bytes = [], 0
        run.append(piece)
        size_bytes += length
    if run:
        yield tuple(run)
