-- The hash of the key by which others than a share link's maker may end it. None for what is older than this, or was told none.

ALTER TABLE links ADD COLUMN end_key_hash BLOB;
