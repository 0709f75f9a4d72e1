-- Schema version 3 of the ledger: what is open can be listed without walking over what is decided.

CREATE INDEX requests_open ON requests (state, first_seen) WHERE state <> 'decided';
