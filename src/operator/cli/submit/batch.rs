//! All requests of one submission, checked before the first is sent.

use indicatif::HumanCount;

use super::bits::Bits;
use super::cases::{Cases, Counted, Named};
use super::draft::{Checked, Defaults, Said, with_case_size};
use super::input::Input;
use super::spool::{Spool, SpoolWriter};
use super::twins::{FoundTwins, Twins};

/// Most requests of one submission.
const MOST: u64 = 10_000_000;

/// Most bad lines that are told one by one.
const MOST_TOLD: usize = 10;

/// What a rehearsal under the name of the case does to the case.
const DRY_RUN_OF_A_CASE: &str = "a dry run is a request of its case, too: it counts there, and its case_size is that of \
                                 the case. For a rehearsal, give --case a name of its own";

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) spool: Spool,
    /// Set for each request that says the same as an earlier one, and is not sent.
    pub(super) duplicates: Bits,
    /// How many of those that are sent are dry runs.
    pub(super) dry_runs: u64,
    /// The first few cases.
    pub(super) cases: Vec<Named>,
    /// How many cases there are beside those.
    pub(super) more_cases: u64,
    /// What is to be looked at before it is sent.
    pub(super) notes: Vec<String>,
    /// Some have a `request_id` of their own, which follows from nothing.
    pub(super) own_ids: bool,
    /// What a request's number counts.
    pub(super) unit: &'static str,
}

/// Why nothing is sent: the bad lines, the first few of them, and a sentence over all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RefusedBatch {
    pub(super) lines: Vec<String>,
    pub(super) problem: String,
}

/// What is gathered line by line.
struct Checking<'a> {
    defaults: &'a Defaults,
    batch: &'a str,
    spool: SpoolWriter,
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
        let Checked { request, own_id, .. } = checked;
        if self.spool.next_index() == MOST {
            return Err(format!("more than {MOST} requests; submit them in several files"));
        }
        self.own_ids |= own_id;
        self.dry_runs += u64::from(request.dry_run);
        let index = self.spool.next_index();
        let case = request.labels.case_id.as_ref();
        case.map_or(Ok(()), |case| self.cases.add(line, index, case.as_str(), request.labels.case_size))
            .and_then(|()| add(&mut self.spool, &mut self.twins, line, checked))
            .map_err(|error| spooling(&error))
    }

    fn refuse_bad(&self, unit: &str) -> Result<(), RefusedBatch> {
        if self.bad_count == 0 {
            return Ok(());
        }
        let (bad, all) = (self.bad_count, self.bad_count + self.spool.next_index());
        let problem = format!("{bad} of {all} requests are not valid; nothing was sent");
        Err(RefusedBatch { lines: told(unit, &self.bad), problem })
    }

    /// Looks at all of them together: what stands twice, and how many requests each case has.
    fn finish(self, unit: &'static str) -> Result<Batch, RefusedBatch> {
        let failed = |error: std::io::Error| alone(spooling(&error));
        let total = self.spool.next_index();
        if total == 0 {
            return Err(alone("there is no request in it; nothing was sent"));
        }
        let found = self.twins.find().map_err(failed)?;
        refuse_conflicts(&found, unit)?;
        let option = self.defaults.case_size();
        let mut counted = self.cases.count(&found.duplicates, total, option).map_err(failed)?;
        if !counted.problems.is_empty() {
            let problem = "a case_size is not the number of requests of its case; nothing was sent".to_owned();
            return Err(RefusedBatch { lines: told(unit, &counted.problems), problem });
        }
        if option.is_some() && counted.named.is_empty() {
            return Err(alone("--case-size: no request has a case; name it with --case. Nothing was sent"));
        }
        let spool = self.spool.finish().map_err(failed)?;
        let spool = sized(spool, &counted, &found.duplicates, self.batch, unit)?;
        let dry_runs = self.dry_runs - found.dry_runs;
        let mut notes = told(unit, &counted.notes);
        notes.extend((dry_runs > 0 && !counted.named.is_empty()).then(|| DRY_RUN_OF_A_CASE.to_owned()));
        let cases = std::mem::take(&mut counted.named);
        let (more_cases, own_ids, duplicates) = (counted.more, self.own_ids, found.duplicates);
        Ok(Batch { spool, duplicates, dry_runs, cases, more_cases, notes, own_ids, unit })
    }
}

fn add(spool: &mut SpoolWriter, twins: &mut Twins, line: u64, checked: &Checked) -> std::io::Result<()> {
    let Checked { request, body, own_id } = checked;
    let id = request.request_id.as_str();
    spool.write(line, id, *own_id, body)?;
    twins.add(line, id, body, request.dry_run)
}

fn alone(problem: impl Into<String>) -> RefusedBatch {
    RefusedBatch { lines: Vec::new(), problem: problem.into() }
}

fn told(unit: &str, lines: &[(u64, String)]) -> Vec<String> {
    lines.iter().map(|(line, problem)| format!("{unit} {line}: {problem}")).collect()
}

/// Nothing is written twice that says two things.
fn refuse_conflicts(found: &FoundTwins, unit: &str) -> Result<(), RefusedBatch> {
    if found.conflicts.is_empty() {
        return Ok(());
    }
    let lines = found.conflicts.iter().map(|(line, first)| {
        format!("{unit} {line}: request_id: {unit} {first} has the same for another request; each needs its own")
    });
    let problem = "the same request_id stands for different requests; nothing was sent".to_owned();
    Err(RefusedBatch { lines: lines.collect(), problem })
}

/// The same requests, of which those that have a size to be added say it.
fn sized(
    spool: Spool,
    counted: &Counted,
    before: &Bits,
    name: &str,
    unit: &'static str,
) -> Result<Spool, RefusedBatch> {
    if counted.sizes.is_empty() {
        return Ok(spool);
    }
    let failed = |error: std::io::Error| alone(spooling(&error));
    let (mut writer, mut twins) = (SpoolWriter::new().map_err(failed)?, Twins::new().map_err(failed)?);
    let (mut reader, mut sizes) = (spool.reader(), counted.sizes.iter());
    while let Some(record) = reader.read().map_err(failed)? {
        let size = sizes.next().copied().filter(|size| *size > 0);
        let checked = with_case_size(&record.body, record.own_id, size, name)
            .map_err(|problem| alone(format!("{unit} {}: {problem}; nothing was sent", record.line)))?;
        add(&mut writer, &mut twins, record.line, &checked).map_err(failed)?;
    }
    let found = twins.find().map_err(failed)?;
    refuse_conflicts(&found, unit)?;
    if found.duplicates != *before {
        return Err(alone("a request stands in the list with its own request_id and without it; nothing was sent"));
    }
    writer.finish().map_err(failed)
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
    pub(super) fn read(input: &Input, defaults: &Defaults, name: &str) -> Result<Self, RefusedBatch> {
        defaults.check().map_err(alone)?;
        let failed = |error: std::io::Error| alone(spooling(&error));
        let mut checking = Checking {
            defaults,
            batch: name,
            spool: SpoolWriter::new().map_err(failed)?,
            twins: Twins::new().map_err(failed)?,
            dry_runs: 0,
            cases: Cases::new().map_err(failed)?,
            own_ids: false,
            bad: Vec::new(),
            bad_count: 0,
        };
        let unit = input.unit();
        let read = input.each(&mut |line, said| checking.take(line, said));
        if let Err(problem) = read {
            return Err(RefusedBatch {
                lines: told(unit, &checking.bad),
                problem: format!("{problem}; nothing was sent"),
            });
        }
        checking.refuse_bad(unit)?;
        checking.finish(unit)
    }

    /// The first few cases, a sentence each.
    pub(super) fn told_cases(&self) -> Vec<String> {
        let more = (self.more_cases > 0).then(|| format!("… and {} more cases", HumanCount(self.more_cases)));
        self.cases.iter().map(Named::told).chain(more).collect()
    }

    /// How many are sent.
    pub(super) fn total(&self) -> u64 {
        self.spool.count() - self.duplicates.count()
    }
}
