//! From lines to records: cells, with quotes as RFC 4180 has them and nowhere else.

use std::io::Read;

use crate::operator::cli::submit::lines::{Line, Lines, MOST_LINE};

/// What is wrong with a quote that opens or closes nothing.
const LONE_QUOTE: &str = "has a quote (\") without its other; a text with quotes goes in quotes, with each of its own \
                          quotes doubled";

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CsvRecord {
    pub(super) cells: Vec<String>,
    /// Its lines as they stand in the file.
    pub(super) lines: Vec<String>,
    /// The line of the first.
    pub(super) first: u64,
}

/// The number of a record's first line, and the record or what is wrong with it.
type Numbered = (u64, Result<CsvRecord, String>);

/// Reads one record after the other.
pub(super) struct Records<R> {
    lines: Lines<R>,
    pub(super) separator: char,
}

impl<R: Read> Records<R> {
    pub(super) fn new(lines: Lines<R>) -> Self {
        Self { lines, separator: ',' }
    }

    /// The next line that is not blank, to be looked at before it is split.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn line(&mut self) -> Result<Option<Line>, String> {
        loop {
            let line = self.lines.next()?;
            if !matches!(&line, Some(Line { text: Ok(text), .. }) if text.trim_ascii().is_empty()) {
                return Ok(line);
            }
        }
    }

    /// The next record that is not blank, with the number of its first line, or what is wrong with it; then the next
    /// line begins another record.
    ///
    /// # Errors
    /// A line cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Numbered>, String> {
        let Some(line) = self.line()? else { return Ok(None) };
        let first = line.number;
        Ok(Some((first, self.from(line)?)))
    }

    /// The record that begins with this line.
    ///
    /// # Errors
    /// A line below cannot be read.
    pub(super) fn from(&mut self, mut line: Line) -> Result<Result<CsvRecord, String>, String> {
        let (first, mut length) = (line.number, 0);
        let mut row = RowReader { cells: Vec::new(), is_open: false, separator: self.separator };
        let mut lines = Vec::new();
        loop {
            let text = match line.text.and_then(|text| row.take(&text).map(|()| text)) {
                Ok(text) => text,
                Err(problem) => return Ok(Err(told(&problem, first, line.number))),
            };
            length += text.len();
            lines.push(text);
            if !row.is_open {
                return Ok(Ok(CsvRecord { cells: row.cells, lines, first }));
            }
            if length >= MOST_LINE {
                let most = format!("line {first}: is longer than {MOST_LINE} bytes");
                return Err(format!("{most}; is there a quote that is never closed?"));
            }
            row.break_line(line.end);
            let Some(next) = self.lines.next()? else { return Ok(Err(LONE_QUOTE.to_owned())) };
            line = next;
        }
    }
}

/// A problem of a record, with the line where it was found unless that is the first.
fn told(problem: &str, first: u64, found: u64) -> String {
    if found == first {
        return problem.to_owned();
    }
    format!("has a quote (\") that opens a text over several lines, and line {found} {problem}")
}

/// A record that is being read.
struct RowReader {
    cells: Vec<String>,
    /// A quote was opened and is not closed yet.
    is_open: bool,
    separator: char,
}

impl RowReader {
    /// Takes a line, or what follows of it in a text in quotes.
    fn take(&mut self, line: &str) -> Result<(), String> {
        let mut rest = Some(line);
        while let Some(text) = rest {
            rest = if self.is_open {
                self.quoted(text)?
            } else if let Some(text) = text.strip_prefix('"') {
                self.cells.push(String::new());
                self.is_open = true;
                Some(text)
            } else {
                self.bare(text)?
            };
        }
        Ok(())
    }

    /// A cell without quotes; what follows its separator.
    fn bare<'a>(&mut self, text: &'a str) -> Result<Option<&'a str>, String> {
        let (cell, rest) = text.split_once(self.separator).map_or((text, None), |(cell, rest)| (cell, Some(rest)));
        if cell.contains('"') {
            return Err(LONE_QUOTE.to_owned());
        }
        self.cells.push(cell.to_owned());
        Ok(rest)
    }

    /// Up to the quote that closes the cell, or to the end of the line; what follows its separator.
    fn quoted<'a>(&mut self, text: &'a str) -> Result<Option<&'a str>, String> {
        let Some((part, rest)) = text.split_once('"') else {
            self.add(text);
            return Ok(None);
        };
        self.add(part);
        if let Some(rest) = rest.strip_prefix('"') {
            self.add("\"");
            return Ok(Some(rest));
        }
        self.is_open = false;
        match rest.strip_prefix(self.separator) {
            None if !rest.is_empty() => Err(LONE_QUOTE.to_owned()),
            next => Ok(next),
        }
    }

    fn break_line(&mut self, end: &str) {
        self.add(end);
    }

    fn add(&mut self, text: &str) {
        if let Some(cell) = self.cells.last_mut() {
            cell.push_str(text);
        }
    }
}
