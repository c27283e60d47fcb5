-- The database of one device's home: who its user is, and what it knows of the user's devices and folders.
-- Folders' own trees and logs are elsewhere, one database a folder. Times are seconds of the wall clock.

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Signed entries as they came. They are kept for ever, and parents were stored before their children.
CREATE TABLE ledger_entries (
    position INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    ledger_id BLOB NOT NULL CHECK (length(ledger_id) = 32),
    entry_id BLOB NOT NULL UNIQUE CHECK (length(entry_id) = 32),
    wire BLOB NOT NULL
) STRICT;

CREATE INDEX ledger_entries_by_ledger ON ledger_entries (ledger_id, position);

-- Epoch secrets, each wrapped to one recipient; a better wrap of the same epoch may replace a bad one.
CREATE TABLE wraps (
    folder_id BLOB NOT NULL CHECK (length(folder_id) = 32),
    epoch_id BLOB NOT NULL CHECK (length(epoch_id) = 32),
    recipient_id BLOB NOT NULL CHECK (length(recipient_id) = 32),
    wrap BLOB NOT NULL,
    PRIMARY KEY (folder_id, epoch_id, recipient_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    device_id BLOB PRIMARY KEY CHECK (length(device_id) = 32),
    name TEXT NOT NULL,
    last_seen REAL
) STRICT, WITHOUT ROWID;

CREATE TABLE addresses (
    device_id BLOB NOT NULL CHECK (length(device_id) = 32),
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    last_worked REAL NOT NULL,
    PRIMARY KEY (device_id, host, port)
) STRICT, WITHOUT ROWID;

CREATE TABLE folders (
    folder_id BLOB PRIMARY KEY CHECK (length(folder_id) = 32),
    name TEXT NOT NULL,
    path BLOB,
    state INTEGER NOT NULL,
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 8)
) STRICT, WITHOUT ROWID;
