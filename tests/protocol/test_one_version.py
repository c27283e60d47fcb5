"""There is one version and one suite: whatever names another is refused, wherever it stands (A05).

Each object is made rightly, signatures and all, but for the field that says how it was made: that
is lower, higher, of another type, left out or there twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crypto.keys import DeviceKeys
from crypto.key_file import KEY_FILE_SIZE, encode_key_file, key_file_mode
from crypto.errors import CryptoError
from protocol import folder_actions, handshake, messages, pairing_messages, wire
from protocol.changesets import decode_slot
from protocol.errors import ProtocolError
from protocol.folder_actions import EpochCore, decode_core
from protocol.handshake import ClientHandshake, PeerKeys, ServerHandshake
from protocol.user_ledger import UserLedger
from tests.crypto.seeded import Seeded
from tests.protocol.people import Person, Place

OTHERS = {
    "lower": [0], "higher": [2], "far": [2**32], "negative": [-1], "true": [True], "text": ["1"],
    "bytes": [b"1"], "a list": [[1]], "nothing": [None], "left out": [], "twice": [1, 1],
}  # fmt: skip

BINDING = b"b" * 32


def spliced(items: list[Any], at: int, other: list[Any]) -> list[Any]:
    return [*items[:at], *other, *items[at + 1 :]]
