"""Bugs to be planted one at a time into a copy of the sources, for `tests.sabotage`.

Each was chosen before it was known whether a test notices it, and stays in the list if none does.
Its old text is in its file exactly once (`tests/test_sabotage.py`); it names few tests, all of them
of the ordinary run.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Bug(NamedTuple):
    """One planted bug."""

    id: str
    row: str
    """The goal it breaks (1: nothing is lost, 2: nobody gets in), and the row of the tables of
    faults, attacks or merge rules that it belongs to."""
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    """Where it is expected to be noticed: below `tests/`."""


BUGS: Final = (
    # ------------------------------------------------------------ what is durable, and when
    Bug(
        "skip-fsync", "1 F03", "a staged file's bytes are not synced",
        "peer/durability.py",
        "    try:\n        full_sync(fd)\n    finally:",
        "    try:\n        pass\n    finally:",
        ("peer/test_durability.py", "peer/test_staging.py"),
    ),
    Bug(
        "skip-syncfs", "1 F03", "many staged files are taken for durable without a syncfs",
        "peer/durability.py",
        "            syscalls.syncfs(root_fd)\n            return",
        "            return",
        ("peer/test_durability.py", "peer/test_staging.py"),
    ),
    Bug(
        "fsync-again", "1 F04", "an fsync that failed is tried again, and believed",
        "peer/durability.py",
        "    else:\n        os.fsync(fd)",
        "    else:\n        try:\n            os.fsync(fd)\n        except OSError:\n"
        "            os.fsync(fd)",
        ("peer/test_durability.py", "peer/test_staging.py", "peer/test_order_of_writing.py"),
    ),
    Bug(
        "failed-round-forgotten", "1 F04", "after a failed round its files are used all the same",
        "peer/staging.py",
        "            self._files.clear()\n            raise",
        "            return",
        ("peer/test_staging.py", "peer/test_durability.py"),
    ),
    Bug(
        "publish-before-sync", "1 F03", "files are published in a step that synced nothing",
        "peer/applying.py",
        "        await SyncStaged()",
        "        pass",
        ("peer/test_applying.py",),
    ),
    Bug(
        "round-of-nothing", "1 F03", "the durability round leaves all files out",
        "peer/staging.py",
        "incoming_fd, sorted(self._unsynced))",
        "incoming_fd, [])",
        ("peer/test_staging.py",),
    ),
    Bug(
        "directory-not-synced", "1 F03", "the index is ahead of what is durable in directories",
        "peer/performing.py",
        "        self.disk.sync_directories(sorted(touched))\n",
        "",
        (
            "peer/test_performing.py",
            "peer/test_applying.py",
            "peer/test_engine.py",
            "peer/test_order_of_writing.py",
        ),
    ),
    Bug(
        "trash-not-synced", "1 F03", "what was kept in the trash is gone after a power cut",
        "peer/disk.py",
        "[*trash, *paths]",
        "paths",
        ("peer/test_disk.py", "peer/test_writer.py"),
    ),
    Bug(
        "commit-before-rename", "1 F01", "the index says what the disk does not show yet",
        "peer/applying.py",
        "    failed, stats = await _carry_out(steps, done)",
        "    await Commit(turn.rows_to_store(), turn.rows_to_delete())\n"
        "    failed, stats = await _carry_out(steps, done)",
        ("peer/test_applying.py", "peer/test_engine.py"),
    ),
    Bug(
        "index-not-full", "1 F05", "a commit of the index may be gone after a power cut",
        "peer/index_store.py",
        '"synchronous = FULL"',
        '"synchronous = NORMAL"',
        ("peer/test_index_store.py", "peer/test_order_of_writing.py"),
    ),
    Bug(
        "home-not-full", "1 F05", "a commit of the home's database may be gone after a power cut",
        "peer/home_store.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        ("peer/test_home_store.py", "peer/test_home.py", "peer/test_order_of_writing.py"),
    ),
    Bug(
        "small-file-not-synced", "1 F03", "key, configuration and generation are renamed unsynced",
        "peer/small_file.py",
        "            os.fsync(file.fileno())\n",
        "",
        ("peer/test_small_file.py", "peer/test_generation.py"),
    ),
    Bug(
        "told-before-durable", "1 F05", "the frontier that others are told runs ahead of the index",
        "peer/engine.py",
        "        await Commit(*changed, stored,",
        "        self.frontier = self.book.frontier()\n"
        "        await Commit(*changed, stored,",
        ("peer/test_engine.py",),
    ),
    Bug(
        "acknowledged-on-arrival", "1 F05", "changesets are acknowledged before they are committed",
        "peer/folder.py",
        "        self._inbox.append((wires, origin, batch))\n",
        "        self._inbox.append((wires, origin, batch))\n"
        "        from protocol.changesets import decode_changeset\n"
        "        seen = []\n"
        "        for wire in wires:\n"
        "            with contextlib.suppress(Exception):\n"
        "                seen.append(decode_changeset(wire))\n"
        "        entries = [FrontierEntry(s.log_id, s.slot.seq, s.hash) for s in seen]\n"
        "        self.neighbours.acknowledge(self.folder_id, origin, batch, entries)\n",
        ("peer/test_folder.py",),
    ),
    Bug(
        "acknowledged-uncommitted", "1 F05", "changesets are acknowledged though the commit failed",
        "peer/folder.py",
        "            ingested = await self.drive(self.engine.ingest(wires))\n",
        "            try:\n"
        "                ingested = await self.drive(self.engine.ingest(wires))\n"
        "            except sqlite3.OperationalError:\n"
        "                held = self.engine.book.frontier()\n"
        "                self.neighbours.acknowledge(self.folder_id, origin, batch, held)\n"
        "                raise\n",
        ("peer/test_folder.py",),
    ),
    Bug(
        "half-a-transaction", "1 F01", "an error in the middle of a commit keeps its first half",
        "peer/transaction.py",
        'db.execute_fetchall("ROLLBACK")',
        'db.execute_fetchall("COMMIT")',
        ("peer/test_transaction.py", "peer/test_index_store.py", "peer/test_home_store.py"),
    ),
    # ------------------------------------------------------------ what a person saved meanwhile
    Bug(
        "replaced-unseen", "1 F20", "what a publish displaced is not looked at",
        "peer/writer.py",
        "        if not is_unchanged(self._now(expected), displaced, is_renamed=True):",
        "        if displaced is None:",
        ("peer/test_writer.py",),
    ),
    Bug(
        "removed-unseen", "1 F20", "what a removal took away is not looked at",
        "peer/writer.py",
        "        moved = self._directories.look(trash_fd, trash_name)\n"
        "        if not is_unchanged(self._now(expected), moved, is_renamed=True):",
        "        moved = self._directories.look(trash_fd, trash_name)\n"
        "        if moved is None:",
        ("peer/test_writer.py",),
    ),
    Bug(
        "expected-not-compared", "1 F20", "a target that was saved since the plan is replaced",
        "peer/writer.py",
        "        if not is_unchanged(self._now(expected), actual, is_renamed=is_renamed):",
        "        if actual.kind is not expected.kind:",
        ("peer/test_writer.py", "peer/test_applying.py"),
    ),
    Bug(
        "ctime-not-expected", "1 F20", "a save that keeps size and mtime is replaced",
        "peer/disk_types.py",
        "(is_renamed or expected.ctime_ns == actual.ctime_ns)",
        "True",
        ("peer/test_disk_types.py", "peer/test_writer.py"),
    ),
    Bug(
        "ctime-ignored", "1 F20", "a scan passes over an edit that keeps size and mtime",
        "peer/observation.py",
        "                stat.inode, stat.size, stat.mtime_ns, stat.ctime_ns\n",
        "                stat.inode, stat.size, stat.mtime_ns, fact.disk.ctime_ns\n",
        ("peer/test_observation.py",),
    ),
    Bug(
        "racy-trusted", "1 F22", "an edit within one tick of the clock is passed over",
        "peer/local_changes.py",
        "0 if is_racy else ctime_ns",
        "ctime_ns",
        ("peer/test_local_changes.py",),
    ),
    Bug(
        "half-saved-read", "1 F21", "a file that changed while it was read is recorded",
        "peer/reader.py",
        "if size != before.size or to_stat(os.fstat(fd)) != before:",
        "if size != before.size:",
        ("peer/test_reader.py",),
    ),
    Bug(
        "found-meanwhile-undone", "1 F20", "applying undoes what a scan found meanwhile",
        "peer/applying.py",
        "next_base(turn.rows[i], node)",
        "node",
        ("peer/test_applying.py",),
    ),
    Bug(
        "parked-stays", "1 F01", "what was parked and could not go on is not put back",
        "peer/applying.py",
        "        await _unpark(move, stat, done)",
        "        pass",
        ("peer/test_applying.py",),
    ),
    Bug(
        "parked-at-start-stays", "1 F01", "what a crash left parked is not put back at the start",
        "peer/folder.py",
        "        await self._performer.unpark(\n"
        "            lambda item: self.drive(self.engine.path_of(item)), self.engine.label\n"
        "        )\n",
        "",
        ("peer/test_performing.py", "peer/test_folder.py"),
    ),
    Bug(
        "trash-emptied-blindly", "1 F01", "what was saved into the trash during a crash is deleted",
        "peer/performing.py",
        "            if stat.inode == new_inode or (",
        "            if True or (",
        ("peer/test_performing.py",),
    ),
    Bug(
        "half-file-left", "1 F06", "a file that the disk had no room for stays in part",
        "peer/staging.py",
        "                _unlink(incoming_fd, file.temp_name)\n"
        "                results.append(",
        "                results.append(",
        ("peer/test_staging.py",),
    ),
    Bug(
        "short-write", "1 F06", "what one write call did not take is left out",
        "peer/staging.py",
        "                    write_all(fd, memoryview(file.data)[written:], written)",
        "                    pass",
        ("peer/test_staging.py",),
    ),
    Bug(
        "free-space-ignored", "1 F06", "the space that has to stay free is used up",
        "peer/fetcher.py",
        "            if need.content.size > room:",
        "            if need.content.size > free:",
        ("peer/test_fetcher.py",),
    ),
    Bug(
        "never-tried-again", "1 F06", "what the disk had no room for once is never tried again",
        "peer/fetcher.py",
        "        self.unavailable.clear()\n        self.problems.clear()",
        "        self.unavailable.clear()",
        ("peer/test_fetcher.py", "peer/test_trying_again.py"),
    ),
    # ------------------------------------------------------------ deletions that nobody meant
    Bug(
        "ignored-is-gone", "1 F37", "what the rules leave out since today is told as deleted",
        "peer/observation.py",
        "            if name not in kept and not self.is_ignored((*path, name), False):",
        "            if name not in kept:",
        ("peer/test_observation.py",),
    ),
    Bug(
        "unreadable-is-gone", "1 F07", "a directory whose name has a problem is told as deleted",
        "peer/observation.py",
        "            if name not in kept and not self.is_ignored((*path, name), True):",
        "            if not self.is_ignored((*path, name), True):",
        ("peer/test_observation.py", "peer/test_acts_nobody_did.py"),
    ),
    Bug(
        "guard-asleep", "1 F37", "any number of deletions passes without a question",
        "peer/engine.py",
        "        if deletions_max is not None and len(found.missing) > deletions_max():",
        "        if deletions_max is not None and deletions_max() < 0:",
        ("peer/test_engine.py",),
    ),
    Bug(
        "disk-not-there", "1 F37", "an unmounted disk is scanned as an empty folder",
        "peer/intake.py",
        "                raise DiskGone",
        "                pass",
        ("peer/test_folder.py",),
    ),
    Bug(
        "ignore-inverted", "1 F37", "files match the ignore rules when they do not",
        "peer/ignore.py",
        '        return spec.match_file("/".join(path))',
        '        return not spec.match_file("/".join(path))',
        ("peer/test_ignore.py",),
    ),
    # ------------------------------------------------------------ merging
    Bug(
        "content-by-clock", "1 F15", "of two edits the one with the later clock wins",
        "protocol/nodes.py",
        "        return (self.lamport, self.author, self)",
        "        return (self.time_s, self.lamport, self.author, self)",
        ("protocol/test_nodes.py", "protocol/test_clocks.py"),
    ),
    Bug(
        "place-by-clock", "1 F22", "of two renames the one with the later clock wins",
        "protocol/nodes.py",
        "        return (self.rank, self.lamport, self.author, self)",
        "        return (self.rank, self.time_s, self.lamport, self.author, self)",
        ("protocol/test_nodes.py", "protocol/test_clocks.py"),
    ),
    Bug(
        "copy-dropped", "1 M5", "the loser of two edits is not shown as a conflict copy",
        "protocol/nodes.py",
        "    return live[:1] + [c for c in live[1:] if c.hash != live[0].hash]",
        "    return live[:1]",
        ("protocol/test_nodes.py", "peer/test_engine.py"),
    ),
    Bug(
        "same-by-size", "1 M5", "two edits of equal length are taken for the same bytes",
        "protocol/nodes.py",
        "    return live[:1] + [c for c in live[1:] if c.hash != live[0].hash]",
        "    return live[:1] + [c for c in live[1:] if c.size != live[0].size]",
        ("protocol/test_nodes.py", "peer/test_engine.py"),
    ),
    Bug(
        "copy-not-kept", "1 M5", "who edits the original makes its conflict copies vanish",
        "peer/batch.py",
        "                await self._keep(turn.rows[loser])",
        "                pass",
        ("peer/test_batch.py",),
    ),
    Bug(
        "vector-of-replica", "1 M4", "an edit says that it has seen what the disk did not show",
        "peer/batch.py",
        "        node = self.turn.rows[node_id].base\n",
        "        node = self.turn.rows[node_id].state\n",
        ("peer/test_batch.py",),
    ),
    Bug(
        "deletion-without-saw", "1 M7", "a deletion does not say which contents it deletes",
        "peer/batch.py",
        "            saw = vv.join(saw, *(c.vector for c in node.contents))\n",
        "",
        ("peer/test_batch.py",),
    ),
    Bug(
        "deletion-of-all", "1 F16", "a deletion takes along an edit that its author had not seen",
        "protocol/nodes.py",
        "    live = [c for c in contents if not vv.is_within(c.vector, gone)] if gone else",
        "    live = [] if winning_place(node).is_deleted else",
        ("protocol/test_nodes.py", "peer/test_tree.py"),
    ),
    Bug(
        "names-not-settled", "1 M12", "a deletion renames what it had displaced, everywhere",
        "peer/local_changes.py",
        "    await batch.keep_as_shown(left - {NO_NODE}, gone_from, all_missing, arrived)",
        "    pass",
        ("peer/test_batch.py", "peer/test_local_changes.py"),
    ),
    Bug(
        "names-not-settled-by-edit", "1 M12", "an edit renames what the file had displaced",
        "peer/local_changes.py",
        "    await batch.keep_as_shown(left - {NO_NODE}, (), all_missing, arrived)",
        "    pass",
        ("peer/test_batch.py", "peer/test_local_changes.py", "peer/test_acts_nobody_did.py"),
    ),
    Bug(
        "oldest-edge", "1 F18", "of a cycle the edge that stood longest gives way",
        "peer/tree.py",
        "            loser = max(cycle, key=age)",
        "            loser = min(cycle, key=age)",
        ("peer/test_tree.py",),
    ),
    Bug(
        "old-copy-wins", "1 F09", "what a joining disk held before is told as new",
        "peer/batch.py",
        "return 0 if self.is_of_unknown_age and not seen else self.stamp.lamport",
        "return self.stamp.lamport",
        ("peer/test_batch.py", "peer/test_adoption.py"),
    ),
    # ------------------------------------------------------------ logs
    Bug(
        "head-twice", "1 F12", "a changeset that came already is taken once more",
        "protocol/logs.py",
        "        if slot.seq <= log.seq:",
        "        if slot.seq < log.seq:",
        ("protocol/test_logs.py", "peer/test_engine.py"),
    ),
    Bug(
        "no-incarnation-at-home", "1 F31", "a restored home goes on in its old log",
        "peer/home.py",
        "        if beside != self.generation:",
        "        if beside < 0:",
        ("peer/test_home.py",),
    ),
    Bug(
        "no-incarnation-by-peers", "1 F31", "that others hold more of the own log is not noticed",
        "peer/folder.py",
        "            self.needs_incarnation = True",
        "            pass",
        ("peer/test_network.py",),
    ),
    Bug(
        "fork-not-noticed", "2 A14", "two changesets at one position are no fork",
        "protocol/logs.py",
        "            return self._later_on_branch(changeset, log)"
        " or self._forked(changeset, log, ours)",
        "            return Duplicate(position)",
        ("protocol/test_logs.py",),
    ),
    Bug(
        "fork-by-arrival", "2 A14", "of a forked log each replica keeps what came first",
        "protocol/logs.py",
        "        is_theirs_counting = changeset.hash < ours",
        "        is_theirs_counting = False",
        ("protocol/test_logs.py",),
    ),
    Bug(
        "lamport-unbounded", "2 A14", "a member wins for ever by a time of its choice",
        "protocol/log_checks.py",
        "    if not 1 + hard <= slot.lamport <= max(1 + hard, min(1 + soft, count)):",
        "    if not 1 + hard <= slot.lamport:",
        ("protocol/test_log_checks.py", "protocol/test_logs.py"),
    ),
    Bug(
        "vector-unbounded", "2 A14", "a write says that it has seen what its author cannot have",
        "protocol/records.py",
        "            if seq > known:\n",
        "            if seq < 0:\n",
        ("protocol/test_records.py",),
    ),
    Bug(
        "floor-sinks", "2 A12", "an older state than the one that was held is accepted",
        "peer/floor.py",
        "Mark(max(seq, wanted.get(log_id, 0)), source)",
        "Mark(seq, source)",
        ("peer/test_floor.py",),
    ),
    Bug(
        "floor-too-early", "1 F01", "a floor is raised before all below it is told again",
        "peer/compaction.py",
        "self.floor if is_last else 0",
        "self.floor",
        ("peer/test_compaction.py::test_a_compaction_is_told_in_pieces_and_ends_with_the_floor",),
    ),
    Bug(
        "losers-dropped", "1 F15", "a compaction tells no loser of a conflict again",
        "peer/compaction.py",
        "c for c in state.contents if",
        "c for c in sorted(state.contents, key=Content.key)[-1:] if",
        ("peer/test_compaction.py::test_the_losers_of_a_conflict_and_tombstones_are_told_again",),
    ),
    Bug(
        "kept-too-short", "1 F17", "what a removal may bring back goes at once",
        "peer/retention.py",
        "if note.since_s + keep_s <= now_s",
        "if note.since_s <= now_s",
        ("peer/test_retention.py",),
    ),
    Bug(
        "floor-of-nobody", "2 A12", "what somebody declares after a removal is taken for a floor",
        "protocol/log_positions.py",
        "last = self.void_from - 1 if self.void_from else self.seq",
        "last = self.seq",
        ("protocol/test_log_positions.py", "protocol/test_logs.py"),
    ),
    # ------------------------------------------------------------ bytes on their way
    Bug(
        "chunk-not-verified", "2 A07", "what a peer sends for a chunk is written unseen",
        "peer/fetcher.py",
        "            if self._hasher.chunk_id(data) != chunk.chunk_id:",
        "            if len(data) != chunk.plain_length:",
        ("peer/test_fetcher.py",),
    ),
    Bug(
        "served-unseen", "1 F10", "what lies where a chunk was is given for it",
        "peer/serving.py",
        "                if self._hasher.chunk_id(data) == place.id:",
        "                if data:",
        ("peer/test_serving.py",),
    ),
    Bug(
        "copied-unseen", "1 F10", "what lies where a chunk was is copied for it",
        "peer/fetcher.py",
        "            for chunk_id in not_as_named(staged, job.copied):",
        "            for chunk_id in list(job.copied)[:0]:",
        ("peer/test_fetcher.py",),
    ),
    Bug(
        "whole-not-hashed", "2 A08", "a record whose chunks are another file is published",
        "peer/fetcher.py",
        "            if staged.file_hash() == job.content.hash:",
        "            if staged.file_hash():",
        ("peer/test_fetcher.py",),
    ),
    Bug(
        "retry-forgets", "1 F11", "what a lost peer was asked for is asked of nobody",
        "protocol/transfers.py",
        "        self._folders[ask.folder_id].put_back(chunk_ids)",
        "        pass",
        ("protocol/test_transfers.py",),
    ),
    Bug(
        "offered-once", "1 F12", "changesets that were not taken are not offered again",
        "protocol/folder_exchange.py",
        "        for log_id in list(self._sent):\n            del self._sent[log_id]\n",
        "        for log_id in list(self._sent):\n",
        ("protocol/test_folder_exchange.py", "protocol/test_session.py"),
    ),
    # ------------------------------------------------------------ who may
    Bug(
        "signature-not-checked", "2 A10", "a changeset counts whoever signed it",
        "protocol/logs.py",
        '            raise BadSignature("a changeset is not signed by its device") from None',
        "            pass",
        ("protocol/test_logs.py",),
    ),
    Bug(
        "entry-not-signed", "2 A10", "a ledger entry counts whoever signed it",
        "protocol/ledger.py",
        '            raise BadSignature("a ledger entry is not signed by its author") from None',
        "            pass",
        ("protocol/test_ledger.py",),
    ),
    Bug(
        "role-not-checked", "2 A20", "who may only read writes",
        "protocol/logs.py",
        "        if state.role_of_device(slot.device_id) < Role.WRITE:",
        "        if state.role_of_device(slot.device_id) < Role.READ:",
        ("protocol/test_logs.py",),
    ),
    Bug(
        "epoch-not-covering", "2 A18", "what is sealed under a removed member's epoch is accepted",
        "protocol/logs.py",
        "        if not self._ledger.is_covering(slot.epoch_id, slot.heads):",
        "        if not self._ledger.is_epoch(slot.epoch_id):",
        ("protocol/test_logs.py",),
    ),
    Bug(
        "removal-covers", "2 A18", "an epoch covers a removal that its author did not know of",
        "protocol/folder_ledger.py",
        "        if self._cutting(state) & ~known:",
        "        if self._cutting(state) < 0:",
        ("protocol/test_folder_ledger.py",),
    ),
    Bug(
        "pin-without-hash", "2 A19", "another branch passes at the position that is pinned",
        "protocol/logs.py",
        "                return hash_ == pin.hash\n",
        "                return True\n",
        ("protocol/test_logs.py", "peer/test_rewinding.py", "protocol/test_pins.py"),
    ),
    Bug(
        "pinned-branch-not-compared", "2 A19", "another branch passes below the pin",
        "protocol/logs.py",
        "            return pinned is None or pinned == pin.hash",
        "            return True",
        ("protocol/test_logs.py", "peer/test_rewinding.py", "protocol/test_pins.py"),
    ),
    Bug(
        "grant-beats-removal", "2 A21", "a concurrent grant brings a removed member back",
        "protocol/membership.py",
        "                    all(self.facts.is_before(act, grant) for act in against)\n",
        "                    not any(self.facts.is_before(grant, act) for act in against)\n",
        ("protocol/test_membership.py",),
    ),
    Bug(
        "revoked-let-in", "2 A18", "a revoked device of the folder still gets a link",
        "peer/ledgers.py",
        "                if found is not None and device_id in"
        " self.users[found[0]].live_devices():",
        "                if found is not None:",
        ("peer/test_ledgers.py", "peer/test_network.py"),
    ),
    Bug(
        "revoked-kept", "2 A18", "a device that is revoked keeps the link that it has",
        "peer/network.py",
        '                connection.close(ErrorCode.NOT_ENTITLED, "the device was removed")\n',
        "",
        ("peer/test_network.py",),
    ),
    Bug(
        "member-not-asked", "2 A20", "who is not in a folder is told of it and heard",
        "peer/network.py",
        "        return self.folders.get(folder_id) if is_member else None",
        "        return self.folders.get(folder_id) if is_member is not None else None",
        ("peer/test_network.py", "peer/test_out_of_the_folder.py"),
    ),
    Bug(
        "proof-not-checked", "2 A25", "a caller need not have the key that it names",
        "protocol/handshake.py",
        "            verify_proof(client.sign_pk, signature, self._t, self._accept)\n",
        "            pass\n",
        ("protocol/test_handshake.py",),
    ),
    Bug(
        "server-not-checked", "2 A25", "whoever answers is taken for the device that was dialled",
        "protocol/handshake.py",
        "            verify_accept(server.sign_pk, signature, t)\n",
        "            pass\n",
        ("protocol/test_handshake.py",),
    ),
    Bug(
        "tries-not-counted", "2 A24", "a code can be guessed as often as one likes",
        "protocol/invitations.py",
        "        self.tries_left -= 1\n",
        "",
        ("protocol/test_invitations.py", "protocol/test_pairing.py"),
    ),
    Bug(
        "invitation-for-ever", "2 A24", "an invitation does not expire",
        "protocol/invitations.py",
        "        return not self.is_won and self.tries_left > 0 and now < self.expires_at",
        "        return not self.is_won and self.tries_left > 0",
        ("protocol/test_invitations.py", "protocol/test_pairing.py"),
    ),
    Bug(
        "confirmation-not-checked", "2 A24", "any code pairs",
        "protocol/pairing.py",
        "        key.check_confirmation(side, transcript, received)\n",
        "        pass\n",
        ("protocol/test_pairing.py",),
    ),
    # ------------------------------------------------------------ ciphers and parsers
    Bug(
        "nonce-of-randomness", "2 A06", "a machine that repeats its randomness repeats a nonce",
        "crypto/primitives.py",
        '    nonce = derive(derive(key, "nonce"), label, random32, plaintext, size=NONCE_SIZE)',
        "    nonce = random32[:NONCE_SIZE]",
        ("crypto/test_primitives.py",),
    ),
    Bug(
        "padding-not-checked", "2 A09", "the padding of a changeset may hold anything",
        "crypto/changesets.py",
        "    if padded.count(0, end) != len(padded) - end:",
        "    if end < 0:",
        ("crypto/test_changesets.py",),
    ),
    Bug(
        "chunk-of-another-id", "2 A08", "a member seals another content under a chunk's id",
        "crypto/chunks.py",
        "    if not is_equal(hasher.chunk_id(data), chunk_id):",
        "    if len(data) != chunk.plain_len:",
        ("crypto/test_chunks.py",),
    ),
    Bug(
        "bomb", "2 A31", "a compressed chunk grows beyond what it announced",
        "crypto/compression.py",
        "        if zstd.get_frame_info(data).decompressed_size != plain_len:\n"
        "            raise OpenError\n",
        "",
        ("crypto/test_compression.py",),
    ),
    Bug(
        "frame-unbounded", "2 A33", "a frame may be as long as its header says",
        "protocol/wire.py",
        "        if length > self.length_max:\n            raise TooLong",
        "        if length < 0:\n            raise TooLong",
        ("protocol/test_wire.py",),
    ),
    Bug(
        "window-by-offset", "2 A28", "a QUIC window grows with the offsets that a sender names",
        "protocol/quic.py",
        "        value = stream.receiver.starting_offset() + self._window",
        "        value = stream.receiver.highest_offset + self._window",
        ("protocol/test_quic.py", "protocol/test_stream_windows.py"),
    ),
    # ------------------------------------------------------------ the receiving disk
    Bug(
        "name-not-checked", "2 A34", "a record may name a file `..`",
        "protocol/records.py",
        "    check_name(place.name)\n",
        "",
        ("protocol/test_records.py",),
    ),
    Bug(
        "symlink-read", "2 A35", "a symlink in a file's place is followed and read",
        "peer/reader.py",
        "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_RDONLY | os.O_NONBLOCK",
        ("peer/test_reader.py", "peer/test_serving.py"),
    ),
    Bug(
        "symlink-walked", "2 A35", "a directory is reached through a symlink",
        "peer/syscalls.py",
        "    _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS,",
        "    0,",
        ("peer/test_directories.py", "peer/test_syscalls.py"),
    ),
    Bug(
        "symlink-walked-slowly", "2 A35", "the same where the kernel has no openat2",
        "peer/directories.py",
        "os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
        "os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC",
        ("peer/test_directories.py",),
    ),
    Bug(
        "symlink-out", "2 A35", "a symlink that leads out of the folder is made",
        "peer/writer.py",
        "        if staged.kind is Kind.SYMLINK and not self._may_links_leave:",
        "        if staged.kind is Kind.SYMLINK and self._may_links_leave:",
        ("peer/test_writer.py",),
    ),
    Bug(
        "setuid", "2 A35", "bits of the mode beyond the permissions are kept",
        "peer/writer.py",
        "            mode = status.st_mode & 0o777",
        "            mode = status.st_mode & 0o7777",
        ("peer/test_writer.py",),
    ),
    # ------------------------------------------------------------ wiring, and what is left
    Bug(
        "rules-not-read-again", "1 F37", "a changed ignore file counts from the next full scan on",
        "peer/intake.py",
        "            if not directory and IGNORE_FILE in names:",
        "            if directory and IGNORE_FILE in names:",
        ("peer/test_intake.py",),
    ),
    Bug(
        "overflow-missed", "1 F37", "what a queue of events that overflowed held is not looked for",
        "peer/intake.py",
        "        if hints.has_overflowed or hints.is_root_gone:",
        "        if hints.is_root_gone:",
        ("peer/test_intake.py",),
    ),
    Bug(
        "refused-for-good", "1 F20", "what the disk refused once is not tried again",
        "peer/delivery.py",
        "            self._retry_at = min(self._retry_at, now + RETRY_SOON_S)",
        "            pass",
        ("peer/test_delivery.py",),
    ),
    Bug(
        "not-looked-at-again", "1 F20", "a directory that was not as planned is not scanned",
        "peer/delivery.py",
        "        for path in sorted(applied.look_again):\n"
        "            self._hinting.add(path, False, now)\n",
        "",
        ("peer/test_delivery.py",),
    ),
    Bug(
        "guard-bypassed", "1 F37", "held deletions pass in small numbers",
        "peer/deletion_guard.py",
        "        return self._pass_max() if is_full or not self.held else 0",
        "        return self._pass_max()",
        ("peer/test_deletion_guard.py",),
    ),
    Bug(
        "two-daemons", "1 F32", "a second daemon starts on the same home",
        "peer/home.py",
        "        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        ("peer/test_home.py",),
    ),
    Bug(
        "restored-index", "1 F31", "an index that was put back goes on as if it were the last",
        "peer/folder_setup.py",
        "    if JOINED in values and floor.is_above(book):",
        "    if JOINED not in values and floor.is_above(book):",
        ("peer/test_folder_setup.py", "peer/test_restored_index.py"),
    ),
    Bug(
        "lost-branch-lost", "1 A14", "what this device wrote on a branch that lost is given up",
        "peer/relabelling.py",
        "    if not lost.nodes or not author.may_write(book):",
        "    if lost.nodes or not author.may_write(book):",
        ("peer/test_relabelling.py", "peer/test_rewinding.py"),
    ),
    Bug(
        "deleted-comes-back", "1 F17", "what was deleted elsewhere returns from a disk that joins",
        "peer/adoption.py",
        "                    place = place._replace(vector=(), is_deleted=False, saw=())",
        "                    place = place._replace(is_deleted=False, saw=())",
        ("peer/test_adoption.py",),
    ),
    Bug(
        "winner-first", "1 M14", "a file is replaced before the copy of what it held is there",
        "peer/applying.py",
        "            change = change._replace(after=tuple(copies[item_id]))",
        "            change = change._replace(after=())",
        ("peer/test_applying.py", "peer/test_planner.py", "peer/test_order_of_writing.py"),
    ),
    Bug(
        "attributes-by-arrival", "1 M1", "of two changes of a mode the later to arrive stays",
        "protocol/nodes.py",
        "        max(left.attributes, right.attributes),",
        "        right.attributes,",
        ("protocol/test_nodes.py",),
    ),
    Bug(
        "scan-order", "1 F37", "a directory is listed before it is watched",
        "peer/performing.py",
        "            self._watcher.watch(paths)\n"
        "        return self.disk.list_directories(paths, known)",
        "            listings = self.disk.list_directories(paths, known)\n"
        "            self._watcher.watch(paths)\n"
        "            return listings\n"
        "        return self.disk.list_directories(paths, known)",
        ("peer/test_performing.py",),
    ),
    Bug(
        "same-peer-again", "1 F28", "what a peer does not have is asked of it again and again",
        "protocol/transfers.py",
        "                folder.refuse(chunk_id, device_id)",
        "                folder.put_back([chunk_id])",
        ("protocol/test_transfers.py",),
    ),
    Bug(
        "manifest-not-summed", "2 A08", "the chunks of a record need not make up its file",
        "protocol/records.py",
        "        if len(lengths) < 2 or sum(lengths) != content.size or 0 in lengths:",
        "        if len(lengths) < 2 or 0 in lengths:",
        ("protocol/test_records.py",),
    ),
    Bug(
        "rotation-not-owed", "2 A18", "a removed member's secrets are written under",
        "protocol/epochs.py",
        "                return None if self._ledger.rotation_owed(epoch_id) else epoch_id",
        "                return epoch_id",
        ("protocol/test_epochs.py", "protocol/test_logs.py"),
    ),
    Bug(
        "wrapped-for-revoked", "2 A18", "the next secrets are given to a revoked device",
        "protocol/folder_ledger.py",
        "                if a.user_id not in without"
        " and device_id in self._users[a.user_id].live_devices()",
        "                if a.user_id not in without",
        ("protocol/test_folder_ledger.py", "protocol/test_epochs.py"),
    ),
    Bug(
        "link-not-committed", "2 A22", "a parent's secret is believed though it was not signed",
        "protocol/epochs.py",
        "        if is_committed(core.folder_id, Tier.READ, secret,"
        " core.commits[Tier.READ], core.nonce):",
        "        if core.commits[Tier.READ] is not None:",
        ("protocol/test_epochs.py",),
    ),
    Bug(
        "certificate-not-signed", "2 A01", "a device is added that did not sign its certificate",
        "protocol/user_ledger.py",
        '        raise BadLedger("a device certificate that its device did not sign") from None',
        "        pass",
        ("protocol/test_user_ledger.py", "protocol/test_pairing.py"),
    ),
    Bug(
        "pairing-not-bound", "2 A24", "who is in between can relay a pairing",
        "crypto/pairing_keys.py",
        '    return digest("pair transcript", hello, reply, binding)',
        '    return digest("pair transcript", hello, reply, b"")',
        ("crypto/test_pairing_keys.py", "crypto/test_bound_to_the_link.py"),
    ),
    Bug(
        "half-open-unbounded", "2 A27", "one host takes all places of callers not known yet",
        "protocol/half_open.py",
        "self._count >= self._count_max or self._hosts[host] >= self._per_host_max:",
        "self._count >= self._count_max:",
        ("protocol/test_half_open.py",),
    ),
    Bug(
        "unread-unbounded", "2 A29", "who does not read makes us keep all that it asked for",
        "peer/connection.py",
        "        if self.link.unsent_bytes > UNSENT_BYTES_MAX:",
        "        if self.link.unsent_bytes < 0:",
        ("peer/test_connection.py",),
    ),
    Bug(
        "other-folder-served", "2 A20", "chunks are given to who does not share the folder",
        "protocol/session.py",
        "        if self._folder(message.folder_id) is not None:\n"
        "            self._served.open(message)",
        "        if message.folder_id:\n            self._served.open(message)",
        ("protocol/test_session.py", "peer/test_network.py"),
    ),
    Bug(
        "control-for-all", "2 A36", "every user of the machine may give orders",
        "peer/control_socket.py",
        "    bound.chmod(0o600)",
        "    bound.chmod(0o666)",
        ("peer/test_control_socket.py",),
    ),
    Bug(
        "terminal-written", "2 A37", "a name of another device moves the cursor",
        "peer/terminal.py",
        "        table.add_row(*(Text(term_safe(cell)) for cell in row))",
        "        table.add_row(*(Text(cell) for cell in row))",
        ("peer/test_terminal.py", "peer/test_cli.py"),
    ),
    Bug(
        "home-exposed", "2 A37", "a home that others can read is opened",
        "peer/home.py",
        "        if status.st_mode & 0o077:",
        "        if status.st_mode & 0o007:",
        ("peer/test_home.py",),
    ),
    Bug(
        "new-though-deleted", "1 M7", "a deletion is told as a new file",
        "protocol/records.py",
        "        and not (place.is_deleted or place.is_soft or place.saw)\n",
        "        and not (place.is_soft or place.saw)\n",
        ("protocol/test_records.py",),
    ),
    Bug(
        "plain-though-deleted", "1 M7", "deleted content is shown by the short way",
        "peer/tree.py",
        "        and not places[0].saw\n",
        "",
        ("peer/test_tree.py",),
    ),
    Bug(
        "alone-beside-a-directory", "1 M10", "a file keeps a name that a directory has",
        "peer/naming.py",
        "        if row is None or key in subdirectories or not row.base.places:",
        "        if row is None or not row.base.places:",
        ("peer/test_naming.py",),
    ),
    Bug(
        "taken-for-new", "1 M5", "an edit waits for nothing that the disk shows",
        "peer/engine.py",
        "        if len(contents) == 1 and not row.synced.contents:",
        "        if len(contents) == 1:",
        ("peer/test_engine.py",),
    ),
    Bug(
        "planned-though-it-waits", "1 M14", "a winner is published before its copies",
        "peer/planner.py",
        "f.temp_name and not f.after for f in files",
        "f.temp_name for f in files",
        ("peer/test_planner.py",),
    ),
    # ------------------------------------------------------------ what files were
    Bug(
        "deleted-not-kept", "1 F17", "what another device deleted is not kept",
        "peer/planner.py",
        "_known(unit.file.stat), unit.file.keep)",
        "_known(unit.file.stat))",
        ("peer/test_history.py",),
    ),
    Bug(
        "version-without-row", "1 F17", "a kept file is known to nobody",
        "peer/applying.py",
        "turn.rows_to_delete(), ended=over, deeds=deeds)",
        "turn.rows_to_delete(), deeds=deeds)",
        ("peer/test_history.py",),
    ),
    Bug(
        "restored-over-an-edit", "1 F20", "a version is put over what was saved a moment ago",
        "peer/history.py",
        "                return CHANGED",
        "                pass",
        ("peer/test_history.py",),
    ),
    Bug(
        "copied-over", "1 F20", "a version that goes elsewhere replaces what is there",
        "peer/copying_out.py",
        "os.O_CREAT | os.O_EXCL",
        "os.O_CREAT | os.O_TRUNC",
        ("peer/test_copying_out.py",),
    ),
    Bug(
        "trash-not-looked-through", "1 F29", "a crash leaves bytes that no version names",
        "peer/history.py",
        "        for name in sorted(there.keys() - known):",
        "        for name in list[str]():",
        ("peer/test_history.py",),
    ),
    Bug(
        "all-of-a-week", "1 F29", "the last version of a week goes with the others",
        "peer/version_store.py",
        '" AND (newer.ended_s, newer.number) > (version.ended_s, version.number)"\n)\n\n\n',
        '" AND (newer.ended_s, newer.number) >= (version.ended_s, version.number)"\n)\n\n\n',
        ("peer/test_version_store.py",),
    ),
    # ------------------------------------------------------------ relays and their mailboxes
    Bug(
        "mailbox-proof-unchecked", "2 A18", "a relay opens a mailbox to who knows its tag",
        "relay/mailboxes.py",
        "check_proof(public, proof, capability, self._relay_id, request.tag, link_id)", "pass",
        ("relay/test_mailboxes.py",),
    ),
    Bug(
        "mailbox-of-any-keys", "2 A18", "whoever shows keys of their own opens another's mailbox",
        "relay/mailboxes.py",
        "if tag_of(self._relay_id, request.read_pk, request.write_pk) != request.tag:",
        "if False:",
        ("relay/test_mailboxes.py",),
    ),
    Bug(
        "mailbox-readers-write", "2 A18", "who may read a mailbox writes into it",
        "relay/mailboxes.py",
        "if not self._may(guest, request.tag, Capability.WRITE):",
        "if not self._may(guest, request.tag, Capability.READ):",
        ("relay/test_mailboxes.py",),
    ),
    Bug(
        "mailbox-for-guests", "2 A18", "a closed relay keeps mail for who was not let in",
        "relay/conversation.py",
        "    if not client.is_admitted:\n        talk.say(",
        "    if False:\n        talk.say(",
        ("relay/test_mailboxes.py", "relay/test_conversation.py"),
    ),
    Bug(
        "mailbox-put-lost", "1 F05", "a put that could not be written is answered as done",
        "relay/mailboxes.py",
        "[MailboxOutcome.FULL] * len(pending), {}",
        "[MailboxOutcome.DONE] * len(pending), {}",
        ("relay/test_mailboxes.py",),
    ),
    Bug(
        "mailbox-control-dropped", "1 A12", "ledger entries in a mailbox can be taken away",
        "relay/mailbox_rows.py",
        "(tag, *names, int(Area.CONTROL)),",
        "(tag, *names, -1),",
        ("relay/test_mailbox_rows.py", "relay/test_mailboxes.py"),
    ),
    Bug(
        "mailbox-dropped-early", "1 A13", "mail is taken away that a device still lacks",
        "peer/relay_mail.py",
        "lacking = mail.holdings.lacking(others, ours)",
        "lacking = dict[LogId, int]()",
        ("peer/test_mailboxes.py", "peer/test_relay_mail.py"),
    ),
    Bug(
        "mailbox-heartbeat-unsigned", "2 A13", "anybody's word counts for what a device holds",
        "peer/relay_mail.py",
        "mail.read(signed.check(peer.sign_pk), int(time.time()))",
        "mail.read(signed.heartbeat, int(time.time()))",
        ("peer/test_relay_mail.py", "protocol/test_mailbox_items.py"),
    ),
    Bug(
        "mailbox-old-heartbeat", "1 A12", "an old heartbeat that is shown again takes back",
        "protocol/holdings.py",
        "                if seq > known.get(log_id, 0):",
        "                if seq != known.get(log_id, 0):",
        ("protocol/test_holdings.py",),
    ),
    Bug(
        "shown-by-anybody", "2 A27", "a relay answers datagrams of who has no key",
        "relay/sightings.py",
        "            or not is_authentic(sighting.key, datagram)\n",
        "",
        ("relay/test_sightings.py", "relay/test_datagram_door.py"),
    ),
    Bug(
        "claimed-address", "2 A27", "a relay forwards to an address that was only claimed",
        "relay/sightings.py",
        "if address == sighting.asked and is_equal(cookie, sighting.cookie):",
        "if True:",
        ("relay/test_sightings.py", "relay/test_datagram_door.py"),
    ),
    Bug(
        "reasons-come-and-go", "1 F05", "a folder is in trouble while a file is asked for again",
        "peer/folder.py",
        "        if delivery.is_asked_again:",
        "        if False:",
        ("peer/test_delivery.py",),
    ),
)  # fmt: skip
