-- Which packs of one folder rest at super-nodes, and what is in them. All of it can be read back from
-- the nodes; without it a device asks them first.
CREATE TABLE pack (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,            -- of the descriptor
    descriptor BLOB NOT NULL,
    kind INTEGER NOT NULL,              -- crypto.packs.PackKind; NULL is never stored
    stored_s INTEGER,                   -- when all its shares were first stored; NULL: still on its way
    renewed_s INTEGER NOT NULL          -- when its leases were last prolonged
);
CREATE TABLE slot (
    id BLOB NOT NULL,                   -- of a chunk, a changeset or a ledger entry, its first 16 bytes; whole where an earlier version wrote it
    pack INTEGER NOT NULL REFERENCES pack (number) ON DELETE CASCADE,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    codec INTEGER NOT NULL,
    plain_len INTEGER NOT NULL,
    PRIMARY KEY (id, pack)              -- it may lie in several: two devices stored it at once, or it was written anew
) WITHOUT ROWID;
CREATE INDEX slot_pack ON slot (pack);
CREATE TABLE sealed (
    pack INTEGER PRIMARY KEY REFERENCES pack (number) ON DELETE CASCADE,
    epoch BLOB NOT NULL,                -- under whose read secret it was sealed
    hashes BLOB NOT NULL                -- of each slot its offset in four bytes, and the SHA-256 of what is sealed there
);
CREATE TABLE holding (
    pack INTEGER NOT NULL REFERENCES pack (number) ON DELETE CASCADE,
    share INTEGER NOT NULL,
    node BLOB NOT NULL,                 -- the relay's id
    lease_s INTEGER NOT NULL,           -- until when
    checked_s INTEGER NOT NULL,         -- when the node last found all of it right, or kept it
    PRIMARY KEY (pack, share, node)
) WITHOUT ROWID;
CREATE TABLE listed (
    node BLOB PRIMARY KEY,
    position INTEGER NOT NULL           -- how far its list of the namespace was read
) WITHOUT ROWID;
CREATE TABLE told (
    pack INTEGER NOT NULL REFERENCES pack (number) ON DELETE CASCADE,
    node BLOB NOT NULL,
    holders BLOB NOT NULL,              -- a hash of the list of holders that the node was told last
    PRIMARY KEY (pack, node)
) WITHOUT ROWID;
-- Nodes that are let go of what they hold of a pack: another one holds it now. They are not told of it any more, and its lease ends.
CREATE TABLE released (
    pack INTEGER NOT NULL REFERENCES pack (number) ON DELETE CASCADE,
    node BLOB NOT NULL,
    PRIMARY KEY (pack, node)
) WITHOUT ROWID;
-- What nodes signed when they took a share. It outlives the share: it says what they have failed to do.
CREATE TABLE receipt (
    id BLOB NOT NULL,                   -- of the descriptor
    share INTEGER NOT NULL,
    node BLOB NOT NULL,
    lease_s INTEGER NOT NULL,
    time_s INTEGER NOT NULL,
    signature BLOB NOT NULL,
    broken_s INTEGER,                   -- when the node was found not to hold it
    PRIMARY KEY (id, share, node)
) WITHOUT ROWID;
-- Every share that was made again.
CREATE TABLE heal (
    number INTEGER PRIMARY KEY,
    time_s INTEGER NOT NULL,
    id BLOB NOT NULL,                   -- of the descriptor
    share INTEGER NOT NULL,
    node BLOB NOT NULL,                 -- where it is now
    is_own INTEGER NOT NULL             -- made by this device; else by the node itself, or another device
);
