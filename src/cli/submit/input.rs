//! Where requests come from: arguments, a file or standard input; CSV, NDJSON, or an asset ID a line.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::ValueEnum;
use csv::{ByteRecord, ReaderBuilder, StringRecord, Trim};

use super::draft::{Said, json, object};
use crate::message::fields::{Fields, shown};
use crate::message::request::{FIELDS, MAX_BODY};

/// The longest line, in bytes. One that is longer can be no request, and is not read to its end: in a CSV file it is a
/// quote that is never closed.
const MOST_LINE: usize = 4 * MAX_BODY;

/// How requests are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header line, then a line a request; `expect` is two columns, `expect.asset_type` and `expect.name`.
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

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn text_lines(from: impl Read, take: &mut Take<'_>, read: fn(&str) -> Result<Said, String>) -> Result<(), String> {
    let (mut from, mut line, mut number) = (BufReader::with_capacity(128 * 1024, from), Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let length =
            from.by_ref().take(as_u64(MOST_LINE)).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
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
    let seen = Rc::new(Seen::default());
    let from = BufReader::with_capacity(128 * 1024, from);
    let lines = Lines { from, line: Vec::new(), at: 0, seen: seen.clone() };
    let mut reader = ReaderBuilder::new().trim(Trim::Headers).flexible(true).from_reader(lines);
    let columns = reader.headers().map_err(|error| format!("line 1: {error}"))?.clone();
    header(&columns).map_err(|problem| format!("line 1: {problem}"))?;
    let mut record = ByteRecord::new();
    loop {
        seen.forget();
        let read = reader.read_byte_record(&mut record);
        let number = seen.first.get();
        match read {
            Ok(false) => return Ok(()),
            // A text that is never closed takes in the requests below it.
            Ok(true) if !seen.quotes.get().is_multiple_of(2) => take(number, Err(LONE_QUOTE.to_owned()))?,
            Ok(true) => take(number, row(&columns, &record))?,
            Err(error) => return Err(format!("line {number}: {error}")),
        }
    }
}

/// What is wrong with a quote that has no other.
const LONE_QUOTE: &str = "has a quote (\") without its other; a text with quotes goes in quotes, with each of its own \
                          quotes doubled";

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
fn row(columns: &StringRecord, record: &ByteRecord) -> Result<Said, String> {
    let (mut said, mut expect) = (Said::new(), Said::new());
    if record.len() != columns.len() {
        let (has, wanted) = (record.len(), columns.len());
        return Err(format!("has {has} columns, and the header {wanted}; a text with a comma in it goes in quotes"));
    }
    for (column, cell) in columns.iter().zip(record) {
        let cell = std::str::from_utf8(cell).map_err(|_| format!("{column}: is not UTF-8"))?;
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
            "backup" => match cell.to_ascii_lowercase().as_str() {
                truth @ ("true" | "false") => truth.to_owned(),
                _ => return Err("backup: must be true or false, or empty where the line does not say".into()),
            },
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

/// Gives one line at a time, so that what it has seen is of the record that the reader has asked for. (The reader's own
/// count of lines is off after empty ones, and where two characters end a line.)
struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    /// How much of the line was given away.
    at: usize,
    seen: Rc<Seen>,
}

/// What was seen of one record.
#[derive(Default)]
struct Seen {
    /// Lines so far, of all records.
    lines: Cell<u64>,
    /// The record's first line that is not empty.
    first: Cell<u64>,
    bytes: Cell<usize>,
    quotes: Cell<usize>,
}

impl Seen {
    fn forget(&self) {
        self.first.set(0);
        self.bytes.set(0);
        self.quotes.set(0);
    }

    fn take(&self, line: &[u8]) {
        self.lines.set(self.lines.get() + 1);
        if self.first.get() == 0 && !line.trim_ascii().is_empty() {
            self.first.set(self.lines.get());
        }
        self.bytes.set(self.bytes.get() + line.len());
        self.quotes.set(self.quotes.get() + line.split(|byte| *byte == b'"').count() - 1);
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.line.len() {
            self.at = 0;
            self.line.clear();
            let most = MOST_LINE - self.seen.bytes.get();
            self.from.by_ref().take(as_u64(most)).read_until(b'\n', &mut self.line)?;
            self.seen.take(&self.line);
            if self.line.len() == most {
                let problem = format!("is longer than {MOST_LINE} bytes; is there a quote that is never closed?");
                return Err(io::Error::other(problem));
            }
        }
        let length = to.len().min(self.line.len() - self.at);
        to[..length].copy_from_slice(&self.line[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
