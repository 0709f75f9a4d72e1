//! Where spans are sent, if anywhere.

use url::Url;

use super::checks::{cleanly_written, secret};
use super::raw::RawTracing;
use super::source::Source;
use super::{ConfigError, TracingSettings};

/// Where a collector takes spans, unless the address says something else.
const PATH: &str = "/v1/traces";

pub(super) fn tracing(source: &Source, raw: &RawTracing) -> Result<Option<TracingSettings>, ConfigError> {
    let token = secret(source, "tracing.otlp_token", raw.otlp_token.as_ref(), raw.otlp_token_file.as_ref())?;
    let Some(endpoint) = raw.otlp_endpoint.as_deref() else {
        let others = [
            ("tracing.otlp_token", token.is_some()),
            ("tracing.sample_ratio", raw.sample_ratio.0.is_some()),
            ("tracing.service_name", raw.service_name.is_some()),
        ];
        return match others.into_iter().find(|(_, set)| *set) {
            Some((key, _)) => {
                Err(source.problem(key, "is of no use without tracing.otlp_endpoint; set that too, or leave both out"))
            }
            None => Ok(None),
        };
    };
    let service_name = raw.service_name.clone().unwrap_or_else(|| "asset-eraser".to_owned());
    if service_name.is_empty() || service_name.len() > 255 {
        return Err(source.problem("tracing.service_name", "must be 1 to 255 bytes long"));
    }
    cleanly_written(source, "tracing.otlp_endpoint", &(*endpoint).into())?;
    Ok(Some(TracingSettings {
        otlp_endpoint: address(endpoint).ok_or_else(|| {
            let rule = "must be an http:// or https:// address without user, query and fragment, such as \
                        http://collector:4318 (OTLP over HTTP; a token goes into tracing.otlp_token)";
            source.problem("tracing.otlp_endpoint", rule)
        })?,
        token,
        sample_ratio: raw.sample_ratio.0.unwrap_or(1.0),
        service_name,
    }))
}

fn address(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain || url.fragment().is_some() {
        return None;
    }
    if url.path() == "/" {
        url.set_path(PATH);
    }
    Some(url)
}
