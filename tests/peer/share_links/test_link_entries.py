"""What is said of links, of both kinds and of whichever device."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from peer.share_links.link_entries import (
    LinkEntry,
    UploadLinkEntry,
    made_entry,
    said_of,
    told_entries,
)
from peer.share_links.link_sharing import ToldLink
from peer.share_links.link_store import MadeLink
from protocol.link_messages import LinkUse
from protocol.link_records import LinkRecord, UploadRecord

ID, SECRET = b"i" * 16, b"s" * 32
BASE, RELAY = "https://relay.example", "holdfast-relay://relay.example"
MADE = MadeLink(ID, RELAY, BASE, SECRET, b"k" * 32, "Trip", True, 3, 1400, 10, 20, 9, 0)
LINK = LinkRecord(ID, BASE, SECRET, RELAY, "Trip", True, 3, 1400, 10, 20, 9, 0)
UPLOAD = UploadRecord(ID, BASE, SECRET, RELAY, "Party", False, 10, 0, 5, 100, 200, 0)


def use(ended: int = 0) -> dict[bytes, LinkUse]:
    fields: dict[str, object] = dict.fromkeys(LinkUse._fields, 0)
    known = {"link_id": ID, "downloads": 4, "expires_s": 25, "ended": ended}
    return {ID: LinkUse(**{**fields, **known})}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("link", "uses", "state"),
    [
        (MADE, use(), "live"),
        (MADE, use(1), "expired"),
        (MADE, use(3), "used up"),
        (MADE, {}, "expired"),  # the relay remembers ended links for a year
        (MADE._replace(expires_s=0), {}, "unknown"),
        (MADE, None, "unknown"),
        (MADE._replace(revoked_s=5), None, "revoked"),
    ],
)
def test_a_link_of_this_device_stands_as_its_relay_says(
    link: MadeLink, uses: dict[bytes, LinkUse] | None, state: str
) -> None:
    entry = made_entry(link, uses)
    assert (entry["state"], entry["device"]) == (state, "")
    assert entry.keys() == get_type_hints(LinkEntry).keys()
    assert entry["downloads"] == (4 if uses else None)
    assert entry["expires_s"] == (25 if uses else link.expires_s), "the relay's clock counts"


@pytest.mark.parametrize(
    ("is_wished", "is_ended", "state"),
    [(False, False, "live"), (True, False, "ending"), (True, True, "revoked")],
)
def test_another_device_s_link_stands_as_it_has_told(
    is_wished: bool, is_ended: bool, state: str
) -> None:
    told = [ToldLink(record, "laptop", is_wished, is_ended, None) for record in (LINK, UPLOAD)]
    (link,), (upload,) = told_entries(told)
    assert (link["name"], link["files"], link["downloads"]) == ("Trip", 3, None)
    assert (upload["name"], upload["files"], upload["waiting"]) == ("Party", None, None)
    assert [entry["state"] for entry in (link, upload)] == [state, state]
    assert [entry["device"] for entry in (link, upload)] == ["laptop", "laptop"]
    assert link.keys() == get_type_hints(LinkEntry).keys()
    assert upload.keys() == get_type_hints(UploadLinkEntry).keys()


def test_what_a_device_tells_of_its_link_is_said_alike_on_another() -> None:
    assert MADE.told == LINK
    assert said_of(MADE.told, "live") == said_of(MADE, "live")
