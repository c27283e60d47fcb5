"""Pairing codes as people say and type them: `7-cranberry-clubhouse`.

A code is a nameplate, a small number that finds the invitation, and two words, which are the
secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from crypto.wordlist import words
from protocol.errors import MistypedCode

WORDS_IN_CODE: Final = 2
"""25.8 bits: with three tries a guesser wins once in 20 million invitations (CRYPTO 8)."""
NAMEPLATE_MAX: Final = 9999
CODE_LENGTH_MAX: Final = 100
_SEPARATORS: Final = re.compile(r"[\s\-\u2010-\u2015_.,]+")
_SIMILARITY_MIN: Final = 0.7


@dataclass(frozen=True, slots=True)
class PairingCode:
    """A nameplate and two words of the list, in lower case. The repr shows the nameplate only."""

    nameplate: int
    words: tuple[str, ...] = field(repr=False)

    @property
    def secret_text(self) -> str:
        """The part that nobody else may know: the words, joined by hyphens."""
        return "-".join(self.words)

    def __str__(self) -> str:
        return f"{self.nameplate}-{self.secret_text}"


def generate_code(nameplate: int, random: Callable[[int], bytes]) -> PairingCode:
    """A fresh code for a nameplate from 1 to NAMEPLATE_MAX."""
    assert 1 <= nameplate <= NAMEPLATE_MAX
    # 64 random bits over 7,772 words: no word is likelier than another by more than 2^-51.
    known = words()
    chosen = (known[int.from_bytes(random(8), "big") % len(known)] for _ in range(WORDS_IN_CODE))
    return PairingCode(nameplate, tuple(chosen))


def parse_code(text: str) -> PairingCode:
    """Reads a code as typed: any case, and spaces or dashes of any kind between its parts.

    Raises MistypedCode with a sentence that says what is wrong, and the nearest word if there is
    one. Nothing is sent for such a code, so it costs no try.
    """
    if len(text) > CODE_LENGTH_MAX:
        raise MistypedCode("This is too long for a pairing code.")
    parts = _SEPARATORS.split(unicodedata.normalize("NFKC", text).strip(" \t\r\n-").casefold())
    number, *typed = parts
    if not (number.isascii() and number.isdecimal() and len(number) <= 4 and int(number)):
        raise MistypedCode(
            "A pairing code begins with a number from 1 to 9999, as in 7-cranberry-clubhouse."
        )
    if len(typed) != WORDS_IN_CODE:
        raise MistypedCode(
            f"A pairing code has a number and {WORDS_IN_CODE} words, as in 7-cranberry-clubhouse;"
            f" this one has {len(typed)} word{'' if len(typed) == 1 else 's'}."
        )
    known = set(words())
    for word in typed:
        if word not in known:
            raise MistypedCode(_hint(word))
    return PairingCode(int(number), tuple(typed))


def _hint(word: str) -> str:
    near = get_close_matches(word, words(), n=1, cutoff=_SIMILARITY_MIN)
    question = f' Did you mean "{near[0]}"?' if near else ""
    # What was typed goes back to the terminal that it came from, without what could steer it.
    shown = "".join(letter for letter in word if letter.isprintable())
    return f'"{shown}" is not a word of pairing codes.{question}'
