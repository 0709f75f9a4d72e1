use reqwest::header::{HeaderName, HeaderValue};

use super::*;

fn head(headers: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    headers.iter().map(pair).collect()
}

fn is_between(headers: &[(&'static str, &str)], body: &str) -> bool {
    Origin::read(&head(headers), None).is_between(body.as_bytes())
}

#[test]
fn a_page_and_the_headers_of_proxies_are_signs_of_something_between() {
    for headers in [
        &[("content-type", "text/html; charset=utf-8")][..],
        &[("content-type", "application/xhtml+xml")],
        &[("via", "1.1 filter.example")],
        &[("proxy-authenticate", "Basic")],
    ] {
        assert!(is_between(headers, "blocked"), "{headers:?}");
    }
    assert!(is_between(&[], "\n <!DOCTYPE html>"));
    assert!(!is_between(&[("content-type", "text/plain"), ("server", "nginx")], "no such key"));
    assert!(!is_between(&[], ""));
    for (reads, between) in [(true, true), (false, false)] {
        let proxy = Proxy { address: "filter:3128".into(), reads };
        assert_eq!(
            Origin::read(&HeaderMap::new(), Some(&proxy)).is_between(b""),
            between,
            "a tunnel hides the answers from it"
        );
    }
}

#[test]
fn what_was_seen_is_told_in_a_few_plain_characters() {
    let long = "x".repeat(500);
    let headers = head(&[("content-type", "text/html"), ("server", &long), ("via", "1.1 a\tb"), ("proxy-status", "s")]);
    let proxy = Proxy { address: "filter:3128".into(), reads: true };
    let told = Origin::read(&headers, Some(&proxy)).told();
    assert!(told.starts_with("content type text/html, Server: xxx"), "{told}");
    assert!(told.contains(r"Via: 1.1 a\tb, with a header proxy-status"), "{told}");
    assert!(told.len() < 300 && !told.contains("secret"), "{told}");
    assert!(!told.contains("3128"), "the address is for the operator only: {told}");
    assert_eq!(way(Some(&proxy)), "the environment sets the proxy filter:3128");
    assert_eq!((&*Origin::default().told(), &*way(None)), ("no content type", "no proxy is set"));
}
