-- By which a disk that has changed an item of a mailbox is found out: CRC-32 of its tag, name and bytes. None for what is older than this.

ALTER TABLE mailbox_items ADD COLUMN checksum INTEGER;
