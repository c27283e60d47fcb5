"""The code is reedsolo's, byte for byte, and any k of n shares are the pack again."""

import subprocess
import sys
from itertools import combinations
from random import Random

import pytest
import reedsolo
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.erasure import decode, encode, share_length
from protocol.kit import encode_kit

LEAF = 64 << 10


@pytest.fixture(scope="module")
def pack() -> bytes:
    return Random(1).randbytes(5 * LEAF)


@pytest.mark.parametrize(
    ("pack_len", "k", "expected"),
    [(1, 1, LEAF), (8 << 20, 4, 2 << 20), (5 * LEAF, 4, 2 * LEAF), (9 * LEAF, 4, 3 * LEAF)],
)
def test_shares_are_the_fewest_whole_leaves(pack_len: int, k: int, expected: int) -> None:
    assert share_length(pack_len, k) == expected


@pytest.mark.parametrize(("k", "n"), [(4, 7), (2, 3), (1, 3), (10, 14), (3, 14), (20, 20)])
def test_every_byte_place_is_a_codeword_of_reedsolo(k: int, n: int, pack: bytes) -> None:
    encode_kit(bytes(32))  # leaves reedsolo's tables those of another field
    shares = encode(pack, k, n)
    assert len(shares) == n
    assert {len(share) for share in shares} == {share_length(len(pack), k)}
    assert b"".join(shares[:k])[: len(pack)] == pack
    codec = reedsolo.RSCodec(n - k, nsize=n) if n > k else None
    for place in Random(2).sample(range(len(shares[0])), 100):
        word = bytes(share[place] for share in shares)
        assert codec is None or bytes(codec.encode(word[:k])) == word


def test_any_4_of_7_are_the_pack(pack: bytes) -> None:
    shares = encode(pack, 4, 7)
    for kept in combinations(range(7), 4):
        assert decode({i: shares[i] for i in kept}, 4, 7, len(pack)) == pack, kept


def test_more_shares_than_needed_do_no_harm(pack: bytes) -> None:
    shares = encode(pack, 4, 7)
    assert decode(dict(enumerate(shares)), 4, 7, len(pack)) == pack


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_k_of_n_of_any_length(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 12))
    n = data.draw(st.integers(k, k + 12))
    pack_len = data.draw(st.integers(1, 2 * k * LEAF))
    kept = data.draw(st.permutations(range(n)))[:k]
    pack = Random(pack_len).randbytes(pack_len)
    shares = encode(pack, k, n)
    assert decode({i: shares[i] for i in kept}, k, n, pack_len) == pack


def test_numpy_is_loaded_only_when_there_is_something_to_compute() -> None:
    code = (
        "import sys; from protocol.erasure import decode, encode;"
        "shares = dict(enumerate(encode(b'x', 2, 2))); decode(shares, 2, 3, 1);"
        "print('numpy' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
