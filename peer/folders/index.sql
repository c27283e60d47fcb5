-- One folder's index: the replica, the synced tree and what the disk showed, one row a node.
-- The number orders the rows as they came, a directory's files together, and not by random ids.
CREATE TABLE IF NOT EXISTS node (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    kind INTEGER NOT NULL,
    state BLOB NOT NULL,       -- the replica's record (peer/node_format.py)
    base BLOB,                 -- the record as this disk shows it; NULL when it is the replica's
    dirty INTEGER NOT NULL,    -- 0 in step, 1 a directory to be applied, 2 a file or symlink
    origin BLOB,               -- of a conflict copy: the node that it is a copy of
    parent BLOB,               -- the directory node that shows it; NULL when not visible
    key TEXT,
    item BLOB,                 -- the node that represents it, if another one does
    name TEXT,
    flags INTEGER NOT NULL,
    hash BLOB,
    size INTEGER NOT NULL,
    executable INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    disk_size INTEGER NOT NULL,
    disk_mtime_ns INTEGER NOT NULL,
    disk_ctime_ns INTEGER NOT NULL
);
-- All that a scan compares, so that it reads a directory in one run and no row of its files.
DROP INDEX IF EXISTS node_slot;
CREATE INDEX IF NOT EXISTS node_shown ON node (
    parent, key, id, name, item, executable, inode, disk_size, disk_mtime_ns, disk_ctime_ns
) WHERE parent IS NOT NULL;
-- The few rows that are looked for at every start.
CREATE INDEX IF NOT EXISTS node_directory ON node (kind) WHERE kind = 1;
CREATE INDEX IF NOT EXISTS node_odd ON node (flags) WHERE flags <> 0;
CREATE INDEX IF NOT EXISTS node_inode ON node (inode) WHERE inode > 0;
CREATE INDEX IF NOT EXISTS node_hash ON node (hash) WHERE hash IS NOT NULL;
CREATE INDEX IF NOT EXISTS node_dirty ON node (dirty, id) WHERE dirty > 0;
CREATE INDEX IF NOT EXISTS node_origin ON node (origin) WHERE origin IS NOT NULL;

-- Where the chunks of files with several chunks lie: within any file that has this hash.
CREATE TABLE IF NOT EXISTS chunk (
    id BLOB NOT NULL,
    file BLOB NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (id, file)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chunk_file ON chunk (file);

CREATE TABLE IF NOT EXISTS changeset (
    log BLOB NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    lamport INTEGER NOT NULL,
    wire BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS changeset_position ON changeset (log, seq);

-- What members signed and what counts nowhere: other branches of a log, what stopped one.
CREATE TABLE IF NOT EXISTS quarantine (
    log BLOB NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    lamport INTEGER NOT NULL,
    wire BLOB NOT NULL,
    PRIMARY KEY (log, seq, hash)
);

CREATE TABLE IF NOT EXISTS value (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- What the disk showed once and shows no more (peer/versions.py).
CREATE TABLE IF NOT EXISTS version (
    number INTEGER PRIMARY KEY,
    node BLOB NOT NULL,
    hash BLOB NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    executable INTEGER NOT NULL,
    manifest BLOB NOT NULL,
    written_s INTEGER NOT NULL,
    label TEXT NOT NULL,
    path TEXT NOT NULL,
    ended_s INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    kept TEXT                  -- its file in the trash; NULL when its bytes are not here
);
CREATE INDEX IF NOT EXISTS version_path ON version (path, ended_s);
CREATE INDEX IF NOT EXISTS version_node ON version (node, ended_s);
CREATE INDEX IF NOT EXISTS version_ended ON version (ended_s);
CREATE INDEX IF NOT EXISTS version_kept ON version (hash) WHERE kept IS NOT NULL;
