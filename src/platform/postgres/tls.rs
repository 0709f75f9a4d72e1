//! TLS to the server: its certificate has to be of a CA that is believed, and for the host in the URL.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Believes the CAs of a PEM file, or without one those of the system (or of `SSL_CERT_FILE`).
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub(super) fn connector(authorities: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    crate::platform::crypto::install();
    match authorities {
        Some(file) => of_file(file).map_err(|why| format!("sslrootcert: {} {why}", file.display())),
        None => of_system(),
    }
}

fn of_system() -> Result<MakeRustlsConnect, String> {
    let (tls, _unreadable) = MakeRustlsConnect::with_native_certs()
        .map_err(|errors| format!("the system has no CA certificates to check a server's with: {errors:?}"))?;
    Ok(tls)
}

fn of_file(file: &Path) -> Result<MakeRustlsConnect, String> {
    let pem = crate::settings::text_of(file)?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("is no whole PEM file: {error}"))?;
        store.add(certificate).map_err(|error| format!("cannot be used as a CA: {error}"))?;
    }
    if store.is_empty() {
        return Err("holds no certificate in PEM form".to_owned());
    }
    Ok(MakeRustlsConnect::new(ClientConfig::builder().with_root_certificates(store).with_no_client_auth()))
}

/// What to do about a connection that failed, if its certificate is the reason.
pub(super) fn advice(error: &tokio_postgres::Error) -> Option<&'static str> {
    let io = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
    match io.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. },
        ) => Some("the server's certificate is for another host: the URL must name one that it is for"),
        rustls::Error::InvalidCertificate(_) => {
            Some("if the certificate is the right one, add sslrootcert=FILE to the URL, with the PEM file of its CA")
        }
        _ => None,
    }
}
