"""One XChaCha20-Poly1305 ciphertext that two keys open: why a passphrase needs a commitment.

Poly1305 is a polynomial in the blocks of the ciphertext, so two blocks may be chosen such that it
takes one value under both keys. This is the attack, for tests of what stands against it (A22).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import pack, unpack

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

_PRIME = 2**130 - 5
_BIT = 2**128


def _rotated(value: int, by: int) -> int:
    return (value << by | value >> 32 - by) & 0xFFFFFFFF


def hchacha20(key: bytes, nonce16: bytes) -> bytes:
    state = [*unpack("<4I", b"expand 32-byte k"), *unpack("<8I", key), *unpack("<4I", nonce16)]
    columns = [(i, i + 4, i + 8, i + 12) for i in range(4)]
    diagonals = [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]
    for _ in range(10):
        for a, b, c, d in columns + diagonals:
            for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                state[x] = (state[x] + state[y]) & 0xFFFFFFFF
                state[z] = _rotated(state[z] ^ state[x], by)
    return pack("<8I", *state[:4], *state[12:])


def _poly1305_key(key: bytes, nonce24: bytes) -> tuple[int, int]:
    subkey = hchacha20(key, nonce24[:16])
    stream = Cipher(ChaCha20(subkey, bytes(8) + nonce24[16:]), None).encryptor().update(bytes(32))
    clamp = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    return int.from_bytes(stream[:16], "little") & clamp, int.from_bytes(stream[16:], "little")


def two_key_ciphertext(
    keys: tuple[bytes, bytes], aad: bytes, size: int, random: Callable[[int], bytes]
) -> bytes:
    """`nonce24 || ciphertext || tag16` of `size` plaintext bytes that opens under both keys."""
    assert len(aad) % 16 == size % 16 == 0
    assert size >= 32
    nonce, start = random(24), random(size - 32)
    lengths = pack("<QQ", len(aad), size)
    pairs = [_poly1305_key(key, nonce) for key in keys]

    def value(message: bytes, r: int) -> int:
        total = 0
        for at in range(0, len(message), 16):
            total = (total + int.from_bytes(message[at : at + 16], "little") + _BIT) * r % _PRIME
        return total

    # x and y are the two free blocks with their padding bit: x * r^3 + y * r^2 = wanted.
    fixed = [value(aad + start, r) * r**3 + value(lengths, r) for r, _ in pairs]
    r1, r2 = (r for r, _ in pairs)
    while True:
        tag = random(16)
        sums = [(int.from_bytes(tag, "little") - s) % _BIT for _, s in pairs]
        wanted = [total - known for total, known in zip(sums, fixed, strict=True)]
        determinant = r1**3 * r2**2 - r2**3 * r1**2
        inverse = pow(determinant, -1, _PRIME)
        x = (wanted[0] * r2**2 - wanted[1] * r1**2) * inverse % _PRIME
        y = (r1**3 * wanted[1] - r2**3 * wanted[0]) * inverse % _PRIME
        if _BIT <= x < 2 * _BIT and _BIT <= y < 2 * _BIT:
            blocks = [(block - _BIT).to_bytes(16, "little") for block in (x, y)]
            return nonce + start + b"".join(blocks) + tag
