//! Where requests come from: arguments, a file or standard input; CSV, NDJSON, or an asset ID a line.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::csv;
use super::draft::{Said, Take, json};
use super::lines::{Line, Lines};
use crate::contract::message::fields::Fields;
use crate::contract::message::request::FIELDS;
use crate::platform::text::quoted;

/// How requests are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header line, then a line a request, with commas, semicolons or tabs in between; `expect` is two columns,
    /// `expect.asset_type` and `expect.name`.
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
                    format!(
                        "{}: its name does not end in .csv, .tsv, .ndjson, .jsonl or .txt; say --format",
                        file.display()
                    )
                })?;
                Ok(Self::File(file.to_owned(), format))
            }
        }
    }

    /// What a request's number counts.
    pub(super) fn unit(&self) -> &'static str {
        if let Self::Arguments(_) = self { "argument" } else { "line" }
    }

    /// Gives every line to `take`, with its number and what it says, or what is wrong with it; until one cannot be read.
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

fn format_of(file: &Path) -> Option<Format> {
    match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" | "tsv" => Some(Format::Csv),
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
        Format::Csv => csv::rows(from, take),
        Format::Ndjson => text_lines(from, take, object_line),
        Format::Plain => text_lines(from, take, plain_line),
    }
}

fn text_lines(from: impl Read, take: &mut Take<'_>, read: fn(&str) -> Result<Said, String>) -> Result<(), String> {
    let mut lines = Lines::new(from)?;
    while let Some(Line { number, text, .. }) = lines.next()? {
        match text {
            Ok(text) if text.trim().is_empty() => {}
            text => take(number, text.and_then(|text| read(&text)))?,
        }
    }
    Ok(())
}

fn object_line(text: &str) -> Result<Said, String> {
    let fields = Fields::read(text).map_err(|problem| by_column(&problem))?;
    // Before a `null` is left out, which could be the one that stands twice.
    if let Some(name) = fields.duplicate() {
        return Err(format!("{}: stands twice", quoted(name)));
    }
    if let Some(name) = fields.unknown(&FIELDS) {
        let known = FIELDS.join(", ");
        return Err(format!("{}: is not a field of a request; the fields are {known}", quoted(name)));
    }
    Ok(fields.written().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The parser was given one line, and counts it as the first.
fn by_column(problem: &str) -> String {
    let problem = problem.replace(" at line 1 column ", " at column ");
    let hint = if problem.contains("trailing characters") { "; each object goes on a line of its own" } else { "" };
    format!("{problem}{hint}")
}

fn plain_line(text: &str) -> Result<Said, String> {
    let text = text.trim();
    // What is given where --format was forgotten.
    if text.starts_with('{') {
        return Err("is no asset ID but a JSON object; say --format ndjson".into());
    }
    if text.eq_ignore_ascii_case("asset_id") || text.contains(',') {
        return Err("looks like CSV, and not like an asset ID; say --format csv".into());
    }
    Ok(of_asset(text))
}

#[cfg(test)]
mod tests;
