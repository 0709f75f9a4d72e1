//! What an answer says of its sender: the service that was asked, or something on the way to it, such as a proxy or a web
//! filter.

use std::fmt::Write as _;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, SERVER, VIA};
use url::Url;

/// The longest header value that is shown, in characters.
const VALUE_LIMIT: usize = 80;

/// The head of an answer, as far as it tells who sent it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    content_type: Option<String>,
    content_encoding: Option<String>,
    server: Option<String>,
    via: Option<String>,
    /// The names of its `Proxy-…` headers.
    proxy_headers: Vec<String>,
    /// The proxy that is set for the call.
    proxy: Option<Proxy>,
}

/// The proxy that the environment sets for a URL: host and port, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    address: Arc<str>,
    /// It sees the answers, as the URL is not `https`.
    reads: bool,
}

impl Proxy {
    /// As the HTTP client finds it: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        let uri = url.as_str().parse().ok()?;
        let found = Matcher::from_system().intercept(&uri)?;
        let (host, port) = (found.uri().host()?, found.uri().port_u16());
        let address = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Some(Self { address: address.into(), reads: url.scheme() != "https" })
    }
}

/// The way of a call, for the operator: publishers are told no address.
pub(crate) fn way(proxy: Option<&Proxy>) -> String {
    match proxy {
        Some(proxy) => format!("the environment sets the proxy {}", shown(&proxy.address)),
        None => "no proxy is set".to_owned(),
    }
}

impl Origin {
    pub(crate) fn of(response: &Response, proxy: Option<&Proxy>) -> Self {
        Self::read(response.headers(), proxy)
    }

    pub(crate) fn read(headers: &HeaderMap, proxy: Option<&Proxy>) -> Self {
        let value = |name| headers.get(name).map(|value| shown(&String::from_utf8_lossy(value.as_bytes())));
        let proxy_headers = headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("proxy-"));
        Self {
            content_type: value(CONTENT_TYPE),
            content_encoding: value(CONTENT_ENCODING),
            server: value(SERVER),
            via: value(VIA),
            proxy_headers: proxy_headers.take(4).map(shown).collect(),
            proxy: proxy.cloned(),
        }
    }

    /// Whether there are signs that something on the way has answered. They count only for a body that is none of the
    /// service's: a service behind a gateway sends `Via`, too.
    pub(crate) fn is_between(&self, body: &[u8]) -> bool {
        let page = self.content_type.as_deref().is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
        page || body.trim_ascii_start().starts_with(b"<")
            || self.via.is_some()
            || !self.proxy_headers.is_empty()
            || self.proxy.as_ref().is_some_and(|proxy| proxy.reads)
    }

    /// For a person: no secret, and no more than some hundred characters.
    pub(crate) fn told(&self) -> String {
        let mut told =
            self.content_type.as_ref().map_or("no content type".to_owned(), |kind| format!("content type {kind}"));
        let headers = [("Content-Encoding", &self.content_encoding), ("Server", &self.server), ("Via", &self.via)];
        for (name, value) in headers {
            if let Some(value) = value {
                let _ = write!(told, ", {name}: {value}");
            }
        }
        for name in &self.proxy_headers {
            let _ = write!(told, ", with a header {name}");
        }
        told
    }
}

/// A text of a stranger's, without control characters.
fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.by_ref().take(VALUE_LIMIT).collect();
    let cut = if characters.next().is_some() { "…" } else { "" };
    format!("{}{cut}", first.escape_debug())
}

#[cfg(test)]
mod tests;
