from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import DeviceId, EntryId, FolderId, LogId, UserId
from protocol import wire
from protocol.errors import BadLedger, ProtocolError
from protocol.folder_actions import (
    CHUNKING,
    Action,
    Admit,
    Epoch,
    EpochCore,
    Expel,
    FolderAct,
    FolderKind,
    Genesis,
    Grant,
    Leave,
    Pin,
    Remove,
    Role,
    Storage,
    decode_action,
    decode_core,
)

ID = b"\1" * 32
OTHER = b"\2" * 32
PINS = (Pin(LogId(b"\1" * 16), 1, ID), Pin(LogId(b"\2" * 16), 7, OTHER))
CORE = EpochCore(
    FolderId(ID), (EntryId(ID),), (ID, OTHER, None, None), ((ID, 2), (OTHER, 4)),
    ((EntryId(ID), bytes(72)),), bytes(16),
).encode()  # fmt: skip
ACTIONS: list[Action] = [
    Genesis(FolderKind.HOME, UserId(ID), bytes(16)),
    Grant(UserId(ID), Role.OWNER),
    Remove(UserId(ID), PINS),
    Remove(UserId(ID)),
    Admit(DeviceId(ID), (EntryId(ID), EntryId(OTHER))),
    Expel(DeviceId(ID), EntryId(OTHER), PINS),
    Leave(),
    Epoch(CORE, ID),
    Storage(ID, bytes(16), ID, bytes(16), 3),
]


def core_fields(**changes: Any) -> bytes:
    fields = {
        "version": 1, "folder_id": ID, "parents": [ID], "commits": [ID, OTHER, None, None],
        "recipients": [[ID, 2], [OTHER, 4]], "links": [[ID, bytes(72)]], "nonce": bytes(16),
    } | changes  # fmt: skip
    return wire.encode(list(fields.values()))


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_decode_gives_back_what_was_encoded(action: Action) -> None:
    encoded = wire.decode(wire.encode(action.encode()))
    assert decode_action(encoded) == action


@pytest.mark.parametrize(
    "action",
    [
        [FolderAct.GENESIS, 0, 0, list(CHUNKING), 1, ID, bytes(16)],
        [FolderAct.GENESIS, 1, 0, [1, 2, 3], 1, ID, bytes(16)],
        [FolderAct.GENESIS, 1, 0, list(CHUNKING), 0, ID, bytes(16)],
        [FolderAct.GENESIS, 1, 9, list(CHUNKING), 1, ID, bytes(16)],
        [FolderAct.GENESIS, 1, 0, list(CHUNKING), 1, ID[:31], bytes(16)],
        [FolderAct.GRANT, 0, ID, 0],
        [FolderAct.GRANT, 0, ID, 5],
        [FolderAct.GRANT, 1, ID, 2],
        [FolderAct.GRANT, 0, ID[:31], 2],
        [FolderAct.GRANT, 0, ID, True],
        [FolderAct.GRANT, 0, ID],
        [FolderAct.REMOVE, 0, ID, None],
        [FolderAct.REMOVE, 0, ID, [[b"\1" * 15, 1, ID]]],
        [FolderAct.REMOVE, 0, ID, [[b"\1" * 16, 0, ID]]],
        [FolderAct.REMOVE, 0, ID, [[b"\1" * 16, 1, ID], [b"\1" * 16, 2, ID]]],
        [FolderAct.ADMIT, ID, []],
        [FolderAct.ADMIT, ID, [OTHER, ID]],
        [FolderAct.EXPEL, ID, b"", []],
        [FolderAct.LEAVE, 1],
        [FolderAct.EPOCH, b"", ID],
        [FolderAct.EPOCH, CORE.encoded, b""],
        [FolderAct.STORAGE, ID, bytes(16), ID, bytes(16), -1],
        [FolderAct.STORAGE, ID, bytes(16), ID, bytes(16), True],
        [FolderAct.REMOVE, 0, ID, [[b"\1" * 16, True, ID]]],
        [FolderAct.GENESIS, 1, 0, list(CHUNKING), True, ID, bytes(16)],
        [-1],
    ],
)  # fmt: skip
def test_actions_of_another_shape_are_refused(action: list[Any]) -> None:
    with pytest.raises(BadLedger):
        decode_action(action)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"folder_id": b""},
        {"parents": [OTHER]},
        {"parents": [], "links": [[ID, bytes(72)]]},
        {"commits": [ID, OTHER, None]},
        {"commits": [None, OTHER, None, None]},
        {"commits": [ID, None, None, None]},
        {"commits": [ID, OTHER, b"", None]},
        {"recipients": [[OTHER, 4], [ID, 2]]},
        {"recipients": [[ID, 2], [ID, 2]]},
        {"recipients": [[ID, 0]]},
        {"recipients": [[ID, 5]]},
        {"recipients": [[ID, True]]},
        {"links": []},
        {"links": [[ID, bytes(71)]]},
        {"nonce": bytes(15)},
    ],
)
def test_cores_of_another_shape_are_refused(changes: dict[str, Any]) -> None:
    assert decode_core(core_fields()) == CORE
    with pytest.raises(BadLedger):
        decode_core(core_fields(**changes))


SCALARS = st.none() | st.integers(-2, 9) | st.binary(max_size=33) | st.just(ID) | st.booleans()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


@given(st.integers(0, 8), st.lists(VALUES, max_size=6))
def test_any_values_raise_only_protocol_errors(number: int, rest: list[Any]) -> None:
    try:
        decode_action([number, *rest])
    except ProtocolError:
        pass
