//! The parameters of a `PostgreSQL` URL: those of libpq that have a meaning here, in the form that the client library takes.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// Parameters of libpq that would change who is believed or who we are, and that cannot be honoured here.
const UNSUPPORTED: [&str; 22] = [
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "min_protocol_version",
    "max_protocol_version",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslpassword",
    "sslcompression",
    "oauth_issuer",
];

/// A URL whose every parameter is one that the client library knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckedUrl {
    pub(super) url: String,
    /// The file with the CAs to believe; `None` for the system's.
    pub(super) authorities: Option<PathBuf>,
}

/// What becomes of one parameter.
enum Taken {
    As(String),
    Authorities(PathBuf),
    /// It says what is so anyway.
    Anyway,
}

/// # Errors
/// A sentence that repeats nothing of the URL but the name of a parameter that libpq has.
pub(super) fn plain(url: &str) -> Result<CheckedUrl, String> {
    let Some((address, parameters)) = url.split_once('?') else {
        return Ok(CheckedUrl { url: url.to_owned(), authorities: None });
    };
    let (mut kept, mut authorities) = (Vec::new(), None);
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        match taken(parameter)? {
            Taken::As(parameter) => kept.push(parameter),
            Taken::Authorities(file) => authorities = Some(file),
            Taken::Anyway => {}
        }
    }
    let url = if kept.is_empty() { address.to_owned() } else { format!("{address}?{}", kept.join("&")) };
    Ok(CheckedUrl { url, authorities })
}

fn taken(parameter: &str) -> Result<Taken, String> {
    let (name, encoded) = parameter.split_once('=').ok_or("a parameter after the ? has no value")?;
    let value = percent_decode_str(encoded).decode_utf8().map_err(|_| "a parameter after the ? is not UTF-8")?;
    match (name, &*value) {
        // The certificate of the server and the name in it are always checked, so that these say no more.
        ("sslmode", "verify-full" | "verify-ca") => Ok(Taken::As("sslmode=require".to_owned())),
        // Encryption is tried first, which the server's administrator cannot mind.
        ("sslmode", "allow") => Ok(Taken::As("sslmode=prefer".to_owned())),
        ("sslmode", "disable" | "prefer" | "require") => Ok(Taken::As(parameter.to_owned())),
        ("sslmode", _) => Err("sslmode must be disable, allow, prefer, require, verify-ca or verify-full".to_owned()),
        ("sslrootcert", "" | "system")
        | ("gssencmode", "disable" | "prefer")
        | ("sslsni", "1")
        | ("fallback_application_name", _) => Ok(Taken::Anyway),
        ("client_encoding", encoding) if is_utf8(encoding) => Ok(Taken::Anyway),
        ("sslrootcert", file) => Ok(Taken::Authorities(file.into())),
        ("gssencmode" | "sslsni" | "client_encoding", _) => {
            Err(format!("its parameter {name} has a value that is not supported"))
        }
        _ if UNSUPPORTED.contains(&name) => Err(format!("its parameter {name} is not supported: leave it out")),
        _ => Ok(Taken::As(parameter.to_owned())),
    }
}

fn is_utf8(encoding: &str) -> bool {
    ["auto", "utf8", "utf-8", "unicode"].contains(&encoding.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_so_anyway_is_left_out_and_the_rest_stays_as_it_is() {
        for (url, expected, file) in [
            ("postgres://me@h/d", "postgres://me@h/d", None),
            ("postgres://me@h/d?sslmode=verify-full", "postgres://me@h/d?sslmode=require", None),
            ("postgres://me@h/d?sslmode=verify%2Dca&sslrootcert=system", "postgres://me@h/d?sslmode=require", None),
            (
                "postgres://me@h/d?sslrootcert=%2Fca.pem&sslmode=allow",
                "postgres://me@h/d?sslmode=prefer",
                Some("/ca.pem"),
            ),
            (
                "postgres://me@h/d?gssencmode=disable&client_encoding=UTF8&sslsni=1&fallback_application_name=x",
                "postgres://me@h/d",
                None,
            ),
            (
                "postgres://me@h/d?options=-c%20a%3Db&channel_binding=require",
                "postgres://me@h/d?options=-c%20a%3Db&channel_binding=require",
                None,
            ),
        ] {
            let read = plain(url).unwrap();
            assert_eq!((read.url.as_str(), read.authorities), (expected, file.map(PathBuf::from)), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_its_name_alone() {
        for (parameters, word) in [
            ("sslmode=secret", "sslmode"),
            ("sslcert=secret&sslkey=secret", "sslcert"),
            ("gssencmode=require", "gssencmode"),
            ("client_encoding=LATIN1", "client_encoding"),
            ("secret", "no value"),
            ("options=%ff", "UTF-8"),
        ] {
            let refused = plain(&format!("postgres://me@h/d?{parameters}")).unwrap_err();
            assert!(refused.contains(word) && !refused.contains("secret"), "{refused}");
        }
    }
}
