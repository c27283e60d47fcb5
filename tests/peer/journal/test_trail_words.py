"""The audit trail in words."""

from __future__ import annotations

from typing import Any

import pytest

from peer.control.control import ROUTES
from peer.journal.trail import UNRECORDED
from peer.journal.trail_words import _ASKED, sentence


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"what": "started"}, "The daemon started."),
        (
            {
                "what": "files", "folder": "f", "counts": {"created": 17, "renamed": 1},
                "paths": {"created": ["a", "b", "c", "d"], "renamed": [["x", "y"]]},
            },
            "f: created a, b, c and 14 more; renamed x -> y",
        ),
        ({"what": "files", "folder": "f", "counts": {"deleted": 3}, "paths": {}}, "f: deleted 3"),
        (
            {"what": "asked", "path": "/api/folders/attach", "with": {"folder": "f", "path": "/p"}},
            "Put the folder f on /p.",
        ),
        (
            {
                "what": "asked", "path": "/api/folders/restore",
                "with": {"path": "/p", "at_s": 1, "dry_run": True},
            },
            "Asked what would bring /p back to an earlier time.",
        ),
        (
            {
                "what": "asked", "path": "/api/folders/restore",
                "with": {"path": "/p", "at_s": 1, "dry_run": False},
            },
            "Brought /p back to an earlier time.",
        ),
        (
            {"what": "asked", "path": "/api/versions/restore", "with": {"path": "/p", "to": "/q"}},
            "Put an earlier version of /p at /q.",
        ),
        ({"what": "asked", "path": "/api/versions/restore", "with": {"path": "/p"}},
         "Brought an earlier version of /p back."),
        ({"what": "asked", "path": "/api/new"}, "Asked the daemon for /api/new."),
        ({"what": "joined", "joined": "a" * 9}, "The device aaaaaaaa is one of yours."),
        ({"what": "removed", "name": "x"}, "The device x is none of yours any more."),
        ({"what": "offered", "folder": ""}, "The folder without a name yet is offered."),
        ({"what": "setting", "key": "a.b", "value": "1"}, "a.b is 1 now."),
        ({"what": "lost", "count": 2}, "2 entries are missing: the disk did not take them."),
        ({"what": "repaired", "found": "It was torn."}, "It was torn."),
        ({"what": "something later"}, "something later"),
    ],
)  # fmt: skip
def test_an_entry_is_a_sentence(entry: dict[str, Any], said: str) -> None:
    assert sentence(entry) == said


def test_whatever_can_be_asked_has_its_words() -> None:
    acts = {path for method, path, _ in ROUTES if method != "GET"}
    assert acts - UNRECORDED - set(_ASKED) == set()
    for path in _ASKED:
        assert sentence({"what": "asked", "path": path})
