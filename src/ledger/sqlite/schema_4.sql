-- Schema version 4 of the ledger: backups. Leaves every row where it is.

-- What the request said about a backup; NULL where it said nothing. Without a CHECK, for which SQLite would read every row.
ALTER TABLE requests ADD COLUMN backup_asked INTEGER;

-- The copy that was made before the deletion (JSON), with the number of its entry in the history. While that is the last
-- entry, the request is told to be `backed_up`; `state` says `begun` then, as it did to earlier releases.
ALTER TABLE requests ADD COLUMN backup TEXT;
