"""zstd with every limit stated: what we write, and what we are willing to open (CRYPTO 6).

Frames carry their content size, use no dictionary and a window of at most 1 MiB, so that a reader
knows before it allocates, and a phone's browser can open a chunk of a share link.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import Final

from crypto.errors import OpenError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WINDOW_LOG_MAX: Final = 20
CONTENT_SIZE_MAX: Final = 16 << 20
"""No content is larger: the largest chunk, and the largest changeset before compression."""
SAVING_MIN_PERCENT: Final = 5
"""Less than this is not worth a reader's time."""

# Random data of 128 KiB: 55 us through level 3, 15 us through three samples of 1 KiB at level 1.
_SAMPLE_SIZE: Final = 1024
_SAMPLES: Final = 3
_SAMPLED_FROM_SIZE: Final = 32 << 10

_WRITE_OPTIONS: Final[dict[int, int]] = {zstd.CompressionParameter.window_log: WINDOW_LOG_MAX}
_READ_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}


class Codec(IntEnum):
    """How bytes are held: as they are, or as one zstd frame."""

    RAW = 0
    ZSTD = 1


def compress(data: bytes, level: int = 3) -> tuple[Codec, bytes]:
    """The data as one zstd frame if that saves at least 5 %, else as it came."""
    if not data or (len(data) >= _SAMPLED_FROM_SIZE and not _seems_compressible(data)):
        return Codec.RAW, data
    options = {**_WRITE_OPTIONS, zstd.CompressionParameter.compression_level: level}
    frame = zstd.compress(data, options=options)
    if len(frame) * 100 > len(data) * (100 - SAVING_MIN_PERCENT):
        return Codec.RAW, data
    return Codec.ZSTD, frame


def _seems_compressible(data: bytes) -> bool:
    # Photographs, video and archives are most of the bytes of most folders. Where the samples save
    # nothing, a repetition further apart than they are long is missed; that loss is accepted.
    step = (len(data) - _SAMPLE_SIZE) // (_SAMPLES - 1)
    starts = range(0, len(data), step)[:_SAMPLES]
    view = memoryview(data)
    sample = b"".join(view[start : start + _SAMPLE_SIZE] for start in starts)
    return len(zstd.compress(sample, 1)) < len(sample)


def decompress(codec: int, data: bytes, plain_len: int) -> bytes:
    """The content of exactly `plain_len` bytes, else OpenError; nothing larger ever exists."""
    if not 0 <= plain_len <= CONTENT_SIZE_MAX:
        raise OpenError
    if codec == Codec.RAW:
        if len(data) != plain_len:
            raise OpenError
        return data
    if codec != Codec.ZSTD:
        raise OpenError
    try:
        if zstd.get_frame_info(data).decompressed_size != plain_len:
            raise OpenError
        # A frame that wants a dictionary is refused by a decoder that was given none.
        # libzstd holds a frame to its announced size; the limit here does not rest on that. It is
        # one byte more, so that the decoder reaches the end of its frame.
        decoder = zstd.ZstdDecompressor(options=_READ_OPTIONS)
        content = decoder.decompress(data, max_length=plain_len + 1)
    except zstd.ZstdError:
        raise OpenError from None
    if len(content) != plain_len or not decoder.eof or decoder.unused_data:
        raise OpenError
    return content
