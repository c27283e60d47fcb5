"""One folder's engine: what the disk did becomes changesets, what others say becomes the disk's
next state.

Three trees of the same nodes: local (the disk, as observation finds it), synced (the rows' `base`)
and remote (the rows' `state`). A scan takes local into both others; `survey` and `apply` bring
synced to remote. The engine does no I/O: it awaits commands, and is told the time. One routine
runs at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from crypto.ids import NodeId
from crypto.keys import DeviceKeys
from peer.core.adoption import adopt
from peer.core.applying import Applied, Staged, apply_bases
from peer.core.batch import Batch
from peer.core.commands import Commit, LoadDirty, LoadRows, ReadFiles
from peer.core.compaction import TELL_AGAIN, Compaction
from peer.core.deeds import deeds_of
from peer.core.disk_types import FileRead, Path, Problem, ReadRequest, Stat, Trouble
from peer.core.half_done import forget_copies, take_up
from peer.core.lacking import add_parents, has_seen, with_copies, without
from peer.core.local_changes import (
    average_before,
    is_rewritten,
    link,
    record_files,
    record_structure,
    take_in,
)
from peer.core.observation import Entry, Observation, Observer, moved_on
from peer.core.relabelling import Author
from peer.core.removals import put_back, without_removed
from peer.core.rewinding import rewind
from peer.core.rows import Directories, Row
from peer.core.turn import Turn, is_directory
from peer.core.versions import SetAside, Version, ended_here
from protocol.changesets import Changeset
from protocol.errors import BadRecord, NewerForm
from protocol.log_outcomes import (
    Accepted,
    Fault,
    ForkProof,
    Gap,
    Held,
    Quarantined,
    Received,
    Refused,
)
from protocol.logs import LogBook
from protocol.nodes import (
    ROOT,
    Content,
    Kind,
    Node,
    copy_id,
    join,
    new_node_id,
    versions,
    winning_place,
)
from protocol.records import Records, Stamp, decode_records, encode_records

ACTS_AT_ONCE: Final = 2_000
"""Structural acts in one changeset: some 200 KB of records, a few ms to sign and seal."""
FIRST_PAGE: Final = (0, NodeId(b""))


@dataclass(slots=True)
class Scanned:
    """What a scan found out; contents are still to be read."""

    authored: list[Changeset] = field(default_factory=list)
    to_read: list[Entry] = field(default_factory=list)
    later: list[NodeId] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    listed: set[Path] = field(default_factory=set)
    held_deletions: int = 0
    """More deletions than the guard lets pass without a question; nothing was recorded."""
    missing: list[NodeId] = field(default_factory=list)
    """The items that they are of."""


@dataclass(slots=True)
class ReadBack:
    """What reading a batch of new and changed files came to."""

    authored: list[Changeset] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    again: list[Entry] = field(default_factory=list)
    """Files that were changing while they were read."""
    has_strays: bool = False
    """Something lies in a directory that is not shown any more: everything is to be looked at."""
    rewritten: list[Entry] = field(default_factory=list)
    """Those with new bytes in a file that was in sync."""
    data: dict[bytes, bytes] = field(default_factory=dict)
    """Small contents by whole-file hash, so that whoever asks next needs no second read."""


@dataclass(slots=True)
class Ingested:
    """What came of changesets from others."""

    accepted: int = 0
    nodes: list[NodeId] = field(default_factory=list)
    """Nodes whose replica changed, in the order of their records."""
    waiting: list[Held | Gap] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    forks: list[ForkProof] = field(default_factory=list)


class Need(NamedTuple):
    """Bytes that a node has to have before it can be shown."""

    node: NodeId
    content: Content
    owner: NodeId
    """The node whose record asks for it: the node itself, or the origin of a derived copy."""
    is_executable: bool = False


Lost = Callable[[NodeId, bytes], bool]
"""Whether bytes, given as the node and the hash that it needs, are with nobody, as it seems."""


def not_lost(node: NodeId, hash_: bytes) -> bool:
    """Everything may still come."""
    return False


@dataclass(slots=True)
class Survey:
    """A page of what the disk does not show yet."""

    ready: dict[NodeId, Node] = field(default_factory=dict)
    needs: list[Need] = field(default_factory=list)
    next_page: tuple[int, NodeId] | None = None
    lost: Lost = not_lost


class Engine:
    """The state of one folder on one device."""

    def __init__(
        self,
        directories: Directories,
        book: LogBook,
        keys: DeviceKeys,
        incarnation: bytes,
        label: str,
        random: Callable[[int], bytes],
    ) -> None:
        self.directories, self.book = directories, book
        self.keys, self.incarnation, self.label = keys, incarnation, label
        self.name = ""
        """The folder's name, as its members agreed; empty until it is known."""
        self.frontier = book.frontier()
        """How far the logs are durable here: what others may be told, unlike the book's own."""
        self.rewinds = 0
        """How often something was taken back that had counted."""
        self.keeps_versions, self.set_aside = False, SetAside()
        """Whether what is replaced or deleted is kept; and what a scan will find so, by item."""
        self.is_joining = False
        """What is new on this disk may be old: it is not known yet what others have."""
        self._has_looked = False
        """All of the disk was looked at since this run began."""
        self.random = random

    @property
    def needs_incarnation(self) -> bool:
        """Whether this device's log in the folder takes no more."""
        return self.book.is_closed(self.book.log_id(self.keys.device_id, self.incarnation))

    # ------------------------------------------------------------ from the disk

    async def scan(
        self,
        scope: Iterable[NodeId],
        is_recursive: bool,
        is_ignored: Callable[[Path, bool], bool],
        now_ns: int,
        deletions_max: Callable[[], int] | None = None,
    ) -> Scanned:
        """Compares these shown directories with the disk and records what was made, moved and
        deleted.
        """
        scope = [i for i in scope if i in self.directories.items]
        found = await self._observe(scope, is_recursive, is_ignored)
        if not self._has_looked and is_recursive and ROOT in scope:
            if not self.is_joining and await take_up(self.directories, found, now_ns):
                found = await self._observe(scope, is_recursive, is_ignored)
            if not self.is_joining and await forget_copies(self.directories, found):
                found = await self._observe(scope, is_recursive, is_ignored)
            self._has_looked = found.is_whole
        elif not self._has_looked:
            found.missing = []  # by a plan, perhaps: the look at everything is to come
        out = Scanned([], found.to_read, found.later, found.problems, found.listed)
        if deletions_max is not None and len(found.missing) > deletions_max():
            out.held_deletions = len(found.missing)
            out.missing, found.missing = found.missing, []
        await self._relink(found, now_ns)
        elsewhere = {e.item for e in found.moved}
        found.missing = await without_removed(self.directories, found.missing, elsewhere)
        missing = set(found.missing)
        acts = [(0, e) for e in found.new_directories] + [(1, e) for e in found.moved]
        for part in _parts(acts + [(2, i) for i in found.missing], ACTS_AT_ONCE):
            directories = [e for kind, e in part if kind == 0 and isinstance(e, Entry)]
            moved = [e for kind, e in part if kind == 1 and isinstance(e, Entry)]
            gone = [i for kind, i in part if kind == 2 and isinstance(i, bytes)]
            # Without a ctime, lest what was moved is not read after a crash either.
            links = [(e.item, e.stat._replace(ctime_ns=0)) for e in directories + moved]
            out.authored += await self._author(
                lambda batch, d=directories, m=moved, g=gone: record_structure(  # type: ignore[misc]
                    batch, d, m, [NodeId(i) for i in g], missing
                ),
                links,
                now_ns,
            )
        return out

    async def _observe(
        self, scope: Sequence[NodeId], is_recursive: bool, is_ignored: Callable[[Path, bool], bool]
    ) -> Observation:
        turn = Turn(self.directories, self.random)
        new_id = partial(new_node_id, Kind.DIRECTORY, self.random)
        return await Observer(turn, new_id, is_ignored, is_recursive).observe(scope)

    async def put_back(self, items: Sequence[NodeId]) -> None:
        """The disk shall show these items again: from here on they were never written to it."""
        await put_back(self.directories, items)

    async def adopt(self, now_ns: int) -> int:
        """Takes what the disk shows already for what it is; returns how many items."""
        return await adopt(self.directories, self.book, now_ns)

    async def _relink(self, found: Observation, now_ns: int) -> None:
        if not found.relinked:
            return
        turn = Turn(self.directories)
        for entry in found.relinked:
            await link(turn, entry.item, entry.stat, now_ns)
        await turn.finish()
        await Commit(turn.rows_to_store(), turn.rows_to_delete())
        turn.merge()

    async def read_back(
        self, entries: Sequence[Entry], now_ns: int, *, records_rewritten: bool = True
    ) -> ReadBack:
        """Reads new and changed files and records what is in them, as one changeset."""
        out = ReadBack()
        resident = self.directories
        known = [
            e._replace(parent=directory.item)  # another node may represent it since the scan
            for e in entries
            if (directory := resident.nodes.get(e.parent)) is not None and directory.item
        ]
        out.has_strays = len(known) < len(entries)
        rows = await LoadRows([e.item for e in known if e.item])
        out.again = await moved_on(known, rows, resident)
        entries = [e for e in known if e not in out.again]
        requests = [
            ReadRequest((*resident.path(e.parent), e.name), e.stat, average_before(row))
            for e, row in ((e, rows.get(e.item)) for e in entries)
        ]
        files: list[tuple[Entry, FileRead]] = []
        for entry, read in zip(entries, await ReadFiles(requests), strict=True):
            if isinstance(read, FileRead):
                files.append((entry, read))
                if read.data is not None and read.stat.kind == int(Kind.FILE):
                    out.data[read.file_hash] = read.data
            elif read.trouble is Trouble.CHANGING:
                out.again.append(entry)
            elif read.trouble is not Trouble.GONE:
                out.problems.append(read)
        out.rewritten = [e for e, read in files if is_rewritten(rows.get(e.item), read)]
        if not records_rewritten:
            files = [(e, read) for e, read in files if not is_rewritten(rows.get(e.item), read)]
        links: list[tuple[NodeId, Stat]] = []

        async def record(batch: Batch) -> None:
            links.extend(await record_files(batch, files, set()))

        if files:
            out.authored = await self._author(record, links, now_ns)
        return out

    async def _author(
        self,
        record: Callable[[Batch], Awaitable[None]],
        links: list[tuple[NodeId, Stat]],
        now_ns: int,
        is_scan_complete: bool = False,
    ) -> list[Changeset]:
        """One changeset of one's own: records, tree, signature, one durable commit."""
        draft = self.book.draft(self.keys.device_id, self.incarnation)
        slot = draft.slot
        stamp = Stamp(slot.log_id, slot.seq, slot.lamport)
        turn = Turn(self.directories, self.random)
        batch = Batch(turn, stamp, self.label, now_ns // 1_000_000_000)
        batch.is_of_unknown_age = self.is_joining
        batch.forks = self.book.forks()
        await record(batch)
        changesets: list[Changeset] = []
        if batch.delta or is_scan_complete:
            await take_in(batch)
            records = encode_records(
                batch.delta, batch.origins, stamp, self.label, batch.time_s, is_scan_complete
            )
            sealed = self.book.seal(self.keys, draft, records, self.random)
            self.book.accept(sealed)
            changesets.append(sealed.changeset)
        for node_id, stat in links:
            await link(turn, node_id, stat, now_ns)
        await turn.finish()
        over = ended_here(turn, batch.time_s, self.set_aside) if self.keeps_versions else ()
        await self._commit(turn, changesets, over)
        return changesets

    async def _commit(
        self, turn: Turn, changesets: Iterable[Changeset], over: Sequence[Version] = ()
    ) -> None:
        rows = self.book.take_changed()
        stored = [(c.log_id, c.slot.seq, c.hash, c.slot.lamport, c.wire) for c in changesets]
        changed = turn.rows_to_store(), turn.rows_to_delete()
        await Commit(*changed, stored, rows, ended=over, deeds=deeds_of(turn))
        self.frontier = self.book.frontier()
        turn.merge()

    async def name_folder(self, name: str, now_ns: int) -> list[Changeset]:
        """Writes the folder's name, which is the place of its root."""

        async def record(batch: Batch) -> None:
            await batch.turn.load([ROOT])
            await batch.place(ROOT, ROOT, name)
            self.name = name

        return await self._author(record, [], now_ns)

    # ------------------------------------------------------------ from others

    async def ingest(self, wires: Iterable[bytes]) -> Ingested:
        """Checks changesets and takes the good ones into the replica, in one durable commit."""
        out = Ingested()
        turn = Turn(self.directories)
        taken: list[Changeset] = []
        aside: list[Received] = []
        todo = [*wires, *self.book.take_ready()]
        while todo:
            for data in todo:
                received = self.book.receive(data)
                match received:
                    case Accepted():
                        await self._take(received, turn, taken, out)
                    case Held() | Gap():
                        out.waiting.append(received)
                    case Refused():
                        out.refused.append(received)
                    case ForkProof():
                        out.forks.append(received)
                        aside.append(received)
                    case Quarantined(changeset=changeset, fault=Fault.VOID):
                        taken.append(changeset)
                    case Quarantined():
                        aside.append(received)
            todo = self.book.take_ready()
        out.accepted = len(taken)
        if taken:
            await self._commit(turn, taken)
        out.nodes = [i for i, row in turn.rows.items() if i in turn.touched and row.is_dirty]
        aside += [r for r in out.refused if r.is_frozen]
        if aside or self.book.has_void_changes:
            await self._rewind(aside, out)
        return out

    async def _rewind(self, aside: Sequence[Received], out: Ingested) -> None:
        self.rewinds += 1
        # What comes back may stand below our floor only, where newcomers do not look for it.
        if self.book.floor_of(self.book.log_id(self.keys.device_id, self.incarnation))[0] > 1:
            await Commit(values=[(TELL_AGAIN, b"1")])
        author = Author(self.keys, self.incarnation, self.label, self.random)
        done = await rewind(self.directories, self.book, author, aside)
        self.incarnation, self.frontier = author.incarnation, self.book.frontier()
        await self.load_name()
        rest = await self.ingest(())  # what waited for the branch that counts
        out.accepted += done.accepted + rest.accepted
        out.nodes += done.nodes + rest.nodes
        out.waiting += done.waiting + rest.waiting
        out.refused += done.refused + rest.refused
        out.forks += rest.forks

    async def _take(
        self, accepted: Accepted, turn: Turn, taken: list[Changeset], out: Ingested
    ) -> None:
        changeset = accepted.changeset
        slot = changeset.slot
        stamp = Stamp(changeset.log_id, slot.seq, slot.lamport)
        try:
            records = decode_records(accepted.body.records, stamp, accepted.frontier)
        except (BadRecord, NewerForm) as error:
            out.refused.append(self.book.freeze(changeset, error))
            return
        await self._join(records, turn)
        self.book.accept(accepted)
        taken.append(changeset)

    async def _join(self, records: Records, turn: Turn) -> None:
        await turn.load(records.nodes)
        for node_id, node in records.nodes.items():
            row = turn.rows[node_id]
            joined = join(row.state, node)
            if joined == row.state:
                continue  # told again by a compaction: nothing to be stored
            row.state = joined
            turn.touched.add(node_id)
            if node_id == ROOT:
                self._note_name(row)
        for copy, origin in records.origins.items():
            if turn.rows[copy].origin != origin:
                turn.rows[copy].origin = origin
                turn.touched.add(copy)

    # ------------------------------------------------------------ its own log

    async def compact(self, work: Compaction) -> list[Changeset]:
        """The next changeset of a compaction of this device's log."""
        author = Author(self.keys, self.incarnation, self.label, self.random)
        authored = await work.step(self.book, author)
        self.frontier = self.book.frontier()
        return authored

    # ------------------------------------------------------------ to the disk

    async def survey(
        self,
        page: tuple[int, NodeId],
        limit: int,
        staged: Staged,
        lost: Lost = not_lost,
        held: Collection[NodeId] = (),
    ) -> Survey:
        """A page of nodes to be applied: those that can be, and the bytes that the others need.

        `lost`: bytes that nobody gives, as it seems. `held`: nodes that are left out, and with them
        what is to lie in them.
        """
        rows = await LoadDirty(page, limit)
        out = await self._survey(await without(self.directories, held, rows), staged, lost)
        if len(rows) == limit:
            last = rows[-1]
            out.next_page = (1 if is_directory(last.id) else 2, last.id)
        return out

    async def survey_nodes(
        self,
        ids: Sequence[NodeId],
        staged: Staged,
        lost: Lost = not_lost,
        held: Collection[NodeId] = (),
    ) -> Survey:
        """The same for some nodes, in their order."""
        rows = {i: row for i in ids if (row := self.directories.recent.get(i)) is not None}
        rows |= await LoadRows([i for i in ids if i not in rows])
        found = [rows[i] for i in dict.fromkeys(ids) if i in rows]
        dirty = [r for r in found if r.is_dirty]
        return await self._survey(await without(self.directories, held, dirty), staged, lost)

    async def _survey(self, rows: Sequence[Row], staged: Staged, lost: Lost) -> Survey:
        out, rows = Survey(lost=lost), await with_copies(rows)
        directories = {r.id: r for r in rows if is_directory(r.id)}
        await add_parents(self.directories, directories)
        for row in directories.values():
            out.ready[row.id] = row.state
        is_settled = self.directories.copies.__contains__ if self.directories.copies else None
        files = [
            (r, versions(r.id, r.state, is_settled) if r.state.places else [])
            for r in rows
            if not is_directory(r.id)
        ]
        losers = [copy_id(r.id, c) for r, contents in files for c in contents[1:]]
        copies = await LoadRows(losers) if losers else {}
        for row, contents in files:
            self._survey_file(row, contents, copies, staged, out)
        return out

    def _survey_file(
        self,
        row: Row,
        contents: Sequence[Content],
        copies: Mapping[NodeId, Row],
        staged: Staged,
        out: Survey,
    ) -> None:
        """What the file shows, and each conflict copy of it, has to be on the disk or staged: a
        copy is written before what it is a copy of is replaced.

        A copy whose bytes are not there yet does not hold up the others: the file is shown without
        it, as long as nothing of what the disk shows now is replaced by what had not seen it. Nor
        does the winner, if nobody gives its bytes.
        """
        state = row.state
        # As most are that have just come; a copy that had no record yet is on the disk already.
        if len(contents) == 1 and not row.synced.contents and not row.disk.inode:
            if (row.id, contents[0].hash) in staged:
                out.ready[row.id] = state
            else:
                out.needs.append(Need(row.id, contents[0], row.id, state.attributes.is_executable))
            return
        lacking = []
        for position, content in enumerate(contents):
            node_id, there = row.id, row
            if position > 0:
                node_id = copy_id(row.id, content)
                there = copies.get(node_id) or Row(node_id)
            is_there = there.disk.inode and there.shown.hash == content.hash
            if not is_there and (node_id, content.hash) not in staged:
                lacking.append((node_id, content))
        if not lacking:
            out.ready[row.id] = state
            return
        for node_id, content in lacking:
            is_executable = state.attributes.is_executable and node_id == row.id
            out.needs.append(Need(node_id, content, row.id, is_executable))
        absent = {content for _, content in lacking}
        partly = state._replace(contents=tuple(c for c in state.contents if c not in absent))
        node_id, content = lacking[0]
        has_another = len(lacking) < len(contents)
        can_wait = node_id != row.id or (has_another and out.lost(node_id, content.hash))
        if can_wait and has_seen(partly.contents, row.synced.contents, state):
            if partly != row.synced:
                out.ready[row.id] = partly
        elif row.synced.contents and row.shown.parent and row.synced.places != state.places:
            out.ready[row.id] = Node(state.places, row.synced.contents, state.attributes)

    async def apply(
        self, bases: dict[NodeId, Node], staged: Staged, now_s: int = 0
    ) -> tuple[Applied, list[Need]]:
        """Brings these records to the disk; the second value is bytes that turned out to be
        lacking.
        """
        keep_at_s = now_s if self.keeps_versions else None
        _, done = await apply_bases(self.directories, bases, staged, keep_at_s)
        needs = [
            Need(item, lack.content, lack.owner, lack.is_executable)
            for item, lack in done.unstaged.items()
        ]
        return done, needs

    def take_misnamed(self) -> list[NodeId]:
        """The nodes that are to be renamed on this disk without a record's saying so."""
        misnamed, self.directories.misnamed = list(self.directories.misnamed), {}
        return misnamed

    # ------------------------------------------------------------ look-ups

    def find(self, path: Path) -> tuple[NodeId, bool]:
        """The shown directory at a path, or the nearest above it; the second value says which."""
        resident = self.directories
        item = ROOT
        for name in path:
            below = next(
                (
                    resident.nodes[n].item
                    for member in resident.items[item].members
                    for ids in resident.nodes[member].subdirectories.values()
                    for n in ids
                    if resident.items[resident.nodes[n].item].name == name
                ),
                None,
            )
            if below is None:
                return item, False
            item = below
        return item, True

    async def path_of(self, item: NodeId) -> Path | None:
        """Where an item is shown; None when it is not, or another node represents it."""
        resident = self.directories
        if item in resident.items:
            return resident.path(item)
        row = (await LoadRows([item])).get(item)
        return resident.child_path(row.shown.parent, row.shown.name) if row is not None else None

    async def load_name(self) -> None:
        """Reads the folder's name back."""
        if (root := (await LoadRows([ROOT])).get(ROOT)) is not None:
            self._note_name(root)

    def _note_name(self, row: Row) -> None:
        if row.state.places:
            self.name = winning_place(row.state).name


def _parts(values: Sequence[object], size: int) -> Iterator[list[tuple[int, object]]]:
    for start in range(0, len(values), size):
        yield list(values[start : start + size])  # type: ignore[arg-type]
