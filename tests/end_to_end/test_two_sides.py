"""What two people, or one who is away from the network, do to the same folder: conflicts, edits
while stopped or paused, restarts in the middle, a third device, leaving and coming back.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.device import (
    FOLDER,
    Device,
    attach,
    end,
    explain,
    join,
    make_pair,
    wait_for_same,
    wait_for_tree,
    wait_until,
)

Pair = tuple[Device, Device]


def conflicts(names: list[str]) -> list[str]:
    return [name for name in names if "(conflict " in name]


def fill(root: Path, files: int, prefix: str = "") -> dict[str, bytes]:
    """Small files in a few directories."""
    made = {}
    for number in range(files):
        path = root / f"{prefix}{number % 10}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        made[str(path.relative_to(root))] = os.urandom(200 + number % 3_000)
        path.write_bytes(made[str(path.relative_to(root))])
    return made


@pytest.mark.row("F15")
def test_both_edit_while_the_other_is_stopped(shared_pair: Pair) -> None:
    one, other = shared_pair
    (one.folder / "story.txt").write_text("once upon a time\n")
    wait_for_tree((other.folder / "story.txt").exists, one, other)
    other.stop()
    (one.folder / "story.txt").write_text("of alpha\n")
    (one.folder / "only alpha").write_text("a")
    one.wait_for_state("in sync")
    one.stop()
    other.start()
    (other.folder / "story.txt").write_text("of beta, longer\n")
    (other.folder / "only beta").write_text("b")
    other.wait_for_state("in sync")
    one.start()
    wait_until(lambda: len(conflicts(one.names())) == 1, lambda: explain(shared_pair))
    tree = wait_for_same(one, other)
    texts = {content for _, content in tree.values()}
    assert {b"of alpha\n", b"of beta, longer\n", b"a", b"b"} <= texts
    assert len(conflicts(list(tree))) == 1


def test_a_conflict_copy_is_a_file_like_any_other(shared_pair: Pair) -> None:
    one, other = shared_pair
    for device in shared_pair:
        device.command("pause", FOLDER)
    (one.folder / "plan").write_text("plan of alpha")
    (other.folder / "plan").write_text("plan of beta!")
    for device in shared_pair:
        device.command("resume", FOLDER)
    wait_until(
        lambda: len([n for n in one.names() if "plan" in n]) == 2, lambda: explain(shared_pair)
    )
    tree = wait_for_same(one, other)
    [copy] = [name for name in conflicts(list(tree)) if name.startswith("plan")]
    (other.folder / copy).write_text("merged by hand")
    wait_for_tree(lambda: (one.folder / copy).read_text() == "merged by hand", one, other)
    (one.folder / copy).unlink()
    tree = wait_for_tree(lambda: not (other.folder / copy).exists(), one, other)
    assert "plan" in tree


def test_pause_and_resume(shared_pair: Pair) -> None:
    one, other = shared_pair
    other.command("pause")
    assert other.folder_status()["state"] == "paused"
    (one.folder / "while paused").write_text("x")
    one.wait_for_state("in sync")
    (other.folder / "own").write_text("y")
    assert not (other.folder / "while paused").exists()
    assert not (one.folder / "own").exists()
    other.stop()
    other.start()
    assert other.folder_status()["state"] == "paused"
    other.command("resume", FOLDER)
    wait_for_tree(
        lambda: (other.folder / "while paused").exists() and (one.folder / "own").exists(),
        one, other,
    )  # fmt: skip


@pytest.mark.row("F11")
def test_offline_edits_on_both_sides(shared_pair: Pair) -> None:
    one, other = shared_pair
    fill(one.folder / "offline", 40)
    (one.folder / "offline" / "moved").mkdir()
    (one.folder / "offline" / "moved" / "file").write_text("stays whole")
    wait_for_tree((other.folder / "offline/moved/file").exists, one, other)
    one.stop()
    other.stop()
    here, there = one.folder / "offline", other.folder / "offline"
    (here / "0" / "0.txt").write_text("edited by alpha")
    (here / "1").rename(here / "renamed by alpha")
    shutil.rmtree(here / "2")
    (here / "moved" / "new of alpha").write_text("n")
    (there / "3" / "3.txt").write_text("edited by beta")
    (there / "1" / "1.txt").write_text("edited by beta in what alpha renamed")
    (there / "4" / "4.txt").unlink()
    (there / "moved").rename(there / "5" / "moved")
    (there / "new of beta").write_text("m")
    one.start()
    other.start()
    wait_until(
        lambda: (
            (one.folder / "offline/new of beta").exists()
            and (other.folder / "offline/5/moved/new of alpha").exists()
        ),
        lambda: explain(shared_pair),
    )
    tree = {
        name.removeprefix("offline/"): content[1]
        for name, content in wait_for_same(one, other).items()
        if name.startswith("offline/")
    }
    assert tree["0/0.txt"] == b"edited by alpha"
    assert tree["renamed by alpha/1.txt"] == b"edited by beta in what alpha renamed"
    assert tree["3/3.txt"] == b"edited by beta"
    assert tree["5/moved/file"] == b"stays whole"
    assert not {"1", "2", "4/4.txt", "moved"} & set(tree)
    assert conflicts(list(tree)) == []


@pytest.mark.row("F16")
def test_an_edit_beats_a_deletion(shared_pair: Pair) -> None:
    one, other = shared_pair
    (one.folder / "contested").mkdir()
    (one.folder / "contested" / "file").write_text("first")
    wait_for_tree((other.folder / "contested/file").exists, one, other)
    for device in shared_pair:
        device.command("pause")
    shutil.rmtree(one.folder / "contested")
    (other.folder / "contested" / "file").write_text("edited, so it stays")
    for device in shared_pair:
        device.command("resume")
    wait_for_tree(
        lambda: (one.folder / "contested/file").read_text() == "edited, so it stays", one, other
    )


@pytest.fixture
def pair(new_pair: Pair) -> Pair:
    return new_pair


def test_restarts_in_the_middle_of_a_sync(pair: Pair) -> None:
    one, other = pair
    made = fill(one.folder, 600)
    made["large"] = os.urandom(12 << 20)
    (one.folder / "large").write_bytes(made["large"])
    wait_until(lambda: len(other.names()) > 50, lambda: explain(pair))
    other.stop()
    other.start()
    wait_until(lambda: len(other.names()) > 150, lambda: explain(pair))
    one.stop()
    one.start()
    tree = wait_for_same(one, other)
    assert {name: content for name, (kind, content) in tree.items() if kind == "file"} == made
    assert other.temp_files() == []


def test_a_third_device_joins_later(pair: Pair, tmp_path: Path) -> None:
    one, other = pair
    fill(one.folder, 60)
    wait_for_same(one, other)
    third = Device(tmp_path, "gamma")
    try:
        # The code is shown by the second device, which was let in itself.
        join(third, other)
        attach(third)
        wait_for_tree((third.folder / "9/59.txt").exists, one, other, third)
        one.stop()
        (third.folder / "from gamma").write_text("hello")
        wait_for_tree((other.folder / "from gamma").exists, other, third)
        third.stop()
        (other.folder / "from beta").write_text("hello")
        one.start()
        wait_for_tree(
            lambda: (one.folder / "from gamma").exists() and (one.folder / "from beta").exists(),
            one, other,
        )  # fmt: skip
        third.start()
        wait_for_same(one, other, third)
    finally:
        end([third])


def test_attach_onto_a_full_directory(pair: Pair, tmp_path: Path) -> None:
    one, _ = pair
    made = fill(one.folder, 80)
    made["large"] = os.urandom(1 << 20)  # next to which what devices say to each other is little
    (one.folder / "large").write_bytes(made["large"])
    one.wait_for_state("in sync")
    third = Device(tmp_path, "gamma")
    try:
        join(third, one)
        wait_until(third.knows_folder, "the offer")
        shutil.copytree(one.folder, third.folder, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(".holdfast"))  # fmt: skip
        (third.folder / "0" / "0.txt").write_text("old bytes of unknown age")
        (third.folder / "only here").write_text("mine")
        shutil.rmtree(third.folder / "1")
        sent = one.status()["totals"]["sent_bytes"]
        attach(third)
        wait_for_tree((one.folder / "only here").exists, *pair, third)
        tree = wait_for_same(*pair, third)
        assert tree["0/0.txt"][1] == made["0/0.txt"]
        copies = conflicts(list(tree))
        assert [tree[name][1] for name in copies] == [b"old bytes of unknown age"]
        assert {n: c for n, (k, c) in tree.items() if k == "file" and n in made} == made
        assert one.status()["totals"]["sent_bytes"] - sent < len(made["large"]) // 2
    finally:
        end([third])


def test_remove_and_attach_again(pair: Pair) -> None:
    one, other = pair
    made = fill(one.folder, 30)
    wait_for_same(one, other)
    other.command("folder", "remove", FOLDER)
    assert {n: c for n, (k, c) in other.tree().items() if k == "file"} == made
    wait_until(lambda: other.folder_status()["state"] == "offered", lambda: explain([other]))
    assert not (other.folder / ".holdfast" / "folder-id").exists()
    (one.folder / "0" / "0.txt").write_text("edited while beta was out")
    (one.folder / "1" / "1.txt").unlink()
    (one.folder / "new").write_text("new")
    one.wait_for_state("in sync")
    (other.folder / "of beta").write_text("made while out")
    other.command("folder", "attach", FOLDER, str(other.folder))
    wait_until(
        lambda: (one.folder / "of beta").exists() and (other.folder / "new").exists(),
        lambda: explain(pair),
    )
    tree = wait_for_same(one, other)
    assert tree["0/0.txt"][1] == b"edited while beta was out"
    assert "1/1.txt" not in tree
    assert conflicts(list(tree)) == []


def test_remove_and_attach_elsewhere(pair: Pair, tmp_path: Path) -> None:
    one, other = pair
    made = fill(one.folder, 30)
    wait_for_same(one, other)
    other.command("folder", "remove", FOLDER)
    left, other.folder = other.folder, tmp_path / "another place"
    other.folder.mkdir()
    other.command("folder", "attach", FOLDER, str(other.folder))
    tree = wait_for_tree((other.folder / "9/29.txt").exists, one, other)
    assert {n: c for n, (k, c) in tree.items() if k == "file"} == made
    assert (left / "9" / "29.txt").read_bytes() == made["9/29.txt"]


def test_over_quic_alone(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, links="quic")
    try:
        made = fill(pair[0].folder, 100)
        made["large"] = os.urandom(3 << 20)
        (pair[0].folder / "large").write_bytes(made["large"])
        tree = wait_for_tree(
            lambda: (pair[1].folder / "large").exists() and len(pair[1].names()) == 111, *pair
        )
        assert {n: c for n, (k, c) in tree.items() if k == "file"} == made
        wait_until(
            lambda: [link["kind"] for link in pair[1].status()["links"]] == ["quic"],
            lambda: explain(pair),
        )
    finally:
        end(list(pair))
