-- Share links: what a relay has to know of a link to serve it, and of the downloads that are taken. The sealed manifests are files beside this.

CREATE TABLE links (
    link_id BLOB PRIMARY KEY CHECK (length(link_id) = 16),
    owner BLOB NOT NULL CHECK (length(owner) = 16),
    flags INTEGER NOT NULL,
    version INTEGER NOT NULL,
    password_salt BLOB NOT NULL CHECK (length(password_salt) = 16),
    token_hash BLOB NOT NULL CHECK (length(token_hash) = 32),
    public BLOB NOT NULL CHECK (length(public) = 65),
    put_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    downloads_max INTEGER NOT NULL,
    downloads INTEGER NOT NULL,
    blob_size INTEGER NOT NULL,
    packs_size INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    ended_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX links_by_owner ON links (owner);

CREATE TABLE link_packs (
    link_id BLOB NOT NULL REFERENCES links ON DELETE CASCADE,
    pack_id BLOB NOT NULL CHECK (length(pack_id) = 32),
    PRIMARY KEY (link_id, pack_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX link_packs_by_pack ON link_packs (pack_id);

-- A download that was claimed. Only a hash of the ticket is here.
CREATE TABLE link_tickets (
    ticket_hash BLOB PRIMARY KEY CHECK (length(ticket_hash) = 32),
    link_id BLOB NOT NULL REFERENCES links ON DELETE CASCADE,
    used_s INTEGER NOT NULL,
    is_counted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX link_tickets_by_link ON link_tickets (link_id);
