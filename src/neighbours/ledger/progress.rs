//! How far the ledger has got, and what this process remembers of it.
//!
//! A standby that was promoted before it had everything, or a file restored from a backup, shows less than was once on
//! record: what was decided then would be decided again, perhaps otherwise. So the ledger counts its commits, each process
//! remembers the counts that it has seen, and one that is shown less takes nothing from the ledger any more until an
//! operator has accepted that.
//!
//! In `PostgreSQL` commits are counted by timeline: a promotion begins a new one, so that the counts of the old one stand
//! still at what the standby had, whatever is written afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// Where commits are counted: the timeline, and one of the counters of it.
pub(super) type CommitPosition = (i64, i16);

/// What a ledger shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// The random name of the ledger.
    pub id: Uuid,
    /// The number of the last acceptance by an operator, 0 for none: each is higher than all before it.
    pub accepted: i64,
    /// Why some process has found that it was set back, until that is accepted.
    pub found: Option<String>,
    /// Its commits.
    pub commits: BTreeMap<CommitPosition, i64>,
}

/// That an operator lets workers go on with a ledger that was set back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// What was found.
    pub why: String,
    /// Higher than that of every acceptance before.
    pub number: i64,
}

/// What one process remembers; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    seen: Option<Shown>,
    set_back: Option<SetBack>,
}

#[derive(Debug)]
struct SetBack {
    id: Uuid,
    accepted: i64,
    why: String,
}

impl Progress {
    /// What is remembered now. To be asked before the ledger is: what is committed while it answers is not missing in its
    /// answer.
    pub(super) fn seen(&self) -> Option<Shown> {
        self.memory().seen.clone()
    }

    /// Compares what the ledger shows with what was seen before it was asked, and remembers it. `Err` says why nothing may
    /// be taken from the ledger.
    pub(super) fn look(&self, before: Option<&Shown>, shown: Shown) -> Result<(), String> {
        let memory = &mut *self.memory();
        let accepted = match &memory.set_back {
            Some(old) if shown.id != old.id || shown.accepted <= old.accepted => return Err(old.why.clone()),
            accepted => accepted.is_some(),
        };
        if accepted {
            *memory = Remembered::default();
        }
        let before = before.filter(|_| !accepted);
        match shown.found.clone().or_else(|| before.and_then(|seen| less(seen, &shown))) {
            None => {
                memory.remember(shown);
                Ok(())
            }
            Some(why) => {
                memory.set_back = Some(SetBack { id: shown.id, accepted: shown.accepted, why: why.clone() });
                Err(why)
            }
        }
    }

    /// Remembers one commit of this process.
    pub(super) fn committed(&self, place: CommitPosition, commits: i64) {
        if let Some(seen) = &mut self.memory().seen {
            let most = seen.commits.entry(place).or_default();
            *most = commits.max(*most);
        }
    }

    /// Why nothing may be taken from the ledger, if so.
    pub(super) fn set_back(&self) -> Option<String> {
        self.memory().set_back.as_ref().map(|set_back| set_back.why.clone())
    }

    fn memory(&self) -> MutexGuard<'_, Remembered> {
        // A panic cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// The most of both, unless one of them is from before an acceptance.
    fn remember(&mut self, shown: Shown) {
        match &mut self.seen {
            Some(seen) if seen.accepted > shown.accepted => {}
            Some(seen) if seen.accepted == shown.accepted => {
                for (place, commits) in shown.commits {
                    let most = seen.commits.entry(place).or_default();
                    *most = commits.max(*most);
                }
            }
            Some(_) | None => self.seen = Some(shown),
        }
    }
}

/// How the ledger shows less than was seen, if it does.
fn less(seen: &Shown, shown: &Shown) -> Option<String> {
    let remedy = "find out what is missing, then let workers go on with `asset-eraser ledger accept`";
    if seen.id != shown.id {
        let (is, was) = (shown.id, seen.id);
        return Some(format!("the ledger is another one ({is}) than this worker has worked with ({was}); {remedy}"));
    }
    if shown.accepted > seen.accepted {
        return None;
    }
    let missing =
        |(place, commits): (&CommitPosition, &i64)| commits - shown.commits.get(place).copied().unwrap_or_default();
    let missing: i64 = seen.commits.iter().map(missing).filter(|missing| *missing > 0).sum();
    (missing > 0).then(|| {
        format!(
            "the ledger went back in time: at least {missing} commits that this worker has seen are missing, as after a \
             standby that lagged was promoted or an old copy was restored; {remedy}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(accepted: i64, commits: &[(CommitPosition, i64)]) -> Shown {
        Shown { id: Uuid::from_u128(1), accepted, found: None, commits: commits.iter().copied().collect() }
    }

    fn look(progress: &Progress, shown: Shown) -> Result<(), String> {
        progress.look(progress.seen().as_ref(), shown)
    }

    #[test]
    fn what_is_committed_while_the_ledger_answers_is_not_missing() {
        let progress = Progress::default();
        look(&progress, shown(0, &[((1, 0), 7)])).unwrap();
        let before = progress.seen();
        progress.committed((1, 0), 8);
        progress.look(before.as_ref(), shown(0, &[((1, 0), 7)])).unwrap();
        look(&progress, shown(0, &[((1, 0), 7)])).unwrap_err();
    }

    #[test]
    fn a_ledger_that_goes_on_is_taken() {
        let progress = Progress::default();
        for commits in [3, 3, 7] {
            look(&progress, shown(0, &[((1, 0), commits)])).unwrap();
        }
        // A promoted standby that had everything.
        look(&progress, shown(0, &[((1, 0), 7), ((2, 0), 1)])).unwrap();
        assert_eq!(progress.set_back(), None);
    }

    #[test]
    fn one_that_shows_less_is_not_taken_until_that_is_accepted() {
        let progress = Progress::default();
        look(&progress, shown(0, &[((1, 0), 7)])).unwrap();
        progress.committed((1, 3), 2);
        let why = look(&progress, shown(0, &[((1, 0), 9), ((1, 3), 1), ((2, 0), 99)])).unwrap_err();
        assert!(why.contains("at least 1 commits") && why.contains("`asset-eraser ledger accept`"), "{why}");
        let whole = shown(0, &[((1, 0), 9), ((1, 3), 5)]);
        assert_eq!(
            look(&progress, whole).unwrap_err(),
            why,
            "another server may have all of it, this one is not heard of"
        );
        look(&progress, shown(1, &[((1, 0), 9), ((1, 3), 1)])).unwrap();
        assert_eq!(progress.set_back(), None);
        look(&progress, shown(1, &[((1, 0), 9), ((1, 3), 1)])).unwrap();
        look(&progress, shown(1, &[((1, 0), 8), ((1, 3), 1)])).unwrap_err();
    }

    #[test]
    fn an_acceptance_that_was_given_meanwhile_is_enough() {
        let progress = Progress::default();
        look(&progress, shown(0, &[((1, 0), 7)])).unwrap();
        look(&progress, shown(1, &[((1, 0), 2)])).unwrap();
    }

    #[test]
    fn what_another_process_has_found_counts() {
        let progress = Progress::default();
        let found = Shown { found: Some("less".to_owned()), ..shown(4, &[]) };
        assert_eq!(look(&progress, found).unwrap_err(), "less");
        assert_eq!(progress.set_back().as_deref(), Some("less"));
        look(&progress, shown(4, &[])).unwrap_err();
        look(&progress, shown(5, &[])).unwrap();
    }

    #[test]
    fn another_ledger_is_not_taken_for_the_same() {
        let progress = Progress::default();
        look(&progress, shown(0, &[])).unwrap();
        let other = |accepted| Shown { id: Uuid::from_u128(2), ..shown(accepted, &[]) };
        assert!(look(&progress, other(3)).unwrap_err().contains("another one"));
        look(&progress, shown(9, &[])).unwrap_err();
        look(&progress, other(4)).unwrap();
    }
}
