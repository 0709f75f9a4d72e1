//! Identifiers that can only be made by their parsers, so that nothing behind the decoder checks an ID again.

use std::fmt;

use serde::Serialize;

/// Longest asset or request ID, in characters (both are ASCII).
const MAX_LEN: usize = 128;

/// Longest case ID, in characters: a ledger keeps an index of them, and no index takes a text of any length.
const MAX_CASE_LEN: usize = 256;

/// The exact ID of one asset: 1–128 of `A-Z a-z 0-9 . _ -`, never `.` or `..`.
///
/// Guards promise 3: no other endpoint can be reached through an ID, whatever a publisher writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(description = "The exact ID of one asset.", extend("not" = {"enum": [".", ".."]})))]
#[serde(transparent)]
pub struct AssetId(
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_LEN), regex(pattern = "^[A-Za-z0-9._-]+$")))] String,
);

impl AssetId {
    /// An ID that no asset has, to be asked about: a service that answers that works.
    #[must_use]
    pub fn probe() -> Self {
        Self("asset-eraser-probe".to_owned())
    }

    /// Parses an asset ID.
    ///
    /// # Errors
    /// A sentence that says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        length(text)?;
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err("may hold only A-Z a-z 0-9 . _ -".into());
        }
        if text == "." || text == ".." {
            return Err("must not be \".\" or \"..\"".into());
        }
        Ok(Self(text.to_owned()))
    }

    /// The ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a requester calls one request: 1–128 visible ASCII characters. One outcome exists per request ID, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct RequestId(#[cfg_attr(test, schemars(length(min = 1, max = MAX_LEN), regex(pattern = "^[!-~]+$")))] String);

impl RequestId {
    /// Parses a request ID.
    ///
    /// # Errors
    /// A sentence that says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        length(text)?;
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("may hold only visible ASCII characters".into());
        }
        Ok(Self(text.to_owned()))
    }

    /// The ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an erasure case is called: 1–256 characters, none of them a control character (a database takes no NUL).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct CaseId(
    #[cfg_attr(
        test,
        schemars(length(min = 1, max = MAX_CASE_LEN), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"))
    )]
    String,
);

impl CaseId {
    /// Parses a case ID.
    ///
    /// # Errors
    /// A sentence that says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        length_up_to(text, MAX_CASE_LEN)?;
        if text.chars().any(char::is_control) {
            return Err("may hold no control characters".into());
        }
        Ok(Self(text.to_owned()))
    }

    /// The ID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn length(text: &str) -> Result<(), String> {
    length_up_to(text, MAX_LEN)
}

fn length_up_to(text: &str, most: usize) -> Result<(), String> {
    match text.chars().count() {
        0 => Err("must not be empty".into()),
        n if n > most => Err(format!("is {n} characters long; at most {most} are allowed")),
        _ => Ok(()),
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_id_can_never_reach_another_endpoint() {
        let long = "a".repeat(129);
        for bad in ["", ".", "..", "../upload", "a/b", "a?b", "a#b", "a%2e%2e", "a\nb", "a b", "ä", "a\0", &long] {
            assert!(AssetId::parse(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["asset-20260330142158-q75m8", "...", "A.b_c-1", &"a".repeat(128)] {
            assert_eq!(AssetId::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(AssetId::parse(AssetId::probe().as_str()), Ok(AssetId::probe()));
    }

    #[test]
    fn a_case_id_is_a_line_of_text() {
        for bad in ["", "a\0b", "a\nb", "\u{85}", &"ä".repeat(257)] {
            assert!(CaseId::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(CaseId::parse(&"ä".repeat(256)).is_ok() && CaseId::parse("Art. 17, Müller").is_ok());
    }

    #[test]
    fn a_request_id_is_visible_ascii() {
        for bad in ["", "a b", "a\tb", "é", &"r".repeat(129)] {
            assert!(RequestId::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(RequestId::parse("urn:uuid:1/2?3#4").is_ok());
    }
}
