//! All requests of one submission, checked before the first is sent.

use super::bits::Bits;
use super::draft::{Checked, Defaults, Said};
use super::input::Input;
use super::spool::{Spool, Writer};
use super::twins::Twins;

/// Most requests of one submission.
const MOST: u64 = 10_000_000;

/// Most bad lines that are told one by one.
const MOST_TOLD: usize = 10;

/// Most cases that are named.
const MOST_CASES: usize = 3;

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) spool: Spool,
    /// Set for each request that says the same as an earlier one, and is not sent.
    pub(super) duplicates: Bits,
    /// How many of those that are sent are dry runs.
    pub(super) dry_runs: u64,
    pub(super) cases: Cases,
    /// Some have a `request_id` of their own, which follows from nothing.
    pub(super) own_ids: bool,
    /// What a request's number counts.
    pub(super) unit: &'static str,
}

/// The first few cases.
#[derive(Debug, Default)]
pub(super) struct Cases {
    pub(super) first: Vec<String>,
    pub(super) more: bool,
}

impl Cases {
    fn add(&mut self, case: &str) {
        if self.more || self.first.iter().any(|other| other == case) {
            return;
        }
        if self.first.len() == MOST_CASES {
            self.more = true;
        } else {
            self.first.push(case.to_owned());
        }
    }
}

/// Why nothing is sent: the bad lines, the first few of them, and a sentence over all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) lines: Vec<String>,
    pub(super) problem: String,
}

/// What is gathered line by line.
struct Checking<'a> {
    defaults: &'a Defaults,
    batch: &'a str,
    spool: Writer,
    twins: Twins,
    dry_runs: u64,
    cases: Cases,
    own_ids: bool,
    bad: Vec<(u64, String)>,
    bad_count: u64,
}

impl Checking<'_> {
    fn take(&mut self, line: u64, said: Result<Said, String>) -> Result<(), String> {
        match said.and_then(|said| self.defaults.complete(said, self.batch)) {
            Ok(checked) => self.keep(line, &checked),
            Err(problem) => {
                self.bad_count += 1;
                if self.bad.len() < MOST_TOLD {
                    self.bad.push((line, problem));
                }
                Ok(())
            }
        }
    }

    fn keep(&mut self, line: u64, checked: &Checked) -> Result<(), String> {
        let Checked { request, body, own_id } = checked;
        if self.spool.next_index() == MOST {
            return Err(format!("more than {MOST} requests; submit them in several files"));
        }
        self.own_ids |= own_id;
        self.dry_runs += u64::from(request.dry_run);
        if let Some(case) = &request.labels.case_id {
            self.cases.add(case.as_str());
        }
        let id = request.request_id.as_str();
        self.spool
            .write(line, id, body)
            .and_then(|()| self.twins.add(line, id, body, request.dry_run))
            .map_err(|error| spooling(&error))
    }
}

fn spooling(error: &std::io::Error) -> String {
    let folder = std::env::temp_dir();
    format!("temporary file in {} (TMPDIR names another folder): {error}", folder.display())
}

impl Batch {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Something is wrong with at least one line.
    pub(super) fn read(input: &Input, defaults: &Defaults, name: &str) -> Result<Self, Refused> {
        let alone = |problem: String| Refused { lines: Vec::new(), problem };
        defaults.check().map_err(alone)?;
        let (spool, twins) =
            Writer::new().and_then(|spool| Ok((spool, Twins::new()?))).map_err(|error| alone(spooling(&error)))?;
        let mut checking = Checking {
            defaults,
            batch: name,
            spool,
            twins,
            dry_runs: 0,
            cases: Cases::default(),
            own_ids: false,
            bad: Vec::new(),
            bad_count: 0,
        };
        let unit = input.unit();
        let read = input.each(&mut |line, said| checking.take(line, said));
        let told =
            |bad: &[(u64, String)]| bad.iter().map(|(line, problem)| format!("{unit} {line}: {problem}")).collect();
        if let Err(problem) = read {
            return Err(Refused { lines: told(&checking.bad), problem: format!("{problem}; nothing was sent") });
        }
        if checking.bad_count > 0 {
            let all = checking.bad_count + checking.spool.next_index();
            let (lines, bad) = (told(&checking.bad), checking.bad_count);
            return Err(Refused { lines, problem: format!("{bad} of {all} requests are not valid; nothing was sent") });
        }
        let found = checking.twins.find().map_err(|error| alone(spooling(&error)))?;
        if !found.conflicts.is_empty() {
            let lines = found.conflicts.iter().map(|(line, first)| {
                format!(
                    "{unit} {line}: request_id: {unit} {first} has the same for another request; each needs its own"
                )
            });
            let problem = "the same request_id stands for different requests; nothing was sent".to_owned();
            return Err(Refused { lines: lines.collect(), problem });
        }
        let spool = checking.spool.finish().map_err(|error| alone(spooling(&error)))?;
        if spool.count() == 0 {
            return Err(alone("there is no request in it; nothing was sent".into()));
        }
        Ok(Self {
            spool,
            duplicates: found.duplicates,
            dry_runs: checking.dry_runs - found.dry_runs,
            cases: checking.cases,
            own_ids: checking.own_ids,
            unit,
        })
    }

    /// How many are sent.
    pub(super) fn total(&self) -> u64 {
        self.spool.count() - self.duplicates.count()
    }
}
