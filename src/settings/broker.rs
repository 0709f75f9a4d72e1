//! What `broker.url` says besides the password.

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::BrokerSettings;
use super::checks::usable_urls;
use super::safety::MAX_USER;
use super::source::text_of;

impl BrokerSettings {
    /// The URLs as their file says now, where they came from one, since a password is changed while the worker runs. What
    /// cannot be read, or holds no such URLs, is not taken.
    #[must_use]
    pub fn current_urls(&self) -> Vec<SecretString> {
        let Some(file) = &self.url_file else { return self.urls.clone() };
        text_of(file).and_then(|text| usable_urls(&text)).unwrap_or_else(|why| {
            tracing::warn!(why, "broker.url_file is not taken; the URLs are those of the start");
            self.urls.clone()
        })
    }

    /// The user of the URL, if it names one.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let url = self.first()?;
        let user = percent_decode_str(url.username()).decode_utf8().ok()?.into_owned();
        (!user.is_empty()).then_some(user)
    }

    /// As whom the broker knows the worker; `None` where a certificate says that, or the name is longer than a `user_id`.
    #[must_use]
    pub fn own_user(&self) -> Option<String> {
        let url = self.first()?;
        if url.query_pairs().any(|(key, value)| key == "auth_mechanism" && value.eq_ignore_ascii_case("external")) {
            return None;
        }
        self.user().filter(|user| user.len() <= MAX_USER)
    }

    fn first(&self) -> Option<Url> {
        Url::parse(self.urls.first()?.expose_secret()).ok()
    }

    /// Where the broker is, for people: host, port and virtual host of the first URL.
    #[must_use]
    pub fn place(&self) -> String {
        let Some(url) = self.first() else { return "an address that cannot be read".to_owned() };
        let port = url.port().unwrap_or(if url.scheme() == "amqps" { 5671 } else { 5672 });
        let vhost = percent_decode_str(url.path().trim_start_matches('/')).decode_utf8_lossy();
        let vhost = if vhost.is_empty() { "/" } else { &*vhost };
        format!("{}:{port}, virtual host {vhost}", url.host_str().unwrap_or("localhost"))
    }
}
