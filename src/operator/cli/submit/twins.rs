//! Which requests stand more than once, found out in bounded memory.

use std::collections::HashMap;
use std::io;

use super::bits::Bits;
use super::entries::{AT_ONCE, Entries, digest};

/// Bytes of one entry in the file.
const ENTRY: usize = 16 + 16 + 8 + 8 + 1;

/// Most problems that are kept to be told.
const MOST_TOLD: usize = 10;

/// What is remembered of one request, in a temporary file.
struct TwinEntry {
    id: u128,
    content: u128,
    index: u64,
    line: u64,
    dry_run: bool,
}

/// Takes the requests one after the other.
pub(super) struct Twins {
    entries: Entries<ENTRY>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct FoundTwins {
    /// Set for each request that says the same as an earlier one.
    pub(super) duplicates: Bits,
    /// How many of those are dry runs.
    pub(super) dry_runs: u64,
    /// Lines with the request ID of another request, and that one's line: the first few.
    pub(super) conflicts: Vec<(u64, u64)>,
}

impl Twins {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { entries: Entries::new()? })
    }

    pub(super) fn add(&mut self, line: u64, request_id: &str, body: &[u8], dry_run: bool) -> io::Result<()> {
        let (id, content) = (digest(request_id.as_bytes()), digest(body));
        let index = self.entries.count();
        self.entries.add(&TwinEntry { id, content, index, line, dry_run }.to_bytes())
    }

    pub(super) fn find(self) -> io::Result<FoundTwins> {
        self.find_holding(AT_ONCE)
    }

    /// One pass over the entries for each share of the IDs.
    fn find_holding(mut self, at_once: u64) -> io::Result<FoundTwins> {
        let count = self.entries.count();
        let mut found = FoundTwins { duplicates: Bits::new(count), ..FoundTwins::default() };
        let shares = u128::from(count.div_ceil(at_once).max(1));
        for share in 0..shares {
            let mut first = HashMap::new();
            self.entries.each(|bytes| {
                let entry = TwinEntry::of_bytes(bytes);
                if entry.id % shares == share {
                    found.take(&entry, *first.entry(entry.id).or_insert((entry.content, entry.index, entry.line)));
                }
            })?;
        }
        found.conflicts.sort_unstable();
        Ok(found)
    }
}

impl FoundTwins {
    fn take(&mut self, entry: &TwinEntry, (content, index, line): (u128, u64, u64)) {
        if index == entry.index {
            return;
        }
        if content == entry.content {
            self.duplicates.set(entry.index);
            self.dry_runs += u64::from(entry.dry_run);
        } else if self.conflicts.len() < MOST_TOLD {
            self.conflicts.push((entry.line, line));
        }
    }
}

impl TwinEntry {
    fn to_bytes(&self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.content.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.index.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.line.to_le_bytes());
        bytes[48] = u8::from(self.dry_run);
        bytes
    }

    fn of_bytes(bytes: &[u8; ENTRY]) -> Self {
        let wide = |at: usize| u128::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let narrow = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Self { id: wide(0), content: wide(16), index: narrow(32), line: narrow(40), dry_run: bytes[48] != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_and_conflicts_are_found_however_few_are_held_at_once() {
        for at_once in [1, 3, 1_000] {
            let mut twins = Twins::new().unwrap();
            for line in 0..100_u64 {
                // From 50 on all again, every tenth with another content.
                let body = format!("{}{}", line % 50, if line >= 50 && line % 10 == 0 { "!" } else { "" });
                twins.add(line, &format!("r{}", line % 50), body.as_bytes(), line == 51).unwrap();
            }
            let found = twins.find_holding(at_once).unwrap();
            assert_eq!((found.duplicates.count(), found.dry_runs), (45, 1), "{at_once}");
            assert!(found.duplicates.get(51) && !found.duplicates.get(60) && !found.duplicates.get(1));
            assert_eq!(found.conflicts, [(50, 0), (60, 10), (70, 20), (80, 30), (90, 40)]);
        }
    }
}
