-- Upload links: what may be put in by them, and what was. The sealed segments lie as files in the home.

CREATE TABLE upload_links (
    link_id BLOB PRIMARY KEY REFERENCES links ON DELETE CASCADE,
    files_max INTEGER NOT NULL,
    file_bytes_max INTEGER NOT NULL,
    bytes_max INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One file that was put in. Its row stays when its maker has it, so that it is not taken for a new one.
CREATE TABLE uploads (
    link_id BLOB NOT NULL REFERENCES upload_links ON DELETE CASCADE,
    upload_id BLOB NOT NULL CHECK (length(upload_id) = 16),
    state INTEGER NOT NULL,
    size INTEGER NOT NULL,
    head BLOB NOT NULL,
    segments INTEGER NOT NULL,
    used_s INTEGER NOT NULL,
    PRIMARY KEY (link_id, upload_id)
) STRICT, WITHOUT ROWID;
