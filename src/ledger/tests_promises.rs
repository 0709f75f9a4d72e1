//! What the promises need of every ledger.
