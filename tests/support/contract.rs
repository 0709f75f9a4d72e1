//! The published contract, as a reader of `docs/` has it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

pub fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A document with every `$ref` in it followed, into other files too. What stands beside a `$ref` is added.
pub fn resolved(path: &Path) -> Value {
    let document = yaml(path);
    follow(&document, &document, path, 0)
}

fn follow(value: &Value, document: &Value, path: &Path, depth: u32) -> Value {
    assert!(depth < 100, "{}: a $ref that leads to itself: {value}", path.display());
    let inside = |value: &Value| follow(value, document, path, depth + 1);
    match value {
        Value::Object(fields) => {
            let mut all: serde_json::Map<String, Value> = match fields.get("$ref").and_then(Value::as_str) {
                Some(reference) => referred(reference, document, path, depth).as_object().unwrap().clone(),
                None => serde_json::Map::new(),
            };
            // The schemas are draft 7, in what every later draft has as well.
            all.remove("$schema");
            all.extend(
                fields.iter().filter(|(name, _)| *name != "$ref").map(|(name, value)| (name.clone(), inside(value))),
            );
            Value::Object(all)
        }
        Value::Array(items) => items.iter().map(inside).collect(),
        other => other.clone(),
    }
}

fn referred(reference: &str, document: &Value, path: &Path, depth: u32) -> Value {
    let Some(pointer) = reference.strip_prefix('#') else {
        let other = path.parent().unwrap().join(reference);
        return serde_json::from_str(&read(&other)).unwrap();
    };
    let target = document.pointer(pointer).unwrap_or_else(|| panic!("{}: {reference} leads nowhere", path.display()));
    follow(target, document, path, depth + 1)
}

pub fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

/// Fails with everything that is wrong.
pub fn assert_valid(validator: &Validator, value: &Value, what: &str) {
    let problems: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(problems.is_empty(), "{what}: {problems:#?}\n{value:#}");
}

/// `docs/schemas/NAME.schema.json`.
pub fn schema(name: &str) -> Validator {
    let text = read(&docs().join(format!("schemas/{name}.schema.json")));
    validator(&serde_json::from_str(&text).unwrap())
}

/// Every event that a worker publishes has to be one of these.
pub fn assert_event(event: &Value) {
    static SCHEMAS: LazyLock<[Validator; 3]> = LazyLock::new(|| ["result", "started", "case-completed"].map(schema));
    let [result, started, completed] = &*SCHEMAS;
    let schema = match event["type"].as_str() {
        Some("asset.deletion.started.v1") => started,
        Some("asset.deletion.case_completed.v1") => completed,
        _ => result,
    };
    assert_valid(schema, event, "an event");
}
