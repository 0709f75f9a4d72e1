//! W3C trace context, carried from the request to the provider's calls and on to the result.

/// The two W3C headers, as they came; a malformed `traceparent` is not carried on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`, already checked for its form.
    pub traceparent: Option<String>,
    /// `tracestate`; only kept beside a valid `traceparent`.
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// Keeps the headers when `traceparent` has the form of W3C Trace Context level 1, and drops both otherwise.
    #[must_use]
    pub fn new(traceparent: Option<&str>, tracestate: Option<&str>) -> Self {
        let Some(parent) = traceparent.filter(|text| well_formed(text)) else {
            return Self::default();
        };
        let state = tracestate.filter(|s| s.len() <= 512 && s.bytes().all(|b| (0x20..0x7f).contains(&b)));
        Self { traceparent: Some(parent.to_owned()), tracestate: state.map(str::to_owned) }
    }
}

fn well_formed(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    matches!(parts.as_slice(), [version, trace, span, flags]
        if hex(version, 2) && *version != "ff" && hex(trace, 32) && !zero(trace)
            && hex(span, 16) && !zero(span) && hex(flags, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_is_carried() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::new(Some(good), Some("a=b")).tracestate.as_deref(), Some("a=b"));
        for bad in
            ["", "00-0-0-0", &good.to_uppercase(), &good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32))]
        {
            assert_eq!(TraceContext::new(Some(bad), Some("a=b")), TraceContext::default(), "{bad}");
        }
    }
}
