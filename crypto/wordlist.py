"""The words of pairing codes: the EFF large word list, without its four hyphenated words.

`wordlist.txt` is the list of the Electronic Frontier Foundation (Joseph Bonneau, 2016;
https://www.eff.org/files/2016/07/18/eff_large_wordlist.txt), licensed CC-BY 3.0 US, without its
dice numbers and otherwise unchanged. The file's hash is pinned: two devices with different lists
could not pair.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Final

WORDLIST_SHA256: Final = "6d557f0693958fb5e650b68b5bee585eb82cf4da32965505c789e924743bc522"
WORD_COUNT: Final = 7772


@cache
def words() -> tuple[str, ...]:
    """The 7,772 words in alphabetical order; a word with a hyphen would make codes ambiguous."""
    text = resources.files(__package__ or "crypto").joinpath("wordlist.txt").read_bytes()
    assert sha256(text).hexdigest() == WORDLIST_SHA256, "crypto/wordlist.txt is not the EFF's"
    return tuple(word for word in text.decode("ascii").split() if "-" not in word)
