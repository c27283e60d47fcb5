-- Mailboxes: sealed items of folders whose members alone know what a tag stands for.

CREATE TABLE mailboxes (
    tag BLOB PRIMARY KEY CHECK (length(tag) = 16),
    last_position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE mailbox_items (
    tag BLOB NOT NULL CHECK (length(tag) = 16),
    position INTEGER NOT NULL,
    area INTEGER NOT NULL,
    name BLOB NOT NULL CHECK (length(name) = 16),
    size INTEGER NOT NULL,
    put_s INTEGER NOT NULL,
    pseudonym BLOB NOT NULL CHECK (length(pseudonym) = 32),
    sealed BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX mailbox_items_by_position ON mailbox_items (tag, position, area, name, size);
CREATE UNIQUE INDEX mailbox_items_by_name ON mailbox_items (tag, name);
-- What is counted at the start, without a look at the items themselves.
CREATE INDEX mailbox_items_by_device ON mailbox_items (pseudonym, tag, area, size);
CREATE INDEX mailbox_items_by_age ON mailbox_items (area, put_s);
