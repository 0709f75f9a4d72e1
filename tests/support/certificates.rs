//! A CA of the test's own, and what it issues.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM form.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Each with a name of its own: one that is named like its issuer counts as self-signed.
fn named(name: &str, hosts: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    pub fn new() -> Self {
        let mut params = named("test CA", Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, name: &str, host: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = named(name, vec![host.to_owned()]).signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Makes a CA in `dir`, a certificate for 127.0.0.1 from it, and one for a client.
pub fn make_in(dir: &Path) {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    let authority = Authority::new();
    write("ca.pem", &authority.pem());
    for (name, host) in [("server", "127.0.0.1"), ("client", "asset-eraser")] {
        let pair = authority.issue(name, host);
        write(&format!("{name}.pem"), &pair.certificate);
        write(&format!("{name}.key"), &pair.key);
    }
}
