//! Where the provider says that an asset's bytes are.

use std::fmt;

/// The longest that is kept, in bytes. A cut one would lead elsewhere.
const LIMIT: usize = 8 * 1024;

/// The `url` of a detail answer, as it came: from outside, not checked yet, and perhaps signed, so that a program that has
/// it can read the asset. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AssetUrl(String);

impl AssetUrl {
    /// `None` when it is empty, or too long to be kept.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (1..=LIMIT).contains(&text.len()).then(|| Self(text.to_owned()))
    }

    /// All of it, its signature too.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AssetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AssetUrl(…)")
    }
}
