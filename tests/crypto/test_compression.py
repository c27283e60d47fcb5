"""Compression: exact round trips, and frames that promise one thing and hold another."""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.compression import CONTENT_SIZE_MAX, Codec, compress, decompress
from crypto.errors import OpenError
from tests.crypto.seeded import Seeded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"All work and no play makes a dull chunk. " * 1000
RANDOM = Seeded("incompressible")(256 << 10)


@given(st.binary(max_size=2000), st.integers(1, 40))
def test_what_was_compressed_comes_back(piece: bytes, times: int) -> None:
    data = piece * times
    codec, held = compress(data)
    assert decompress(codec, held, len(data)) == data
    assert len(held) <= len(data)


def test_text_is_compressed_and_noise_is_not() -> None:
    codec, held = compress(TEXT)
    assert codec is Codec.ZSTD
    assert len(held) < len(TEXT) // 20
    assert compress(RANDOM) == (Codec.RAW, RANDOM)
    assert compress(b"") == (Codec.RAW, b"")


@pytest.mark.parametrize(("saved_percent", "codec"), [(3, Codec.RAW), (8, Codec.ZSTD)])
def test_less_than_five_percent_is_not_worth_it(saved_percent: int, codec: Codec) -> None:
    zeros = 10_000 * saved_percent // 100
    assert compress(RANDOM[: 10_000 - zeros] + bytes(zeros))[0] is codec


def test_a_frame_of_ours_is_in_its_bounds() -> None:
    data = TEXT * 50  # 2 MB, more than a window
    frame = compress(data)[1]
    info = zstd.get_frame_info(frame)
    assert (info.decompressed_size, info.dictionary_id) == (len(data), 0)
    limit: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 20}
    assert zstd.decompress(frame, options=limit) == data


def test_large_data_is_judged_by_three_samples() -> None:
    # The price of not compressing every photograph: what the samples miss stays as it is.
    data = bytearray(256 << 10)
    for at in (0, len(data) // 2 - 1024, len(data) - 2048):
        data[at : at + 2048] = RANDOM[at : at + 2048]
    assert compress(bytes(data))[0] is Codec.RAW
    assert compress(bytes(data[: 32 << 10][1:]))[0] is Codec.ZSTD


@pytest.mark.parametrize("plain_len", [-1, len(TEXT) - 1, len(TEXT) + 1, 0, CONTENT_SIZE_MAX + 1])
@pytest.mark.parametrize("codec", [Codec.RAW, Codec.ZSTD])
def test_another_length_is_refused(codec: Codec, plain_len: int) -> None:
    held = TEXT if codec is Codec.RAW else zstd.compress(TEXT)
    with pytest.raises(OpenError):
        decompress(codec, held, plain_len)


def window(log: int) -> dict[int, int]:
    return {zstd.CompressionParameter.window_log: log}


def streamed(data: bytes) -> bytes:
    compressor = zstd.ZstdCompressor(options=window(17))
    frame = compressor.compress(data[:100]) + compressor.compress(data[100:]) + compressor.flush()
    assert zstd.get_frame_info(frame).decompressed_size is None
    return frame


BAD_FRAMES = {
    "an unknown codec": (2, TEXT),
    "not a frame": (1, TEXT),
    "empty": (1, b""),
    "no content size": (1, streamed(TEXT)),
    "cut short": (1, zstd.compress(TEXT)[:-1]),
    "something behind it": (1, zstd.compress(TEXT) + b"\0"),
    "a second frame behind it": (1, zstd.compress(TEXT[:-1]) + zstd.compress(TEXT[-1:])),
    "a skippable frame before it": (
        1,
        b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"hide" + zstd.compress(TEXT),
    ),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_frames_that_we_do_not_write_are_refused(case: str) -> None:
    codec, held = BAD_FRAMES[case]
    with pytest.raises(OpenError) as caught:
        decompress(codec, held, len(TEXT))
    assert caught.value.args == ()


@pytest.mark.row("A31")
def test_a_window_beyond_one_mebibyte_is_refused() -> None:
    data = RANDOM * 24  # 6 MiB, so that the window is not the content
    frame = zstd.compress(data, options=window(22))
    assert zstd.decompress(frame) == data
    with pytest.raises(OpenError):
        decompress(Codec.ZSTD, frame, len(data))


def test_a_frame_that_needs_a_dictionary_is_refused() -> None:
    dictionary = zstd.train_dict([TEXT[at : at + 200] for at in range(0, 20_000, 41)], 1024)
    frame = zstd.compress(TEXT, zstd_dict=dictionary)
    assert zstd.get_frame_info(frame).dictionary_id != 0
    with pytest.raises(OpenError):
        decompress(Codec.ZSTD, frame, len(TEXT))


def lying_frames() -> list[bytes]:
    """Frames that announce less than they hold, in their own header."""
    # One segment: magic, descriptor, u32 size. With a window: magic, descriptor, window, u32 size;
    # such a frame a decoder could give out piece by piece.
    whole = zstd.compress(bytes(1 << 20))
    windowed = zstd.compress(bytes(64 << 20), options=window(17))
    announced = (100_000).to_bytes(4, "little")
    frames = [whole[:5] + announced + whole[9:], windowed[:6] + announced + windowed[10:]]
    assert all(zstd.get_frame_info(frame).decompressed_size == 100_000 for frame in frames)
    return frames


def ten_gigabytes(announced: int) -> bytes:
    """80,000 blocks that each say one byte 128 Ki times, and a header that announces this."""
    size = 128 << 10
    header = b"\x28\xb5\x2f\xfd\xc0\x50" + announced.to_bytes(8, "little")  # 1 MiB of window
    block, last = ((size << 3 | 1 << 1 | end).to_bytes(3, "little") + b"\0" for end in (0, 1))
    return header + block * (TEN_GIGABYTES // size - 1) + last


TEN_GIGABYTES = 80_000 * (128 << 10)


def test_the_largest_bomb_is_one() -> None:
    """Else the test below would prove nothing."""
    decoder, frame, out = zstd.ZstdDecompressor(), ten_gigabytes(TEN_GIGABYTES), 0
    while out < 100 << 20:
        out += len(decoder.decompress(frame, 1 << 20))
        frame = b""
    assert zstd.get_frame_info(ten_gigabytes(7)).decompressed_size == 7


@pytest.mark.row("A31")
@pytest.mark.parametrize("claimed", [1, 100_000, CONTENT_SIZE_MAX, 10**10])
def test_ten_gigabytes_in_a_frame_take_no_memory_of_the_process_either(claimed: int) -> None:
    """The decoder is C: what it takes is seen in what the process holds, not in Python's count."""
    sizes = (1, 100_000, CONTENT_SIZE_MAX, TEN_GIGABYTES)
    frames = [ten_gigabytes(announced) for announced in sizes]
    assert all(len(frame) < 400_000 for frame in frames)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_bytes()
    start = time.process_time()
    for frame in frames:
        with pytest.raises(OpenError):
            decompress(Codec.ZSTD, frame, claimed)
    assert time.process_time() - start < 0.1 * len(frames)
    # Twice, since Python's decoder gathers pieces and joins them.
    assert peak_bytes() - before < 2 * min(claimed, CONTENT_SIZE_MAX) + (4 << 20)


def peak_bytes() -> int:
    """The most that this process held."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.row("A31")
def test_bombs_go_off_nowhere() -> None:
    bomb = zstd.compress(bytes(200 << 20), options=window(20))
    assert len(bomb) < 10_000
    claims = [(bomb, claimed) for claimed in (1, 4096, CONTENT_SIZE_MAX, 200 << 20)]
    claims += [(frame, 100_000) for frame in lying_frames()]
    tracemalloc.start()
    start = time.process_time()  # of ours alone, whatever else the machine does
    for frame, claimed in claims:
        with pytest.raises(OpenError):
            decompress(Codec.ZSTD, frame, claimed)
    elapsed_s = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 << 20
    assert elapsed_s < 0.1


@given(st.binary(max_size=300), st.integers(0, 2), st.integers(-1, 400))
def test_nothing_else_than_open_error_comes_out(data: bytes, codec: int, plain_len: int) -> None:
    try:
        assert len(decompress(codec, data, plain_len)) == plain_len
    except OpenError:
        pass
