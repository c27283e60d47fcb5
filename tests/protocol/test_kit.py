from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import BadKit
from protocol.kit import decode_kit, encode_kit

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SECRET = bytes(range(32))
TEXT = (
    "000G40 R40M30 E20918 5GR38E 1W8124 GK2GAH C5RR34"
    " D1P70X 3RFH8B SQDVX7 5H1BKD 6SBBA5 EFSTAD 5Z219C"
)


def symbols(secret: bytes) -> list[str]:
    return list(encode_kit(secret).replace(" ", ""))


def damaged(text: list[str], places: list[int], random: Random) -> str:
    text = list(text)
    for place in places:
        text[place] = random.choice(ALPHABET.replace(text[place], ""))
    return "".join(text)


def test_the_text_of_a_secret_never_changes() -> None:
    assert encode_kit(SECRET) == TEXT
    assert decode_kit(TEXT) == SECRET


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=30)
def test_decode_gives_back_what_was_encoded(secret: bytes) -> None:
    assert decode_kit(encode_kit(secret).lower().replace(" ", "-")) == secret


@pytest.mark.parametrize("seed", range(20))
def test_four_misread_characters_in_every_block_are_repaired(seed: int) -> None:
    random = Random(seed)
    places = [k * 3 + b for b in range(3) for k in random.sample(range(28), 4)]
    assert decode_kit(damaged(symbols(SECRET), places, random)) == SECRET


@pytest.mark.parametrize("seed", range(20))
def test_nine_unreadable_characters_in_every_block_are_repaired(seed: int) -> None:
    random = Random(seed)
    text = symbols(SECRET)
    for b in range(3):
        for k in random.sample(range(28), 9):
            text[k * 3 + b] = random.choice("?*U")
    assert decode_kit("".join(text)) == SECRET


@pytest.mark.parametrize("seed", range(40))
def test_thirty_random_characters_are_refused(seed: int) -> None:
    random = Random(seed)
    with pytest.raises(BadKit):
        decode_kit(damaged(symbols(SECRET), random.sample(range(84), 30), random))


def test_the_checksum_refuses_what_the_code_alone_would_repair_wrongly() -> None:
    # All parity erased: any 19 symbols are a codeword then, and only the checksum knows better.
    text = symbols(SECRET)
    text[0] = "1"
    for place in range(57, 84):
        text[place] = "?"
    with pytest.raises(BadKit, match="misread"):
        decode_kit("".join(text))


def test_confusable_letters_are_read_as_digits() -> None:
    assert decode_kit(TEXT.replace("0", "O").replace("1", "l")) == SECRET


@pytest.mark.parametrize("text", ["", "A", TEXT + "0", TEXT[:-1]])
def test_another_length_is_refused_with_the_lengths(text: str) -> None:
    with pytest.raises(BadKit, match="84 characters"):
        decode_kit(text)


@given(st.text(min_size=84, max_size=84))
@settings(max_examples=100)
def test_any_text_raises_only_bad_kit(text: str) -> None:
    with pytest.raises(BadKit):
        decode_kit(text)
