"""The word list is the EFF's, whole but for the words that would make codes ambiguous."""

from __future__ import annotations

from math import log2

from crypto.wordlist import WORD_COUNT, words


def test_words_are_distinct_sorted_and_plain() -> None:
    listed = words()
    assert len(listed) == len(set(listed)) == WORD_COUNT
    assert sorted(listed) == list(listed)
    assert all(word.isascii() and word.isalpha() and word.islower() for word in listed)
    assert (listed[0], listed[-1]) == ("abacus", "zoom")


def test_two_words_are_nearly_26_bits() -> None:
    assert 2 * log2(len(words())) > 25.8
