"""Wire codes and errors meet here: one class per code, raised deep and caught at the session's
edge.
"""

from enum import IntEnum


class ErrorCode(IntEnum):
    """Why a party closed a link or refused a record (SPEC 9)."""

    NONE = 0
    MALFORMED = 1
    TOO_LONG = 2
    UNEXPECTED = 3
    NOT_AUTHENTICATED = 4
    TIMEOUT = 5
    BAD_SIGNATURE = 6
    BAD_LEDGER = 7
    NOT_ENTITLED = 8
    BAD_EPOCH = 9
    BAD_SEQUENCE = 10
    BAD_LAMPORT = 11
    BAD_RECORD = 12
    BAD_NAME = 13
    WRONG_CHUNK = 14
    FORK = 15
    LIMIT = 16
    WRONG_CODE = 17
    EXPIRED_CODE = 18
    NEWER_FORM = 19


class ProtocolError(Exception):
    """The other side broke the protocol; its code goes into Close, its text into our log."""

    code = ErrorCode.MALFORMED


class Malformed(ProtocolError):
    """Bytes that are not a message of this protocol."""

    code = ErrorCode.MALFORMED


class TooLong(ProtocolError):
    """A length beyond its limit; nothing of that length was allocated."""

    code = ErrorCode.TOO_LONG


class Unexpected(ProtocolError):
    """A message that has no place in this state of the conversation."""

    code = ErrorCode.UNEXPECTED


class NotAuthenticated(ProtocolError):
    """The other side did not prove that it is a device we talk to."""

    code = ErrorCode.NOT_AUTHENTICATED


class TimedOut(ProtocolError):
    """The other side did not answer in time."""

    code = ErrorCode.TIMEOUT


class BadSignature(ProtocolError):
    """A signature that its named author did not make."""

    code = ErrorCode.BAD_SIGNATURE


class BadLedger(ProtocolError):
    """A ledger entry that does not belong where it was offered."""

    code = ErrorCode.BAD_LEDGER


class NotEntitled(ProtocolError):
    """An act that its author's role does not allow."""

    code = ErrorCode.NOT_ENTITLED


class BadEpoch(ProtocolError):
    """A changeset sealed under an epoch that does not cover what its author knew."""

    code = ErrorCode.BAD_EPOCH


class BadSequence(ProtocolError):
    """A changeset that does not continue its log."""

    code = ErrorCode.BAD_SEQUENCE


class BadLamport(ProtocolError):
    """A Lamport time that does not follow from what the changeset rests on."""

    code = ErrorCode.BAD_LAMPORT


class BadRecord(ProtocolError):
    """A node record that no honest device writes."""

    code = ErrorCode.BAD_RECORD


class BadName(BadRecord):
    """A file name that could escape its directory or cannot exist on some platform."""

    code = ErrorCode.BAD_NAME


class WrongChunk(ProtocolError):
    """Bytes that do not hash to the chunk id they were sent for."""

    code = ErrorCode.WRONG_CHUNK


class Fork(ProtocolError):
    """Two different changesets at one position of one log."""

    code = ErrorCode.FORK


class LimitReached(ProtocolError):
    """The other side asked for more than its share."""

    code = ErrorCode.LIMIT


class WrongCode(ProtocolError):
    """The pairing code is not the one that the other device shows. Check it and type it again."""

    code = ErrorCode.WRONG_CODE


class ExpiredCode(ProtocolError):
    """The pairing code is used up or too old. Ask for a new one with `holdfast invite`."""

    code = ErrorCode.EXPIRED_CODE


class NewerForm(ProtocolError):
    """What a later version of Holdfast wrote, and this one cannot read. Update Holdfast here."""

    code = ErrorCode.NEWER_FORM


class LinkError(Exception):
    """No link could be made: nobody answers at that address, or the port cannot be used."""


def reason_of(error: BaseException) -> str:
    """Why something failed, as a part of a sentence: in words, without the system's number."""
    if isinstance(error, ConnectionRefusedError):  # asyncio says the address again instead
        return "Connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


class StorageRefused(Exception):
    """A node did not do what it was asked; `outcome` says why."""

    def __init__(self, outcome: int, words: str) -> None:
        super().__init__(words)
        self.outcome = outcome


class BadKit(ProtocolError):
    """This is not a recovery kit, or too much of it is misread."""

    code = ErrorCode.WRONG_CODE


class MistypedCode(WrongCode):
    """This cannot be a pairing code. One looks like 7-cranberry-clubhouse."""
