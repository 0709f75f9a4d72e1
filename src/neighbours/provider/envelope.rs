//! The shape of the provider's answers: `{"code","msg","data"}`, or a bare job object.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::rules::SUCCESS;
use crate::contract::json::{self, Object};

/// The longest code taken for one; the documented codes have one to four characters.
const CODE_LIMIT: usize = 64;

/// An answer as it came. Duplicate fields are an error (a reader of the other one would decide differently);
/// fields that are not used here are not.
#[derive(Debug, Deserialize)]
pub(super) struct AnswerEnvelope {
    /// As text: `DELETE` answers with a string, the detail call with an integer.
    #[serde(default, deserialize_with = "code")]
    pub(super) code: Option<String>,
    #[serde(default)]
    msg: Option<Value>,
    /// What the provider's web framework uses instead of `msg`.
    #[serde(default)]
    message: Option<Value>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    status: Option<Value>,
    /// Other gateways' errors: `{"error":{"code","message"}}`, `{"errorCode","errorMessage"}`,
    /// `{"ResponseMetadata":{"Error":{"Code","Message"}}}`.
    #[serde(default)]
    error: Option<Value>,
    #[serde(default, rename = "errorCode")]
    error_code: Option<Value>,
    #[serde(default, rename = "errorMessage")]
    error_message: Option<Value>,
    #[serde(default, rename = "ResponseMetadata")]
    metadata: Option<Value>,
    /// What stands for `data` beside `ResponseMetadata`.
    #[serde(default, rename = "Result")]
    result: Option<Box<RawValue>>,
}

impl AnswerEnvelope {
    /// `None` when the bytes are no such object.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(json::without_mark(body)).ok().map(|Object(envelope)| envelope)
    }

    /// What the answer says to people.
    pub(super) fn text(&self) -> Option<&str> {
        let inner = [self.inner("message"), self.error_message.as_ref(), self.upstream("Message")];
        let all = [self.msg.as_ref(), self.message.as_ref()].into_iter().chain(inner);
        let mut texts = all.filter_map(|value| value?.as_str());
        texts.find(|text| !text.is_empty())
    }

    /// The code: `code`, or else that of an error.
    pub(super) fn any_code(&self) -> Option<String> {
        self.code.clone().or_else(|| self.error_code())
    }

    /// The code of an error, in the first place that has one. It is never the code of a success.
    pub(super) fn error_code(&self) -> Option<String> {
        let places = [self.inner("code"), self.error_code.as_ref(), self.upstream("Code")];
        let mut codes = places.into_iter().filter_map(|value| plain_code(value?));
        codes.find(|code| code != SUCCESS)
    }

    /// `data`, or what stands for it.
    pub(super) fn data(&self) -> Option<&RawValue> {
        self.data.as_deref().or(self.result.as_deref())
    }

    fn inner(&self, name: &str) -> Option<&Value> {
        self.error.as_ref()?.get(name)
    }

    fn upstream(&self, name: &str) -> Option<&Value> {
        self.metadata.as_ref()?.get("Error")?.get(name)
    }

    /// The job object: `data` when that is an object, else the answer itself.
    ///
    /// `None` when it has no status, or when both have one and they disagree: it is not known which one counts.
    pub(super) fn job(&self) -> Option<ProviderJob> {
        let outer = ProviderJob { id: self.id.clone(), status: self.status.clone() };
        let inner: ProviderJob = match self.data() {
            Some(raw) if raw.get().starts_with('{') => serde_json::from_str::<Object<ProviderJob>>(raw.get()).ok()?.0,
            _ => return outer.status().is_some().then_some(outer),
        };
        let status = inner.status()?;
        match outer.status() {
            Some(other) if !other.eq_ignore_ascii_case(status) => None,
            _ => Some(inner),
        }
    }
}

/// The part of a job that matters here.
#[derive(Debug, Deserialize)]
pub(super) struct ProviderJob {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    status: Option<Value>,
}

impl ProviderJob {
    /// The status, unless it is missing, empty or no string.
    pub(super) fn status(&self) -> Option<&str> {
        let status = self.status.as_ref()?.as_str()?.trim();
        (!status.is_empty()).then_some(status)
    }

    /// The job that the answer names.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_ref()?.as_str()
    }

    /// Whether the answer names another job than the one asked for.
    pub(super) fn is_another(&self, asked: &str) -> bool {
        self.id.as_ref().is_some_and(|id| id.as_str() != Some(asked))
    }
}

/// `data` of the detail call.
#[allow(clippy::struct_field_names, reason = "the names of the API")]
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asset {
    #[serde(alias = "Id")]
    pub(super) asset_id: String,
    #[serde(default)]
    name: Option<Value>,
    #[serde(default)]
    asset_type: Option<Value>,
    #[serde(default)]
    create_time: Option<Value>,
    #[serde(default)]
    status: Option<Value>,
    #[serde(default)]
    url: Option<Value>,
}

impl Asset {
    /// `None` when it is missing, or no object that names an asset.
    pub(super) fn parse(data: Option<&RawValue>) -> Option<Self> {
        serde_json::from_str(data?.get()).ok().map(|Object(asset)| asset)
    }

    /// Its status, as it came.
    pub(super) fn status(&self) -> Option<&str> {
        self.status.as_ref()?.as_str()
    }

    /// Where its bytes are, as it came.
    pub(super) fn url(&self) -> Option<&str> {
        self.url.as_ref()?.as_str()
    }

    /// Name, type, creation time and status, as text. A field of another type must not hide that the asset exists.
    pub(super) fn texts(self) -> [Option<String>; 4] {
        [self.name, self.asset_type, self.create_time, self.status].map(|value| match value? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }
}

/// Accepts a string or an integer. Anything else (a float, a bool, an object) is no code, and makes the whole answer
/// unreadable: `0.0` or `false` must not pass for the `0` that means success.
fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_any(CodeVisitor)
}

struct CodeVisitor;

impl Visitor<'_> for CodeVisitor {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a code: a short string or an integer")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if is_code(text) { Ok(Some(text.to_owned())) } else { Err(E::custom("not a code")) }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

fn is_code(text: &str) -> bool {
    (1..=CODE_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A code in a place where other things may stand, too.
fn plain_code(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => is_code(text).then(|| text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}
