//! How many requests of each case are sent, which is what a case's size counts, and whether the list says the same.
//!
//! A row that stands twice is one request. A size that counts rows would keep such a case open for ever.

use std::collections::HashMap;
use std::io;

use super::bits::Bits;
use super::draft::CaseSize;
use super::entries::{AT_ONCE, Entries, digest};
use crate::contract::message::request::MAX_CASE_SIZE;

/// Bytes of one entry.
const ENTRY: usize = 16 + 8 + 8 + 4;

/// Most problems and notes that are kept to be told.
const MOST_TOLD: usize = 10;

/// Most cases that are named.
const MOST_NAMED: usize = 3;

/// What is remembered of a request that has a case.
struct CaseEntry {
    case: u128,
    index: u64,
    line: u64,
    /// 0 where it says none.
    size: u32,
}

/// Takes the requests one after the other.
pub(super) struct Cases {
    entries: Entries<ENTRY>,
    named: Vec<Named>,
}

/// One of the first cases, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) case: String,
    /// How many requests of it are sent.
    pub(super) requests: u64,
    /// How many it is said to have, if that is said.
    pub(super) size: Option<u64>,
}

/// What was counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) named: Vec<Named>,
    /// How many cases there are beside those.
    pub(super) more: u64,
    /// By request: the size that is to be added, or 0.
    pub(super) sizes: Vec<u32>,
    /// Lines with a size that is wrong, and why: the first few.
    pub(super) problems: Vec<(u64, String)>,
    /// Lines with a size for which requests are missing here: the first few.
    pub(super) notes: Vec<(u64, String)>,
}

/// What is known of one case.
#[derive(Default)]
struct CaseTally {
    rows: u64,
    requests: u64,
    /// The first line.
    line: u64,
    /// The first size, and its line.
    said: Option<(u32, u64)>,
    /// A size that is another, and its line.
    other: Option<(u32, u64)>,
}

impl Cases {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { entries: Entries::new()?, named: Vec::new() })
    }

    pub(super) fn add(&mut self, line: u64, index: u64, case: &str, size: Option<u32>) -> io::Result<()> {
        if self.named.len() < MOST_NAMED && self.named.iter().all(|named| named.case != case) {
            self.named.push(Named { case: case.to_owned(), requests: 0, size: None });
        }
        let entry = CaseEntry { case: digest(case.as_bytes()), index, line, size: size.unwrap_or(0) };
        self.entries.add(&entry.to_bytes())
    }

    /// Counts the requests that are sent: those that are no duplicates. `option` is `--case-size`.
    pub(super) fn count(self, duplicates: &Bits, total: u64, option: Option<CaseSize>) -> io::Result<Counted> {
        self.count_holding(duplicates, total, option, AT_ONCE)
    }

    /// Two passes over the entries for each share of the cases.
    fn count_holding(
        mut self,
        duplicates: &Bits,
        total: u64,
        option: Option<CaseSize>,
        at_once: u64,
    ) -> io::Result<Counted> {
        let mut counted = Counted { named: std::mem::take(&mut self.named), ..Counted::default() };
        let shares = u128::from(self.entries.count().div_ceil(at_once));
        for share in 0..shares {
            let tallies = self.tallies(duplicates, |entry| entry.case % shares == share)?;
            for (case, tally) in &tallies {
                counted.take(*case, tally, option);
            }
            let size = |case| tallies.get(&case).map_or(0, |tally| tally.to_add(option));
            if tallies.keys().any(|case| size(*case) > 0) {
                counted.sizes.resize(usize::try_from(total).map_err(io::Error::other)?, 0);
                self.entries.each(|bytes| counted.add(&CaseEntry::of_bytes(bytes), size))?;
            }
        }
        counted.sort();
        Ok(counted)
    }

    fn tallies(
        &mut self,
        duplicates: &Bits,
        is_meant: impl Fn(&CaseEntry) -> bool,
    ) -> io::Result<HashMap<u128, CaseTally>> {
        let mut tallies: HashMap<u128, CaseTally> = HashMap::new();
        self.entries.each(|bytes| {
            let entry = CaseEntry::of_bytes(bytes);
            if is_meant(&entry) {
                tallies.entry(entry.case).or_default().take(&entry, duplicates.get(entry.index));
            }
        })?;
        Ok(tallies)
    }
}

impl Counted {
    fn take(&mut self, case: u128, tally: &CaseTally, option: Option<CaseSize>) {
        match self.named.iter_mut().find(|named| digest(named.case.as_bytes()) == case) {
            Some(named) => {
                named.requests = tally.requests;
                let added = Some(tally.to_add(option)).filter(|size| *size > 0);
                named.size = tally.said.map(|(size, _)| size).or(added).map(u64::from);
            }
            None => self.more += 1,
        }
        if let Some(problem) = tally.problem(option) {
            self.problems.push(problem);
        } else if let Some(note) = tally.note(option) {
            self.notes.push(note);
        }
        if self.problems.len() + self.notes.len() > 8 * MOST_TOLD {
            self.sort();
        }
    }

    /// Keeps the first few of what is to be told.
    fn sort(&mut self) {
        for told in [&mut self.problems, &mut self.notes] {
            told.sort_unstable();
            told.truncate(MOST_TOLD);
        }
    }

    fn add(&mut self, entry: &CaseEntry, size: impl Fn(u128) -> u32) {
        if let Some(place) = usize::try_from(entry.index).ok().and_then(|index| self.sizes.get_mut(index)) {
            *place = (*place).max(size(entry.case));
        }
    }
}

impl CaseTally {
    fn take(&mut self, entry: &CaseEntry, is_duplicate: bool) {
        if self.rows == 0 {
            self.line = entry.line;
        }
        self.rows += 1;
        self.requests += u64::from(!is_duplicate);
        match self.said {
            _ if entry.size == 0 => {}
            None => self.said = Some((entry.size, entry.line)),
            Some((size, _)) if size == entry.size => {}
            Some(_) => self.other = self.other.or(Some((entry.size, entry.line))),
        }
    }

    /// The size that the requests of this case are given, or 0.
    fn to_add(&self, option: Option<CaseSize>) -> u32 {
        if self.said.is_some() || option.is_some() {
            return 0;
        }
        u32::try_from(self.requests).unwrap_or(u32::MAX)
    }

    /// What is wrong with the size, and the line that says it.
    fn problem(&self, option: Option<CaseSize>) -> Option<(u64, String)> {
        let requests = self.requests;
        let Some((size, line)) = self.said else {
            let problem = format!(
                "case_id: this list has {requests} requests of the case, and a case_size is {MAX_CASE_SIZE} at most; \
                 make several cases of it, or say --case-size none"
            );
            return (self.to_add(option) > MAX_CASE_SIZE).then_some((self.line, problem));
        };
        if let Some((other, other_line)) = self.other {
            return Some((other_line, format!("case_size: is {other}, and {size} for the same case in line {line}")));
        }
        if u64::from(size) < requests {
            let problem = format!("case_size: is {size}, and this list has {requests} requests of the case");
            return Some((line, problem));
        }
        let counts_rows = (requests + 1..=self.rows).contains(&u64::from(size));
        (counts_rows && option.is_none()).then(|| {
            let twice = self.rows - requests;
            let problem = format!(
                "case_size: is {size}, and this list has {requests} requests of the case; {twice} more rows say the same \
                 as an earlier one, which is one request. Say {requests}; or --case-size {size} where requests of the \
                 case are sent elsewhere, too"
            );
            (line, problem)
        })
    }

    /// What is worth a look, and is perhaps meant.
    fn note(&self, option: Option<CaseSize>) -> Option<(u64, String)> {
        let (size, line) = self.said.filter(|(size, _)| u64::from(*size) > self.requests && option.is_none())?;
        let requests = self.requests;
        let note = format!(
            "case_size: is {size}, and this list has {requests} requests of the case; the case ends only when the others \
             are sent, too"
        );
        Some((line, note))
    }
}

impl Named {
    /// In a sentence.
    pub(super) fn told(&self) -> String {
        let Self { case, requests, size } = self;
        let plural = if *requests == 1 { "" } else { "s" };
        match size {
            None => format!("Case {case}: {requests} request{plural}, without a case_size"),
            Some(size) if size > requests => format!("Case {case}: {requests} of {size} requests (case_size {size})"),
            Some(size) => format!("Case {case}: {requests} request{plural}, case_size {size}"),
        }
    }
}

impl CaseEntry {
    fn to_bytes(&self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..16].copy_from_slice(&self.case.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.index.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.line.to_le_bytes());
        bytes[32..].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8; ENTRY]) -> Self {
        let narrow = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Self {
            case: u128::from_le_bytes(std::array::from_fn(|byte| bytes[byte])),
            index: narrow(16),
            line: narrow(24),
            size: u32::from_le_bytes(std::array::from_fn(|byte| bytes[32 + byte])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `CASE SIZE`, with `=` before a duplicate.
    fn counted(rows: &[&str], option: Option<CaseSize>, at_once: u64) -> Counted {
        let (mut cases, mut duplicates) = (Cases::new().unwrap(), Bits::new(rows.len() as u64));
        for (row, index) in rows.iter().zip(0..) {
            let (case, size) = row.trim_start_matches('=').split_once(' ').unwrap();
            cases.add(index + 1, index, case, size.parse().ok()).unwrap();
            if row.starts_with('=') {
                duplicates.set(index);
            }
        }
        cases.count_holding(&duplicates, rows.len() as u64, option, at_once).unwrap()
    }

    #[test]
    fn a_case_without_a_size_gets_the_number_of_its_requests_however_few_are_held_at_once() {
        for at_once in [1, 3, 100] {
            let rows = ["c ", "d 1", "c ", "=c ", "e ", "f ", "g "];
            let counted = counted(&rows, None, at_once);
            assert_eq!(counted.sizes, [2, 0, 2, 2, 1, 1, 1]);
            assert_eq!((counted.problems, counted.notes, counted.more), (vec![], vec![], 2));
            let told: Vec<String> = counted.named.iter().map(Named::told).collect();
            let wanted =
                ["Case c: 2 requests, case_size 2", "Case d: 1 request, case_size 1", "Case e: 1 request, case_size 1"];
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn a_size_that_cannot_be_right_is_refused_and_one_that_may_be_is_told() {
        let none = Some(CaseSize::AsWritten);
        for (rows, option, problem, note) in [
            (&["c 2", "c 2"][..], None, None, None),
            (&["c 3", "=c 3", "c 3"], None, Some("1 case_size: is 3, and this list has 2 requests"), None),
            (&["c 3", "=c 3", "c 3"], none, None, None),
            (&["c 1", "c 1"], None, Some("1 case_size: is 1, and this list has 2 requests"), None),
            (&["c 1", "c 1"], none, Some("1 case_size: is 1, and this list has 2 requests"), None),
            (&["c 2", "c 3"], none, Some("2 case_size: is 3, and 2 for the same case in line 1"), None),
            (&["c ", "c 2"], None, None, None),
            (&["c 4", "=c 4", "c "], None, None, Some("1 case_size: is 4, and this list has 2 requests")),
        ] {
            let counted = counted(rows, option, 100);
            let told = |told: &[(u64, String)]| told.first().map(|(line, text)| format!("{line} {text}"));
            for (told, wanted) in [(told(&counted.problems), problem), (told(&counted.notes), note)] {
                let is_meant = wanted.is_none_or(|wanted| told.as_ref().is_some_and(|told| told.starts_with(wanted)));
                assert!(is_meant && told.is_some() == wanted.is_some(), "{rows:?}: {told:?}");
            }
            assert!(counted.sizes.is_empty(), "{rows:?}");
        }
    }

    #[test]
    fn a_part_of_a_case_and_a_case_without_a_size_are_told_as_such() {
        let told = |rows: &[&str], option| counted(rows, option, 100).named[0].told();
        assert_eq!(told(&["c 5", "c 5"], Some(CaseSize::Of(5))), "Case c: 2 of 5 requests (case_size 5)");
        assert_eq!(told(&["c ", "c "], Some(CaseSize::AsWritten)), "Case c: 2 requests, without a case_size");
    }
}
