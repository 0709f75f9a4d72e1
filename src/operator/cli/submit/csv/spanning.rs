//! Texts in quotes over several lines, which may hold rows that a stray quote has swallowed.
//!
//! A `reason` may have line breaks, so quotes alone do not tell a text of two lines from two rows whose stray quotes
//! happen to pair up. Such a record is refused where one of its lines could be a row of its own: a request that is lost
//! without a word is worse than a text that has to be written in one line.

use super::header::Header;
use super::record::CsvRecord;
use crate::contract::message::AssetId;

/// Refuses a record of several lines of which more than one could be a row.
pub(super) fn check(header: &Header, record: &CsvRecord, separator: char) -> Result<(), String> {
    if record.lines.len() < 2 {
        return Ok(());
    }
    let lines = (record.first..).zip(record.lines.iter().map(|line| naive(line, separator)));
    let is_whole = |cells: &Vec<&str>| cells.len() >= header.count();
    let second = lines.clone().filter(|(_, cells)| is_whole(cells)).nth(1);
    let own = header.asset_of(&record.cells);
    let other = |cells: &Vec<&str>| header.asset_of(cells).is_some_and(|cell| is_like_an_id(cell) && Some(cell) != own);
    match second.or_else(|| lines.clone().find(|(_, cells)| other(cells))) {
        None => Ok(()),
        Some((line, _)) => Err(format!(
            "has a text in quotes (\") over several lines, and line {line} could be a row of its own; close the quote, \
             or write the text in one line"
        )),
    }
}

/// The cells of a line for a reader who takes a quote for a stray one.
fn naive(line: &str, separator: char) -> Vec<&str> {
    line.split(separator).map(|cell| cell.trim_matches(['"', ' ', '\t'])).collect()
}

/// A word of a text is no ID; one with a digit in it may be.
fn is_like_an_id(cell: &str) -> bool {
    AssetId::parse(cell).is_ok() && cell.bytes().any(|byte| !byte.is_ascii_alphabetic())
}
