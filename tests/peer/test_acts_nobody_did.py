"""What a scan must not tell: deletions and renames that no person made."""

from __future__ import annotations

from crypto.ids import NodeId
from peer.core.batch import Batch
from peer.core.disk_types import FileRead, Kind, Listing, Problem, Trouble
from peer.core.local_changes import record_files
from peer.core.observation import Entry, Observer
from protocol.nodes import NO_NODE, ROOT
from tests.peer.tree_stage import (
    TreeStage,
    X,
    Y,
    directory,
    directory_id,
    file,
    file_id,
    stat,
)

D = directory_id(1)
F, G, H = file_id(3), file_id(4), file_id(5)
MARK = "(conflict L 1970-01-01 0000)"


def missing(stage: TreeStage) -> list[NodeId]:
    observer = Observer(stage.turn(), lambda: NO_NODE, lambda path, is_directory: False, True)
    return stage.run(observer.observe([ROOT])).missing


def test_a_directory_whose_name_holds_something_unsyncable_is_not_deleted() -> None:
    """A fifo, a socket or a device in its place is listed as a problem: who sees it can say what
    is meant, and until then nobody loses what lay in the directory.
    """
    stage = TreeStage()
    folder = stat(20, Kind.DIRECTORY, size=0)
    stage.put({D: directory(ROOT, "d"), H: file(D, "c", X)}, {D: folder, H: stat(12)})
    fifo = Problem(("d",), "It is neither a file nor a directory nor a symlink.", Trouble.SPECIAL)
    stage.disk[()] = Listing((), 1, [], [fifo])
    assert missing(stage) == []
    stage.disk[()] = Listing((), 1, [], [])
    assert set(missing(stage)) == {D, H}


def edit(stage: TreeStage, item: NodeId, name: str, hash_: bytes) -> None:
    """A person saves these bytes into a file."""
    found = stat(9, size=6)
    read = FileRead((name,), found, hash_, [], None, 0)

    async def act(batch: Batch) -> None:
        await record_files(batch, [(Entry(ROOT, name, found, item), read)], set())

    stage.batch(act)


def test_saving_the_loser_s_bytes_into_the_winner_leaves_both() -> None:
    """Two files of one name and equal bytes are one: unsaid, the loser would go (MERGE 12)."""
    stage = TreeStage()
    stage.put(
        {F: file(name="a", hash_=X), G: file(name="a", hash_=Y, lamport=2)},
        {G: stat(9), F: stat(10)},
    )
    assert stage.tree() == {"a": G, f"a {MARK}": F}
    edit(stage, G, "a", X)
    assert stage.tree() == {"a": G, f"a {MARK}": F}


def test_saving_the_winner_s_bytes_into_the_loser_leaves_both() -> None:
    stage = TreeStage()
    stage.put(
        {F: file(name="a", hash_=X), G: file(name="a", hash_=Y, lamport=2)},
        {G: stat(10), F: stat(9)},
    )
    edit(stage, F, f"a {MARK}", Y)
    assert stage.tree() == {"a": G, f"a {MARK}": F}
