import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.core.chunker import (
    AVERAGE_MAX,
    AVERAGE_MIN,
    CHUNK_BYTES_MAX,
    CHUNKS_MAX,
    Chunker,
    average_of,
    chunk_sizes,
)

SIZES = chunk_sizes(0)
SEED = bytes(range(16))


def pseudo_random(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def test_a_folder_begins_with_the_sizes_of_the_genesis() -> None:
    assert SIZES == (32_768, 131_072, 524_288)


@given(st.integers(0, 1 << 45))
def test_a_new_file_has_few_chunks_that_fit_a_pack(file_size: int) -> None:
    minimum, average, maximum = chunk_sizes(file_size)
    assert minimum < average < maximum <= CHUNK_BYTES_MAX
    assert file_size <= average * CHUNKS_MAX or average == AVERAGE_MAX
    assert average == AVERAGE_MIN or file_size > average // 2 * CHUNKS_MAX


@given(st.integers(0, 1 << 36), st.sampled_from([1 << n for n in range(17, 23)]))
def test_a_changed_file_keeps_its_average_within_reason(file_size: int, previous: int) -> None:
    average = chunk_sizes(file_size, previous).average
    wanted = chunk_sizes(file_size).average
    assert average in (previous, wanted)
    if file_size <= 2 * previous * CHUNKS_MAX and wanted > previous // 8:
        assert average == previous
    assert file_size <= 2 * average * CHUNKS_MAX or average == AVERAGE_MAX


@pytest.mark.parametrize("average", [AVERAGE_MIN, 2 * AVERAGE_MIN])
@pytest.mark.parametrize("zeros_bytes", [0, 1 << 20, 40 << 20])
def test_a_file_s_chunks_say_with_which_average_it_was_cut(average: int, zeros_bytes: int) -> None:
    data = pseudo_random(8 << 20) + bytes(zeros_bytes)
    chunks, start = [], 0
    for length in Chunker(SEED).cut(data, chunk_sizes(len(data), average)):
        chunks.append((data[start : start + length], length))
        start += length
    assert average_of(chunks) == average
    assert average_of(chunks[:15]) is None


def test_a_strange_previous_average_is_nothing() -> None:
    for previous in (0, 1, 127 << 10, 8 << 20):
        assert chunk_sizes(1 << 20, previous) == chunk_sizes(1 << 20)


def test_every_average_is_one_that_pyfastcdc_takes() -> None:
    for shift in range(17, 23):
        sizes = chunk_sizes((1 << shift) * CHUNKS_MAX)
        assert sizes.average == 1 << shift
        assert sum(Chunker(SEED).cut(bytes(9 << 20), sizes)) == 9 << 20


@pytest.mark.parametrize("size", [0, 1, 32_768, 32_769, 500_000, 3_000_000])
def test_the_chunks_are_the_whole_within_the_limits(size: int) -> None:
    lengths = Chunker(SEED).cut(pseudo_random(size), SIZES)
    assert sum(lengths) == size
    assert all(SIZES.minimum <= length <= SIZES.maximum for length in lengths[:-1])
    assert all(0 < length <= SIZES.maximum for length in lengths[-1:])


def test_all_but_the_last_do_not_depend_on_what_follows() -> None:
    data = pseudo_random(4 << 20)
    whole = list(accumulate(Chunker(SEED).cut(data, SIZES)))
    for end in (600_000, 1 << 20, 2_345_678, (4 << 20) - 1):
        cut = list(accumulate(Chunker(SEED).cut(data[:end], SIZES)))[:-1]
        assert cut == whole[: len(cut)]


def test_an_insertion_at_the_start_of_64_mib_moves_a_few_chunks() -> None:
    data = pseudo_random(64 << 20)
    chunker = Chunker(SEED)

    def cut(buffer: bytes) -> set[int]:
        ends = list(accumulate(chunker.cut(buffer, SIZES)))
        return {len(buffer) - end for end in ends}

    before, after = cut(data), cut(b"x" * 1_000 + data)
    assert len(before) > 300
    assert len(before - after) <= 5


@pytest.mark.row("A16")
def test_other_seeds_cut_elsewhere() -> None:
    data = pseudo_random(4 << 20)
    first = set(accumulate(Chunker(SEED).cut(data, SIZES)))
    second = set(accumulate(Chunker(SEED[::-1]).cut(data, SIZES)))
    assert len(first & second) <= len(first) // 4


def test_the_seed_is_not_shown() -> None:
    assert repr(Chunker(SEED)) == "Chunker()"
