//! The header: which column is which field of a request.

use std::io::Read;

use super::record::{CsvRecord, Records};
use super::{EXPECT, FREE_TEXT};
use crate::contract::message::request::FIELDS;
use crate::operator::cli::submit::lines::Line;
use crate::platform::text::quoted;

/// What separates cells, in the order in which a header is searched for it.
const SEPARATORS: [char; 3] = [',', ';', '\t'];

/// The columns in their order, each with its place in a row.
pub(super) struct Header {
    columns: Vec<Option<&'static str>>,
}

impl Header {
    /// Reads the header, and tells the records what separates their cells.
    ///
    /// # Errors
    /// There is none, or a column of it cannot be a field of a request.
    pub(super) fn read<R: Read>(records: &mut Records<R>) -> Result<Self, String> {
        let Some(mut line) = records.line()? else { return Err(format!("line 1: {MISSING}")) };
        let told = said_separator(&line);
        if told.is_some() {
            line = records.line()?.ok_or_else(|| format!("line {}: {MISSING}", line.number))?;
        }
        let text = line.text.as_deref().unwrap_or_default();
        records.separator = told.or_else(|| separator(text)).unwrap_or(',');
        let number = line.number;
        let named = |problem: String| format!("line {number}: {problem}");
        let record = records.from(line)?.map_err(named)?;
        Self::of(&record).map_err(named)
    }

    fn of(record: &CsvRecord) -> Result<Self, String> {
        let mut columns = Vec::new();
        for cell in &record.cells {
            let column = column(cell)?;
            if let Some(column) = column.filter(|_| columns.contains(&column)) {
                return Err(format!("{column}: stands twice; give each column a name of its own"));
            }
            columns.push(column);
        }
        columns.truncate(columns.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        if columns.contains(&Some("asset_id")) { Ok(Self { columns }) } else { Err(MISSING.to_owned()) }
    }

    /// The cells of a row, each with its column. Spaces around a cell count only where its text is passed through.
    ///
    /// # Errors
    /// There are too few of them, or one that is not empty has no column.
    pub(super) fn cells<'a>(&self, record: &'a CsvRecord) -> Result<Vec<(&'static str, &'a str)>, String> {
        let (has, wanted) = (record.cells.len(), self.columns.len());
        let is_filled = |cell: &String| !cell.trim_ascii().is_empty();
        let over = record.cells.iter().skip(wanted).any(is_filled);
        if has < wanted || over {
            return Err(format!(
                "has {has} columns, and the header {wanted}; a text with a separator in it goes in quotes"
            ));
        }
        if self.is_repeated(record) {
            return Err("names the columns once more, as where two files were joined; remove it".to_owned());
        }
        let mut cells = Vec::new();
        for (at, (column, cell)) in self.columns.iter().zip(&record.cells).enumerate() {
            match column {
                Some(column) if FREE_TEXT.contains(column) => cells.push((*column, cell.as_str())),
                Some(column) => cells.push((*column, cell.trim_matches([' ', '\t']))),
                None if is_filled(cell) => {
                    return Err(format!("column {} has no name in the header; it is {}", at + 1, quoted(cell)));
                }
                None => {}
            }
        }
        Ok(cells)
    }

    /// Whether each cell that is not empty is the name of a column. One alone may be what an asset is called.
    fn is_repeated(&self, record: &CsvRecord) -> bool {
        let Ok(names) = record.cells.iter().map(|cell| column(cell)).collect::<Result<Vec<_>, _>>() else {
            return false;
        };
        let asset = self.asset_of(&record.cells).map(column);
        names.iter().flatten().count() > 1 || asset == Some(Ok(Some("asset_id")))
    }

    /// How many columns a row has.
    pub(super) fn count(&self) -> usize {
        self.columns.len()
    }

    /// The cell of the asset.
    pub(super) fn asset_of<'a, T: AsRef<str>>(&self, cells: &'a [T]) -> Option<&'a str> {
        let at = self.columns.iter().position(|column| *column == Some("asset_id"))?;
        cells.get(at).map(AsRef::as_ref)
    }
}

/// What is wrong with a header that names no asset.
const MISSING: &str = "asset_id: is missing; the first line names the columns";

/// What a first line `sep=;` says, which is for spreadsheets.
fn said_separator(line: &Line) -> Option<char> {
    let separator = line.text.as_deref().ok()?.strip_prefix("sep=")?.trim_end_matches([' ', ',']);
    SEPARATORS.into_iter().find(|known| separator == known.to_string() || (separator.is_empty() && *known == ','))
}

/// No name of a column has a separator in it, so the header shows which one it is.
fn separator(header: &str) -> Option<char> {
    SEPARATORS.into_iter().find(|separator| header.contains(*separator))
}

/// The column that is meant, whatever the case of its letters, with spaces or hyphens in the place of `_`; `None` for one
/// without a name.
fn column(name: &str) -> Result<Option<&'static str>, String> {
    let plain = name.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    if plain.is_empty() {
        return Ok(None);
    }
    let known = || FIELDS.into_iter().filter(|name| *name != "expect").chain(EXPECT.map(|(column, _)| column));
    known().find(|column| *column == plain).map(Some).ok_or_else(|| {
        let hint = if name.contains([';', '\t', '|']) { ", with commas between them" } else { "" };
        let known: Vec<&str> = known().collect();
        format!(
            "{}: is not a column; the first line names the columns{hint}, out of {}",
            quoted(name),
            known.join(", ")
        )
    })
}
