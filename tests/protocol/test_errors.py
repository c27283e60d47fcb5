"""One class a code, one code a kind of offence, and a sentence for each."""

from enum import unique

from protocol import errors
from protocol.errors import ErrorCode, ProtocolError, reason_of

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


def test_the_reason_of_a_failure_is_said_in_words() -> None:
    refused = ConnectionRefusedError(111, "Connect call failed ('192.0.2.1', 22330)")
    assert reason_of(refused) == "Connection refused"
    assert reason_of(OSError(98, "Address already in use")) == "Address already in use"
    assert reason_of(TimeoutError()) == "no answer in time"
    assert reason_of(OSError("Multiple exceptions: a, b")) == "Multiple exceptions: a, b"
    assert reason_of(ConnectionResetError()) == "ConnectionResetError"


def test_a_bad_name_is_a_bad_record_and_a_missing_link_is_nobody_s_offence() -> None:
    assert issubclass(errors.BadName, errors.BadRecord)
    assert not issubclass(errors.LinkError, ProtocolError)
