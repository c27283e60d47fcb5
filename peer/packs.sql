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
    id BLOB PRIMARY KEY,                -- of a chunk, a changeset or a ledger entry
    pack INTEGER NOT NULL REFERENCES pack (number) ON DELETE CASCADE,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    codec INTEGER NOT NULL,
    plain_len INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX slot_pack ON slot (pack);
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
