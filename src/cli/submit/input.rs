//! Where requests come from: arguments, a file or standard input; CSV, NDJSON, or an asset ID a line.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::ValueEnum;
use csv::{ReaderBuilder, StringRecord, Trim};

use super::draft::{Said, json, object};
use crate::message::fields::{Fields, shown};
use crate::message::request::{FIELDS, MAX_BODY};

/// The longest line, in bytes. One that is longer can be no request, and is not read to its end: in a CSV file it is a
/// quote that is never closed.
const MOST_LINE: usize = 4 * MAX_BODY;

/// How requests are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header line, then a line a request; `expect` is two columns, expect.asset_type and expect.name.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// An asset ID a line.
    Plain,
}

/// What is read, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Arguments(Vec<String>),
    File(PathBuf, Format),
    Stdin(Format),
}

impl Input {
    /// What the command line means.
    ///
    /// # Errors
    /// It is not clear.
    pub(super) fn new(assets: &[String], file: Option<&Path>, format: Option<Format>) -> Result<Self, String> {
        let stdin = file.map_or(assets == ["-"], |file| file == Path::new("-"));
        match file {
            _ if stdin => Ok(Self::Stdin(format.unwrap_or(Format::Plain))),
            None if assets.is_empty() => {
                Err("what is to be deleted? Name asset IDs, or --file FILE, or - for standard input".into())
            }
            None if format.is_some() => {
                Err("--format is for --file and standard input; arguments are asset IDs".into())
            }
            None => Ok(Self::Arguments(assets.to_vec())),
            Some(file) => {
                let format = format.or_else(|| format_of(file)).ok_or_else(|| {
                    format!("{}: its name does not end in .csv, .ndjson, .jsonl or .txt; say --format", file.display())
                })?;
                Ok(Self::File(file.to_owned(), format))
            }
        }
    }

    /// What a request's number counts.
    pub(super) fn unit(&self) -> &'static str {
        if let Self::Arguments(_) = self { "argument" } else { "line" }
    }

    /// Gives every line to `take`, with its number and what it says, or what is wrong with it; until one can't be read.
    ///
    /// # Errors
    /// Reading has failed, or `take` has.
    pub(super) fn each(&self, take: &mut Take<'_>) -> Result<(), String> {
        match self {
            Self::Arguments(assets) => {
                assets.iter().zip(1..).try_for_each(|(asset, number)| take(number, Ok(of_asset(asset))))
            }
            Self::File(path, format) => {
                let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
                lines(file, *format, take).map_err(|problem| format!("{}: {problem}", path.display()))
            }
            Self::Stdin(format) => lines(io::stdin().lock(), *format, take),
        }
    }
}

/// Takes one line.
pub(super) type Take<'a> = dyn FnMut(u64, Result<Said, String>) -> Result<(), String> + 'a;

fn format_of(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "txt" => Some(Format::Plain),
        _ => None,
    }
}

fn of_asset(asset: &str) -> Said {
    vec![("asset_id".to_owned(), json(asset))]
}

fn lines(from: impl Read, format: Format, take: &mut Take<'_>) -> Result<(), String> {
    match format {
        Format::Csv => csv_lines(from, take),
        Format::Ndjson => text_lines(from, take, object_line),
        Format::Plain => text_lines(from, take, plain_line),
    }
}

fn text_lines(from: impl Read, take: &mut Take<'_>, read: fn(&str) -> Result<Said, String>) -> Result<(), String> {
    let (mut from, mut line, mut number) = (BufReader::with_capacity(128 * 1024, from), Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let most = u64::try_from(MOST_LINE).unwrap_or(u64::MAX);
        let length = from.by_ref().take(most).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if length == 0 {
            return Ok(());
        }
        if length == MOST_LINE {
            return Err(format!("line {number}: is longer than {MOST_LINE} bytes"));
        }
        let Ok(text) = std::str::from_utf8(&line) else {
            take(number, Err("is not UTF-8".to_owned()))?;
            continue;
        };
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        if !text.trim().is_empty() {
            take(number, read(text.trim()))?;
        }
    }
}

fn object_line(text: &str) -> Result<Said, String> {
    let fields = Fields::read(text)?;
    Ok(fields.written().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn plain_line(text: &str) -> Result<Said, String> {
    // What somebody gives who has forgotten to say what it is.
    if text.starts_with('{') {
        return Err("is no asset ID but a JSON object; say --format ndjson".into());
    }
    if text == "asset_id" || text.contains(',') {
        return Err("looks like CSV, and not like an asset ID; say --format csv".into());
    }
    Ok(of_asset(text))
}

fn csv_lines(from: impl Read, take: &mut Take<'_>) -> Result<(), String> {
    let left = Rc::new(Cell::new(MOST_LINE));
    let mut reader = ReaderBuilder::new().trim(Trim::Headers).from_reader(Bounded { from, left: left.clone() });
    let columns = reader.headers().map_err(|error| problem(&error, 1))?.clone();
    header(&columns).map_err(|problem| format!("line 1: {problem}"))?;
    let mut record = StringRecord::new();
    loop {
        left.set(MOST_LINE);
        let number = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let number = record.position().map_or(number, csv::Position::line);
                take(number, row(&columns, &record))?;
            }
            // The reader has found the end of the line, and can go on.
            Err(error) if !error.is_io_error() => {
                let number = error.position().map_or(number, csv::Position::line);
                take(number, Err(cell_problem(&error)))?;
            }
            Err(error) => return Err(problem(&error, number)),
        }
    }
}

fn problem(error: &csv::Error, number: u64) -> String {
    format!("line {number}: {}", cell_problem(error))
}

fn cell_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} columns, and the header has {expected_len}; a text with a comma in it goes in quotes")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// The columns of `expect`, beside those that are called like the request's fields.
const EXPECT: [(&str, &str); 2] = [("expect.asset_type", "asset_type"), ("expect.name", "name")];

fn header(columns: &StringRecord) -> Result<(), String> {
    let known: Vec<&str> =
        FIELDS.into_iter().filter(|name| *name != "expect").chain(EXPECT.map(|(column, _)| column)).collect();
    for (at, column) in columns.iter().enumerate() {
        if !known.contains(&column) {
            let hint = if column.contains([';', '\t']) { ", with commas between them" } else { "" };
            return Err(format!(
                "{}: is not a column; the first line names the columns{hint}, out of {}",
                shown(column),
                known.join(", ")
            ));
        }
        if columns.iter().take(at).any(|other| other == column) {
            return Err(format!("{column}: stands twice"));
        }
    }
    if !columns.iter().any(|column| column == "asset_id") {
        return Err("asset_id: is missing; the first line names the columns".into());
    }
    Ok(())
}

/// An empty cell says nothing.
fn row(columns: &StringRecord, record: &StringRecord) -> Result<Said, String> {
    let (mut said, mut expect) = (Said::new(), Said::new());
    for (column, cell) in columns.iter().zip(record) {
        if let Some((_, name)) = EXPECT.iter().find(|(name, _)| *name == column) {
            if !cell.is_empty() {
                expect.push(((*name).to_owned(), json(cell)));
            }
            continue;
        }
        let value = match column {
            // It decides about a deletion: so it is said, or there is no such column.
            "dry_run" => match cell.to_ascii_lowercase().as_str() {
                truth @ ("true" | "false") => truth.to_owned(),
                _ => return Err("dry_run: must be true or false, in every line that has the column".into()),
            },
            _ if cell.is_empty() => continue,
            "case_size" => cell.parse::<u32>().map_or_else(|_| json(cell), |size| size.to_string()),
            _ => json(cell),
        };
        said.push((column.to_owned(), value));
    }
    if !expect.is_empty() {
        said.push(("expect".to_owned(), object(&expect)));
    }
    Ok(said)
}

/// Ends with an error when more is read than one line may have.
struct Bounded<R> {
    from: R,
    left: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            let problem = format!("is longer than {MOST_LINE} bytes; is there a quote that is never closed?");
            return Err(io::Error::other(problem));
        }
        let read = self.from.read(to)?;
        self.left.set(self.left.get().saturating_sub(read));
        Ok(read)
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
