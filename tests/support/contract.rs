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
