//! Spans, sent over OTLP to a collector. Off unless `tracing.otlp_endpoint` is set, and then nothing is built:
//! a [`Span`] is nothing, and a trace that came with a request goes on as it came.
//!
//! On, each message that is worked on is a span below its publisher's, each call and each publication a span below that,
//! and what is called or published to hears of the innermost one. Names and attributes are those of OpenTelemetry's
//! semantic conventions, and `asset_eraser.*`.

mod http;
mod sender;
mod span;

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanExporter as _};

use self::http::SpanClient;
pub use self::sender::Sender;
pub use self::span::{Span, backup, http_call, processing, publishing, query};
use crate::settings::TracingSettings;

/// Longest wait for the collector, retries included.
const EXPORT_LIMIT: Duration = Duration::from_secs(10);

/// Where spans begin; empty while tracing is off. One a process, like the log.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Why traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// TLS or the HTTP client could not be set up.
    #[error("the HTTP client for tracing.otlp_endpoint cannot be set up: {0}")]
    Client(String),
    /// An `OTEL_…` variable of the environment makes no sense, for instance.
    #[error("traces cannot be exported: {0}")]
    Exporter(String),
    /// They are set up already.
    #[error("traces are already set up in this process")]
    AlreadySet,
}

/// Begins to make spans. They are sent by what is returned, which has to be run. Call once, at start.
///
/// # Errors
/// When the exporter cannot be made, or traces were set up before.
pub fn start(settings: &TracingSettings) -> Result<Sender, TracesError> {
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(SpanClient::new(settings.token.as_ref())?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(settings.otlp_endpoint.as_str())
        .with_timeout(EXPORT_LIMIT)
        .build()
        .map_err(|error| TracesError::Exporter(error.to_string()))?;
    exporter.set_resource(&resource);
    let (queue, sender) = sender::channel(exporter);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        // The publisher decides whether its trace is kept; the ratio is for those that begin here.
        .with_sampler(Sampler::parent_based(Sampler::TraceIdRatioBased(settings.sample_ratio)))
        .with_span_processor(queue)
        .build();
    TRACER.set(provider.tracer("asset-eraser")).map_err(|_| TracesError::AlreadySet)?;
    Ok(sender)
}
