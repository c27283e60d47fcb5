"""One class a code, one code a kind of offence, and a sentence for each."""

from enum import unique

from protocol import errors
from protocol.errors import ErrorCode, ProtocolError

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, ProtocolError) and value is not ProtocolError
]


def test_codes_are_unique_and_without_gaps() -> None:
    unique(ErrorCode)
    assert [code.value for code in ErrorCode] == list(range(len(ErrorCode)))


def test_every_code_has_its_class_named_alike() -> None:
    by_code: dict[ErrorCode, list[str]] = {}
    for kind in CLASSES:
        by_code.setdefault(kind.code, []).append(kind.__name__.lower())
    for code in ErrorCode:
        if code in (ErrorCode.NONE, ErrorCode.TIMEOUT, ErrorCode.LIMIT):
            continue
        assert code.name.replace("_", "").lower() in by_code[code]
    assert ErrorCode.NONE not in by_code
    assert by_code[ErrorCode.TIMEOUT] == ["timedout"]
    assert by_code[ErrorCode.LIMIT] == ["limitreached"]


def test_every_class_says_a_sentence_for_the_person() -> None:
    for kind in CLASSES:
        words = " ".join((kind.__doc__ or "").split())
        assert words[:1].isupper(), kind
        assert words.endswith("."), kind


def test_a_bad_name_is_a_bad_record_and_a_missing_link_is_nobody_s_offence() -> None:
    assert issubclass(errors.BadName, errors.BadRecord)
    assert not issubclass(errors.LinkError, ProtocolError)
