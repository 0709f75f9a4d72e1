//! Patterns over asset IDs.

use super::id::AssetId;

/// Which assets are meant: `*` stands for any run of characters, also for none, `?` for exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetPattern(String);

impl AssetPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A sentence that says which rule the text breaks: no asset could ever match it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".into());
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-*?".contains(&b)) {
            return Err("may hold only A-Z a-z 0-9 . _ - and, for other characters, * and ?".into());
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this asset is meant.
    #[must_use]
    pub fn matches(&self, asset: &AssetId) -> bool {
        let (pattern, id) = (self.0.as_bytes(), asset.as_str().as_bytes());
        let (mut at, mut read) = (0, 0);
        // The place behind the last `*`, and how far the ID is read with what that stands for. Earlier ones need not
        // be tried again: whatever they could take more, the last one can take too.
        let mut star = None;
        while read < id.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, read));
                }
                Some(byte) if *byte == b'?' || *byte == id[read] => (at, read) = (at + 1, read + 1),
                Some(_) | None => {
                    let Some((behind, taken)) = star else { return false };
                    (at, read) = (behind, taken + 1);
                    star = Some((behind, read));
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_and_a_question_mark_for_one() {
        for (pattern, meant, others) in [
            (
                "asset-2026*",
                &["asset-2026", "asset-20260330-q7"][..],
                &["asset-2025", "my-asset-2026", "asset-202"][..],
            ),
            ("*-q7", &["a-q7", "-q7", "a-q7-q7"], &["a-q7x", "q7"]),
            ("a?c", &["abc", "a-c"], &["ac", "abbc", "ab"]),
            ("*", &["a"], &[]),
            ("a*b*c", &["abc", "axbxbxc", "aabbcc"], &["acb", "ab", "abcd"]),
            ("a.c", &["a.c"], &["abc"]),
            ("??*", &["ab", "abc"], &["a"]),
        ] {
            let pattern = AssetPattern::parse(pattern).unwrap();
            let is_meant = |id: &&str| pattern.matches(&AssetId::parse(id).unwrap());
            assert!(meant.iter().all(is_meant), "{pattern:?} {meant:?}");
            assert!(!others.iter().any(is_meant), "{pattern:?} {others:?}");
        }
    }

    #[test]
    fn a_pattern_that_takes_many_tries_ends_at_once() {
        let pattern = AssetPattern::parse(&"a*".repeat(60)).unwrap();
        assert!(pattern.matches(&AssetId::parse(&"a".repeat(128)).unwrap()));
        let pattern = AssetPattern::parse(&format!("{}b", "a*".repeat(60))).unwrap();
        assert!(!pattern.matches(&AssetId::parse(&"a".repeat(128)).unwrap()));
    }

    #[test]
    fn a_pattern_that_no_asset_matches_is_refused() {
        for bad in ["", "a/b", "asset 1", "[ab]", "ä*", "a,b"] {
            assert!(AssetPattern::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
