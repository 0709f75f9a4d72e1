//! The contract as JSON Schemas, made from the types that events are written from and the rules that requests are
//! decoded by. `make contract` writes them; the tests hold them to what the worker does.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::cloud_event::{CloudEvent, event_type};
use super::event::ResultData;
use super::id::{AssetId, CaseId, RequestId};
use super::notice::{CaseCompletedData, NoticeKind, StartedData};
use super::request::{Expect, MAX_CASE_SIZE, MAX_TEXT, OnInUse};
use super::{Cause, Outcome};

/// What no schema can say of a request's body.
const BEYOND: &str = "\
Also refused, which no JSON Schema can say: a name that stands twice in one object, a body that is longer than 65536 \
bytes or not UTF-8, a `case_size` written with a fraction or an exponent (7.0), and a `deadline` outside the years -9999 \
to 9999. Taken beyond this schema: a `deadline` in a form of ISO 8601 with an offset that RFC 3339 does not have.";

const RESULT: &str = "\
The one answer to a request. It may come more than once, always with the same `id` and the same bytes. Later releases may \
add fields, which are to be ignored.";

const STARTED: &str = "\
A deletion is about to begin: published before the guard is first asked, where `broker.started_events` is on. It may come \
more than once, always the same.";

const CASE: &str = "\
The last request of a case was decided, and the case's size is known. It may come more than once, always the same.";

/// How a UUID is written. Draft 7 has no format for it.
pub(super) const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

/// How RFC 3339 writes a time, as far as the worker reads it. A pattern, since most validators do not look at `format`.
const TIME: &str = r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$";

/// A time as events tell it.
pub(super) struct Time;

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time", "pattern": TIME})
    }
}

/// The body of a request. Decoded by `Request::decode`, which names what is wrong and keeps what could be read; this is
/// the same in types, field by field.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, description = "What is asked for.")]
#[expect(dead_code, reason = "nothing is ever read into it: it is there for its schema")]
struct RequestBody {
    /// The requester's name for this request, used up by the first one that has it. May be left out of a message that
    /// has an AMQP `message_id`, which is used instead; failing that, of a CloudEvent, whose `id` is used.
    #[schemars(default, with = "RequestId")]
    request_id: Option<RequestId>,
    asset_id: AssetId,
    /// Who asks; passed through to the result.
    #[schemars(length(max = MAX_TEXT))]
    requested_by: Option<String>,
    /// Why; passed through to the result.
    #[schemars(length(max = MAX_TEXT))]
    reason: Option<String>,
    /// The erasure case that the request belongs to.
    case_id: Option<CaseId>,
    /// How many requests the case has. One request of a case has to say it for the end of the case to be told.
    #[schemars(range(min = 1, max = MAX_CASE_SIZE))]
    case_size: Option<u32>,
    #[schemars(default)]
    on_in_use: OnInUse,
    /// Past it nothing is deleted: RFC 3339 with an offset.
    #[schemars(extend("format" = "date-time", "pattern" = TIME))]
    deadline: Option<String>,
    /// What the asset must be; at least one of the two.
    #[schemars(extend("anyOf" = [{"type": "null"}, one_of_them("asset_type"), one_of_them("name")]))]
    expect: Option<Expect>,
    /// Everything but the `DELETE`.
    #[schemars(default)]
    dry_run: bool,
    /// Whether the asset's bytes have to be kept before it is deleted. Not said: as the operator has set for this `reason`,
    /// and not for a request of a case. Never `null`.
    #[schemars(extend("type" = "boolean"))]
    backup: Option<bool>,
}

/// Names a field that is there and says something.
fn one_of_them(name: &str) -> Value {
    json!({"properties": {name: {"type": "string"}}, "required": [name]})
}

/// A request as the `data` of a structured CloudEvent.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "nothing is ever read into it: it is there for its schema")]
struct RequestEvent {
    #[schemars(extend("const" = "1.0"))]
    specversion: String,
    /// Used as `request_id` when neither `data` nor the AMQP `message_id` says one.
    #[schemars(length(min = 1))]
    id: String,
    #[schemars(length(min = 1))]
    source: String,
    #[schemars(length(min = 1))]
    r#type: String,
    data: RequestBody,
}

/// One schema, as strict as it can be.
struct Strict {
    file: &'static str,
    schema: Schema,
    /// Whether it is of an event, which later releases may say more in. No reader should refuse one for that.
    may_grow: bool,
}

impl Strict {
    /// Of what the worker reads.
    fn read<T: JsonSchema>(file: &'static str, title: &str, description: &str) -> Self {
        let schema = described::<T>(title, description, draft());
        Self { file, schema, may_grow: false }
    }

    /// Of an event that it writes.
    fn event<D: JsonSchema>(file: &'static str, title: &str, description: &str) -> Self {
        let settings = draft().for_serialize().with_transform(RecursiveTransform(left_out_rather_than_null));
        let schema = described::<CloudEvent<'_, D>>(title, description, settings);
        Self { file, schema, may_grow: true }
    }

    /// With what the types don't say.
    fn with(mut self, more: impl FnOnce(&mut Map<String, Value>)) -> Self {
        more(self.schema.ensure_object());
        self
    }

    /// As it is published.
    fn published(mut self) -> Value {
        if self.may_grow {
            RecursiveTransform(open).transform(&mut self.schema);
        }
        self.schema.to_value()
    }
}

fn all() -> [Strict; 5] {
    [
        Strict::read::<RequestBody>("request", "Request", BEYOND).with(case_size_needs_a_case),
        Strict::read::<RequestEvent>("request-event", "Request in a CloudEvent", BEYOND).with(|schema| {
            schema["properties"]["data"].as_object_mut().map(case_size_needs_a_case);
        }),
        Strict::event::<ResultData<'_>>("result", "Result", RESULT).with(each_outcome),
        Strict::event::<StartedData<'_>>("started", "Started", STARTED)
            .with(|schema| notice(schema, NoticeKind::Started)),
        Strict::event::<CaseCompletedData<'_>>("case-completed", "Case completed", CASE)
            .with(|schema| notice(schema, NoticeKind::CaseCompleted)),
    ]
}

/// Draft 7, which every validator knows, and `AsyncAPI` too.
fn draft() -> SchemaSettings {
    let mut settings = SchemaSettings::draft07().with_transform(RecursiveTransform(plain));
    settings.inline_subschemas = true;
    settings
}

fn described<T: JsonSchema>(title: &str, description: &str, settings: SchemaSettings) -> Schema {
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".into(), title.into());
    schema.insert("description".into(), description.into());
    schema
}

/// What Rust has and a reader has no use for: widths of integers, line ends of comments, defaults that are nothing.
fn plain(schema: &mut Schema) {
    if schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        schema.remove("format");
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

fn open(schema: &mut Schema) {
    schema.remove("additionalProperties");
}

/// In an event, what is not there is left out; only a field that has to be there may be `null`.
fn left_out_rather_than_null(schema: &mut Schema) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (name, property) in properties {
        let is_required = required.as_array().is_some_and(|names| names.contains(&json!(name)));
        if !is_required && let Some(property) = property.as_object_mut() {
            without_null(property);
        }
    }
}

fn without_null(property: &mut Map<String, Value>) {
    if let Some(types) = property.get_mut("type").filter(|types| types.is_array()) {
        let first = types[0].clone();
        *types = first;
    }
    if let Some(Value::Array(choices)) = property.remove("anyOf") {
        let Some(Value::Object(choice)) = choices.into_iter().find(|choice| choice["type"] != "null") else { return };
        for (name, value) in choice {
            property.entry(name).or_insert(value);
        }
    }
}

fn case_size_needs_a_case(request: &mut Map<String, Value>) {
    let said = json!({"required": ["case_size"], "properties": {"case_size": {"type": "integer"}}});
    request.insert("if".into(), said);
    request.insert("then".into(), json!({"required": ["case_id"], "properties": {"case_id": {"type": "string"}}}));
}

fn notice(schema: &mut Map<String, Value>, kind: NoticeKind) {
    schema["properties"]["type"]["const"] = json!(event_type(kind.as_str()));
    schema["required"] = json!(["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"]);
}

/// Which outcomes have which causes.
fn outcomes(cause: Cause) -> &'static [&'static str] {
    match cause {
        Cause::InvalidRequest
        | Cause::RequestConflict
        | Cause::AssetMismatch
        | Cause::PublisherNotAllowed
        | Cause::Protected => &["rejected"],
        Cause::InUse => &["rejected", "failed"],
        Cause::DeadlinePassed
        | Cause::ProviderRefused
        | Cause::StillPresent
        | Cause::AttemptsExhausted
        | Cause::BackupFailed => &["failed"],
    }
}

const CAUSES: [Cause; 11] = [
    Cause::InvalidRequest,
    Cause::RequestConflict,
    Cause::AssetMismatch,
    Cause::PublisherNotAllowed,
    Cause::InUse,
    Cause::Protected,
    Cause::DeadlinePassed,
    Cause::ProviderRefused,
    Cause::StillPresent,
    Cause::AttemptsExhausted,
    Cause::BackupFailed,
];

/// What goes together in a result.
fn each_outcome(schema: &mut Map<String, Value>) {
    let rules = Outcome::NAMES.map(|name| {
        let causes: Vec<Cause> = CAUSES.into_iter().filter(|cause| outcomes(*cause).contains(&name)).collect();
        let data = if causes.is_empty() {
            json!({"properties": {"cause": false, "detail": false}})
        } else {
            json!({"properties": {"cause": {"enum": causes}}, "required": ["cause", "detail"]})
        };
        json!({
            "if": {"properties": {"data": {"properties": {"outcome": {"const": name}}}}},
            "then": {"properties": {"type": {"const": event_type(name)}, "data": data}},
        })
    });
    let unheard = json!({"properties": {"data": {
        "properties": {"cause": {"const": Cause::PublisherNotAllowed}}, "required": ["cause"],
    }}});
    let times = json!({"required": ["time"], "properties": {"data": {"required": ["received_at", "decided_at"]}}});
    let told = json!({"if": unheard, "else": times});
    schema["properties"]["type"]["enum"] = json!(Outcome::NAMES.map(event_type));
    schema.insert("allOf".into(), rules.into_iter().chain([told]).collect());
}

fn place(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{file}.schema.json"))
}

mod tests;
