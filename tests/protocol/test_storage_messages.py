"""What is said about stored shares: whole, bounded, and within a storage link's frames."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crypto.namespaces import DELEGATION_SIZE
from crypto.packs import LEAF_SIZE
from crypto.shares import DESCRIPTOR_SIZE_MAX, PATH_LENGTH_MAX, SHARE_LEAVES_MAX
from protocol import storage_messages as module
from protocol.relay_address import ADDRESS_LENGTH_MAX
from protocol.relay_messages import decode, encode, encode_parts
from protocol.storage_forms import FORMS
from protocol.storage_messages import (
    CHALLENGE_LEAVES_MAX,
    DESCRIBED_MAX,
    HOLDERS_MAX,
    LISTED_MAX,
    PIECE_LEAVES_MAX,
    STANDBY,
    STATS_MAX,
    STORAGE_FRAME_LENGTH_MAX,
    Described,
    Holder,
    Listed,
    ShareState,
    Stat,
    StorageMessage,
    StorageNumber,
    StoreBegan,
    StoreBegin,
    StoreChallenge,
    StoreChanged,
    StoreDelegate,
    StoreDelete,
    StoreDescribe,
    StoreDescribed,
    StoreDone,
    StoreGet,
    StoreKeep,
    StoreKept,
    StoreLeaves,
    StoreList,
    StoreListed,
    StoreMoved,
    StoreOpen,
    StoreOpened,
    StoreOutcome,
    StorePeer,
    StorePiece,
    StoreProof,
    StorePut,
    StoreRenew,
    StoreStarted,
    StoreStat,
    StoreStats,
    StoreUsage,
    StoreUsed,
)

NS, ID, KEY, SIGNATURE = b"n" * 16, b"d" * 32, b"k" * 32, b"s" * 64
LEAF = b"l" * LEAF_SIZE
LAST, LATE = (1 << 32) - 1, (1 << 53) - 1
HOLDER = Holder(STANDBY, "a" * ADDRESS_LENGTH_MAX)

SAMPLES: list[StorageMessage] = [
    StoreBegin(1, b""),
    StoreBegan(StoreOutcome.DONE, "Ada", "EU", LATE, 1 << 40),
    StoreDelegate(1, b"d" * DELEGATION_SIZE, SIGNATURE, 0, KEY, b""),
    StoreOpen(2, NS, 7, 1, SIGNATURE),
    StoreOpened(2, StoreOutcome.OLDER, b"d" * DELEGATION_SIZE),
    StorePeer(3, KEY, KEY, SIGNATURE),
    StorePut(4, NS, b"descriptor", 3, (KEY,) * 3, LATE, (Holder(3, "a"), HOLDER)),
    StoreStarted(4, StoreOutcome.DONE, SHARE_LEAVES_MAX),
    StorePiece(5, NS, ID, 3, 8, LEAF * 2),
    StoreKeep(6, NS, ID, 3),
    StoreKept(6, StoreOutcome.DONE, LATE, LATE, SIGNATURE),
    StoreGet(7, b"", ID, 3, 8, PIECE_LEAVES_MAX),
    StoreLeaves(7, StoreOutcome.DONE, LEAF),
    StoreChallenge(8, NS, ID, 3, (0, 31)),
    StoreProof(8, StoreOutcome.DONE, (LEAF,), ((KEY,) * PATH_LENGTH_MAX,)),
    StoreStat(9, NS, (ID,)),
    StoreStats(9, StoreOutcome.DONE, (Stat(ID, 3, ShareState.WHOLE, 32, LATE, LATE),)),
    StoreList(10, NS, 0),
    StoreListed(10, StoreOutcome.DONE, (Listed(1, ID, 3, ShareState.WHOLE, 1, LATE),), True),
    StoreDescribe(11, NS, (ID,)),
    StoreDescribed(11, StoreOutcome.DONE, (Described(b"descriptor", (HOLDER,)),)),
    StoreRenew(12, NS, LATE, (ID,)),
    StoreDelete(13, NS, (ID,), False),
    StoreChanged(13, StoreOutcome.DONE, (0,)),
    StoreUsage(14, NS),
    StoreUsed(14, StoreOutcome.DONE, 1, 2, 3, 4, 5, 6, LATE),
    StoreMoved(15, ID, 3),
    StoreDone(15, StoreOutcome.UNKNOWN),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_is_read_as_it_was_written(message: StorageMessage) -> None:
    assert decode(*encode(message)) == message


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_parts_are_the_whole(message: StorageMessage) -> None:
    number, parts = encode_parts(message)
    assert (number, b"".join(parts)) == encode(message)


def test_every_message_has_a_sample_and_every_number_a_form() -> None:
    assert [type(message) for message in SAMPLES] == [form.type for form in FORMS.values()]
    assert list(FORMS) == list(StorageNumber)


@pytest.mark.parametrize(
    "message",
    [
        StorePut(LAST, NS, b"d" * DESCRIPTOR_SIZE_MAX, 3, (KEY,) * SHARE_LEAVES_MAX, LATE,
                 (HOLDER,) * HOLDERS_MAX),
        StorePiece(LAST, NS, ID, 254, SHARE_LEAVES_MAX, LEAF * PIECE_LEAVES_MAX),
        StoreProof(LAST, 0, (LEAF,) * CHALLENGE_LEAVES_MAX,
                   ((KEY,) * PATH_LENGTH_MAX,) * CHALLENGE_LEAVES_MAX),
        StoreStats(LAST, 0, (Stat(ID, 254, 2, 288, LATE, LATE),) * (2 * STATS_MAX)),
        StoreListed(LAST, 0, (Listed(LATE, ID, 254, 2, LATE, LATE),) * LISTED_MAX, True),
        StoreDescribed(LAST, 0,
                       (Described(b"d" * DESCRIPTOR_SIZE_MAX, (HOLDER,) * HOLDERS_MAX),)
                       * DESCRIBED_MAX),
        StoreRenew(LAST, NS, LATE, (ID,) * STATS_MAX),
    ],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
def test_the_longest_are_frames_of_a_storage_link(message: StorageMessage) -> None:
    number, payload = encode(message)
    assert len(payload) < STORAGE_FRAME_LENGTH_MAX
    assert decode(number, payload) == message


SPEC = (Path(__file__).parents[2] / "protocol" / "SPEC.md").read_text()
SPEC = SPEC.partition("\n## 18. ")[2].partition("\n## 19. ")[0]


def table(heading: str) -> list[list[str]]:
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", SPEC, re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]


def test_the_specification_has_every_outcome_and_state() -> None:
    assert [row[:2] for row in table("outcome")] == [[str(o.value), o.name] for o in StoreOutcome]
    assert [row[:2] for row in table("state")] == [[str(s.value), s.name] for s in ShareState]


def test_the_specification_s_limits_are_the_code_s() -> None:
    rows = [row for row in table("limit") if row[0].startswith("`protocol.storage_messages.")]
    assert len(rows) == 9
    for name, value in rows:
        constant = getattr(module, name.strip("`").rpartition(".")[2])
        assert value.split()[0].replace(",", "") == str(constant), name
