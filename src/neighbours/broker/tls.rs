//! TLS to the broker: what the files of the settings hold, and what a connection that failed means for the settings.
//!
//! The files are read again for each session, so a renewed certificate needs no restart. They are looked at before
//! anything is connected: the AMQP library leaves out a CA that it cannot use, and does not say which file it means.

use std::io;
use std::path::Path;

use lapin::ErrorKind;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys, RootCertStore};

use super::BrokerError;
use crate::settings;

/// What the connection is to believe, and to show.
pub(super) fn config(settings: &settings::BrokerSettings) -> Result<OwnedTLSConfig, BrokerError> {
    let cert_chain = settings.ca_file.as_deref().map(authorities).transpose()?;
    let identity = match (&settings.client_cert_file, &settings.client_key_file) {
        (Some(cert), Some(key)) => Some(identity(cert, key)?),
        // One without the other is no setting that gets here.
        _ => None,
    };
    Ok(OwnedTLSConfig { identity, cert_chain })
}

fn authorities(path: &Path) -> Result<String, BrokerError> {
    let key = "ca_file";
    let pem = read(key, path)?;
    let mut store = RootCertStore::empty();
    for certificate in certificates(key, path, &pem)? {
        store.add(certificate).map_err(|error| refused(key, path, &format!("cannot be used as a CA: {error}")))?;
    }
    Ok(pem)
}

fn identity(cert_path: &Path, key_path: &Path) -> Result<OwnedIdentity, BrokerError> {
    let (cert, key) = ("client_cert_file", "client_key_file");
    let (cert_pem, key_pem) = (read(cert, cert_path)?, read(key, key_path)?);
    let chain = certificates(cert, cert_path, &cert_pem)?;
    // The parser's own words may quote the file.
    let private = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| refused(key, key_path, "holds no private key in PEM form (encrypted ones cannot be used)"))?;
    match CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider()) {
        Ok(_) => Ok(OwnedIdentity::PKCS8 { pem: cert_pem.into_bytes(), key: key_pem.into_bytes() }),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let problem = format!("is not the key of the certificate in {}", cert_path.display());
            Err(refused(key, key_path, &problem))
        }
        Err(rustls::Error::InvalidCertificate(why)) => {
            Err(refused(cert, cert_path, &format!("holds a certificate that cannot be used: {why}")))
        }
        Err(error) => Err(refused(key, key_path, &format!("holds a key that cannot be used: {error}"))),
    }
}

fn certificates(key: &str, path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, BrokerError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err(refused(key, path, "holds no certificate in PEM form")),
        Ok(all) => Ok(all),
        Err(error) => Err(refused(key, path, &format!("is no whole PEM file: {error}"))),
    }
}

fn read(key: &str, path: &Path) -> Result<String, BrokerError> {
    settings::text_of(path).map_err(|why| refused(key, path, &why))
}

fn refused(key: &str, path: &Path, problem: &str) -> BrokerError {
    BrokerError::Settings(format!("broker.{key}: {} {problem}", path.display()))
}

/// What a failed connection of `amqps://` means for the settings, where TLS may be the reason.
pub(super) fn explained(error: lapin::Error, settings: &settings::BrokerSettings) -> BrokerError {
    match advice(&error, settings.client_cert_file.is_some()) {
        Some(advice) => BrokerError::Tls { said: error.to_string(), advice },
        None => error.into(),
    }
}

fn advice(error: &lapin::Error, shows_certificate: bool) -> Option<&'static str> {
    let ErrorKind::IOError(error) = error.kind() else { return None };
    let hung_up = Some(if shows_certificate {
        "the broker may not believe broker.client_cert_file: it must be of a CA that the broker knows, for clients, and in \
         date"
    } else {
        "the broker may want a certificate of its clients: set broker.client_cert_file and broker.client_key_file"
    });
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => Some(distrusted(why)),
        // A broker that does not take our certificate, or none, may say so, or just hang up; which of the two gets here
        // is a matter of luck.
        Some(rustls::Error::AlertReceived(_)) => hung_up,
        Some(_) => Some("is the port in broker.url the one for TLS?"),
        None => match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => hung_up,
            _ => None,
        },
    }
}

fn distrusted(why: &CertificateError) -> &'static str {
    match why {
        // The second where a CA of the same name is known.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "neither the system nor broker.ca_file knows the CA of the broker's certificate; set broker.ca_file to its PEM \
             file"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the broker's certificate is for another host; broker.url must name one that it is for"
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "the broker's certificate is out of date, or a clock is wrong; renew it"
        }
        _ => "the broker's certificate cannot be believed; it has to be issued again",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    /// A certificate and its key.
    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["worker".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn settings(dir: &TempDir, ca: Option<&str>, own: Option<(&str, &str)>) -> settings::BrokerSettings {
        let file = |name: &str, text: &str| -> PathBuf {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let set = |key: &str, value: &str| (format!("ASSET_ERASER__{key}"), value.to_owned());
        let mut all =
            vec![set("PROVIDER__TOKEN", "x"), set("GUARD__NONE", "true"), set("BROKER__URL", "amqps://h/%2f")];
        let mut add = |key: &str, path: PathBuf| all.push(set(key, path.to_str().unwrap()));
        if let Some(ca) = ca {
            add("BROKER__CA_FILE", file("ca.pem", ca));
        }
        if let Some((cert, key)) = own {
            add("BROKER__CLIENT_CERT_FILE", file("client.pem", cert));
            add("BROKER__CLIENT_KEY_FILE", file("client.key", key));
        }
        settings::Settings::load(None, all).unwrap().broker
    }

    #[test]
    fn a_file_that_does_not_hold_what_it_should_is_named() {
        let ((cert, key), (other_cert, other_key)) = (pair(), pair());
        let cut = &cert[..cert.len() / 2];
        let sealed = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (ca, own, field, problem) in [
            (Some(""), None, "ca_file", "holds no certificate"),
            (Some(key.as_str()), None, "ca_file", "holds no certificate"),
            (Some(cut), None, "ca_file", "is no whole PEM file"),
            (Some(no_der), None, "ca_file", "cannot be used as a CA"),
            (
                None,
                Some((cert.as_str(), other_key.as_str())),
                "client_key_file",
                "is not the key of the certificate in",
            ),
            (None, Some((&other_cert, &key)), "client_key_file", "is not the key of the certificate in"),
            (None, Some((&cert, &cert)), "client_key_file", "holds no private key"),
            (None, Some((&cert, &sealed)), "client_key_file", "holds no private key"),
            (None, Some((&key, &key)), "client_cert_file", "holds no certificate"),
            (None, Some((no_der, &key)), "client_cert_file", "holds a certificate that cannot be used"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let error = config(&settings(&dir, ca, own)).map(|_| ()).unwrap_err();
            let (said, starts) = (error.to_string(), format!("broker.{field}: {}", dir.path().display()));
            assert!(error.is_permanent() && said.starts_with(&starts) && said.contains(problem), "{said}: {problem}");
        }
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&dir, Some(&other_cert), Some((&cert, &key)));
        assert!(config(&settings).is_ok());
        std::fs::remove_file(dir.path().join("client.key")).unwrap();
        let said = config(&settings).map(|_| ()).unwrap_err().to_string();
        assert!(
            said.starts_with("broker.client_key_file: ") && said.contains("cannot be read: No such file"),
            "{said}"
        );
    }

    #[test]
    fn a_key_is_never_quoted() {
        let (cert, key) = pair();
        let inside = key.lines().nth(1).unwrap();
        for broken in [key.replace("-----END", "----END"), key.replace(inside, &format!("{inside}*"))] {
            let dir = tempfile::tempdir().unwrap();
            let said = config(&settings(&dir, None, Some((&cert, &broken)))).map(|_| ()).unwrap_err().to_string();
            assert!(!said.contains(&inside[..8]), "{said}");
        }
    }
}
