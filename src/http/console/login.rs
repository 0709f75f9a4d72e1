//! Who may see the pages, and what keeps other sites from using a login that a browser remembers.

use std::time::Duration;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::Here;
use crate::config;
use crate::http::same;

/// What a wrong login waits for, so that passwords are not tried by the thousand.
const WRONG: Duration = Duration::from_millis(500);

/// The one login there is.
pub(super) struct Login {
    user: String,
    password: SecretString,
    form_token: String,
}

impl Login {
    pub(super) fn new(settings: &config::Console) -> Self {
        let config::Console { user, password } = settings.clone();
        // The same in every replica and after a restart. Only those are told it who know the password.
        let keyed = Sha256::new().chain_update(b"asset-eraser console form ").chain_update(password.expose_secret());
        let form_token = hex::encode(keyed.finalize());
        Self { user, password, form_token }
    }

    /// Goes into every form.
    pub(super) fn form_token(&self) -> &str {
        &self.form_token
    }

    fn accepts(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, rest)) = given.and_then(|given| given.split_once(' ')) else { return false };
        let password = self.password.expose_secret().as_bytes();
        if scheme.eq_ignore_ascii_case("bearer") {
            return same(rest.trim().as_bytes(), password);
        }
        let Ok(decoded) = BASE64_STANDARD.decode(rest.trim()) else { return false };
        let wanted = [self.user.as_bytes(), b":", password].concat();
        scheme.eq_ignore_ascii_case("basic") && same(&decoded, &wanted)
    }

    /// Whether a form comes from one of our own pages: it has the token, and the browser names no other site.
    pub(super) fn sent(&self, headers: &HeaderMap, form_token: &str) -> bool {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        same(form_token.as_bytes(), self.form_token.as_bytes()) && matches!(site, None | Some(b"same-origin"))
    }
}

/// Lets nobody through who has not logged in.
pub(super) async fn required(Shared(here): Shared<Here>, request: Request, next: Next) -> Response {
    if here.console.0.login.accepts(request.headers()) {
        return next.run(request).await;
    }
    if request.headers().contains_key(header::AUTHORIZATION) {
        tracing::warn!("a wrong login at the console");
        tokio::time::sleep(WRONG).await;
    }
    let mut refused = (StatusCode::UNAUTHORIZED, "Log in with console.user and console.password.\n").into_response();
    let basic = HeaderValue::from_static("Basic realm=\"asset-eraser\", charset=\"UTF-8\"");
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login::new(&config::Console { user: "operator".to_owned(), password: "0123456789ab".into() })
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn only_the_whole_login_is_accepted() {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        for (given, wanted) in [
            (basic("operator:0123456789ab"), true),
            ("Bearer 0123456789ab".to_owned(), true),
            ("bearer 0123456789ab".to_owned(), true),
            (basic("operator:0123456789a"), false),
            (basic("operator"), false),
            (basic("admin:0123456789ab"), false),
            (basic(":0123456789ab"), false),
            ("Basic !!!".to_owned(), false),
            ("Bearer ".to_owned(), false),
            ("0123456789ab".to_owned(), false),
        ] {
            assert_eq!(login().accepts(&with("authorization", &given)), wanted, "{given}");
        }
        assert!(!login().accepts(&HeaderMap::new()));
    }

    #[test]
    fn a_form_of_another_site_is_not_ours() {
        let (login, token) = (login(), login().form_token);
        assert!(login.sent(&HeaderMap::new(), &token), "a browser that does not say, with the right token");
        assert!(login.sent(&with("sec-fetch-site", "same-origin"), &token));
        assert!(!login.sent(&with("sec-fetch-site", "cross-site"), &token));
        assert!(!login.sent(&with("sec-fetch-site", "same-origin"), ""));
        assert!(!token.contains("0123456789ab"));
    }
}
