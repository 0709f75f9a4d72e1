//! Requests out of CSV (RFC 4180), read strictly: every row becomes a request, or is named with what is wrong with it.
//!
//! A reader that takes what it can would put a stray quote into a text, and the rows below it with it.

mod header;
mod record;
mod spanning;

use std::io::Read;

use self::header::Header;
use self::record::{CsvRecord, Records};
use super::draft::{Said, Take, json, object};
use super::lines::Lines;
use crate::platform::text::{code_point, quoted};

/// The columns of `expect`, beside those that are called like the request's fields.
const EXPECT: [(&str, &str); 2] = [("expect.asset_type", "asset_type"), ("expect.name", "name")];

/// The columns whose text is passed through or compared as it stands, spaces and line breaks included.
const FREE_TEXT: [&str; 4] = ["reason", "requested_by", "expect.asset_type", "expect.name"];

/// Pairs of quotes that word processors make of `"`.
const TYPOGRAPHIC: [&[char]; 2] = [&['“', '”', '„', '‟'], &['«', '»']];

/// Line and paragraph separators, and the byte order mark: what some programs take for the end of a line or of a file.
const LINE_BREAKS_AND_MARKS: [char; 3] = ['\u{2028}', '\u{2029}', '\u{feff}'];

/// Gives each row to `take`.
///
/// # Errors
/// The header or a line cannot be read, or `take` has failed.
pub(super) fn rows(from: impl Read, take: &mut Take<'_>) -> Result<(), String> {
    let mut records = Records::new(Lines::new(from)?);
    let header = Header::read(&mut records)?;
    while let Some((line, record)) = records.next()? {
        match record.and_then(|record| row(&header, &record, records.separator)) {
            Ok(None) => {}
            Ok(Some(said)) => take(line, Ok(said))?,
            Err(problem) => take(line, Err(problem))?,
        }
    }
    Ok(())
}

/// What a row says; `None` where all of its cells are empty.
fn row(header: &Header, record: &CsvRecord, separator: char) -> Result<Option<Said>, String> {
    if record.cells.iter().all(|cell| cell.trim_ascii().is_empty()) {
        return Ok(None);
    }
    let cells = header.cells(record)?;
    cells.iter().try_for_each(|(column, cell)| check(column, cell))?;
    spanning::check(header, record, separator)?;
    let (mut said, mut expect) = (Said::new(), Said::new());
    for (column, cell) in cells {
        if let Some((_, name)) = EXPECT.iter().find(|(name, _)| *name == column) {
            expect.extend((!cell.is_empty()).then(|| ((*name).to_owned(), json(cell))));
        } else if let Some(value) = value(column, cell)? {
            said.push((column.to_owned(), value));
        }
    }
    if !expect.is_empty() {
        said.push(("expect".to_owned(), object(&expect)));
    }
    Ok(Some(said))
}

/// A cell as JSON text; an empty one says nothing.
fn value(column: &str, cell: &str) -> Result<Option<String>, String> {
    let truth = || Some(cell.to_ascii_lowercase()).filter(|text| text == "true" || text == "false");
    Ok(match column {
        // It decides about a deletion: so it is said, or there is no such column.
        "dry_run" => Some(truth().ok_or_else(|| {
            format!("dry_run: must be true or false, in every line that has the column; it is {}", quoted(cell))
        })?),
        _ if cell.is_empty() => None,
        "backup" => Some(truth().ok_or_else(|| {
            format!("backup: must be true or false, or empty where the line does not say; it is {}", quoted(cell))
        })?),
        "case_size" => Some(cell.parse::<u32>().map_or_else(|_| json(cell), |size| size.to_string())),
        _ => Some(json(cell)),
    })
}

/// Refuses what no hand or spreadsheet puts into a cell on purpose.
fn check(column: &str, cell: &str) -> Result<(), String> {
    let is_free = FREE_TEXT.contains(&column);
    if !is_free && cell.contains(['\n', '\r']) {
        return Err(format!("{column}: has a line break, and no {column} has one; it is {}", quoted(cell)));
    }
    let is_allowed = |character| matches!(character, '\t' | '\n' | '\r');
    let is_bad = |character: &char| character.is_control() || LINE_BREAKS_AND_MARKS.contains(character);
    if let Some(bad) = cell.chars().find(|character| is_bad(character) && !is_allowed(*character)) {
        return Err(format!(
            "{column}: has the character {}, which no text has; it is {}",
            code_point(bad),
            quoted(cell)
        ));
    }
    if is_half_quoted(cell) {
        return Err(format!(
            "{column}: has one of a pair of quotes that are not CSV's; a text with a separator in it goes in straight \
             quotes (\"); it is {}",
            quoted(cell)
        ));
    }
    Ok(())
}

/// Whether the other half of a quoted text may have become the next cell. An apostrophe is no such quote.
fn is_half_quoted(cell: &str) -> bool {
    let count = |quotes: &[char]| cell.chars().filter(|character| quotes.contains(character)).count();
    let opens =
        |quote: char, ends: char| cell.trim_start().strip_prefix(quote).is_some_and(|text| !text.contains(ends));
    TYPOGRAPHIC.iter().any(|quotes| count(quotes) % 2 == 1) || opens('‘', '’') || opens('\'', '\'')
}

#[cfg(test)]
mod tests;
