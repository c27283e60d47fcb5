"""The recovery kit as text: 32 secret bytes in 84 characters that repair what is misread.

256 bits and 29 bits of checksum are 57 base32 symbols, dealt to three Reed-Solomon blocks over
GF(32) (CRYPTO 2): a misread character is one wrong symbol. Each block repairs 4 wrong or 9
unreadable characters.
"""

from __future__ import annotations

import hashlib
from typing import Final

import reedsolo

from crypto.labels import KIT_PREFIX
from protocol.errors import BadKit

KIT_SECRET_SIZE: Final = 32
KIT_TEXT_LENGTH: Final = 84

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base32: no I, L, O or U."""
_VALUES: Final = {symbol: value for value, symbol in enumerate(_ALPHABET)} | {
    "O": 0,
    "I": 1,
    "L": 1,
}
_BLOCKS: Final = 3
_BLOCK_LENGTH: Final = 28
_PARITY: Final = 9
_DATA_SYMBOLS: Final = 57
_CHECK_BITS: Final = 29
_GROUP: Final = 6
_SEPARATORS: Final = frozenset(" -\t\r\n")

# GF(32) needs its own polynomial; x^5 + x^2 + 1 is the least primitive one and stands here because
# a library that chose another would make kits that this one cannot read.
_CODEC: Final = reedsolo.RSCodec(_PARITY, nsize=_BLOCK_LENGTH, c_exp=5, prim=0b100101)


def encode_kit(kit_secret: bytes) -> str:
    """The kit's text: 14 groups of 6 characters with spaces between, for 32 secret bytes."""
    assert len(kit_secret) == KIT_SECRET_SIZE
    bits = int.from_bytes(kit_secret, "big") << _CHECK_BITS | _checksum(kit_secret)
    symbols = [bits >> 5 * (_DATA_SYMBOLS - 1 - i) & 31 for i in range(_DATA_SYMBOLS)]
    blocks = [_CODEC.encode(bytearray(symbols[b::_BLOCKS])) for b in range(_BLOCKS)]
    text = "".join(_ALPHABET[blocks[i % _BLOCKS][i // _BLOCKS]] for i in range(KIT_TEXT_LENGTH))
    return " ".join(text[i : i + _GROUP] for i in range(0, KIT_TEXT_LENGTH, _GROUP))


def decode_kit(text: str) -> bytes:
    """The 32 secret bytes of a kit's text, repaired; raises BadKit with a sentence if it cannot be.

    Case, spaces and hyphens do not matter; `?` stands for a character that cannot be read.
    """
    symbols = [symbol for symbol in text.upper() if symbol not in _SEPARATORS]
    if len(symbols) != KIT_TEXT_LENGTH:
        raise BadKit(
            f"A recovery kit has {KIT_TEXT_LENGTH} characters and this has {len(symbols)}."
            " Put ? for each one that you cannot read."
        )
    data = [_repair(symbols[b::_BLOCKS]) for b in range(_BLOCKS)]
    bits = 0
    for i in range(_DATA_SYMBOLS):
        bits = bits << 5 | data[i % _BLOCKS][i // _BLOCKS]
    kit_secret = (bits >> _CHECK_BITS).to_bytes(KIT_SECRET_SIZE, "big")
    if bits & (1 << _CHECK_BITS) - 1 != _checksum(kit_secret):
        raise BadKit(_UNREPAIRABLE)
    return kit_secret


_UNREPAIRABLE: Final = (
    "Too much of this recovery kit is misread to repair it. Compare it with the paper once more,"
    " and put ? for each character that you cannot read for certain."
)


def _repair(block: list[str]) -> bytes:
    # A character outside the alphabet is as good as unreadable, and cheaper to repair than a wrong.
    erased = [i for i, symbol in enumerate(block) if symbol not in _VALUES]
    values = bytearray(_VALUES.get(symbol, 0) for symbol in block)
    try:
        return bytes(_CODEC.decode(values, erase_pos=erased)[0])
    except reedsolo.ReedSolomonError:
        raise BadKit(_UNREPAIRABLE) from None


def _checksum(kit_secret: bytes) -> int:
    digest = hashlib.sha256(KIT_PREFIX + kit_secret).digest()
    return int.from_bytes(digest[:4], "big") >> 32 - _CHECK_BITS
