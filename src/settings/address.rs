//! URLs that may hold a password. One whose user or password is not cleanly encoded is read by each library in its own way:
//! a part of the password becomes the name of a host, which errors, logs and `/readyz` tell. So it is refused at start.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What else a user or a password may hold as it is, by RFC 3986; a colon ends the user.
const PLAIN: &[u8] = b"-._~!$&'()*+,;=:";

/// What is wrong with how a URL is written, without a word of it; `None` where nothing is.
pub(super) fn unclean(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((login, hosts)) => unclean_login(login).or_else(|| unclean_hosts(hosts)),
        None if cut_short(authority, after) => after.chars().next().map(reserved),
        None => unclean_hosts(authority),
    }
}

/// Whether a password seems to have ended the authority early: an @ comes after what looks like the beginning of a login.
fn cut_short(authority: &str, after: &str) -> bool {
    let path_end = if after.starts_with('/') { after.find(['?', '#']).unwrap_or(after.len()) } else { after.len() };
    let last = authority.rsplit(',').next().unwrap_or_default();
    let login_like = last.split_once(':').is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()));
    after[..path_end].contains('@') && authority.contains(':') || login_like && after.contains('@')
}

fn unclean_login(login: &str) -> Option<String> {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '%' || u8::try_from(*c).is_ok_and(|b| PLAIN.contains(&b));
    if let Some(wrong) = login.chars().find(|c| !plain(c)) {
        return Some(reserved(wrong));
    }
    let encoded = |rest: &str| rest.get(..2).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if !login.split('%').skip(1).all(encoded) {
        return Some("a % in the user or the password stands for itself: write it as %25".to_owned());
    }
    let text = percent_decode_str(login).decode_utf8();
    text.is_err().then(|| "the user or the password is not UTF-8 once it is decoded".to_owned())
}

/// Names, addresses and ports, one after the other.
fn unclean_hosts(hosts: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:,[]%{}".contains(&b);
    let told = "what stands where the host belongs is none: if it is a part of the user or the password, encode its special \
                characters, such as @ as %40, : as %3A and / as %2F";
    (!hosts.bytes().all(plain) || !hosts.split(',').all(is_host)).then(|| told.to_owned())
}

fn is_host(host: &str) -> bool {
    let port = if host.starts_with('[') { host.split_once("]:") } else { host.split_once(':') };
    port.is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
}

/// How a character is written in a login.
fn reserved(c: char) -> String {
    let text = c.to_string();
    let encoded = utf8_percent_encode(&text, NON_ALPHANUMERIC);
    format!("a {c} in the user or the password has to be written as {encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_is_not_encoded_is_refused_and_never_quoted() {
        for (url, said) in [
            ("postgres://jobs:Hunter@VerySecretRest@host/db", "%40"),
            ("postgres://jobs:Hunter/VerySecretRest@host/db", "%2F"),
            ("postgres://jobs:123/VerySecretRest@host/db", "%2F"),
            ("amqp://jobs:Hunter?VerySecretRest@host/db", "%3F"),
            ("amqp://jobs:Hunter#VerySecretRest@host/db", "%23"),
            ("amqp://jobs:Hunter[VerySecretRest@host/db", "%5B"),
            ("https://jobs:Hunter\\VerySecretRest@host/db", "%5C"),
            ("https://jobs:Hunter%VerySecretRest@host/db", "%25"),
            ("https://jobs:Hunter%4@host/db", "%25"),
            ("https://jobs:Hunter%ffVerySecretRest@host/db", "not UTF-8"),
            ("https://jobs:Hunter\u{e9}VerySecretRest@host/db", "%C3%A9"),
            ("postgres://jobs:VerySecretRest/db", "host belongs"),
            ("postgres://jobs:pass@ho^st/db", "host belongs"),
            ("postgres://jobs:pass@one:5432,two:VerySecretRest/db", "host belongs"),
        ] {
            let problem = unclean(url).unwrap_or_else(|| panic!("{url} is taken"));
            assert!(problem.contains(said) && !problem.contains("Secret") && !problem.contains("Hunter"), "{problem}");
        }
    }

    #[test]
    fn a_url_that_is_clean_is_taken() {
        for url in [
            "postgres://jobs:a%40b%2Fc%3Ad%25e%5B%C3%A9!$&'()*+,;=-._~:x@one:5432,two,[::1]:5433/db?sslmode=require",
            "postgres://%2Fvar%2Frun/db",
            "postgres:///db?host=/var/run",
            "amqp://guest:guest@127.0.0.1:5672/%2f",
            "amqps://host/team@home",
            "https://jobs.example:8443/{asset_id}?by=me@example",
            "https://jobs.example/of@team/{asset_id}",
            "https://{asset_id}.jobs.example/x",
            "memory:",
        ] {
            assert_eq!(unclean(url), None, "{url}");
        }
    }
}
