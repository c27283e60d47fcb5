-- Shares of packs, which lie as files below the directory of relay.toml. What is here says which of those files count.

-- Who may do what is in the delegation; of the folder and its members nothing is known.
CREATE TABLE namespaces (
    namespace BLOB PRIMARY KEY CHECK (length(namespace) = 16),
    emergency BLOB NOT NULL CHECK (length(emergency) = 32),
    delegation BLOB NOT NULL,
    founder BLOB NOT NULL CHECK (length(founder) = 32),
    founded_s INTEGER NOT NULL,
    last_position INTEGER NOT NULL,
    healed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE packs (
    pack INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace BLOB NOT NULL REFERENCES namespaces,
    descriptor_id BLOB NOT NULL CHECK (length(descriptor_id) = 32),
    pack_id BLOB NOT NULL CHECK (length(pack_id) = 32),
    descriptor BLOB NOT NULL,
    lease_until_s INTEGER NOT NULL,
    trashed_s INTEGER,
    stands_by INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX packs_by_namespace ON packs (namespace, descriptor_id);
CREATE INDEX packs_by_descriptor ON packs (descriptor_id);
CREATE INDEX packs_by_pack_id ON packs (pack_id);
CREATE INDEX packs_by_lease ON packs (lease_until_s);
CREATE INDEX packs_by_trash ON packs (trashed_s);

CREATE TABLE shares (
    pack INTEGER NOT NULL REFERENCES packs ON DELETE CASCADE,
    number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    state INTEGER NOT NULL,
    size INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    damaged INTEGER NOT NULL,
    began_s INTEGER NOT NULL,
    checked_s INTEGER NOT NULL,
    PRIMARY KEY (pack, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX shares_by_check ON shares (state, checked_s);
CREATE INDEX shares_by_position ON shares (position);

-- Other nodes that hold shares of the same packs, and since when they were not met. Who gives a wrong address for a node
-- has a row of that address and changes nobody else's.
CREATE TABLE nodes (
    node INTEGER PRIMARY KEY AUTOINCREMENT,
    node_id BLOB NOT NULL CHECK (length(node_id) = 32),
    address TEXT NOT NULL,
    met_s INTEGER NOT NULL,
    first_missed_s INTEGER,
    UNIQUE (node_id, address)
) STRICT;

CREATE TABLE holders (
    pack INTEGER NOT NULL REFERENCES packs ON DELETE CASCADE,
    node INTEGER NOT NULL REFERENCES nodes,
    number INTEGER NOT NULL,
    -- Since when the node does not show the share, though it is met.
    failing_since_s INTEGER,
    PRIMARY KEY (pack, node, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX holders_by_node ON holders (node);
