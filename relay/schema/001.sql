-- What a relay knows of who may use it, and of what was used. No name, no address, no content; times are seconds of the wall clock.

-- Who shows the token of an invitation may use a closed relay. Only a hash of the token is here.
CREATE TABLE invitations (
    tag BLOB PRIMARY KEY CHECK (length(tag) = 32),
    made_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    devices_max INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Devices that a closed relay has let in, by their pseudonyms.
CREATE TABLE admissions (
    pseudonym BLOB PRIMARY KEY CHECK (length(pseudonym) = 32),
    tag BLOB NOT NULL REFERENCES invitations ON DELETE CASCADE,
    admitted_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX admissions_by_invitation ON admissions (tag);

-- Bytes carried for a device on one day (since 1970, in UTC).
CREATE TABLE usage (
    day INTEGER NOT NULL,
    pseudonym BLOB NOT NULL CHECK (length(pseudonym) = 32),
    bytes INTEGER NOT NULL,
    PRIMARY KEY (day, pseudonym)
) STRICT, WITHOUT ROWID;
