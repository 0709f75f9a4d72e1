//! What `broker.url` says besides the password.

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Broker;
use super::address::unclean;
use super::source::text_of;
use super::validate::is_broker;

impl Broker {
    /// The URL as its file says now, where it came from one, since a password is changed while the worker runs. What cannot be
    /// read, or is no such URL, is not taken.
    #[must_use]
    pub fn current_url(&self) -> SecretString {
        let Some(file) = &self.url_file else { return self.url.clone() };
        let text = text_of(file).map(|text| text.trim_end_matches(['\n', '\r']).to_owned());
        match text {
            Ok(url) if is_broker(&url) && unclean(&url).is_none() => url.into(),
            Ok(_) => self.last_known("it holds no such URL, cleanly encoded"),
            Err(why) => self.last_known(&why),
        }
    }

    fn last_known(&self, why: &str) -> SecretString {
        tracing::warn!(why, "broker.url_file is not taken; the URL is that of the start");
        self.url.clone()
    }

    /// The user of the URL, if it names one.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let url = Url::parse(self.url.expose_secret()).ok()?;
        let user = percent_decode_str(url.username()).decode_utf8().ok()?.into_owned();
        (!user.is_empty()).then_some(user)
    }

    /// Where the broker is, for people: host, port and virtual host.
    #[must_use]
    pub fn place(&self) -> String {
        let Ok(url) = Url::parse(self.url.expose_secret()) else { return "an address that can't be read".to_owned() };
        let port = url.port().unwrap_or(if url.scheme() == "amqps" { 5671 } else { 5672 });
        let vhost = percent_decode_str(url.path().trim_start_matches('/')).decode_utf8_lossy();
        let vhost = if vhost.is_empty() { "/" } else { &*vhost };
        format!("{}:{port}, virtual host {vhost}", url.host_str().unwrap_or("localhost"))
    }
}
