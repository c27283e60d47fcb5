import re

import pytest

from peer.errors import (
    DeviceUnreachable,
    ExpiredPairingCode,
    OtherDeviceFailed,
    PeerError,
    UnknownFolder,
    WrongPairingCode,
    every_error,
    of_code,
    of_protocol,
)
from protocol.errors import BadSignature, ExpiredCode, ProtocolError, TimedOut, WrongCode

OWN = [error for error in every_error() if error.__module__ == "peer.errors"]


def test_exit_codes_are_unique_and_never_those_of_shells() -> None:
    codes = [error.exit_code for error in OWN]
    assert len(set(codes)) == len(codes)
    assert all(1 <= code < 126 for code in codes)


@pytest.mark.parametrize("error", OWN)
def test_the_sentence_says_something(error: type[PeerError]) -> None:
    assert re.fullmatch(r"[A-Z][^\n]*\.", error.sentence())
    assert str(error()) == error.sentence()
    assert str(error("This very thing is wrong.")) == "This very thing is wrong."


@pytest.mark.parametrize("error", OWN)
def test_a_status_of_http_is_an_error(error: type[PeerError]) -> None:
    assert 400 <= error.http_status < 600


def test_the_code_is_the_class_in_words() -> None:
    assert PeerError.code == "peer_error"
    assert UnknownFolder.code == "unknown_folder"


@pytest.mark.parametrize("error", OWN)
def test_made_again_from_its_code(error: type[PeerError]) -> None:
    again = of_code(error.code, "A sentence.")
    assert type(again) is error
    assert str(again) == "A sentence."


def test_an_unknown_code_is_an_error_still() -> None:
    assert type(of_code("of_a_newer_version", "A sentence.")) is PeerError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (WrongCode(), WrongPairingCode),
        (ExpiredCode(), ExpiredPairingCode),
        (TimedOut(), DeviceUnreachable),
        (BadSignature("secret detail"), OtherDeviceFailed),
        (ProtocolError(), OtherDeviceFailed),
    ],
)
def test_protocol_errors_in_a_persons_words(
    error: ProtocolError, expected: type[PeerError]
) -> None:
    seen = of_protocol(error)
    assert type(seen) is expected
    assert str(seen) == expected.sentence()
