"""Names that a disk refuses are spelled in another way on it, and back without loss (A34)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peer.disk.reserved_names import REFUSED, decode_name, encode_name, is_encoded
from protocol.names import name_problem

SPECIAL = '"*:<>?|' + "".join(chr(0xF000 + ord(c)) for c in REFUSED) + "\uf0ffab"
names = st.text(st.sampled_from(SPECIAL) | st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.mark.row("A34")
@given(names)
@example("\uf0ff\uf0ff:")
@example("\uf03a")
def test_every_name_comes_back_and_none_holds_what_is_refused(name: str) -> None:
    on_disk = encode_name(name)
    assert decode_name(on_disk) == name
    assert is_encoded(on_disk)
    assert not set(on_disk) & set(REFUSED)


@given(names)
def test_a_spelling_is_the_one_of_its_name_or_said_to_be_none(on_disk: str) -> None:
    if not set(on_disk) & set(REFUSED):
        assert is_encoded(on_disk) == (encode_name(decode_name(on_disk)) == on_disk)


@given(names, names)
def test_two_names_never_meet(one: str, other: str) -> None:
    assert (encode_name(one) == encode_name(other)) == (one == other)


def test_the_spelling_is_that_of_other_programs() -> None:
    assert encode_name('a:b?"c"') == "a\uf03ab\uf03f\uf022c\uf022"
    assert decode_name("12\uf03a30.txt") == "12:30.txt"
    assert encode_name("plain.txt") == decode_name("plain.txt") == "plain.txt"
    assert not is_encoded("\uf0ff alone")


def test_what_is_encoded_may_be_synced_by_the_rules() -> None:
    for character in REFUSED:
        assert name_problem(f"a{character}b") is None
        assert name_problem(encode_name(f"a{character}b")) is None
