-- The share links that this device has made, and the sealed chunks that it has put at relays for them.
CREATE TABLE link (
    id BLOB PRIMARY KEY,                -- the link's
    relay TEXT NOT NULL,                -- its address, with the fingerprint
    base TEXT NOT NULL,                 -- what the URL begins with
    sealed BLOB NOT NULL,               -- the secret and the link's key, under the home's database key
    name TEXT NOT NULL,
    has_password INTEGER NOT NULL,
    files INTEGER NOT NULL,
    size INTEGER NOT NULL,
    made_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    downloads_max INTEGER NOT NULL,
    revoked_s INTEGER NOT NULL          -- 0: it was not
) STRICT, WITHOUT ROWID;
CREATE TABLE pack (
    number INTEGER PRIMARY KEY,
    relay BLOB NOT NULL,                -- the relay's id
    pack_id BLOB NOT NULL,
    descriptor_id BLOB NOT NULL,
    lease_s INTEGER NOT NULL,
    UNIQUE (relay, descriptor_id)
) STRICT;
CREATE TABLE chunk (
    folder BLOB NOT NULL,
    id BLOB NOT NULL,
    pack INTEGER NOT NULL REFERENCES pack ON DELETE CASCADE,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    codec INTEGER NOT NULL,
    plain_len INTEGER NOT NULL,
    epoch BLOB NOT NULL,                -- under whose read secret it was sealed
    sealed_hash BLOB NOT NULL,
    PRIMARY KEY (folder, id, pack)
) STRICT, WITHOUT ROWID;
CREATE INDEX chunk_by_pack ON chunk (pack);
