//! A collector of spans, as far as OTLP over HTTP asks for one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::until;

type Posts = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

pub struct Collector {
    pub url: String,
    posts: Posts,
    _serving: AbortOnDropHandle<()>,
}

/// One span, as a reader looks at it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: String,
    pub kind: i32,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub attributes: BTreeMap<String, String>,
    /// Of the service that sent it.
    pub resource: BTreeMap<String, String>,
    /// Whether its status is an error.
    pub failed: bool,
    pub ended_ns: u64,
}

async fn take(State(posts): State<Posts>, headers: HeaderMap, body: Bytes) {
    posts.lock().unwrap().push((headers, body));
}

async fn hang(State(posts): State<Posts>, headers: HeaderMap, body: Bytes) {
    posts.lock().unwrap().push((headers, body));
    std::future::pending::<()>().await;
}

impl Collector {
    pub async fn start() -> Self {
        Self::serve(Router::new().route("/v1/traces", post(take))).await
    }

    /// One that never answers.
    pub async fn hanging() -> Self {
        Self::serve(Router::new().route("/v1/traces", post(hang))).await
    }

    async fn serve(router: Router<Posts>) -> Self {
        let posts = Posts::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = axum::serve(listener, router.with_state(posts.clone()));
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        Self { url, posts, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn posts(&self) -> Vec<(HeaderMap, Bytes)> {
        self.posts.lock().unwrap().clone()
    }

    pub fn spans(&self) -> Vec<Seen> {
        self.posts().iter().flat_map(|(_, body)| read(body)).collect()
    }

    /// Every span of a trace, in the order in which they ended; waits until what is looked for is among them.
    pub async fn trace(&self, id: &str, done: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        until(&format!("the spans of trace {id}"), || async {
            let mut spans = self.spans();
            spans.retain(|span| span.trace == id);
            spans.sort_by_key(|span| span.ended_ns);
            done(&spans).then_some(spans)
        })
        .await
    }
}

fn read(body: &Bytes) -> Vec<Seen> {
    let request = ExportTraceServiceRequest::decode(body.clone()).expect("OTLP");
    let of_one = |spans: opentelemetry_proto::tonic::trace::v1::ResourceSpans| {
        let resource = texts(&spans.resource.unwrap_or_default().attributes);
        let spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(|span| seen(&span, &resource)).collect::<Vec<_>>()
    };
    request.resource_spans.into_iter().flat_map(of_one).collect()
}

fn seen(span: &Span, resource: &BTreeMap<String, String>) -> Seen {
    Seen {
        name: span.name.clone(),
        kind: span.kind,
        trace: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent: hex::encode(&span.parent_span_id),
        attributes: texts(&span.attributes),
        resource: resource.clone(),
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        ended_ns: span.end_time_unix_nano,
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}
