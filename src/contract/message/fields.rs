//! A JSON object read field by field, so that unknown and duplicate names are seen and named.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The longest name that is shown, in characters.
const NAME_SHOWN: usize = 64;

/// A name as people are told it. A publisher may have written anything there, and it goes into events, headers and logs.
pub fn shown(name: &str) -> String {
    if (1..=NAME_SHOWN).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return name.to_owned();
    }
    let mut characters = name.chars();
    let first: String = characters.by_ref().take(NAME_SHOWN).collect();
    format!("{first:?}{}", if characters.next().is_some() { "…" } else { "" })
}

/// The fields of one JSON object in the order written, each value still as text.
///
/// Derived structs would take a JSON array for an object and stop at the first bad field, although a readable
/// `request_id` beside it lets the requester have an answer.
pub struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Those of a message that says nothing.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads `text`, which must be one JSON object.
    pub fn read(text: &'a str) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            return Err("must be a JSON object".into());
        }
        serde_json::from_str(text).map_err(|error| format!("is not valid JSON: {error}"))
    }

    /// The value of `name` when it is there exactly once.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// The text of `name` when it is there exactly once and is a string.
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// Whether `name` is there, also more than once.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Every field as it is written: its name, and its value as text.
    pub fn written(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.get()))
    }

    /// The first name that stands twice. A publisher that fills a body with names must not keep the worker busy for longer than
    /// it takes to read them.
    pub fn duplicate(&self) -> Option<&str> {
        let mut seen = HashSet::with_capacity(self.0.len());
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| !seen.insert(*name))
    }

    /// The first name that is not one of `known`.
    pub fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| !known.contains(name))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
