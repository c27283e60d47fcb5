"""Identity (MERGE 13): literal listings, and what each difference is taken for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crypto.ids import NodeId
from peer.core import commands as c
from peer.core import observation
from peer.core.disk_types import Kind, Listing, Path, Problem, Stat, Trouble
from peer.core.observation import (
    LISTED_AT_ONCE,
    LISTED_FILES_MAX,
    Observation,
    Observer,
)
from protocol.nodes import NO_NODE, ROOT
from tests.peer.tree_stage import (
    NOW_NS,
    TreeStage,
    X,
    Y,
    directory,
    directory_id,
    file,
    file_id,
    stat,
)

D, E = directory_id(1), directory_id(2)
F, G, H = file_id(3), file_id(4), file_id(5)
NEW = [directory_id(100 + i) for i in range(9)]


def folder(inode: int) -> Stat:
    return stat(inode, Kind.DIRECTORY, size=0)


def stage_with_two_files() -> TreeStage:
    """/a is inode 10, /b is inode 11, /d is inode 20 and holds /d/c, inode 12."""
    stage = TreeStage()
    stage.put(
        {
            F: file(name="a", hash_=X), G: file(name="b", hash_=Y),
            D: directory(ROOT, "d"), H: file(D, "c", X),
        },
        {F: stat(10), G: stat(11, size=6), D: folder(20), H: stat(12, size=7)},
    )  # fmt: skip
    stage.lies((), a=stat(10), b=stat(11, size=6), d=folder(20))
    stage.lies(("d",), c=stat(12, size=7))
    return stage


def observe(
    stage: TreeStage,
    scope: list[NodeId] | None = None,
    is_ignored: Callable[[Path, bool], bool] = lambda path, is_directory: False,
    is_recursive: bool = True,
) -> Observation:
    fresh = iter(NEW)
    observer = Observer(stage.turn(), lambda: next(fresh), is_ignored, is_recursive)
    return stage.run(observer.observe(scope or [ROOT]))


def told(found: Observation) -> dict[str, object]:
    """What was found, by name; lists that are empty are left out."""
    out: dict[str, object] = {
        "new": [(e.name, e.item) for e in found.new_directories],
        "moved": {e.name: e.item for e in found.moved},
        "missing": set(found.missing),
        "read": {e.name: e.item for e in found.to_read},
        "relinked": {e.name: e.item for e in found.relinked},
        "later": found.later,
    }
    return {key: value for key, value in out.items() if value}


def test_nothing_happened() -> None:
    found = observe(stage_with_two_files())
    assert told(found) == {}
    assert found.is_empty
    assert found.listed == {(), ("d",)}


def test_an_edit_in_place() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=stat(10, size=9, mtime_ns=2), b=stat(11, size=6), d=folder(20))
    assert told(observe(stage)) == {"read": {"a": F}}


def test_a_change_that_only_the_ctime_shows() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=stat(10, ctime_ns=2), b=stat(11, size=6), d=folder(20))
    assert told(observe(stage)) == {"read": {"a": F}}


def test_a_file_that_changed_shortly_before_it_was_read_is_read_again() -> None:
    """Its ctime was not kept: another write in the same tick would look the same."""
    stage = TreeStage()
    stage.put({F: file(name="a")}, {F: stat(10, ctime_ns=NOW_NS)})
    stage.lies((), a=stat(10, ctime_ns=NOW_NS))
    assert told(observe(stage)) == {"read": {"a": F}}


def test_save_by_rename_is_one_content_change() -> None:
    """Editors write a temp file and rename it over: another inode, the same path."""
    stage = stage_with_two_files()
    stage.lies((), a=stat(99, size=8, mtime_ns=5), b=stat(11, size=6), d=folder(20))
    assert told(observe(stage)) == {"read": {"a": F}}


def test_save_with_a_backup_keeps_the_node_at_its_path() -> None:
    """a -> a~, new a: a content change, and the backup is new (MERGE, taste)."""
    stage = stage_with_two_files()
    stage.lies(
        (), a=stat(99, size=8, mtime_ns=5), **{"a~": stat(10)}, b=stat(11, size=6), d=folder(20)
    )
    assert told(observe(stage)) == {"read": {"a": F, "a~": NO_NODE}}


def test_a_file_moved_over_another_goes_on_as_the_one_at_the_path() -> None:
    stage = stage_with_two_files()
    stage.lies((), b=stat(10), d=folder(20))
    assert told(observe(stage)) == {"read": {"b": G}, "missing": {F}}


def test_a_file_is_missing_where_a_directory_has_its_name() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=folder(30), b=stat(11, size=6), d=folder(20))
    stage.lies(("a",))
    assert told(observe(stage)) == {"new": [("a", NEW[0])], "missing": {F}}


def test_a_swap_moves_both() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=stat(11, size=6), b=stat(10), d=folder(20))
    assert told(observe(stage)) == {"moved": {"a": G, "b": F}}


def test_a_rotation_moves_all() -> None:
    """a -> b -> c -> a."""
    stage = TreeStage()
    stage.put(
        {
            F: file(name="a", hash_=X),
            G: file(name="b", hash_=Y),
            H: file(name="c", hash_=b"z" * 32),
        },
        {F: stat(10), G: stat(11, size=6), H: stat(12, size=7)},
    )
    stage.lies((), b=stat(10), c=stat(11, size=6), a=stat(12, size=7))
    assert told(observe(stage)) == {"moved": {"b": F, "c": G, "a": H}}


def test_a_rotation_of_logs_ends_with_a_new_first() -> None:
    """log.1 takes log's file, and log is written anew."""
    stage = stage_with_two_files()
    stage.lies((), a=stat(50, size=1, mtime_ns=9), b=stat(10), d=folder(20))
    found = told(observe(stage))
    assert found == {"read": {"a": F, "b": G}}  # b's old bytes are gone, and nothing else is


def test_a_rename() -> None:
    stage = stage_with_two_files()
    stage.lies((), renamed=stat(10), b=stat(11, size=6), d=folder(20))
    assert told(observe(stage)) == {"moved": {"renamed": F}}


def test_a_move_into_a_directory_even_if_only_that_one_is_looked_at() -> None:
    stage = stage_with_two_files()
    stage.lies((), b=stat(11, size=6), d=folder(20))
    stage.lies(("d",), c=stat(12, size=7), a=stat(10))
    assert told(observe(stage)) == {"moved": {"a": F}}
    assert told(observe(stage, [D], is_recursive=False)) == {"moved": {"a": F}}


def test_a_renamed_file_is_read_unless_its_ctime_says_that_nothing_was_done_to_it() -> None:
    """Taggers write in place, set the time back and rename; `rm a; tar x` gives the number out
    again, and archives give many files one time.
    """
    stage = stage_with_two_files()
    stage.lies((), renamed=stat(10, ctime_ns=2), b=stat(11, size=6), d=folder(20))
    assert told(observe(stage)) == {"moved": {"renamed": F}, "read": {"renamed": F}}


def test_a_reused_inode_is_no_rename() -> None:
    """ext4 gives a freed number out at once: `rm a; create n` with other bytes."""
    stage = stage_with_two_files()
    stage.lies((), n=stat(10, size=3, mtime_ns=9), b=stat(11, size=6), d=folder(20))
    assert told(observe(stage)) == {"read": {"n": NO_NODE}, "missing": {F}}


def test_a_reused_inode_in_another_directory_is_no_move() -> None:
    stage = stage_with_two_files()
    stage.lies((), b=stat(11, size=6), d=folder(20))
    stage.lies(("d",), c=stat(12, size=7), n=stat(10, mtime_ns=9))
    assert told(observe(stage)) == {"read": {"n": NO_NODE}, "missing": {F}}


def test_hard_links_are_files_of_their_own() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=stat(10, links=2), n=stat(10, links=2), b=stat(11, size=6), d=folder(20))
    assert told(observe(stage)) == {"read": {"n": NO_NODE}}


def test_a_second_name_of_an_inode_that_is_still_elsewhere_is_no_move() -> None:
    """Even if the count of links is not told: the old path is looked at."""
    stage = stage_with_two_files()
    stage.lies(("d",), c=stat(12, size=7), a=stat(10))
    found = observe(stage, [D], is_recursive=False)
    assert told(found) == {"read": {"a": NO_NODE}}
    assert c.StatPaths([("a",)]) in stage.commands


@pytest.mark.row("F19")
def test_a_file_that_became_a_directory() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=folder(30), b=stat(11, size=6), d=folder(20))
    stage.lies(("a",), inner=stat(31))
    assert told(observe(stage)) == {
        "new": [("a", NEW[0])], "read": {"inner": NO_NODE}, "missing": {F}
    }  # fmt: skip


@pytest.mark.row("F19")
def test_a_directory_that_became_a_file() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=stat(10), b=stat(11, size=6), d=stat(40))
    assert told(observe(stage)) == {"read": {"d": NO_NODE}, "missing": {D, H}}


@pytest.mark.row("F19")
def test_a_file_that_became_a_symlink_is_another_node() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=stat(40, Kind.SYMLINK), b=stat(11, size=6), d=folder(20))
    assert told(observe(stage)) == {"read": {"a": NO_NODE}, "missing": {F}}


def test_a_deleted_directory_takes_all_that_lay_in_it() -> None:
    stage = stage_with_two_files()
    stage.put(
        {E: directory(D, "e"), file_id(6): file(E, "deep")}, {E: folder(21), file_id(6): stat(13)}
    )
    stage.lies((), a=stat(10), b=stat(11, size=6))
    assert told(observe(stage)) == {"missing": {D, E, H, file_id(6)}}


def test_what_was_moved_out_before_the_directory_went_is_not_missing() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=stat(10), b=stat(11, size=6), saved=stat(12, size=7))
    del stage.disk["d",]
    assert told(observe(stage)) == {"moved": {"saved": H}, "missing": {D}}


def test_a_renamed_directory_is_known_by_its_inode() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=stat(10), b=stat(11, size=6), renamed=folder(20))
    stage.lies(("renamed",), c=stat(12, size=7))
    assert told(observe(stage)) == {"moved": {"renamed": D}}


def test_a_renamed_directory_with_an_edit_in_it() -> None:
    stage = stage_with_two_files()
    stage.lies((), a=stat(10), b=stat(11, size=6), renamed=folder(20))
    stage.lies(("renamed",), c=stat(12, size=8, mtime_ns=3))
    assert told(observe(stage)) == {"moved": {"renamed": D}, "read": {"c": H}}


def test_a_restored_directory_is_the_same_with_another_inode() -> None:
    """Known by its path where the old inode is gone; so is all that is in it."""
    stage = stage_with_two_files()
    stage.lies((), a=stat(10), b=stat(11, size=6), d=folder(77))
    stage.lies(("d",), c=stat(78, size=7))
    found = observe(stage)
    assert told(found) == {"relinked": {"d": D}, "read": {"c": H}}


@pytest.mark.parametrize("gone", [D, E])
def test_a_directory_with_the_number_of_one_that_is_gone_is_itself(gone: NodeId) -> None:
    """Whichever of the two had it last: numbers are used again at once."""
    stays, name = (E, "e") if gone == D else (D, "d")
    stage = TreeStage()
    stage.put({D: directory(ROOT, "d"), E: directory(ROOT, "e")}, {D: folder(20), E: folder(20)})
    stage.lies((), **{name: folder(20)})
    stage.lies((name,))
    assert told(observe(stage)) == {"missing": {gone}}
    assert stays in stage.directories.items


def test_directories_that_changed_places() -> None:
    stage = TreeStage()
    stage.put({D: directory(ROOT, "d"), E: directory(ROOT, "e")}, {D: folder(20), E: folder(21)})
    stage.lies((), d=folder(21), e=folder(20))
    stage.lies(("d",))
    stage.lies(("e",))
    assert told(observe(stage)) == {"moved": {"d": E, "e": D}}


def test_a_directory_moved_over_a_deleted_one() -> None:
    stage = TreeStage()
    stage.put({D: directory(ROOT, "d"), E: directory(ROOT, "e")}, {D: folder(20), E: folder(21)})
    stage.lies((), e=folder(20))
    stage.lies(("e",))
    assert told(observe(stage)) == {"moved": {"e": D}, "missing": {E}}


def test_a_new_tree_is_walked_parents_first() -> None:
    stage = TreeStage()
    stage.lies((), new=folder(20))
    stage.lies(("new",), inner=folder(21), f=stat(30))
    stage.lies(("new", "inner"), g=stat(31))
    found = observe(stage, is_recursive=False)
    assert told(found) == {
        "new": [("new", NEW[0]), ("inner", NEW[1])], "read": {"f": NO_NODE, "g": NO_NODE}
    }  # fmt: skip
    assert [e.parent for e in found.new_directories] == [ROOT, NEW[0]]
    assert [e.name for e in found.new_directories] == ["new", "inner"]


def test_a_flat_look_stays_where_it_is() -> None:
    stage = stage_with_two_files()
    stage.lies(("d",))
    assert told(observe(stage, is_recursive=False)) == {}
    assert told(observe(stage)) == {"missing": {H}}


def test_what_is_ignored_is_neither_new_nor_missing() -> None:
    stage = stage_with_two_files()
    stage.lies((), b=stat(11, size=6), d=folder(20), new=stat(50), folder=folder(51))

    def is_ignored(path: Path, is_directory: bool) -> bool:
        return path[-1] in ("a", "new", "folder")

    assert told(observe(stage, is_ignored=is_ignored)) == {}


def test_what_cannot_be_read_is_not_deleted() -> None:
    stage = stage_with_two_files()
    problem = Problem(("d",), "The directory cannot be read.")
    stage.disk["d",] = Listing(("d",), 0, None, [problem])
    found = observe(stage)
    assert told(found) == {}
    assert found.problems == [problem]


def test_a_name_that_has_a_problem_is_not_deleted() -> None:
    stage = stage_with_two_files()
    fifo = Problem(("a",), "It is neither a file nor a directory nor a symlink.")
    entries = [("b", stat(11, size=6)), ("d", folder(20))]
    stage.disk[()] = Listing((), 1, entries, [fifo])
    assert told(observe(stage)) == {}


def test_a_directory_that_is_gone_while_it_is_looked_at_says_nothing() -> None:
    """Its own parent's listing decides, at the next look."""
    stage = stage_with_two_files()
    del stage.disk["d",]
    assert told(observe(stage)) == {}


def test_two_spellings_of_a_name_are_no_rename() -> None:
    stage = TreeStage()
    stage.put({F: file(name="caf\u00e9")}, {F: stat(10)})
    stage.lies((), **{"cafe\u0301": stat(10)})
    assert told(observe(stage)) == {}


def test_a_second_spelling_of_an_unchanged_name_is_told() -> None:
    stage = TreeStage()
    stage.put({F: file(name="K")}, {F: stat(10)})
    stage.lies((), **{"K": stat(10), "\u212a": stat(11)})
    assert [p.path for p in observe(stage).problems] == [("\u212a",)]


def test_large_directories_are_listed_one_by_one() -> None:
    stage = stage_with_two_files()
    stage.directories.nodes[D].children = LISTED_FILES_MAX
    stage.put({E: directory(ROOT, "e")}, {E: folder(21)})
    stage.lies((), a=stat(10), b=stat(11, size=6), d=folder(20), e=folder(21))
    stage.lies(("e",))
    stage.commands.clear()
    assert told(observe(stage)) == {}
    paths = [x.paths for x in stage.commands if isinstance(x, c.ListDirectories)]
    assert paths == [[()], [("d",)], [("e",)]]


def many_new_files(monkeypatch: pytest.MonkeyPatch) -> TreeStage:
    """Two new files are taken at a time; /d is known, /new and /new/below are not."""
    monkeypatch.setattr(observation, "ARRIVED_MAX", 2)
    stage = stage_with_two_files()
    stage.lies((), a=stat(10), b=stat(11, size=6), d=folder(20), new=folder(21))
    stage.lies(("d",), c=stat(12, size=7), x=stat(30), y=stat(31), z=stat(32))
    stage.lies(("new",), x=stat(40), below=folder(22))
    stage.lies(("new", "below"), x=stat(41))
    return stage


def test_more_new_files_than_are_kept_are_left_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = many_new_files(monkeypatch)
    new, below = NEW[:2]
    found = observe(stage)
    assert told(found) == {
        "new": [("new", new), ("below", below)], "read": dict.fromkeys("xyz", NO_NODE),
        "later": [new, below],
    }  # fmt: skip


def test_a_known_directory_is_left_for_later_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = many_new_files(monkeypatch)
    monkeypatch.setattr(observation, "ARRIVED_MAX", 0)
    stage.lies(("d",), c=stat(12, size=9), x=stat(30))
    new, below = NEW[:2]
    assert told(observe(stage)) == {
        "new": [("new", new), ("below", below)], "read": {"c": H}, "later": [D, new, below],
    }  # fmt: skip


def test_what_is_gone_is_looked_for_in_what_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was moved to where nobody would look now is moved, not deleted."""
    stage = many_new_files(monkeypatch)
    stage.lies((), a=stat(10), d=folder(20), new=folder(21))
    stage.lies(("new", "below"), b=stat(11, size=6))
    new, below = NEW[:2]
    found = observe(stage)
    assert told(found) == {
        "new": [("new", new), ("below", below)], "moved": {"b": G},
        "read": dict.fromkeys("xyz", NO_NODE),
    }  # fmt: skip
    assert found.moved[0].parent == below


def test_listings_are_asked_for_in_batches() -> None:
    stage = TreeStage()
    many = {
        directory_id(0)[:13] + n.to_bytes(2) + b"\x01": n for n in range(1, LISTED_AT_ONCE + 50)
    }
    records = {NodeId(i): directory(ROOT, f"d{n}") for i, n in many.items()}
    stage.put(records, {NodeId(i): folder(1000 + n) for i, n in many.items()})
    stage.lies((), **{f"d{n}": folder(1000 + n) for n in many.values()})
    for n in many.values():
        stage.lies((f"d{n}",))
    stage.commands.clear()
    assert told(observe(stage)) == {}
    sizes = [len(x.paths) for x in stage.commands if isinstance(x, c.ListDirectories)]
    assert sizes == [1, LISTED_AT_ONCE, 49]


def test_what_is_gone_may_be_in_what_was_left_and_is_not_listed_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk fails between the first look at a directory with many new files and the second."""
    stage = many_new_files(monkeypatch)
    stage.lies((), a=stat(10), d=folder(20), new=folder(21))
    problem = Problem(("new", "below"), "It cannot be listed.", Trouble.UNLISTED)
    lists = stage.disk["new", "below"]
    looks = iter([lists, Listing(("new", "below"), 0, None, [problem])])
    perform = stage.perform

    def fails(command: c.Command[object]) -> object:
        if isinstance(command, c.ListDirectories) and ("new", "below") in command.paths:
            stage.disk["new", "below"] = next(looks)
        return perform(command)

    monkeypatch.setattr(stage, "perform", fails)
    found = observe(stage)
    assert not found.missing
    assert problem in found.problems


def stating(stage: TreeStage, monkeypatch: pytest.MonkeyPatch, **there: Stat) -> None:
    """The disk has these in its root, whatever it lists."""
    perform = stage.perform

    def answer(command: c.Command[object]) -> object:
        if isinstance(command, c.StatPaths):
            return [there.get(path[-1]) for path in command.paths]
        return perform(command)

    monkeypatch.setattr(stage, "perform", answer)


def test_what_a_listing_in_pieces_has_overlooked_is_not_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is saved by rename meanwhile has an entry at another place of the directory."""
    stage = stage_with_two_files()
    stage.lies(())
    stating(stage, monkeypatch, a=stat(99), d=folder(20))
    found = observe(stage)
    assert told(found) == {"missing": {G}}
    assert {(p.path, p.trouble) for p in found.problems} == {
        (("a",), Trouble.CHANGING), (("d",), Trouble.CHANGING)
    }  # fmt: skip


def test_what_was_listed_by_the_name_that_it_was_written_under_is_not_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program has saved it by rename, after its own name for it was listed."""
    stage = stage_with_two_files()
    stage.lies((), written=stat(99), b=stat(11, size=6), d=folder(20))
    stating(stage, monkeypatch, a=stat(99))
    found = observe(stage)
    assert "missing" not in told(found)
    assert [(p.path, p.trouble) for p in found.problems] == [(("a",), Trouble.CHANGING)]


def test_what_another_known_file_is_found_for_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that folds case finds one that is known by another spelling, and was edited."""
    stage = TreeStage()
    stage.put({F: file(name="a", hash_=X), G: file(name="A", hash_=Y)}, {F: stat(10), G: stat(11)})
    stage.lies((), A=stat(11, size=99))
    stating(stage, monkeypatch, a=stat(11, size=99))
    found = observe(stage)
    assert not found.problems
    assert told(found) == {"read": {"A": G}, "missing": {F}}


def test_what_is_spelled_in_another_case_and_edited_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that folds case still finds it by its old name."""
    stage = stage_with_two_files()
    stage.lies((), A=stat(10, size=99), b=stat(11, size=6), d=folder(20))
    stating(stage, monkeypatch, a=stat(10, size=99))
    assert told(observe(stage)) == {"read": {"A": NO_NODE}, "missing": {F}}
