//! What the worker's spans are called and say.

use std::borrow::Cow;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, SpanId, TraceId, Value};
use opentelemetry_sdk::trace::Span as SdkSpan;
use url::Url;

use super::TRACER;
use crate::contract::message::TraceContext;

/// A span while it lasts, which is until it is dropped. Nothing where tracing is off.
#[derive(Debug)]
pub struct Span(Option<Box<SdkSpan>>);

impl Span {
    /// Describes it only if spans are collected.
    fn begin(parent: &TraceContext, describe: impl FnOnce() -> SpanBuilder) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let parent = remote(parent).map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        Self(Some(Box::new(tracer.build_with_context(describe(), &parent))))
    }

    /// What those hear who are called in it: its own trace context, or `otherwise` where tracing is off.
    #[must_use]
    pub fn context<'a>(&self, otherwise: &'a TraceContext) -> Cow<'a, TraceContext> {
        self.own_context().map_or(Cow::Borrowed(otherwise), Cow::Owned)
    }

    /// Its own trace context, while tracing is on.
    #[must_use]
    pub fn own_context(&self) -> Option<TraceContext> {
        let context = self.0.as_ref()?.span_context();
        let state = context.trace_state().header();
        Some(TraceContext {
            traceparent: Some(format!(
                "00-{}-{}-{:02x}",
                context.trace_id(),
                context.span_id(),
                context.trace_flags().to_u8()
            )),
            tracestate: Some(state).filter(|state| !state.is_empty()),
        })
    }

    /// Says something more of it.
    pub fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Says something more of it, of which no copy is made where tracing is off.
    pub fn note_text(&mut self, name: &'static str, text: &str) {
        if self.0.is_some() {
            self.note(name, text.to_owned());
        }
    }

    /// It went wrong. `kind` is one of a bounded set; `why` is for a person.
    pub fn failed(&mut self, kind: &str, why: impl FnOnce() -> String) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", kind.to_owned()));
            span.set_status(Status::error(why()));
        }
    }

    /// The status of an HTTP answer.
    pub fn answered(&mut self, status: u16) {
        self.note("http.response.status_code", i64::from(status));
    }
}

/// As the header says it. One that is not well-formed is none.
fn remote(trace: &TraceContext) -> Option<SpanContext> {
    let parts: Vec<&str> = trace.traceparent.as_deref()?.split('-').collect();
    let [_, trace_id, span_id, flags] = parts.as_slice() else { return None };
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let state = trace.tracestate.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let (trace_id, span_id) = (TraceId::from_hex(trace_id).ok()?, SpanId::from_hex(span_id).ok()?);
    Some(SpanContext::new(trace_id, span_id, flags, true, state)).filter(SpanContext::is_valid)
}

/// One delivery, from its decoding to its settlement.
#[must_use]
pub fn processing(trace: &TraceContext, exchange: &str, key: &str, queue: &str, message_id: Option<&str>) -> Span {
    Span::begin(trace, || {
        let attributes = messaging("process", "process", format!("{exchange}:{key}:{queue}"), key, message_id);
        builder(format!("process {queue}"), SpanKind::Consumer, attributes)
    })
}

/// One event on its way to an exchange, the default one for a queue that a publisher has named.
#[must_use]
pub fn publishing(trace: &TraceContext, exchange: &str, key: &str, message_id: &str) -> Span {
    Span::begin(trace, || {
        let (name, destination) = match exchange {
            // So many requesters, so many queues: no name of a span.
            "" => ("publish reply".to_owned(), key.to_owned()),
            _ => (format!("publish {exchange}:{key}"), format!("{exchange}:{key}")),
        };
        builder(name, SpanKind::Producer, messaging("publish", "send", destination, key, Some(message_id)))
    })
}

/// One HTTP call. `template` is the path with a name for its ID; `url` may go out only where it holds no secret.
#[must_use]
pub fn http_call(trace: &TraceContext, method: &str, template: Option<&str>, url: &Url, tell_url: bool) -> Span {
    Span::begin(trace, || {
        let mut attributes = vec![KeyValue::new("http.request.method", method.to_owned())];
        if let Some(host) = url.host_str() {
            attributes.push(KeyValue::new("server.address", host.to_owned()));
        }
        if let Some(port) = url.port_or_known_default() {
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        }
        if tell_url {
            attributes.push(KeyValue::new("url.full", url.as_str().to_owned()));
        }
        let name = match template {
            Some(template) => {
                attributes.push(KeyValue::new("url.template", template.to_owned()));
                format!("{method} {template}")
            }
            None => method.to_owned(),
        };
        builder(name, SpanKind::Client, attributes)
    })
}

/// One asset on its way into the store of backups, every try of it. The host of its bytes gets no trace header.
#[must_use]
pub fn backup(trace: &TraceContext) -> Span {
    Span::begin(trace, || builder("keep a copy".to_owned(), SpanKind::Internal, Vec::new()))
}

/// One query to PostgreSQL.
#[must_use]
pub fn query(trace: &TraceContext, what: &'static str) -> Span {
    Span::begin(trace, || {
        let attributes = vec![KeyValue::new("db.system.name", "postgresql"), KeyValue::new("db.query.summary", what)];
        builder(what.to_owned(), SpanKind::Client, attributes)
    })
}

fn messaging(
    operation: &'static str,
    kind: &'static str,
    destination: String,
    key: &str,
    message_id: Option<&str>,
) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("messaging.system", "rabbitmq"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", kind),
        KeyValue::new("messaging.destination.name", destination),
        KeyValue::new("messaging.rabbitmq.destination.routing_key", key.to_owned()),
    ];
    attributes.extend(message_id.map(|id| KeyValue::new("messaging.message.id", id.to_owned())));
    attributes
}

fn builder(name: String, kind: SpanKind, attributes: Vec<KeyValue>) -> SpanBuilder {
    SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_tracing_is_off_a_trace_goes_on_as_it_came() {
        let came = TraceContext::new(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), Some("a=b"));
        let mut span = publishing(&came, "x", "k", "m");
        span.note("a", "b");
        span.failed("never", || unreachable!("no spans are collected"));
        assert_eq!(*span.context(&came), came);
        assert_eq!(std::mem::size_of::<Span>(), std::mem::size_of::<usize>());
    }

    #[test]
    fn a_parent_is_read_as_its_header_says() {
        let parent =
            |text: &str| remote(&TraceContext { traceparent: Some(text.to_owned()), tracestate: Some("a=b".into()) });
        let read = parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(read.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((read.span_id().to_string().as_str(), read.is_sampled()), ("b7ad6b7169203331", true));
        assert_eq!(read.trace_state().header(), "a=b");
        assert!(!parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap().is_sampled());
        for bad in
            ["", "00-0-0-00", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-zz-b7ad6b7169203331-01"]
        {
            assert!(parent(bad).is_none(), "{bad}");
        }
    }
}
