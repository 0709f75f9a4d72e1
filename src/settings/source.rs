//! Where settings come from: a TOML file with the environment laid over it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use serde_path_to_error::Error;
use toml::{Table, Value};

use super::ConfigError;
use super::raw::Raw;

/// What the environment variables of settings begin with.
const PREFIX: &str = "ASSET_ERASER__";
/// Most parts of a key. Deeper ones name nothing, and would be tables within tables.
const MOST_PARTS: usize = 4;
/// The longest file that is read, in bytes: a path may lead to a device, which never ends.
const MOST_TEXT: u64 = 1024 * 1024;

/// The merged table, and which variable set what.
pub(super) struct Source {
    table: Table,
    file: Option<String>,
    variables: BTreeMap<String, String>,
}

impl Source {
    pub(super) fn read(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let read = |path: &Path| {
            let file = path.display().to_string();
            match text_of(path) {
                Ok(text) => Ok((file, text)),
                Err(problem) => Err(ConfigError::File { file, problem }),
            }
        };
        Self::new(path.map(read).transpose()?, environment)
    }

    /// Of a file, as its name and its text.
    pub(super) fn new(
        file: Option<(String, String)>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = file.as_ref().map_or(Ok(Table::new()), |(name, text)| table_of(name, text))?;
        let mut variables = BTreeMap::new();
        for (name, value) in environment {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            let key = key.to_lowercase().replace("__", ".");
            lay(&mut table, &key, value).map_err(|problem| ConfigError::Key {
                key: key.clone(),
                place: name.clone(),
                problem,
            })?;
            variables.insert(key, name);
        }
        Ok(Self { table, file: file.map(|(name, _)| name), variables })
    }

    pub(super) fn parse(&self) -> Result<Raw, ConfigError> {
        self.only_sections()?;
        serde_path_to_error::deserialize(Value::Table(self.table.clone())).map_err(|error| self.refuse(&error))
    }

    /// A list is no section, although serde would read one into it, key after key in an order that is not defined.
    fn only_sections(&self) -> Result<(), ConfigError> {
        let within = |name: &str| self.table.get(name).and_then(Value::as_table).into_iter().flatten();
        let top = self.table.iter().filter(|(key, _)| *key != "protected").map(|(key, value)| (key.clone(), value));
        let guard = within("guard").filter(|(key, _)| matches!(key.as_str(), "http" | "postgres"));
        let guard = guard.map(|(key, value)| (format!("guard.{key}"), value));
        match top.chain(guard).find(|(_, value)| value.is_array()) {
            Some((key, _)) => Err(self.problem(&key, "must be a section, with a key in each of its lines")),
            None => Ok(()),
        }
    }

    /// A problem with a key, with the place where it was set.
    pub(super) fn problem(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let whole = key;
        // Of a list, the place is that of the whole.
        let key = key.split('[').next().unwrap_or(key);
        let set = key.split('.').try_fold(&self.table, |table, part| table.get(part).and_then(Value::as_table));
        let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
        let in_file = set.is_some() || self.has(parent, key);
        let place = match (self.variables.get(key), &self.file) {
            (Some(variable), _) => variable.clone(),
            (None, Some(file)) if in_file => file.clone(),
            (None, _) => format!("not set; {PREFIX}{}", key.to_uppercase().replace('.', "__")),
        };
        ConfigError::Key { key: whole.to_owned(), place, problem: problem.into() }
    }

    fn has(&self, parent: &str, key: &str) -> bool {
        let mut parts = parent.split('.').filter(|part| !part.is_empty());
        let table = parts.try_fold(&self.table, |table, part| table.get(part).and_then(Value::as_table));
        let last = key.rsplit('.').next().unwrap_or(key);
        table.is_some_and(|table| table.contains_key(last))
    }

    fn refuse(&self, error: &Error<toml::de::Error>) -> ConfigError {
        let path = counted_from_one(&error.path().to_string());
        let message = error.inner().message().to_owned();
        // An unknown key is reported at its section, and named only in the text.
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let key = match unknown {
            Some(name) if path.is_empty() || path == "." => name.to_owned(),
            Some(name) if path.rsplit('.').next() != Some(name) => format!("{path}.{name}"),
            _ => path,
        };
        // serde's own messages for a wrong type quote the value, which may be a secret.
        let problem = match message.split_once("invalid type: ") {
            Some((_, rest)) => {
                let expected = rest.rsplit_once("expected ").map_or("another type", |(_, expected)| expected);
                format!("has the wrong type, expected {expected}")
            }
            None => message,
        };
        self.problem(&key, problem)
    }
}

/// A path with the numbers in its lists as people count them: the first is 1.
fn counted_from_one(path: &str) -> String {
    let Some((before, rest)) = path.split_once('[') else { return path.to_owned() };
    let number = rest.split(']').next().and_then(|number| number.parse::<usize>().ok());
    number.map_or_else(
        || path.to_owned(),
        |number| format!("{before}[{}]{}", number + 1, &rest[rest.find(']').unwrap_or(0) + 1..]),
    )
}

/// The settings' variables out of an environment. The others are none of our business, whatever bytes they hold.
///
/// # Errors
/// One of ours is not UTF-8.
pub(super) fn variables(
    all: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let ours = all.into_iter().filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    ours.map(|(name, value)| {
        let place = name.to_string_lossy().into_owned();
        let key = place[PREFIX.len()..].to_lowercase().replace("__", ".");
        let not_text = || ConfigError::Key { key, place, problem: "is not UTF-8".to_owned() };
        name.into_string().ok().zip(value.into_string().ok()).ok_or_else(not_text)
    })
    .collect()
}

/// What a file holds, or why it cannot be read.
pub(crate) fn text_of(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST_TEXT + 1).read_to_string(&mut text));
    match read {
        Ok(length) if u64::try_from(length).is_ok_and(|length| length <= MOST_TEXT) => Ok(text),
        Ok(_) => Err(format!("cannot be read: it is longer than {MOST_TEXT} bytes")),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn table_of(file: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        // Not the error's own text: it quotes the line, which may hold a secret.
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        ConfigError::File { file: file.to_owned(), problem: format!("line {line}: {}", error.message()) }
    })
}

fn lay(table: &mut Table, key: &str, value: String) -> Result<(), String> {
    if key.split('.').count() > MOST_PARTS {
        return Err("is no setting: it has too many parts".into());
    }
    let (mut table, mut parts) = (table, key.split('.').peekable());
    while let Some(part) = parts.next() {
        if part.is_empty() {
            return Err("is not a section and a key joined by two underscores".into());
        }
        if parts.peek().is_none() {
            table.insert(part.to_owned(), Value::String(value));
            return Ok(());
        }
        let inner = table.entry(part.to_owned()).or_insert_with(|| Value::Table(Table::new()));
        table = inner.as_table_mut().ok_or_else(|| format!("{part} is a value, not a section"))?;
    }
    Ok(())
}
