"""What is said of links in lists."""

from __future__ import annotations

from typing import Any

from peer.command_line import link_words
from tests.peer.fake_daemon import LINK, UPLOAD_LINK

THEIRS: dict[str, Any] = {
    **UPLOAD_LINK, "device": "laptop", "files": None, "bytes": None, "senders": [],
    "waiting": None, "refused": 0, "problem": "",
}  # fmt: skip


def test_a_share_link_says_how_often_and_how_long() -> None:
    assert link_words.name_of(LINK) == "Reise"
    assert link_words.downloads(LINK) == "1 of 9"
    assert link_words.downloads({**LINK, "downloads": None, "downloads_max": 0}) == "?"
    assert link_words.size_of(LINK) == "1.4 kB"
    said = link_words.terms(LINK)
    assert said.startswith("until 2033-05-18")
    assert said.endswith(", for 9 downloads, with a password.")


def test_an_upload_link_says_what_may_come_and_what_has() -> None:
    assert link_words.files_come(UPLOAD_LINK) == "3 of 10"
    assert link_words.allowed(UPLOAD_LINK) == "up to 10 files and 2.0 MB, each up to 1.0 MB"
    assert link_words.terms({**UPLOAD_LINK, "has_password": False}) == "for ever."
    first, second = link_words.come(UPLOAD_LINK)
    assert first.startswith("2 files, 4.0 kB, from Ada\x1b, 2023-11-1")
    assert second.startswith("1 file, 1.0 kB, from somebody unnamed, ")
    assert link_words.lacking({**UPLOAD_LINK, "waiting": 2}) == [
        "2 files not fetched yet.",
        "1 not taken; `holdfast notifications` says why.",
        "The disk has no room for it.",
    ]


def test_another_device_s_says_which_and_what_is_not_known_here() -> None:
    assert link_words.name_of(THEIRS) == "Party (on laptop)"
    assert link_words.files_come(THEIRS) == "? of 10"
    assert link_words.size_of(THEIRS) == "?"
    assert link_words.elsewhere(UPLOAD_LINK) == link_words.elsewhere(LINK) == ""
    assert link_words.elsewhere(THEIRS).startswith("Made on laptop: what is put in comes there")
    shared = {**LINK, "device": "desktop"}
    assert link_words.elsewhere(shared).startswith("Made on desktop: the relay tells that device")
    assert link_words.come(THEIRS) == link_words.lacking(THEIRS) == []
