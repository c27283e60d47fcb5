"""Codes survive being said, typed in a hurry and pasted; what cannot be one gets a hint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.wordlist import words
from protocol.errors import MistypedCode, WrongCode
from protocol.words import NAMEPLATE_MAX, PairingCode, generate_code, parse_code

CODES = st.builds(
    lambda nameplate, pair: PairingCode(nameplate, pair),
    st.integers(1, NAMEPLATE_MAX),
    st.tuples(st.sampled_from(words()), st.sampled_from(words())),
)


@given(CODES)
def test_a_code_reads_back(code: PairingCode) -> None:
    assert parse_code(str(code)) == code


@given(CODES, st.sampled_from(["-", " ", "  ", " - ", "_", "\u2013", "\u2011", ".", "\t"]))
def test_case_and_separators_do_not_matter(code: PairingCode, separator: str) -> None:
    typed = f"  {code.nameplate}{separator}{separator.join(code.words).upper()} \n"
    assert parse_code(typed) == code


def test_full_width_digits_are_digits() -> None:
    assert parse_code("\uff17-cranberry-clubhouse").nameplate == 7


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("7-cranbery-clubhouse", 'Did you mean "cranberry"?'),
        ("7-cranberry-clubhuose", 'Did you mean "clubhouse"?'),
        ("7-cranberry-qqqqqq", '"qqqqqq" is not a word'),
        ("7-cranberry", "this one has 1 word"),
        ("7-cranberry-clubhouse-cranberry", "this one has 3 words"),
        ("cranberry-clubhouse", "begins with a number"),
        ("0-cranberry-clubhouse", "begins with a number"),
        ("10000-cranberry-clubhouse", "begins with a number"),
        ("-1-cranberry-clubhouse-", ""),
        ("", "begins with a number"),
        ("7-" + "a" * 200, "too long"),
    ],
)
def test_what_is_no_code_gets_a_sentence(typed: str, hint: str) -> None:
    if not hint:
        assert parse_code(typed).nameplate == 1  # a dash before the number is a slip, not a sign
        return
    with pytest.raises(MistypedCode) as caught:
        parse_code(typed)
    assert hint in str(caught.value)


def test_a_hint_does_not_carry_terminal_escapes() -> None:
    with pytest.raises(WrongCode) as caught:
        parse_code("7-\x1b]52;c;AAAA\x07-clubhouse")
    assert "\x1b" not in str(caught.value)
    assert "\x07" not in str(caught.value)


@given(st.text(max_size=120))
def test_any_text_is_a_code_or_mistyped(text: str) -> None:
    try:
        code = parse_code(text)
    except MistypedCode:
        return
    assert parse_code(str(code)) == code


def test_generation_takes_its_words_from_the_randomness() -> None:
    known = words()
    draws = iter([(5).to_bytes(8, "big"), (len(known) + 1).to_bytes(8, "big")])
    assert generate_code(3, lambda size: next(draws)).words == (known[5], known[1])


def test_the_repr_hides_the_words() -> None:
    code = PairingCode(7, ("cranberry", "clubhouse"))
    assert "clubhouse" not in repr(code)
    assert str(code) == "7-cranberry-clubhouse"
