"""What people do to files, seen on the other device: two real daemons, one folder."""

import os
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.device import Device, explain, wait_for_same, wait_for_tree, wait_until

Two = tuple[Path, Path, tuple[Device, Device]]


@pytest.fixture
def place(shared_pair: tuple[Device, Device], request: pytest.FixtureRequest) -> Two:
    """A directory of this test's own, on both devices."""
    one, other = shared_pair
    name = request.node.name.removeprefix("test_")
    (one.folder / name).mkdir()
    wait_for_tree(lambda: (other.folder / name).is_dir(), one, other)
    return one.folder / name, other.folder / name, shared_pair


def test_create(place: Two) -> None:
    here, there, pair = place
    (here / "a.txt").write_text("one\n")
    (here / "empty").write_bytes(b"")
    (here / "deep" / "er" / "still").mkdir(parents=True)
    (here / "deep" / "er" / "still" / "b").write_bytes(os.urandom(300_000))
    wait_for_tree(lambda: (there / "deep/er/still/b").exists(), *pair)
    assert (there / "a.txt").read_text() == "one\n"


def test_create_on_the_other_side(place: Two) -> None:
    here, there, pair = place
    (there / "from beta").write_text("beta")
    wait_for_tree(lambda: (here / "from beta").read_text() == "beta", *pair)


def test_edit_and_append(place: Two) -> None:
    here, there, pair = place
    (here / "text").write_text("first\n")
    wait_for_tree(lambda: (there / "text").read_text() == "first\n", *pair)
    (here / "text").write_text("second, and longer\n")
    wait_for_tree(lambda: (there / "text").read_text().startswith("second"), *pair)
    with (there / "text").open("a") as file:
        file.write("appended\n")
    wait_for_tree(lambda: (here / "text").read_text().endswith("appended\n"), *pair)
    replacement = here / "text.new"
    replacement.write_text("saved by rename\n")
    replacement.rename(here / "text")
    wait_for_tree(lambda: (there / "text").read_text() == "saved by rename\n", *pair)
    assert sorted(os.listdir(here)) == ["text"]


def test_edit_of_a_large_file(place: Two) -> None:
    here, there, pair = place
    data = bytearray(os.urandom(5 << 20))
    (here / "large").write_bytes(data)
    wait_for_tree(lambda: (there / "large").stat().st_size == len(data), *pair)
    data[1 << 20 : 1 << 20] = b"inserted"
    (here / "large").write_bytes(data)
    sent = pair[0].status()["totals"]["sent_bytes"]
    wait_for_tree(lambda: (there / "large").stat().st_size == len(data), *pair)
    assert pair[0].status()["totals"]["sent_bytes"] - sent < 2 << 20


def test_rename_a_file(place: Two) -> None:
    here, there, pair = place
    (here / "old").write_text("content")
    wait_for_tree((there / "old").exists, *pair)
    (here / "old").rename(here / "new")
    wait_for_tree((there / "new").exists, *pair)
    assert os.listdir(there) == ["new"]


def test_rename_a_directory_with_content(place: Two) -> None:
    here, there, pair = place
    (here / "old" / "sub").mkdir(parents=True)
    for number in range(30):
        (here / "old" / "sub" / f"{number}").write_bytes(os.urandom(20_000))
    wait_for_tree(lambda: len(os.listdir(there / "old/sub")) == 30, *pair)
    sent = pair[0].status()["totals"]["sent_bytes"]
    (here / "old").rename(here / "new")
    wait_for_tree(lambda: len(os.listdir(there / "new/sub")) == 30, *pair)
    assert os.listdir(there) == ["new"]
    assert pair[0].status()["totals"]["sent_bytes"] - sent < 300_000  # half of what is in it


def test_rename_a_directory_and_change_what_is_in_it(place: Two) -> None:
    here, there, pair = place
    (here / "old").mkdir()
    for name in "abc":
        (here / "old" / name).write_text(name)
    wait_for_tree((there / "old/c").exists, *pair)
    (here / "old").rename(here / "new")
    (here / "new" / "a").write_text("edited")
    (here / "new" / "b").unlink()
    (here / "new" / "d").write_text("d")
    wait_for_tree(lambda: (there / "new/a").read_text() == "edited", *pair)
    assert sorted(os.listdir(there / "new")) == ["a", "c", "d"]


def test_move_across_directories(place: Two) -> None:
    here, there, pair = place
    for name in ("from", "to"):
        (here / name).mkdir()
    (here / "from" / "file").write_bytes(os.urandom(10_000))
    (here / "from" / "directory").mkdir()
    (here / "from" / "directory" / "inner").write_text("inner")
    wait_for_tree((there / "from/directory/inner").exists, *pair)
    (here / "from" / "file").rename(here / "to" / "file")
    (here / "from" / "directory").rename(here / "to" / "directory")
    wait_for_tree(lambda: (there / "to/directory/inner").exists(), *pair)
    wait_for_tree(lambda: (there / "to/file").exists(), *pair)
    assert os.listdir(there / "from") == []


def test_swap_two_files(place: Two) -> None:
    here, there, pair = place
    (here / "a").write_text("was a")
    (here / "b").write_text("was b")
    wait_for_tree((there / "b").exists, *pair)
    (here / "a").rename(here / "c")
    (here / "b").rename(here / "a")
    (here / "c").rename(here / "b")
    wait_for_tree(lambda: (there / "a").read_text() == "was b", *pair)
    assert sorted(os.listdir(there)) == ["a", "b"]


def test_delete(place: Two) -> None:
    here, there, pair = place
    (here / "directory" / "sub").mkdir(parents=True)
    (here / "directory" / "sub" / "file").write_text("x")
    (here / "file").write_text("y")
    wait_for_tree((there / "directory/sub/file").exists, *pair)
    wait_for_tree((there / "file").exists, *pair)
    (here / "file").unlink()
    shutil.rmtree(here / "directory")
    wait_for_tree(lambda: os.listdir(there) == [], *pair)


def test_empty_directories(place: Two) -> None:
    here, there, pair = place
    (here / "a" / "b" / "c").mkdir(parents=True)
    wait_for_tree((there / "a/b/c").is_dir, *pair)
    (there / "a" / "b" / "c").rmdir()
    wait_for_tree(lambda: not (here / "a/b/c").exists(), *pair)
    assert (here / "a/b").is_dir()


def test_executable_bit(place: Two) -> None:
    here, there, pair = place
    (here / "script").write_text("#!/bin/sh\n")
    wait_for_tree((there / "script").exists, *pair)
    (here / "script").chmod(0o755)
    wait_for_tree(lambda: bool((there / "script").stat().st_mode & 0o100), *pair)
    (there / "script").chmod(0o644)
    wait_for_tree(lambda: not (here / "script").stat().st_mode & 0o100, *pair)


def test_symlinks(place: Two) -> None:
    here, there, pair = place
    (here / "file").write_text("x")
    (here / "link").symlink_to("file")
    (here / "dangling").symlink_to("nowhere")
    wait_for_tree(lambda: os.readlink(there / "dangling") == "nowhere", *pair)
    wait_for_tree(lambda: os.readlink(there / "link") == "file", *pair)
    (here / "link").unlink()
    (here / "link").symlink_to("dangling")
    wait_for_tree(lambda: os.readlink(there / "link") == "dangling", *pair)


def _make(kind: str, path: Path) -> None:
    if kind == "file":
        path.write_text("a file")
    elif kind == "directory":
        path.mkdir()
        (path / "inner").write_text("in a directory")
    else:
        path.symlink_to("anywhere")


def _is(kind: str, path: Path) -> bool:
    if path.is_symlink():
        return kind == "symlink"
    return path.is_file() if kind == "file" else kind == "directory" and (path / "inner").is_file()


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path)


@pytest.mark.row("F19")
def test_type_swaps(place: Two) -> None:
    here, there, pair = place
    order = ("file", "directory", "symlink", "file", "symlink", "directory", "file")
    for turn, kind in enumerate(order):
        side, opposite = (here, there) if turn % 2 else (there, here)
        if os.path.lexists(side / "x"):
            _remove(side / "x")
        _make(kind, side / "x")
        wait_for_tree(lambda k=kind, o=opposite: _is(k, o / "x"), *pair)  # type: ignore[misc]
        assert os.listdir(here) == ["x"]


def test_unicode_names(place: Two) -> None:
    here, there, pair = place
    names = ["ñandú.txt", "日本語 フォルダ", "emoji 🗂️.md", "spaces  and 'quotes'", "-dash"]
    for name in names:
        (here / name).write_text(name)
    wait_for_tree(lambda: sorted(os.listdir(there)) == sorted(names), *pair)
    assert all((there / name).read_text() == name for name in names)


def test_a_decomposed_name_is_the_same_name(place: Two) -> None:
    here, there, pair = place
    decomposed, composed = "a\u0308.txt", "\u00e4.txt"
    (here / decomposed).write_text("one")
    wait_until(lambda: _text(there / composed) == "one", lambda: explain(pair))
    (there / composed).write_text("edited")
    wait_until(lambda: _text(here / decomposed) == "edited", lambda: explain(pair))
    assert os.listdir(here) == [decomposed]
    (here / decomposed).unlink()
    wait_for_tree(lambda: os.listdir(there) == [], *pair)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_ignored_files_stay_here(place: Two) -> None:
    here, there, pair = place
    one, other = pair
    name = here.name
    (one.folder / ".holdfastignore").write_text(f"/{name}/*.tmp\n/{name}/build/\n")
    wait_for_tree((other.folder / ".holdfastignore").exists, one, other)
    (here / "scratch.tmp").write_text("x")
    (here / "build").mkdir()
    (here / "build" / "out").write_text("x")
    (here / "kept.txt").write_text("kept")
    wait_until((there / "kept.txt").exists, lambda: explain(pair))
    assert os.listdir(there) == ["kept.txt"]
    (there / "own.tmp").write_text("of beta")
    (there / "second.txt").write_text("second")
    wait_until((here / "second.txt").exists, lambda: explain(pair))
    assert not (here / "own.tmp").exists()
    (there / "own.tmp").unlink()
    shutil.rmtree(here / "build")
    (here / "scratch.tmp").unlink()
    (one.folder / ".holdfastignore").unlink()
    wait_for_same(one, other)


def test_many_files_at_once(place: Two) -> None:
    here, there, pair = place
    for number in range(300):
        directory = here / f"{number % 7}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}").write_bytes(os.urandom(number * 10))
    wait_for_tree(lambda: sum(len(f) for _, _, f in os.walk(there)) == 300, *pair)


def test_nothing_is_left_in_our_own_directory(shared_pair: tuple[Device, Device]) -> None:
    wait_for_same(*shared_pair)
    assert [device.temp_files() for device in shared_pair] == [[], []]
