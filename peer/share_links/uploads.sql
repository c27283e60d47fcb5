-- The upload links that this device has made, and what has come by them.
CREATE TABLE upload_link (
    id BLOB PRIMARY KEY,                -- the link's
    relay TEXT NOT NULL,                -- its address, with the fingerprint
    base TEXT NOT NULL,                 -- what the URL begins with
    sealed BLOB NOT NULL,               -- its secrets, under the home's database key
    name TEXT NOT NULL,
    folder BLOB NOT NULL,
    directory TEXT NOT NULL,            -- in the folder; empty: the folder itself
    has_password INTEGER NOT NULL,
    made_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,         -- 0: never
    files_max INTEGER NOT NULL,
    file_bytes_max INTEGER NOT NULL,
    bytes_max INTEGER NOT NULL,
    revoked_s INTEGER NOT NULL,         -- 0: it was not
    is_over INTEGER NOT NULL            -- it has ended, and nothing waits at the relay any more
) STRICT, WITHOUT ROWID;
-- One file that has come. Its row stays: a relay that shows it again shows nothing new.
CREATE TABLE arrival (
    link BLOB NOT NULL REFERENCES upload_link ON DELETE CASCADE,
    upload BLOB NOT NULL,
    state INTEGER NOT NULL,
    label TEXT NOT NULL,
    path TEXT NOT NULL,                 -- in the folder, where it is or is to be
    size INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    came_s INTEGER NOT NULL,
    PRIMARY KEY (link, upload)
) STRICT, WITHOUT ROWID;
