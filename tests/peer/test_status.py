from typing import get_type_hints

from peer.status import (
    FolderState,
    FolderStatus,
    HoldAnswer,
    LinkStatus,
    PathProblem,
    Status,
    Totals,
)


def test_what_scripts_rely_on_is_there() -> None:
    assert {"folders", "links", "totals"} <= set(get_type_hints(Status))
    sometimes = {
        "question", "warnings", "kept_versions", "kept_bytes", "possibly_stale_s", "paused_files",
        "paused_bytes", "checked_s", "damaged_files",
    }  # fmt: skip
    assert sometimes < set(get_type_hints(FolderStatus))
    assert set(get_type_hints(FolderStatus)) - sometimes == {
        "id",
        "name",
        "path",
        "state",
        "files",
        "bytes",
        "need_files",
        "need_bytes",
        "errors",
    }
    assert set(get_type_hints(PathProblem)) == {"path", "reason"}
    assert set(get_type_hints(LinkStatus)) == {
        "device",
        "name",
        "kind",
        "path",
        "round_trip_s",
        "direct_problem",
        "address",
        "sent_bytes",
        "received_bytes",
        "sent_bytes_s",
        "received_bytes_s",
    }
    assert set(get_type_hints(Totals)) == {"sent_bytes", "received_bytes"}


def test_states_and_answers_are_words() -> None:
    assert all(word == word.lower() and word.isascii() for word in [*FolderState, *HoldAnswer])
