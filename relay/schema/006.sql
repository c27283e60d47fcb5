-- Packs of a share link that hold nothing but its list: what is read of them is no download, up to twice their size.

ALTER TABLE links ADD COLUMN pages_size INTEGER NOT NULL DEFAULT 0;

ALTER TABLE link_packs ADD COLUMN is_pages INTEGER NOT NULL DEFAULT 0;
