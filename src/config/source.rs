//! Where settings come from: a TOML file with the environment laid over it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_path_to_error::Error;
use toml::{Table, Value};

use super::{ConfigError, Raw};

/// What the environment variables of settings begin with.
const PREFIX: &str = "ASSET_ERASER__";

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
        let mut table = path.map_or(Ok(Table::new()), read_file)?;
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
        Ok(Self { table, file: path.map(|path| path.display().to_string()), variables })
    }

    pub(super) fn parse(&self) -> Result<Raw, ConfigError> {
        serde_path_to_error::deserialize(Value::Table(self.table.clone())).map_err(|error| self.refuse(&error))
    }

    /// A problem with a key, with the place where it was set.
    pub(super) fn problem(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let set = key.split('.').try_fold(&self.table, |table, part| table.get(part).and_then(Value::as_table));
        let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
        let in_file = set.is_some() || self.has(parent, key);
        let place = match (self.variables.get(key), &self.file) {
            (Some(variable), _) => variable.clone(),
            (None, Some(file)) if in_file => file.clone(),
            (None, _) => format!("not set; {PREFIX}{}", key.to_uppercase().replace('.', "__")),
        };
        ConfigError::Key { key: key.to_owned(), place, problem: problem.into() }
    }

    fn has(&self, parent: &str, key: &str) -> bool {
        let mut parts = parent.split('.').filter(|part| !part.is_empty());
        let table = parts.try_fold(&self.table, |table, part| table.get(part).and_then(Value::as_table));
        let last = key.rsplit('.').next().unwrap_or(key);
        table.is_some_and(|table| table.contains_key(last))
    }

    fn refuse(&self, error: &Error<toml::de::Error>) -> ConfigError {
        let path = error.path().to_string();
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

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let refuse = |problem: String| ConfigError::File { file: path.display().to_string(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(format!("can't be read: {error}")))?;
    text.parse().map_err(|error: toml::de::Error| {
        // Not the error's own text: it quotes the line, which may hold a secret.
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        refuse(format!("line {line}: {}", error.message()))
    })
}

fn lay(table: &mut Table, key: &str, value: String) -> Result<(), String> {
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
