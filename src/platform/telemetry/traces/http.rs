//! The exporter's way to the collector.

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect;
use secrecy::{ExposeSecret, SecretString};

use super::{EXPORT_LIMIT, TracesError};

/// The longest answer that is read, in bytes. A collector has nothing to say but how many spans it refused.
const ANSWER_LIMIT: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct SpanClient(reqwest::Client);

impl SpanClient {
    pub(super) fn new(token: Option<&SecretString>) -> Result<Self, TracesError> {
        crate::platform::crypto::install();
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
            let mut value = value.map_err(|_| TracesError::Client("the token fits into no header".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        reqwest::Client::builder()
            .user_agent(concat!("asset-eraser/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .timeout(EXPORT_LIMIT)
            .http1_only()
            .redirect(redirect::Policy::none())
            .build()
            .map(Self)
            .map_err(|error| TracesError::Client(error.without_url().to_string()))
    }
}

#[async_trait]
impl HttpClient for SpanClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
        let mut made = Response::builder().status(answer.status());
        if let Some(headers) = made.headers_mut() {
            *headers = std::mem::take(answer.headers_mut());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err("the collector's answer is too long".into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(made.body(body.into())?)
    }
}
