//! What the provider client and the job registry client share: how HTTP is set up, limited, and seen to fail.

use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, redirect, retry};
use secrecy::{ExposeSecret, SecretString};

use super::Fault;
use super::inflate::inflate;
use crate::contract::message::trace::TraceContext;
use crate::platform::crypto;

/// The longest answer that is read, in bytes. The documented ones are well below 1 KiB.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;

/// A connection idle for longer is not used again: servers close idle ones, and a `DELETE` sent into such a
/// connection looks cut, which costs two detail calls to clear up.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// Why an HTTP client could not be made.
pub(crate) enum SetupError {
    /// The token does not fit into a header.
    Token,
    /// What reqwest says, without any URL.
    Client(String),
}

/// A client that makes one attempt a call, follows no redirect, and sends `token` to whatever it calls.
///
/// No redirect: it would carry a `DELETE`, or an answer about another asset, to an address that no setting names.
pub(crate) fn client(
    token: Option<&SecretString>,
    connect_timeout: Duration,
    timeout: Duration,
) -> Result<reqwest::Client, SetupError> {
    crypto::install();
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // Without it a server may choose any.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, bearer(token)?);
    }
    reqwest::Client::builder()
        .user_agent(concat!("asset-eraser/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(connect_timeout)
        .timeout(timeout)
        .pool_idle_timeout(POOL_IDLE)
        .http1_only()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .build()
        .map_err(|error| SetupError::Client(describe(&error.without_url())))
}

fn bearer(token: &SecretString) -> Result<HeaderValue, SetupError> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| SetupError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error with its causes: reqwest's own text says only "builder error".
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Puts the caller's trace on a call. A value that no header can carry is left out: a trace is never worth a failure.
pub(crate) fn traced(mut request: RequestBuilder, trace: &TraceContext) -> RequestBuilder {
    for (name, value) in [("traceparent", &trace.traceparent), ("tracestate", &trace.tracestate)] {
        if let Some(value) = value.as_deref().and_then(|v| HeaderValue::from_str(v).ok()) {
            request = request.header(name, value);
        }
    }
    request
}

/// Reads the whole body, or says why not; never holds more than [`BODY_LIMIT`] bytes of it, as it came and decompressed.
pub(crate) async fn body(response: Response) -> Result<Vec<u8>, Fault> {
    let encodings = response.headers().get_all(CONTENT_ENCODING).iter();
    let encoding = encodings.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(",");
    inflate(&encoding, as_it_came(response).await?, BODY_LIMIT)
}

async fn as_it_came(mut response: Response) -> Result<Vec<u8>, Fault> {
    let limit = u64::try_from(BODY_LIMIT).unwrap_or(u64::MAX);
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(Fault::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| fault(&error))? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(Fault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why no connection was made, without any URL: a proxy may have refused to open a tunnel.
pub(crate) fn without_answer(error: reqwest::Error) -> Option<String> {
    error.is_connect().then(|| describe(&error.without_url()))
}

/// The kind of a failed exchange. The error itself is dropped here: its text holds the URL.
pub(crate) fn fault(error: &reqwest::Error) -> Fault {
    // A connect that times out is both; that nothing was sent is the stronger news.
    if error.is_connect() {
        Fault::Connect
    } else if error.is_timeout() {
        Fault::Timeout
    } else {
        Fault::Cut
    }
}
