"""What a daemon tells of itself: each thing once, nothing that is not synced without its reason."""

from __future__ import annotations

import pytest

from peer.status import FolderState
from tests.peer.device_stage import Stage, until
from tests.peer.test_daemon import Pair, pair, shows, stage, until_state

__all__ = ["pair", "stage"]


async def test_a_status_says_it_all(stage: Stage, pair: Pair) -> None:
    one, two = pair
    await stage.share(one, two)
    (stage.root("one") / "a").write_bytes(b"hello")
    await until(lambda: shows(stage.root("two"), "a", b"hello"))
    await until_state(two, FolderState.IN_SYNC)
    status = await two.status()
    assert (status["device"]["name"], status["device"]["this"]) == ("two", True)
    (link,) = status["links"]
    assert (link["name"], link["kind"]) == ("one", "tls")
    (folder,) = status["folders"]
    assert (folder["name"], folder["files"], folder["bytes"]) == ("f", 1, 5)
    assert (folder["need_files"], folder["need_bytes"], folder["errors"]) == (0, 0, [])
    assert status["totals"]["received_bytes"] > 0
    listed = (await two.devices())["devices"]
    assert {(d["name"], d["connected"]) for d in listed} == {("one", True), ("two", True)}


@pytest.mark.row("A34")
async def test_a_name_that_cannot_be_synced_is_told_with_its_reason(
    stage: Stage, pair: Pair
) -> None:
    one, two = pair
    (stage.root("one") / "bad\\name").write_bytes(b"1")
    (stage.root("one") / "good").write_bytes(b"2")
    await stage.share(one, two)
    await until(lambda: shows(stage.root("two"), "good", b"2"))
    await until_state(one, FolderState.TROUBLE)
    (problem,) = (await one.status())["folders"][0]["errors"]
    assert problem["path"] == "bad\\name"
    assert "backslash" in problem["reason"]
