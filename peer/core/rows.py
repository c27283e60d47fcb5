"""One node as the index holds it, and the directories that stay in memory.

Files rest in SQLite and are loaded when something touches them; directories (a tenth of a folder,
and on everybody's path) are resident. `Row` joins the three trees of one node: `state` is remote
(the replica), `base` is synced (the records as this disk shows them), the disk facts are local as
last seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from crypto.ids import NodeId
from protocol.nodes import NO_NODE, NOTHING, ROOT, Content, Node, Place, winning_place

DISPLACED: Final = 1
"""Shown on every device under a name that its record does not have (MERGE 10)."""
FOLDED: Final = 2
"""The same, but only here, because this disk folds case (MERGE 11)."""
KEPT: Final = 4
"""A deleted directory, shown for the live things in it (MERGE 8)."""
DERIVED: Final = 8
"""A conflict copy that nobody has touched: it has no record, `base` is made up from its origin
(MERGE 5).
"""
HAS_COPIES: Final = 16
"""Derived copies of this node are shown."""
ADRIFT: Final = 32
"""Not under the parent that its record names (MERGE 9)."""
MISNAMED: Final = 64
"""It, or a derived copy of it, has to be renamed on this disk, though its record stays as it is: a
clash of folded case is over.
"""


class Shown(NamedTuple):
    """Where and how the synced tree shows a node; all empty when it does not."""

    parent: NodeId = NO_NODE
    """The directory node it lies in once cycles are broken; empty when not visible."""
    key: str = ""
    """What names in that directory are compared by."""
    item: NodeId = NO_NODE
    """The node that represents it: itself, or that of an equal file of this name (MERGE 10)."""
    name: str = ""
    """The name on disk; kept on the representative."""
    flags: int = 0
    hash: bytes = b""
    size: int = 0
    is_executable: bool = False
    mtime_ns: int = 0


class DiskFacts(NamedTuple):
    """What lstat said when the disk last was as the index says; inode 0 when it is not there.

    ctime_ns 0 marks a file that changed so shortly before it was read that a later write could
    carry the same timestamps: the next scan reads it again.
    """

    inode: int = 0
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0


class Facts(NamedTuple):
    """A row without its records, for comparing whole directories quickly: the first five fields are
    what a disk compares with what it finds (`disk_types.Known`).
    """

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    is_executable: bool
    name: str
    id: NodeId
    parent: NodeId

    @property
    def disk(self) -> DiskFacts:
        """What lstat said."""
        return DiskFacts(*self[:4])


RECENT_MAX: Final = 6_000
"""Rows kept decoded between turns, some 2 KB each."""
HIDDEN: Final = Shown()
NOT_THERE: Final = DiskFacts()


@dataclass(slots=True)
class Row:
    """Everything about one node."""

    id: NodeId
    state: Node = NOTHING
    base: Node = NOTHING
    origin: NodeId = NO_NODE
    shown: Shown = HIDDEN
    disk: DiskFacts = NOT_THERE
    stored: bool = False
    """It is in the index already."""
    encoded: tuple[Node, bytes] | None = field(default=None, compare=False, repr=False)
    """The replica's record as it was last encoded, and its bytes: it often goes to disk twice."""

    def copy(self) -> Row:
        """One that may be changed in its place."""
        return Row(
            self.id, self.state, self.base, self.origin, self.shown, self.disk, self.stored,
            self.encoded,
        )  # fmt: skip

    @property
    def is_derived(self) -> bool:
        """True for a conflict copy without a record of its own on this disk."""
        return bool(self.shown.flags & DERIVED)

    @property
    def synced(self) -> Node:
        """The record as this disk shows it: nothing for a derived copy."""
        return NOTHING if self.is_derived else self.base

    @property
    def is_dirty(self) -> bool:
        """The replica says something that the disk does not show yet."""
        flags = self.shown.flags
        base = NOTHING if flags & DERIVED else self.base
        return (base is not self.state and base != self.state) or bool(flags & MISNAMED)


@dataclass(slots=True)
class Directory:
    """A directory node of the synced tree."""

    id: NodeId
    base: Node
    place: Place | None
    parent: NodeId = NO_NODE
    name: str = ""
    is_adrift: bool = False
    children: int = 0
    """How many visible nodes lie in it."""
    counted_in: NodeId = NO_NODE
    """The directory that counts it as a visible child; empty while it is not visible."""
    counted_key: str = ""
    item: NodeId = NO_NODE
    subdirectories: dict[str, tuple[NodeId, ...]] = field(default_factory=dict)
    """Visible child directories by name key."""

    @property
    def is_live(self) -> bool:
        """Not deleted by its own record."""
        return self.place is not None and not self.place.is_deleted


@dataclass(slots=True)
class Item:
    """A directory as shown: one node, or several of one name."""

    id: NodeId
    members: tuple[NodeId, ...]
    parent: NodeId
    name: str
    flags: int = 0
    inode: int = 0
    crowded: frozenset[str] = frozenset()
    """Name keys in it under which something is not shown by its own name."""


class Directories:
    """All directories of one folder's synced tree, and the few facts that concern the whole."""

    def __init__(self, folds_case: bool = False) -> None:
        self.folds_case = folds_case
        root = Directory(ROOT, NOTHING, None, item=ROOT, counted_in=ROOT)
        self.nodes: dict[NodeId, Directory] = {ROOT: root}
        self.items: dict[NodeId, Item] = {ROOT: Item(ROOT, (ROOT,), NO_NODE, "")}
        self.copies: set[NodeId] = set()
        """Conflict copies that have a record in the synced tree."""
        self.adrift: set[NodeId] = set()
        self.orphans: dict[NodeId, set[NodeId]] = {}
        """Unknown parent -> nodes whose records name it."""
        self.by_inode: dict[int, NodeId] = {}
        self.recent: dict[NodeId, Row] = {}
        """Rows that are soon wanted again: what is known and not yet on the disk. Never changed in
        place.
        """
        self.misnamed: dict[NodeId, None] = {}
        """Nodes that were marked as such since the engine was last asked for them."""

    def remember(self, row: Row) -> None:
        """Keeps a row that was just committed, as long as it is to be applied."""
        if not row.is_dirty:
            self.recent.pop(row.id, None)
            return
        if len(self.recent) < RECENT_MAX or row.id in self.recent:  # the oldest are wanted first
            self.recent[row.id] = row

    def path(self, item_id: NodeId) -> tuple[str, ...]:
        """The names from the folder's root down to this shown directory."""
        names: list[str] = []
        while item_id != ROOT:
            item = self.items[item_id]
            names.append(item.name)
            item_id = item.parent
        return tuple(reversed(names))

    def child_path(self, parent: NodeId, name: str) -> tuple[str, ...] | None:
        """The path of this name in a directory node; None when the node is not visible."""
        directory = self.nodes.get(parent)
        if directory is None or not directory.item or not name:
            return None
        return (*self.path(directory.item), name)


def content_of(node: Node, hash_: bytes) -> Content | None:
    """The write of the node that has these bytes, if any."""
    return next((content for content in node.contents if content.hash == hash_), None)


def place_of(node: Node) -> Place | None:
    """The winning place, if the node has any."""
    return winning_place(node) if node.places else None
