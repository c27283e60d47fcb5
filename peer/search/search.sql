-- What is found by `search`: an index made of the folders' own, made anew from them when it is lost.
-- Ids grow with time, so that the newest of many matches are had without looking at the rest.
CREATE TABLE IF NOT EXISTS document (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    folder BLOB NOT NULL,
    node BLOB NOT NULL,
    parent BLOB NOT NULL,
    name TEXT NOT NULL,
    above TEXT NOT NULL,       -- the path of the directory that it lies in
    owner TEXT NOT NULL,       -- the device that wrote it
    kind INTEGER NOT NULL,
    ending TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    hash BLOB NOT NULL,
    text INTEGER NOT NULL,     -- 0 none, 1 to be read, 2 read, 3 could not be read
    UNIQUE (folder, node)
);
CREATE INDEX IF NOT EXISTS document_above ON document (folder, above);
CREATE INDEX IF NOT EXISTS document_name ON document (name COLLATE NOCASE);
CREATE INDEX IF NOT EXISTS document_recent ON document (mtime_ns DESC, name, size, kind);
CREATE INDEX IF NOT EXISTS document_ending ON document (ending, mtime_ns DESC, name);
CREATE INDEX IF NOT EXISTS document_unread ON document (folder, id) WHERE text = 1;
-- Parts of names, however short the words are that they are made of.
CREATE VIRTUAL TABLE IF NOT EXISTS names USING fts5 (
    name, above, owner, content = 'document', content_rowid = 'id', tokenize = 'trigram'
);
-- The words in files, with those of their names, and under `facet` what filters ask for.
CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5 (
    body, title, facet, content = '', tokenize = 'unicode61 remove_diacritics 2'
);
-- What `texts` was given, compressed: to take it out again, and to show where a word stands.
CREATE TABLE IF NOT EXISTS body (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    facet TEXT NOT NULL,
    codec INTEGER NOT NULL,
    size INTEGER NOT NULL,
    text BLOB NOT NULL
);
-- In how many files a word stands: what is suggested, and how rare it is.
CREATE TABLE IF NOT EXISTS word (term TEXT PRIMARY KEY, documents INTEGER NOT NULL) WITHOUT ROWID;
