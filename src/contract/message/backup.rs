//! A copy of an asset's bytes, as events and the ledger name it.

use serde::{Deserialize, Serialize};

/// A copy of the asset's bytes that was read back whole before the asset was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Backup {
    /// Where it is: the URL of the object, `file://`, `s3://`, `gs://` or `az://`.
    pub location: String,
    /// How long it is, in bytes.
    pub length: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}
