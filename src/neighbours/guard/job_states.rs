//! The words for how far a job is: which of them say that it has ended, and which are known at all.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The statuses under which a job needs its assets no longer. Every other word counts as in progress.
pub(super) const FINISHED: [&str; 5] = ["completed", "failed", "cancelled", "canceled", "succeeded"];
/// The provider's words for a job in progress, which are known whatever `guard.in_progress` lists.
const UNFINISHED: [&str; 2] = ["queued", "processing"];

/// The longest word that is shown, in characters.
const WORD_SHOWN: usize = 64;
/// Most unknown words that are logged by one process.
const WORDS_LOGGED: usize = 100;

/// Compares words regardless of letter case and of white space around them. Clones share what was logged.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    in_progress: Vec<String>,
    logged: Arc<Mutex<BTreeSet<String>>>,
}

impl Words {
    /// `in_progress` lists words that count as in progress, whatever they sound like.
    pub(super) fn new(in_progress: Vec<String>) -> Self {
        Self { in_progress, logged: Arc::default() }
    }

    /// Whether a job of this status counts as in progress: it is listed as such, or is not known to be an end.
    pub(super) fn counts(&self, status: &str) -> bool {
        self.is_listed(status) || !is_one_of(&FINISHED, status)
    }

    /// A word that is on no list, as it is shown to people. It is logged the first time that `source` says it.
    pub(super) fn unknown(&self, status: &str, source: &str) -> Option<String> {
        if self.is_listed(status) || is_one_of(&FINISHED, status) || is_one_of(&UNFINISHED, status) {
            return None;
        }
        let shown = shown(status);
        if self.is_new(format!("{source} {shown}")) {
            tracing::warn!(status = shown, source, "unknown job status: the job counts as in progress");
        }
        Some(shown)
    }

    fn is_listed(&self, status: &str) -> bool {
        is_one_of(&self.in_progress, status)
    }

    fn is_new(&self, word: String) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < WORDS_LOGGED && logged.insert(word)
    }
}

fn is_one_of(words: &[impl AsRef<str>], status: &str) -> bool {
    words.iter().any(|word| word.as_ref().trim().eq_ignore_ascii_case(status.trim()))
}

/// In quotes, without control characters, and cut.
fn shown(word: &str) -> String {
    let mut characters = word.chars();
    let first: String = characters.by_ref().take(WORD_SHOWN).collect();
    format!("{first:?}{}", if characters.next().is_some() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_regardless_of_case_and_white_space() {
        let words = Words::new(vec!["Rendering".into()]);
        for status in ["completed", "COMPLETED", " Completed\n", "Cancelled", "\tcanceled", "SUCCEEDED", "Failed "] {
            assert!(!words.counts(status), "{status:?}");
            assert_eq!(words.unknown(status, "s"), None, "{status:?}");
        }
        for status in ["RENDERING ", "queued", " Processing"] {
            assert!(words.counts(status), "{status:?}");
            assert_eq!(words.unknown(status, "s"), None, "{status:?}");
        }
        for status in ["", " ", "com pleted", "completed?", "done", "un-failed"] {
            assert!(words.counts(status) && words.unknown(status, "s").is_some(), "{status:?}");
        }
        assert!(Words::new(vec![" COMPLETED".into()]).counts("completed"), "a listed word counts");
    }

    #[test]
    fn an_unknown_word_is_shown_in_a_few_plain_characters_and_logged_once() {
        let words = Words::default();
        assert_eq!(words.unknown("a\nb\u{7}", "s").as_deref(), Some(r#""a\nb\u{7}""#));
        let long = words.unknown(&"x".repeat(1_000), "s").unwrap();
        assert_eq!(long, format!("\"{}\"…", "x".repeat(64)));
        assert!(words.is_new("word".into()) && !words.is_new("word".into()));
        for number in 0..1_000 {
            words.unknown(&number.to_string(), "s");
        }
        assert_eq!(words.logged.lock().unwrap().len(), WORDS_LOGGED);
    }
}
