//! What `broker.url` says besides the password.

use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use url::Url;

use super::Broker;

impl Broker {
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
