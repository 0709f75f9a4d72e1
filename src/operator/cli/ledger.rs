//! `asset-eraser ledger`: what is on record, for the person who has to answer for an erasure.

mod report;

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use askama::Template;
use clap::Subcommand;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use self::report::ErasureReport;
use super::confirmation::confirmed;
use super::private_file;
use crate::contract::message::CaseId;
use crate::neighbours::ledger::{Acceptance, Change, Entry, Ledger};
use crate::platform::telemetry::metrics::Metrics;
use crate::platform::text::{plain, plain_json};
use crate::settings::Settings;

/// Requests shown at most; of a larger case, export the report.
const MOST: u32 = 1_000;

/// Requests in one report at most: some hundred megabytes of memory.
const MOST_EXPORTED: u32 = 100_000;

/// What to do with the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Show the requests of an asset, of a case, or of one ID, with every change of theirs.
    Show {
        /// An asset ID, a request ID or a case ID.
        key: String,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write the erasure report of a case: a page for people and a JSON file for machines.
    ///
    /// It names what is missing: how many requests of `case_size` never arrived, and which requests are open.
    Export {
        /// The case.
        #[arg(long)]
        case: String,
        /// The folder to write `erasure-report.html` and `erasure-report.json` into; files there are not overwritten.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        out: PathBuf,
    },
    /// Check every entry against its hash and every request against its entries; exits 1 if one was tampered with.
    Verify,
    /// Let workers go on that have stopped because the ledger went back in time (`ledger_went_back`).
    ///
    /// Find out first what is missing: requests that were answered in that time may be carried out and answered again.
    Accept {
        /// Do not ask. Needed where there is no terminal to answer on.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs one of the ledger's commands; several may run while workers work.
///
/// # Errors
/// When the ledger cannot be read, has nothing to show, or was tampered with.
pub async fn ledger(settings: &Settings, command: &LedgerCommand) -> Result<(), Box<dyn Error>> {
    if settings.ledger.url.expose_secret() == "memory:" {
        return Err("ledger.url is memory: and ends with its worker; there is nothing to read".into());
    }
    let ledger = Ledger::open(&settings.ledger.url, Metrics::new()?).await?;
    let mut out = std::io::stdout();
    let done = match command {
        LedgerCommand::Show { key, json } => show(&ledger, key, *json, &mut out).await,
        LedgerCommand::Export { case, out: folder } => export(&ledger, case, folder, &mut out).await,
        LedgerCommand::Verify => verify(&ledger, &mut out).await,
        LedgerCommand::Accept { yes } => accept(&ledger, *yes, &mut out).await,
    };
    ledger.close().await;
    done
}

async fn show(ledger: &Ledger, key: &str, as_json: bool, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let found = ledger.find(key, MOST).await?;
    if found.is_empty() {
        return Err(format!("nothing is on record under {key:?}: no request, asset or case is called so").into());
    }
    let mut requests = Vec::new();
    let cut = found.len() == MOST as usize;
    for (entry, history) in found {
        if as_json {
            requests.push(object(&entry, &history)?);
        } else {
            person(&entry, &history, out)?;
        }
    }
    if as_json {
        let found = json!({"key": key, "complete": !cut, "requests": requests});
        writeln!(out, "{}", plain_json(&format!("{found:#}")))?;
    } else if cut {
        writeln!(out, "(only the first {MOST} requests are shown)")?;
    }
    Ok(())
}

fn object(entry: &Entry, history: &[Change]) -> Result<Value, serde_json::Error> {
    let mut object = serde_json::to_value(entry)?;
    for (name, text) in [("event", &entry.event), ("request", &entry.request)] {
        if let Some(text) = text {
            // As recorded; one that is no JSON is still shown, as text.
            object[name] = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
        }
    }
    object["history"] = serde_json::to_value(history)?;
    Ok(object)
}

fn person(entry: &Entry, history: &[Change], out: &mut impl Write) -> std::io::Result<()> {
    let part =
        |name: &str, text: Option<&str>| text.map(|text| format!("  {name} {}", plain(text))).unwrap_or_default();
    let (asset, case) = (part("asset", entry.asset_id.as_deref()), part("case", entry.case_id.as_deref()));
    let dry = if entry.dry_run { "  (dry run)" } else { "" };
    let stands = entry.outcome.as_deref().unwrap_or(entry.state);
    writeln!(out, "request {}{asset}{case}{dry}: {}", plain(&entry.request_id.to_string()), plain(stands))?;
    for change in history {
        let why = change.why.as_deref().map(plain).unwrap_or_default();
        writeln!(out, "  {:.3}  {:<9} attempt {:<3} {why}", change.at, plain(&change.state), change.attempts)?;
    }
    if let Some(backup) = &entry.backup {
        let (length, place) = (backup.length, plain(&backup.location));
        writeln!(out, "  a copy is kept: {length} bytes at {place}, SHA-256 {}", plain(&backup.sha256))?;
    }
    if entry.outcome.is_some() && entry.event.is_none() {
        writeln!(out, "  (older than ledger.compact_after: only this is kept)")?;
    }
    if let Some(detail) = entry.event.as_deref().and_then(detail) {
        writeln!(out, "  {}", plain(&detail))?;
    }
    Ok(())
}

/// The event's sentence for a person.
fn detail(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).ok()?;
    event["data"]["detail"].as_str().map(str::to_owned)
}

async fn export(ledger: &Ledger, case: &str, folder: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let known = ledger.case(&CaseId::parse(case)?).await?;
    let found = ledger.find(case, MOST_EXPORTED).await?;
    if found.len() == MOST_EXPORTED as usize {
        return Err(format!("the case has {MOST_EXPORTED} requests or more; a report would not be complete").into());
    }
    // An asset or a request may be called like the case.
    let of_case = found.into_iter().filter(|(entry, _)| entry.case_id.as_deref() == Some(case));
    let requests: Vec<_> = of_case.collect();
    if requests.is_empty() {
        return Err(format!("nothing is on record for case {case:?}").into());
    }
    let report = ErasureReport::new(case, known.as_ref(), &requests, Timestamp::now());
    let json = plain_json(&serde_json::to_string_pretty(&report)?);
    for (name, text) in [("erasure-report.html", report.render()?), ("erasure-report.json", json)] {
        let path = folder.join(name);
        let written = private_file::new(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    for part in report.missing_parts() {
        eprintln!("{}", plain(&part));
    }
    Ok(())
}

async fn accept(ledger: &Ledger, yes: bool, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let question = "Let workers go on with the ledger as it is? What is missing in it is decided again.";
    if !yes && !confirmed(question)? {
        return Err("nothing was accepted".into());
    }
    match ledger.accept().await? {
        None => writeln!(out, "no worker has found that this ledger went back; there is nothing to accept")?,
        Some(Acceptance { why, .. }) => {
            writeln!(out, "{}", plain(&why))?;
            writeln!(out, "accepted: stopped workers go on within 15s")?;
        }
    }
    Ok(())
}

async fn verify(ledger: &Ledger, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let (mut requests, mut entries, mut wrong) = (0, 0, 0);
    let mut last = None;
    while let Some(page) = ledger.verify(last.as_ref()).await? {
        requests += page.requests;
        entries += page.entries;
        wrong += page.problems.len();
        for (request, what) in &page.problems {
            writeln!(out, "WRONG  request {}: {what}", plain(&request.to_string()))?;
        }
        last = Some(page.last);
    }
    let cases = ledger.verify_cases().await?;
    for (case, what) in &cases {
        writeln!(out, "WRONG  case {}: {what}", plain(case))?;
    }
    writeln!(out, "{requests} requests with {entries} entries were checked; {wrong} are not as they were written")?;
    match (wrong, cases.len()) {
        (0, 0) => Ok(()),
        (wrong, cases) => {
            Err(format!("the evidence of {wrong} requests and of {cases} cases was tampered with").into())
        }
    }
}
