//! Who may see the pages, and what keeps other sites from using a login that a browser remembers.

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Here;
use super::tries::Tries;
use crate::operator::http::same;
use crate::settings;

/// The one login there is.
pub(super) struct Login {
    user: String,
    password: SecretString,
    tries: Tries,
    form_token: String,
}

impl Login {
    /// `key` is random, and the same for every replica and after a restart. A page shows what follows from it, so it has
    /// nothing to do with the password.
    pub(super) fn new(settings: &settings::ConsoleSettings, key: Uuid) -> Self {
        let settings::ConsoleSettings { user, password, .. } = settings.clone();
        let keyed = Sha256::new().chain_update(b"asset-eraser console form ").chain_update(key);
        Self { user, password, tries: Tries::default(), form_token: hex::encode(keyed.finalize()) }
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

/// Lets only those through who have logged in.
pub(super) async fn required(Shared(here): Shared<Here>, request: Request, next: Next) -> Response {
    match here.try_login(request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refused) => refused,
    }
}

impl Here {
    async fn try_login(&self, headers: &HeaderMap) -> Result<(), Response> {
        if !headers.contains_key(header::AUTHORIZATION) {
            return Err(log_in());
        }
        let login = &self.console.0.login;
        let Some(this_try) = login.tries.begin().await else {
            self.state.metrics.console_login_unseen();
            return Err(come_back());
        };
        if login.accepts(headers) {
            return Ok(());
        }
        tracing::warn!("a wrong login at the console");
        self.state.metrics.console_login_wrong();
        this_try.end_wrong().await;
        Err(log_in())
    }
}

fn log_in() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"asset-eraser\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, challenge, "Log in with console.user and console.password.\n").into_response()
}

fn come_back() -> Response {
    let text = "Too many wrong logins are waiting, of this or another client. Try again in a few seconds.\n";
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "5")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        with_key("0123456789ab", 1)
    }

    fn with_key(password: &str, key: u128) -> Login {
        let settings =
            settings::ConsoleSettings { listen: None, user: "operator".to_owned(), password: password.into() };
        Login::new(&settings, Uuid::from_u128(key))
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
    }

    #[test]
    fn a_page_tells_nothing_of_the_password_and_suits_every_replica() {
        let token = |password, key| with_key(password, key).form_token;
        assert_eq!(token("0123456789ab", 1), token("another password", 1));
        assert_ne!(token("0123456789ab", 1), token("0123456789ab", 2));
    }
}
